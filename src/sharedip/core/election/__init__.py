"""One VIP's way through the election, and who should have the address.

candidacy     the phases: campaign, wait, prove, take; leave, confirm, release
words         releases that owners before us told us, and what becomes of taking by them
resigned      epochs that are given up for good
owner_record  how the owner came by the address, for people
fitness       which node should have an address, and which should not be the successor
spacing       how far apart moves for a slow health check come
assent        an owner that can't serve asks; who can, assents
living        who in a queue lives, as far as this node can tell
evictions     the owner takes the dead out of the succession; `evicted` keeps which, for the next run too
"""

"""One VIP's way through the election, and who should have the address.

candidacy     the phases: campaign, wait, prove, take; leave, confirm, release
words         releases that owners before us told us, and what becomes of taking by them
resigned      epochs that are given up for good
owner_record  how the owner came by the address, for people
fitness       which node should have an address, and which should not be the successor
"""

"""One VIP's way through the election, and who should have the address.

candidacy     the phases: campaign, wait, prove, take; leave, confirm, release
words         what owners before us have said, and what becomes of taking by it
resigned      epochs that are given up for good
owner_record  how the owner came by the address, for people
fitness       who should have an address, and who should not be next in line
"""

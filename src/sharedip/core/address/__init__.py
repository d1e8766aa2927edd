"""The address on this node: held while there is a right, its fences, the links, and the frames on the segment.

ownership     one VIP's address: probed, held, removed
gate          the nftables element that lets its traffic pass
links         whether a link is fit to carry an address, with hysteresis
frames        ARP and NDP as bytes
"""

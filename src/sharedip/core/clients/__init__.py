"""TCP connections on the VIPs, and how their clients learn that an owner is dead (docs/protocol.md, "Clients").

clients       the three below, for the node
standing      which connections stand on this owner's addresses
telling       the owner tells them to its next candidates, in differences
tickling      what the owners told us; whoever takes from a dead one asks its clients whether they live
"""

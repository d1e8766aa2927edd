"""What agents agree on (docs/protocol.md).

inbox         opens authentic datagrams, counts all others
owner, choose the owner's side of the witnessed lease; which candidates become its witnesses
witness       the witness's side
handover      giving an address to the successor: what is saved, whom to ping, whom to tell
"""

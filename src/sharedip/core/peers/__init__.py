"""What agents say to each other (docs/protocol.md).

wire          datagrams as bytes
inbox         what is authentic is opened, all else is counted
owner, choose the owner's side of the witnessed lease; who is to be its witness
witness       the witness's side
handover      an address goes to the next candidate: what is saved, who is woken, who is told
"""

"""What agents agree on (docs/protocol.md).

inbox         opens authentic datagrams, counts all others
owner, choose the owner's side of the witnessed lease; which candidates become its witnesses
witness       the witness's side
wishes        what a person asks for: granted, or refused with the reason
posted        the same, asked from another node through etcd
leader_away   etcd's leader is kept off an owner's node, where that is asked for
handover      giving an address to the successor: what is saved, whom to ping, whom to tell
"""

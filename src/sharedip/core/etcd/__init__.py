"""The lease, its proof, and the picture of the keys.

session       one lease, the agent's name, the watch; takes facts in and returns news
renewal       the lease from its grant to its end, and the proof that makes its deadline grow
keys          where keys stand, and the picture of all of them at one revision
batches       the writes of many VIPs at one instant, in few transactions
requests, endpoints, raft_leader   what is under way; who is asked next; who leads etcd, and which member is ours
own_record, agent_records, former_self   our own record; the other agents'; a former run of ours
news          what a fact from etcd means to the rest of the node
"""

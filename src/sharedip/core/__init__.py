"""The pure machine: facts in, orders out. No clock, socket, log or asyncio in here.

Twelve levels, each of which imports only what stands below it; a test keeps it:

  view                                       what the operator sees
  node                                       the turn of one agent: expire, apply, settle, finish
  vips                                       the candidacies, and what facts mean for them
  peers                                      what agents agree on
  election                                   one VIP's way, and who should have the address
  segment                                    what agents say, and who is heard on the VIPs' links
  address                                    the address on this node, its fences, the wire
  etcd                                       the lease, its proof, the picture of the keys
  orders history health saved_state          ranks; the operator's words; verdicts of checks; what is on disk
  messages                                   the whole vocabulary between the core and the world
  settings right timers schedule state       margins; deadlines; who is due; when to repeat; the state file
  model identity status                      values; who this agent is; the fields of the status document
"""

"""The pure machine: facts in, orders out. No clock, socket, log or asyncio in here.

Seventeen levels, each of which imports only what stands below it; a test keeps it:

  view explanation                           what the operator sees; the same in sentences
  node                                       the turn of one agent: expire, apply, settle, finish
  anew                                       what must hold before a new process may take the place of this one
  alarms                                     since when something is wrong; what log and record hear of it
  outlook                                    is each VIP up, who comes next, what does a crash take
  vips                                       the candidacies, and what facts mean for them
  clients                                    who has connections on the addresses, and is told when an owner dies
  peers                                      what agents agree on
  election                                   one VIP's way, and who should have the address
  segment                                    what agents say, and who is heard on the VIPs' links
  address                                    the address on this node, its fences, the wire
  etcd                                       the lease, its proof, the picture of the keys
  orders history health saved_state problems ranks; words of changes and problems; verdicts; what is on disk
  messages                                   the whole vocabulary between the core and the world
  keeping                                    which window the cluster could keep
  settings right timers schedule state       margins; deadlines; who is due; when to repeat; the state file
  model identity status steps                values; who this agent is; the fields of the status document; work in parts
"""

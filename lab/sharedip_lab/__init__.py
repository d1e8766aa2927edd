"""Nodes as network namespaces on this machine: the shipped program, tried and broken from outside.

Role: bring up nodes, an etcd cluster, a client and an outside witness; break things; measure; say what was seen.
Must never: import the agent's package. The lab judges the shipped command line and nothing else.
Counterpart: `sharedip run`, started as a subprocess in each node's namespace.

Nine levels, each of which imports only what stands below it; a test keeps it:

  commands                  arguments → scenarios → exit codes
  bench      parallel       figures beside their targets; one scenario in several labs at once
  report                    tables, pages, the live view
  scenarios                 steps, the demo, matrix, promise, chaos; what they leave
  faults                    what is broken, and its healing
  machine_stage             the same with virtual machines
  stage      programs       all of it up and down in order; the processes that watch (started, never imported)
  observe                   what is seen from outside, and the arithmetic on it
  world                     namespaces, networks, etcd, agents
"""

COMMAND = ("sharedip_lab.commands", "nodes on this machine: try, break, measure", "demo|up|run|vm|...")
"""The row that `sharedip` adds to its table of commands: module, summary, arguments. The module is loaded when run."""

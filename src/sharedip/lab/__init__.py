"""Nodes as network namespaces on this machine: the shipped program, tried and broken from outside.

Role: bring up nodes, an etcd cluster, a client and an outside witness; break things; measure; say what was seen.
Must never: import the core, an adapter or the agent. The lab judges the shipped command line and nothing else.
Counterpart: `sharedip run`, started as a subprocess in each node's namespace.
"""

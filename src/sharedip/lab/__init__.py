"""Nodes as network namespaces on this machine: the shipped program, tried and broken from outside."""

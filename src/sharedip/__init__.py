"""sharedip: an IP address that an etcd election gives to exactly one node."""

__version__ = "0.2.0"

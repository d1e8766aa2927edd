"""What the lab builds: namespaces and two networks, etcd members, agents; and what it must take away again."""

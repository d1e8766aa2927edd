"""Tries what `make dist` built, in clean Debian roots; `make test-dist`, as root.

Role: each Debian is unpacked from a cached mmdebstrap and booted with its own systemd in namespaces of its own; there
the package is installed, started, upgraded while it owns an address, removed and purged, and a client on the same
segment counts what it missed. Must never: touch this machine's own packages, services or networks; whatever is mounted
ends with the namespaces. Counterpart: `scripts.artifacts`, which builds.
"""

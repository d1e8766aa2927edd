"""What every unit that is printed here may not do: systemd's directives that no program of ours has a use for.

Role: one text for the agent's unit and HAProxy's. Must never: name what one needs and the other does not; users,
capabilities, address families and hidden paths stand with the unit. Counterparts: `manifest.py`, `haproxy.py`.
SECURITY.md says what it leaves open, and why.
"""

CONFINEMENT = """\
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
RemoveIPC=yes
RestrictNamespaces=yes
KeyringMode=private
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
"""

"""Who this agent is beyond its name: its machine, its kernel, and what it shares with each other agent.

Role: frozen values that the agent's record carries, so that a later run can tell its own former self from another
agent of the same name; and the secrets between two agents, which nobody can learn from records: each publishes a public
value, and both reach the same secret by it (X25519, RFC 7748).
Must never: read a file, or know the private value; `adapters/machine.py` and `adapters/agreement.py` do.
Counterparts: `own_record.py`, `agent_records.py`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

PUBLIC_BYTES = 32
"""Of an X25519 public value (RFC 7748 section 6.1)."""

SALT = b"sharedip peer v2"


def _agrees_with_nobody(_public: bytes) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same over restarts of the agent (`kernel`, `public`), and over reboots (`machine`)."""

    machine: str | None = None
    """An id of the machine that survives reboots, hex; None where it has none. Clones of a machine share it."""
    kernel: str = ""
    """The boot and the network namespace: while they are the same, addresses of a former run may stand here."""
    public: bytes = b""
    """Our public value, by which others agree on a secret with us; new with each boot. Empty: etcd alone decides."""
    agree: Callable[[bytes], bytes | None] = _agrees_with_nobody
    """Another agent's public value → what only the two of us know; None for a value that makes no secret."""

    def secret_with(self, public: bytes) -> bytes | None:
        """The secret that authenticates datagrams between us and the agent with this public value.

        HKDF-SHA256 (RFC 5869) over the agreed value, with both public values in the info: the same on both sides, and
        another one for every pair. None: no datagram between the two can be believed.
        """
        if len(public) != PUBLIC_BYTES or len(self.public) != PUBLIC_BYTES or public == self.public:
            return None
        agreed = self.agree(public)
        if agreed is None:
            return None
        extracted = hmac.digest(SALT, agreed, "sha256")
        return hmac.digest(extracted, b"".join(sorted((self.public, public))) + b"\x01", "sha256")

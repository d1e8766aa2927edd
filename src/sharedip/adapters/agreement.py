"""The secret between two agents: X25519 (RFC 7748 section 6.1) by libsodium.

Role: holds this agent's private value, gives its public one, and agrees with another agent's.
Must never: let the private value out, but for `state.py` to keep; or agree on what anybody can know.
Counterparts: `core/identity.py` (what the agreed value is used for), `state.py`.
"""

from __future__ import annotations

import secrets

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import CryptoError

VALUE_BYTES = 32
"""Of a private, a public and an agreed value alike (RFC 7748 section 5)."""


class Agreement:
    """One private value, kept for as long as the machine's boot."""

    def __init__(self, private: bytes) -> None:
        assert len(private) == VALUE_BYTES
        self._private = private
        self.public = crypto_scalarmult_base(private)

    def agree(self, public: bytes) -> bytes | None:
        """What only this agent and the owner of `public` know.

        None for a value that makes no secret: of another length, or a point of low order, with which everybody agrees
        on zero (RFC 7748 section 6.1; libsodium refuses it, and a zero is looked for all the same).
        """
        if len(public) != VALUE_BYTES:
            return None
        try:
            agreed = crypto_scalarmult(self._private, public)
        except CryptoError:
            return None
        return agreed if any(agreed) else None


def fresh_private() -> bytes:
    """A new private value; libsodium clamps it (RFC 7748 section 5, decodeScalar25519)."""
    return secrets.token_bytes(VALUE_BYTES)

"""A model of the key agreement: as fast as a hash, and as closed to strangers as X25519.

Role: gives each host a public value; two hosts agree by the world's own table, which nobody else may look into: a
forger owns every public value and not one secret. Counterpart: `adapters/agreement.py`, which must obey the same rules
(`tests/unit/adapters/test_agreement.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

VALUE_BYTES = 32


class ModelAgreement:
    """One agent's end of it: `public`, and `agree` as `core/identity.py` asks for it."""

    def __init__(self, private: bytes, table: dict[bytes, bytes]) -> None:
        """`table` has every private value of this world by its public one."""
        self._private = private
        self._table = table
        self.public = sha256(b"public" + private).digest()
        table[self.public] = private

    def agree(self, public: bytes) -> bytes | None:
        """What both ends reach alone; None for a value of another length, and for the one that agrees with all."""
        if len(public) != VALUE_BYTES or not any(public):
            return None
        other = self._table.get(public, b"a stranger's" + public)
        return sha256(b"agreed" + b"".join(sorted((self._private, other)))).digest()


def agreed_by_name(table: dict[bytes, bytes], name: str) -> tuple[bytes, Callable[[bytes], bytes | None]]:
    """The public value and the agreement of whoever has this name; the same again for the same name."""
    end = ModelAgreement(sha256(name.encode()).digest(), table)
    return end.public, end.agree

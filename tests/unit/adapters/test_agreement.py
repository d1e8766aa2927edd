"""Two agents agree on a secret; the model that the simulation uses obeys the same rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sharedip.adapters.agreement import Agreement, fresh_private
from sharedip.core.identity import Identity
from tests.models.agreement import ModelAgreement

End = Agreement | ModelAgreement
TABLE: dict[bytes, bytes] = {}
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
"""The points of order 1, 2, 4 and 8, and their non-canonical spellings (curve25519: cr.yp.to/ecdh.html#validate)."""


def real() -> Agreement:
    return Agreement(fresh_private())


def model() -> ModelAgreement:
    return ModelAgreement(fresh_private(), TABLE)


both = pytest.mark.parametrize("make", [real, model])


def identity(end: End) -> Identity:
    return Identity(public=end.public, agree=end.agree)


@both
def test_both_ends_reach_the_same_secret(make: Callable[[], End]) -> None:
    one, other = make(), make()
    assert one.agree(other.public) == other.agree(one.public)
    assert identity(one).secret_with(other.public) == identity(other).secret_with(one.public) is not None


@both
def test_every_pair_has_a_secret_of_its_own(make: Callable[[], End]) -> None:
    one, other, third = make(), make(), make()
    pairs = ((one, other), (other, third), (third, one))
    assert len({a.agree(b.public) for a, b in pairs}) == 3
    assert len({identity(a).secret_with(b.public) for a, b in pairs}) == 3


@both
def test_public_values_tell_neither_the_secret_nor_each_other(make: Callable[[], End]) -> None:
    one, other = make(), make()
    assert one.public != other.public
    assert len(one.public) == len(one.agree(other.public) or b"") == 32
    assert one.agree(other.public) not in (one.public, other.public)


@both
@pytest.mark.parametrize("public", [b"", b"\1" * 31, b"\1" * 33, bytes(32)])
def test_a_value_that_makes_no_secret_agrees_with_nobody(make: Callable[[], End], public: bytes) -> None:
    assert make().agree(public) is None
    assert identity(make()).secret_with(public) is None


@pytest.mark.parametrize("public", LOW_ORDER)
def test_a_point_of_low_order_agrees_with_nobody(public: str) -> None:
    """Whoever knows it agrees on zero with everybody (RFC 7748 section 6.1)."""
    assert real().agree(bytes.fromhex(public)) is None


def test_an_agreed_value_of_zero_is_refused_whatever_the_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharedip.adapters.agreement.crypto_scalarmult", lambda _private, _public: bytes(32))
    assert real().agree(real().public) is None


def test_nobody_shares_a_secret_with_itself() -> None:
    """What comes under our own public value was copied out of our record."""
    end = real()
    assert identity(end).secret_with(end.public) is None


def test_it_is_x25519_as_the_rfc_has_it() -> None:
    """RFC 7748 section 6.1: Bob's private value, Alice's public one, and their secret."""
    bob = Agreement(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    alice = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    agreed = bob.agree(alice)
    assert agreed is not None
    assert agreed.hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"

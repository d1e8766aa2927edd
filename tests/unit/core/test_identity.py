"""The secret between two agents: the same on both sides, and another one for every pair."""

from __future__ import annotations

import pytest

from sharedip.core.identity import PUBLIC_BYTES, Identity
from tests.stages.harness import identity_of


def test_both_sides_find_one_secret_and_no_two_pairs_share_one() -> None:
    first, second, third = (identity_of(name) for name in ("n1", "n2", "n3"))
    secret = first.secret_with(second.public)
    assert secret is not None
    assert secret == second.secret_with(first.public)
    assert len({secret, first.secret_with(third.public), second.secret_with(third.public)}) == 3


def test_one_agreed_value_gives_another_secret_under_other_public_values() -> None:
    """The secret is bound to both public values, not only to what was agreed."""
    ours = Identity(public=b"o" * PUBLIC_BYTES, agree=lambda _: b"agreed")
    assert ours.secret_with(b"a" * PUBLIC_BYTES) != ours.secret_with(b"b" * PUBLIC_BYTES)


@pytest.mark.parametrize("public", [b"", b"x" * (PUBLIC_BYTES - 1), b"o" * PUBLIC_BYTES], ids=["none", "short", "own"])
def test_there_is_no_secret_with_a_value_of_another_length_or_with_ourselves(public: bytes) -> None:
    ours = Identity(public=b"o" * PUBLIC_BYTES, agree=lambda _: b"agreed")
    assert ours.secret_with(b"a" * PUBLIC_BYTES) is not None
    assert ours.secret_with(public) is None


def test_who_has_published_nothing_or_cannot_agree_has_no_secret() -> None:
    """A value of low order, or an agent that can't speak: etcd alone decides."""
    theirs = b"a" * PUBLIC_BYTES
    assert Identity(agree=lambda _: b"agreed").secret_with(theirs) is None
    assert Identity(public=b"o" * PUBLIC_BYTES).secret_with(theirs) is None

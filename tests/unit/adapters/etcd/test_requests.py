"""Orders become the requests that etcd's own client would send."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip.adapters.etcd import requests
from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.options import Address, parse_endpoint
from sharedip.core.messages import OpenWatch, ReadKeys, Transact
from sharedip.core.model import Delete, Get, Guard, GuardTarget, Put


@given(prefix=st.text(min_size=1, max_size=5), rest=st.text(max_size=3), other=st.text(max_size=6))
def test_prefix_range_holds_exactly_the_keys_with_the_prefix(prefix: str, rest: str, other: str) -> None:
    """etcd compares bytes: a key is in [prefix, end) when and only when it begins with the prefix."""
    end = requests.prefix_end(prefix)
    assert prefix.encode() <= (prefix + rest).encode() < end
    assert (prefix.encode() <= other.encode() < end) == other.startswith(prefix)


def test_transaction_compares_for_equality_and_keeps_the_order_of_operations() -> None:
    """Guards on create and mod revision, both branches, single gets and gets of a prefix."""
    order = Transact(
        1,
        0,
        (Guard("a", GuardTarget.CREATE, 0), Guard("b", GuardTarget.MOD, 8)),
        (Put("a", b"v", 5), Delete("b")),
        (Get("a"), Get("c/", prefix=True)),
        1.0,
    )
    assert requests.transact(order) == pb.TxnRequest(
        compare=[
            pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.CREATE, key=b"a", create_revision=0),
            pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=b"b", mod_revision=8),
        ],
        success=[
            pb.RequestOp(request_put=pb.PutRequest(key=b"a", value=b"v", lease=5)),
            pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"b")),
        ],
        failure=[
            pb.RequestOp(request_range=pb.RangeRequest(key=b"a")),
            pb.RequestOp(request_range=pb.RangeRequest(key=b"c/", range_end=b"c0")),
        ],
    )


def test_an_entry_without_a_change_is_the_deletion_of_an_empty_range() -> None:
    """From the prefix to the prefix: no key is in it, whatever stands there."""
    entry = requests.entry(ReadKeys(1, 0, "p/", 1.0, by_entry=True))
    assert (entry.key, entry.range_end) == (b"p/", b"p/")


def test_a_watch_names_its_first_revision() -> None:
    """Without one etcd would begin with whatever comes next, and changes in between would be lost."""
    created = requests.open_watch(OpenWatch(1, 0, "p/", 5, 1.0)).create_request
    assert (created.key, created.range_end, created.start_revision) == (b"p/", b"p0", 5)
    with pytest.raises(AssertionError):
        requests.open_watch(OpenWatch(1, 0, "p/", 0, 1.0))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:2379", Address("127.0.0.1", 2379, tls=False)),
        ("https://etcd.example:12379/", Address("etcd.example", 12379, tls=True)),
        ("https://[fd00::1]:2379", Address("fd00::1", 2379, tls=True)),
        ("https://10.0.0.1", Address("10.0.0.1", 2379, tls=True)),
    ],
)
def test_endpoints_are_read(url: str, address: Address) -> None:
    """Scheme, host and port; the port has etcd's as default."""
    assert parse_endpoint(url) == address


@pytest.mark.parametrize("url", ["10.0.0.1:2379", "http://", "ftp://a:1", "http://a:b", "http://a:1/x", "http://u@a:1"])
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    """With the URL in the text, for the operator."""
    with pytest.raises(ValueError, match=re.escape(url)):
        parse_endpoint(url)

"""The state file: what was written is read, and whatever else is in it means that there was no former run."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip.core.state import FormerRun, read_state, write_state

RUN = FormerRun(0x7000_0001, "sharedip:v1", "n1", (ip_address("192.168.0.15"), ip_address("fd00::15")), drained=True)


@given(
    st.one_of(st.none(), st.integers(min_value=1, max_value=2**63 - 1)),
    st.text(),
    st.text(),
    st.lists(st.ip_addresses()).map(tuple),
    st.booleans(),
)
def test_what_is_written_is_read(
    lease: int | None, prefix: str, name: str, addresses: tuple[object, ...], drained: bool
) -> None:
    """A round trip loses nothing."""
    run = FormerRun(lease, prefix, name, addresses, drained)  # type: ignore[arg-type]
    assert read_state(write_state(run)) == run


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"null",
        b"[]",
        b"3",
        b'"version"',
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        write_state(RUN)[:-20],
    ],
)
def test_a_broken_file_is_no_former_run(content: bytes) -> None:
    """A fresh start is always safe."""
    assert read_state(content) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("version", None),
        ("lease", 7),
        ("lease", "zz"),
        ("lease", ""),
        ("lease", []),
        ("addresses", None),
        ("addresses", "192.168.0.15"),
        ("addresses", ["nonsense"]),
        ("addresses", [None]),
        ("addresses", [{}]),
    ],
)
def test_a_field_that_makes_no_sense_is_no_former_run(field: str, value: object) -> None:
    """Half a state is none."""
    fields = json.loads(write_state(RUN))
    assert read_state(json.dumps({**fields, field: value}).encode()) is None
    del fields[field]
    assert read_state(json.dumps(fields).encode()) is None


@pytest.mark.parametrize("value", [None, 1, "true", [True], {}])
def test_only_true_means_drained(value: object) -> None:
    """Nothing that merely looks like it."""
    run = read_state(json.dumps({**json.loads(write_state(RUN)), "drained": value}).encode())
    assert run is not None
    assert not run.drained


def test_evictions_are_read_back_with_the_epoch_that_ordered_them() -> None:
    """A later run keeps to them."""
    run = replace(RUN, evicted=((RUN.addresses[0], 12, (15, 17)), (RUN.addresses[1], 13, (18,))))
    assert read_state(write_state(run)) == run


def test_a_file_of_an_older_version_has_no_evictions() -> None:
    """It is read all the same."""
    fields = json.loads(write_state(RUN))
    del fields["evicted"]
    assert read_state(json.dumps(fields).encode()) == RUN


@pytest.mark.parametrize(
    "value", [3, [], {"192.168.0.15": 3}, {"192.168.0.15": {"epoch": 1}}, {"x": {"epoch": 1, "keys": []}}]
)
def test_evictions_that_make_no_sense_are_no_former_run(value: object) -> None:
    """Half of them would be told a word."""
    content = json.dumps({**json.loads(write_state(RUN)), "evicted": value}).encode()
    assert read_state(content) is None


@given(st.binary(max_size=400))
def test_garbage_never_raises(content: bytes) -> None:
    """Any bytes at all."""
    read_state(content)

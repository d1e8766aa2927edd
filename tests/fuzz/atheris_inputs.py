"""Coverage-guided fuzzing of everything pure that reads bytes from outside; run by hand, see docs/fuzzing.md.

    python tests/fuzz/atheris_inputs.py datagrams|frames|netlink|documents|records [libFuzzer's options] [corpus]

Not collected by pytest. Any exception ends it, with the input in a file `crash-…`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["sharedip", "yaml"]):
    from sharedip.adapters.kernel import diagwire, rtwire, wire
    from sharedip.config.load import parse
    from sharedip.core import frames, peerwire
    from sharedip.core.keys import read_record
    from sharedip.core.model import KeyValue
    from sharedip.core.peers import split_address
    from sharedip.core.state import read_state
    from sharedip.core.witness import read_witnesses

SECRET = b"0123456789abcdef"


def datagrams(data: bytes) -> None:
    """No datagram is authentic by chance."""
    envelope = peerwire.unseal(data)
    for body, tag in envelope.entries if envelope is not None else ():
        assert peerwire.open_entry(envelope, body, tag, lambda _: SECRET) is None  # type: ignore[arg-type]


def segment(data: bytes) -> None:
    """ARP and neighbour discovery."""
    claim = frames.decode(data)
    assert claim is None or len(claim.mac) == 6


def netlink(data: bytes) -> None:
    """Whatever the kernel could say."""
    for message in wire.decode(data):
        wire.refusal(message)
        rtwire.parse_link(message)
        rtwire.parse_address(message)
        rtwire.parse_promote_secondaries(message)
        rtwire.parse_route_source(message)
        diagwire.parse_socket(message, 6)


def documents(data: bytes) -> None:
    """YAML with places."""
    parse({"fuzz.yaml": data.decode("utf-8", "replace")}, "cp1")


def records(data: bytes) -> None:
    """What stands under our keys in etcd, and in the state file."""
    read_state(data)
    record = read_record(KeyValue("k", data, 1, 1, 1)) or {}
    read_witnesses(record)
    split_address(record.get("peer"))


TARGETS = {
    "datagrams": datagrams,
    "frames": segment,
    "netlink": netlink,
    "documents": documents,
    "records": records,
}


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(TARGETS)} [libFuzzer's options] [corpus]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()

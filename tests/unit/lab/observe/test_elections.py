"""The keys of an election, as the lab reads them."""

from __future__ import annotations

import json
from typing import Any

from sharedip_lab.observe.elections import Designation, designation, queue

VIP = "10.77.0.100"
ELECTION, WITNESS = f"p:vip:election:{VIP}/", f"p:vip:witness:{VIP}"


class Keys:
    """An etcd that has these."""

    def __init__(self, entries: dict[str, tuple[str, int]] | None) -> None:
        self.known = entries

    def entries(self, prefix: str) -> dict[str, tuple[str, int]] | None:
        return None if self.known is None else {key: it for key, it in self.known.items() if key.startswith(prefix)}


def keys(record: Any) -> Any:
    return Keys({f"{ELECTION}a": ("n1", 7), f"{ELECTION}b": ("n2", 5), WITNESS: (record, 9)})


def test_the_queue_is_in_the_order_of_the_create_revisions() -> None:
    assert queue(keys("{}"), "p", VIP) == ["n2", "n1"]
    assert queue(Keys(None), "p", VIP) == []  # type: ignore[arg-type]


def test_a_designation_counts_for_the_owners_present_epoch_only() -> None:
    record = {"epoch": 5, "witnesses": ["a", "gone"], "windowMs": 2000}
    assert designation(keys(json.dumps(record)), "p", "n2", VIP) == Designation(("n1",), 2.0)
    assert designation(keys(json.dumps({**record, "epoch": 4})), "p", "n2", VIP) == Designation()
    assert designation(keys("no json"), "p", "n2", VIP) == Designation()

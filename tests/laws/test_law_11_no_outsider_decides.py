"""Law 11: no outsider decides: a forged frame does not about a hand over, a foreign flush does not about the fence.

The flush needs a kernel: `tests/contract/kernel/test_fence.py`.
"""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import write_record
from sharedip.core.messages import (
    ForeignClaim,
)
from tests.stages.harness import (
    LAYOUT,
    MAC,
    VIP,
    Talk,
)

THIRD = 0xA00


@pytest.mark.parametrize("of_cluster", [True, False])
def test_a_node_of_the_cluster_that_claims_the_address_after_the_word_blocks_taking(of_cluster: bool) -> None:
    """The word may be old, or forged, or a recorded one that comes again; a stranger's frame blocks nobody."""
    talk = Talk()
    talk.store.stand("n2")
    talk.store.stand("n3", THIRD)
    record = {"node": "n3", "macs": [MAC.hex()], "healthy": True, "drained": False}
    talk.store.put(LAYOUT.agent("n3"), write_record(record if of_cluster else {**record, "macs": []}), THIRD)
    talk.start()
    talk.run(1.0)
    first, second = talk.candidacy.queue()[:2]
    talk.candidacy.released(first.create_revision, "moved", talk.now)
    talk.now += 0.1
    talk.hear(ForeignClaim(VIP, MAC, talk.now))
    talk.now += 0.1
    talk.candidacy.released(first.create_revision, "moved", talk.now)
    talk.candidacy.released(second.create_revision, "moved", talk.now)
    talk.settle()
    assert talk.is_in(Phase.WAITING if of_cluster else Phase.OWNING)

"""An etcd that mostly tells the truth, and lies when it pays; and keys that nobody sane would write.

Role: answers the core's orders from the model's store, then distorts the answer. Two depths: `plausible` lies pass the
checks of `adapters/etcd/answers.py`; `absurd` ones are numbers and kinds that the adapter refuses, told all the same.
Must never: know what the core believes. Counterparts: `models/store.py`, which has the truth; `stage.py`, which judges.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from typing import Any

from sharedip.core.identity import Identity
from sharedip.core.messages import (
    KeysRead,
    LeaderMoved,
    LeaseGranted,
    MemberRead,
    MembersRead,
    MoveLeader,
    ReadMember,
    ReadMembers,
    RequestFailed,
    TransactionDone,
)
from sharedip.core.model import Failure, KeyChange, KeyValue, Vip
from tests.models.agreement import agreed_by_name
from tests.models.judge import LAYOUT
from tests.models.store import Answer, Request, Store

HOSTILE_TEXT = [
    *("\x1b[2J", "a\nb\0c", "\ud800", "x" * 60_000, "%s%n{}", "é" * 300, "", "-1", "n1", "n2", "[::1]:9470", "n2:9470"),
    *("[" * 5000, "10.0.0.1:99999", "10.0.0.2:9470", "ff" * 16, "f" * 5000, "\u202eevil", "0x10"),
]
KEYS_MAX = 60
NEWS_MAX = 200
"""A watch tells no more at once, however far back it was opened."""


@dataclass(slots=True)
class Told:
    """One answer, and the order that it answers."""

    order: Request
    answer: Answer


class Liar:
    """Invariant: what is told without a lie is what a linearizable store would say."""

    def __init__(self, vips: tuple[Vip, ...], *, absurd: bool) -> None:
        self.vips = vips
        self.absurd = absurd
        self.store = Store(revision=5, next_lease=0x1001)
        self.term = 3

    # -- the truth ----------------------------------------------------------------------------------------------------

    def tell(self, order: Request, sent_at: float) -> Answer:
        """The true answer."""
        if isinstance(order, ReadMember):
            return MemberRead(
                order.request, order.endpoint, 10 + order.endpoint, 10 + self.term % 3, self.term, "3.5.1"
            )
        if isinstance(order, ReadMembers):
            return MembersRead(order.request, order.endpoint, (10, 11, 12))
        if isinstance(order, MoveLeader):
            return LeaderMoved(order.request, order.endpoint)
        return self.store.answer(order, self.term, sent_at)

    def news(self, after: int) -> tuple[KeyChange, ...]:
        """What has changed since this revision."""
        return self.store.changes_from(max(after, 0) + 1)[-NEWS_MAX:]

    # -- other people -------------------------------------------------------------------------------------------------

    def meddle(self, chance: random.Random, own_lease: int | None) -> None:
        """Something happens in the store that the agent did not do."""
        while len(self.store.keys) > KEYS_MAX:
            self.store.delete(chance.choice(sorted(self.store.keys)))
        what = chance.randrange(60)
        if what < 2 and self.store.keys:
            self.store.delete(chance.choice(sorted(self.store.keys)))
        elif what == 2 and own_lease is not None:
            self.store.end_lease(own_lease)
        elif what < 5:
            self.term += 1
        elif what < 12:  # the owner of an address goes away
            address = chance.choice(self.vips).address
            queue = sorted(self.store.under(f"{LAYOUT.election(address)}/"), key=lambda key: key.create_revision)
            if queue and queue[0].lease != own_lease:
                self.store.delete(queue[0].key)
        elif what < 20 and own_lease is not None:
            self.designate(chance, own_lease)
        elif what < 45:
            lease = chance.randrange(1, 6)
            self.store.put(LAYOUT.candidate(chance.choice(self.vips).address, lease), f"n{lease}".encode(), lease)
            self.store.put(LAYOUT.agent(f"n{lease}"), sound_agent(lease), lease)
        else:
            key = hostile_key(chance, self.vips, own_lease)
            self.store.put(
                key, hostile_value(chance, self.store.keys, own_lease), chance.choice([0, 1, 2, own_lease or 3])
            )

    def designate(self, chance: random.Random, own_lease: int) -> None:
        """Another owner names us as its witness."""
        address = chance.choice(self.vips).address
        queue = sorted(self.store.under(f"{LAYOUT.election(address)}/"), key=lambda key: key.create_revision)
        if not queue or queue[0].lease == own_lease:
            return
        record = {
            "epoch": queue[0].create_revision,
            "witnesses": [f"{own_lease:x}"],
            "nonce": f"{chance.getrandbits(128):032x}",
            "windowMs": 1000,
        }
        self.store.put(LAYOUT.witness(address), json.dumps(record).encode(), queue[0].lease)

    # -- lies ---------------------------------------------------------------------------------------------------------

    def distort(self, chance: random.Random, answer: Answer, own_lease: int | None) -> Answer:
        """One lie, sometimes two, about this answer."""
        for _ in range(chance.choice([1, 1, 2])):
            answer = self._distort(chance, answer, own_lease)
        return answer

    def _distort(self, chance: random.Random, answer: Answer, own_lease: int | None) -> Answer:
        if isinstance(answer, RequestFailed) or chance.random() < 0.25:
            failure = chance.choice(list(Failure))
            return RequestFailed(answer.request, answer.endpoint, failure, chance.choice(HOSTILE_TEXT)[:300])
        changes: dict[str, Any] = {}
        field = chance.choice([name for name in type(answer).__slots__ if name not in ("request", "sent_at")])
        match field:
            case "endpoint":
                changes[field] = chance.randrange(3) if not self.absurd else chance.choice([0, 1, 2, 7, -1])
            case "raft_term":
                changes[field] = self._number(chance, self.term, lowest=1)
            case "revision":
                changes[field] = self._number(chance, self.store.revision, lowest=1)
            case "ttl_s":
                changes[field] = self._number(chance, 3, lowest=1, highest=86_400)
            case "lease":
                if self.absurd or isinstance(answer, LeaseGranted):
                    changes[field] = self._number(chance, own_lease or 77, lowest=1)
            case "succeeded" if isinstance(answer, TransactionDone):
                changes[field] = not answer.succeeded
            case "keys" if isinstance(answer, KeysRead | TransactionDone):
                changes[field] = self.distort_keys(chance, answer.keys, own_lease)
            case "leader_id" | "member_id":
                changes[field] = chance.choice([0, 10, 11, 12, 2**64 - 1])
            case _:
                pass
        return replace(answer, **changes)

    def distort_keys(
        self, chance: random.Random, keys: tuple[KeyValue, ...], own_lease: int | None
    ) -> tuple[KeyValue, ...]:
        """Keys left out, changed, added."""
        found = list(keys)
        for _ in range(chance.randrange(1, 4)):
            what = chance.randrange(4)
            if what == 0 and found:
                found.pop(chance.randrange(len(found)))
            elif what == 1:
                name = hostile_key(chance, self.vips, own_lease)
                lease = self._number(chance, chance.choice([1, 2, own_lease or 3]), lowest=0)
                value = hostile_value(chance, self.store.keys, own_lease)
                created = self._number(chance, self.store.revision, lowest=1)
                found = [key for key in found if key.key != name]
                found.append(KeyValue(name, value, created, max(created, self.store.revision), lease))
            elif found:
                at = chance.randrange(len(found))
                created = self._number(chance, found[at].create_revision, lowest=1)
                lease = chance.choice([found[at].lease, 1, own_lease or 2])
                found[at] = replace(found[at], create_revision=created, lease=lease)
        found.sort(key=lambda key: key.key.encode("utf-8", "surrogatepass"))
        return tuple(found)

    def _number(self, chance: random.Random, near: int, lowest: int, highest: int = 2**62) -> int:
        low = -(2**63) if self.absurd else lowest
        number = chance.choice([near - 1, near + 1, near + 1000, 1, near * 2, highest, chance.randrange(1, 50), low, 0])
        return number if self.absurd else max(lowest, min(number, highest))


_AGREEMENTS: dict[bytes, bytes] = {}
TRIED = -1
"""Stands for the agent that is tried, whatever its lease."""


def identity_of(lease: int) -> Identity:
    """The agent with this lease, or TRIED."""
    public, agree = agreed_by_name(_AGREEMENTS, str(lease))
    return Identity("machine", "kernel", public, agree)


def secret_of(lease: int) -> bytes:
    """What the agent that is tried shares with this one."""
    secret = identity_of(lease).secret_with(identity_of(TRIED).public)
    assert secret is not None
    return secret


def sound_agent(lease: int) -> bytes:
    """What another agent says of itself."""
    record = {
        "node": f"n{lease}",
        "peer": f"10.0.0.{lease}:9470",
        "healthy": True,
        "drained": False,
        "member": f"{20 + lease:x}",
        "public": identity_of(lease).public.hex(),
    }
    return json.dumps(record).encode()


def hostile_key(chance: random.Random, vips: tuple[Vip, ...], own_lease: int | None) -> str:
    """A key under our root: ours with somebody's value, somebody's, or no sane person's."""
    address = chance.choice(vips).address
    lease = chance.choice([1, 2, 3, own_lease or 4])
    return chance.choice(
        [
            *(
                LAYOUT.candidate(address, lease),
                LAYOUT.owner(address),
                LAYOUT.witness(address),
                LAYOUT.witness(address),
            ),
            *(
                LAYOUT.agent("n1" if chance.random() < 0.1 else "n5"),
                LAYOUT.agent(f"n{lease}"),
                LAYOUT.agent("\x1b[2J"),
            ),
            *(LAYOUT.agent(""), LAYOUT.agent("n2")),
            *(f"{LAYOUT.election(address)}/", f"{LAYOUT.election(address)}/zz/{lease:x}", f"{LAYOUT.elections}//"),
            f"{LAYOUT.elections}::ffff:{address if address.version == 4 else '1.2.3.4'}/{lease:x}",
            f"{LAYOUT.elections}10.9.{chance.randrange(256)}.{chance.randrange(256)}/{lease:x}",
            f"{LAYOUT.root}owner:10.9.{chance.randrange(256)}.{chance.randrange(256)}",
            f"{LAYOUT.root}witness:fe80::1%{'x' * chance.randrange(1, 200)}",
            f"{LAYOUT.root}{chance.choice(HOSTILE_TEXT)[:500]}",
        ]
    )


def hostile_value(chance: random.Random, keys: dict[str, KeyValue], own_lease: int | None) -> bytes:
    """A record with every field that somebody reads, each with a value that he may not expect."""
    if chance.random() < 0.15:
        return chance.choice([b"", b"\xff\xfe", b"[" * 3000, b"{}" * 40_000, b"null", b"[1]", b'{"a":' * 900 + b"1"])
    revisions = [key.create_revision for key in keys.values()] or [1]

    def value(sane: list[object]) -> object:
        strange: list[object] = [None, True, -1, 0, 2**63, 10**4000, 1e999, "", [], {}, chance.choice(HOSTILE_TEXT)]
        strange.append(json.loads("[" * 300 + "]" * 300))
        return chance.choice(sane) if chance.random() < 0.7 else chance.choice(strange)

    own = f"{own_lease or 0:x}"
    record = {
        "epoch": value([chance.choice(revisions)]),
        "witnesses": value([[own], ["1", "2"], [own, "-1"], ["f" * 3000], [own] * 17, [None]]),
        "nonce": value(["ab" * 16, "ab" * 64, "ab" * 65, "zz"]),
        "public": value(["00" * 32, "zz" * 32, "ab" * 16, *(identity_of(each).public.hex() for each in (TRIED, 1, 5))]),
        "windowMs": value([1000, 1, 300, 10**9, 10**400, -5, 0.5]),
        "node": value(["n1", "n2"]),
        "peer": value(["10.0.0.9:9470", "[::1]:9470", "h:1"]),
        "member": value(["b", "-b", "f" * 1000]),
        "healthy": value([True, False]),
        "drained": value([True, False]),
        "released": value([True, False]),
        "to": value(["n1", "n2", "n3"]),
        "reason": value(["moved"]),
        "former": value([1]),
    }
    if chance.random() < 0.3:
        record["fate"] = value(["silent"])
    try:
        return json.dumps(record).encode()
    except ValueError:  # a number with more digits than Python writes
        return b'{"epoch": ' + b"9" * 4000 + b', "windowMs": ' + b"9" * 400 + b"}"

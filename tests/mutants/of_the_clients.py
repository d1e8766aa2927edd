"""Mutants of what is known of clients, and of whom a new owner asks."""

from __future__ import annotations

from tests.mutants.mutant import CANDIDACY, CANNOT_TELL, NODE, Mutant

STANDING, TELLING, TICKLING = (
    "core/clients/standing.py",
    "core/clients/telling.py",
    "core/clients/tickling.py",
)
CLIENTS_OF_THE_DEAD = "clients: those of the owner before, told by it, and nobody else"
NO_OUTSIDER = "11: no outsider decides"

MUTANTS = (
    Mutant(
        "anybody-names-clients",
        TICKLING,
        "if owner is None or owner.lease != sender or owner.create_revision != entry.epoch:",
        "if owner is None:",
        CLIENTS_OF_THE_DEAD,
        "Who has the key of any agent has packets sent to whom he likes.",
    ),
    Mutant(
        "a-list-of-any-epoch",
        TICKLING,
        "if listed is None or (listed.lease, listed.epoch) != (former.lease, former.create_revision):",
        "if listed is None:",
        CLIENTS_OF_THE_DEAD,
        "Clients that an earlier owner had, long ago, are asked after another one's death.",
    ),
    Mutant(
        "clients-without-a-limit",
        TICKLING,
        "listed.clients.update(entry.joined[: max(0, room)])",
        "listed.clients.update(entry.joined)",
        NO_OUTSIDER,
        "A stolen key fills the memory of others, and has any number of packets sent.",
    ),
    Mutant(
        "groups-are-asked",
        TICKLING,
        "address in vips or address.is_multicast or",
        "address in vips or",
        NO_OUTSIDER,
        "One packet is answered by everybody in a group.",
    ),
    Mutant(
        "a-recorded-list-counts",
        TICKLING,
        "if listed is not None and entry.sequence <= listed.sequence:",
        "if listed is not None and entry.sequence == listed.sequence:",
        CLIENTS_OF_THE_DEAD,
        "A datagram that was recorded and is sent again brings back who has gone.",
    ),
    Mutant(
        "a-difference-to-anything",
        TICKLING,
        "elif listed is None or listed.sequence != entry.base:",
        "elif listed is None:",
        CLIENTS_OF_THE_DEAD,
        "A candidate that has missed something never hears of it.",
    ),
    Mutant(
        "nobody-is-asked",
        CANDIDACY,
        "                self._answers.append(TakenUnreleased(bid.epoch, former))\n",
        "                pass\n",
        CLIENTS_OF_THE_DEAD,
        "Idle clients of a dead owner wait for their own time-outs.",
    ),
    Mutant(
        "the-second-round-by-anybody",
        TICKLING,
        "if candidacy is not None and candidacy.phase is Phase.OWNING and candidacy.epoch == due.epoch:",
        "if candidacy is not None:",
        CLIENTS_OF_THE_DEAD,
        "Who has lost the address again sends in its name.",
    ),
    Mutant(
        "told-as-fast-as-it-goes",
        TELLING,
        "self._free_at = now + TELL_EVERY_S",
        "self._free_at = now",
        NO_OUTSIDER,
        "A crowd of clients decides how much agents say to each other.",
    ),
    Mutant(
        "said-again-without-end",
        TELLING,
        "listener.again_s = min(AGAIN_S_MAX, listener.again_s * 2)",
        "listener.again_s = AGAIN_S_MIN",
        NO_OUTSIDER,
        "An agent of an older version, which never answers, is told the same every second.",
    ),
    Mutant(
        "differences-to-what-was-sent",
        TELLING,
        "            else:\n                told.sequence, told.clients = 0, frozenset()\n",
        "            else:\n                told.clients = self._standing.of(said.address)\n",
        CANNOT_TELL,
        "A candidate that was started anew is taken for one that knows all of it.",
    ),
    Mutant(
        "nobody-is-asked-for-what-he-has",
        TELLING,
        "if standing == told.clients and (not standing or now < told.verified_at + VERIFY_S):",
        "if standing == told.clients:",
        CANNOT_TELL,
        "The same, where no client comes or goes meanwhile.",
    ),
    Mutant(
        "answered-by-chance",
        TELLING,
        "if listener is None or said is None or answer.sequence != said.sequence:",
        "if listener is None or said is None:",
        NO_OUTSIDER,
        "An old answer, recorded and sent again, counts for what was said last.",
    ),
    Mutant(
        "an-answer-again-is-a-sign-of-life",
        NODE,
        "any(not isinstance(each, Over | Noted) for each in given)",
        "any(not isinstance(each, Over) for each in given)",
        NO_OUTSIDER,
        "A recorded datagram about clients keeps a dead agent alive.",
    ),
    Mutant(
        "short-connections-count",
        STANDING,
        "if since <= began_at - OLD_AFTER_S:",
        "if since <= began_at:",
        NO_OUTSIDER,
        "Every request of every client is news for the other nodes.",
    ),
    Mutant(
        "looks-cost-what-they-cost",
        STANDING,
        "self.due_at = now + max(LOOK_EVERY_S, event.took_s / LOOK_SHARE)",
        "self.due_at = now + LOOK_EVERY_S",
        NO_OUTSIDER,
        "Fifty thousand connections decide how much of a core this agent uses.",
    ),
    Mutant(
        "a-kernel-that-does-not-tell-shows-nobody",
        STANDING,
        "if event.failure or not self._owned:",
        "if not self._owned:",
        CANNOT_TELL,
        "One failed look, and every client is taken back.",
    ),
)

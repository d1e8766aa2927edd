"""What a mutant is, and the words that the lists share: files of the core, and laws.

Counterparts: the lists, `of_the_*.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One break. `immortal` says why no test can be asked to die of it: another rule covers it.

    `in_histories`: the simulation must find it, alone and by chance; it is tried on the random histories only.
    """

    name: str
    file: str
    old: str
    new: str
    law: str
    sentence: str
    immortal: str | None = None
    in_histories: bool = False


SESSION, RENEWAL, CANDIDACY, OWNERSHIP = (
    "core/etcd/session.py",
    "core/etcd/renewal.py",
    "core/election/candidacy.py",
    "core/address/ownership.py",
)
NODE, KEYS, SETTINGS, ORDERS = "core/node.py", "core/etcd/keys.py", "core/settings.py", "core/orders.py"
DESIGNATION, WITNESS, ENDPOINTS = "core/peers/owner.py", "core/peers/witness.py", "core/etcd/endpoints.py"
BATCHES, FITNESS, WORDS = "core/etcd/batches.py", "core/election/fitness.py", "core/election/words.py"
RESIGNED, HANDOVER, INBOX = "core/election/resigned.py", "core/peers/handover.py", "core/peers/inbox.py"
CHOOSE, FORMER_OWNERS = "core/peers/choose.py", "core/peers/former_owners.py"
LEADER_AWAY = "core/peers/leader_away.py"
OWNER_RECORD = "core/election/owner_record.py"
EVICTED, EVICTIONS, LIVING = "core/election/evicted.py", "core/election/evictions.py", "core/election/living.py"
LINKS = "core/address/links.py"
VIPS, SAVED_STATE = "core/vips.py", "core/saved_state.py"
RIGHT, GATE = "core/right.py", "core/address/gate.py"
SERVING = "core/address/serving.py"
HEALTH, SPACING = "core/health.py", "core/election/spacing.py"
DEMAND, RUNNER = "adapters/probes/demand.py", "adapters/probes/runner.py"
FORMER_SELF = "core/etcd/former_self.py"
VOICES, CLOCKS = "core/segment/voices.py", "core/segment/clocks.py"
HOOKS, ANEW = "core/election/hooks.py", "core/anew.py"
PROBLEMS, OUTLOOK, ALARMS = "core/problems.py", "core/outlook.py", "core/alarms.py"
RELOAD, KEPT = "agent/reload.py", "adapters/kept.py"
POSTED = "core/peers/posted.py"
KEEPING = "core/keeping.py"

FROM_SENDING = "5: deadlines count from the moment a request was sent"
PROOF = "election: a keepalive counts only with a linearizable read after it"
TIME_FIRST = "2: time passes first"
WAY_OUT = "3: remove, confirm, release"
WAY_IN = "3: own the key, hold a right, then add, then announce"
CANNOT_TELL = "4: cannot tell is never no and never yes"
NOTHING_BEHIND = "6: an agent that dies leaves no address behind"
ONE_OWNER = "1: one owner"
OURS_ALONE = "ours is what we put there, for as long as it may stand there"
ITSELF = "election: a node knows itself by its own key and revision"
OWN_PAST = "7: nothing of a former run counts"
WITNESSED = "right: the witnessed lease"
NEVER_BY_OVERLOAD = "health: at the speed of failover, and never by overload"
HEARD = "12: the address is where it is heard"
LAW_13 = "13: the queue is of the living"
FENCE = "fence: renewed_at + valid_lft + 1 s <= right_until"
TOLD = "operators: red means red, and what cannot be told is said so"

"""The mutants, as data: each takes one law out of the core. A test that lets one live proves less than it says.

Must never: rot. `test_mutants_apply.py` checks that every old text stands exactly once in its file.
Counterpart: `__main__.py`, which applies them to a copy of the source and runs the tests on it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One break. `immortal` says why no test can be asked to die of it: another rule covers it."""

    name: str
    file: str
    old: str
    new: str
    law: str
    sentence: str
    immortal: str | None = None


SESSION, CANDIDACY, OWNERSHIP = "core/session.py", "core/candidacy.py", "core/ownership.py"
NODE, KEYS, SETTINGS, AGENDA = "core/node.py", "core/keys.py", "core/settings.py", "core/agenda.py"
DESIGNATION, WITNESS, ENDPOINTS = "core/designation.py", "core/witness.py", "core/endpoints.py"

FROM_SENDING = "5: deadlines count from the moment a request was sent"
PROOF = "election: a keepalive counts only with a linearizable read after it"
TIME_FIRST = "2: time passes first"
WAY_OUT = "3: remove, confirm, release"
WAY_IN = "3: own the key, hold a right, then add, then announce"
CANNOT_TELL = "4: cannot tell is never no and never yes"
NOTHING_BEHIND = "6: an agent that dies leaves no address behind"
ONE_OWNER = "1: one owner"
ITSELF = "election: a node knows itself by its own key and revision"
WITNESSED = "right: the witnessed lease"
FENCE = "fence: renewed_at + valid_lft + 1 s <= right_until"

MUTANTS = (
    # -- deadlines ----------------------------------------------------------------------------------------------------
    Mutant(
        "renewal-from-receive-time",
        SESSION,
        "_Keepalive(event.endpoint, event.raft_term, event.sent_at, event.ttl_s, request)",
        "_Keepalive(event.endpoint, event.raft_term, now, event.ttl_s, request)",
        FROM_SENDING,
        "A slow answer makes the right longer than the lease.",
    ),
    Mutant(
        "renewal-from-the-reads-sending",
        SESSION,
        "proved_until = keepalive.sent_at + ttl_s",
        "proved_until = event.sent_at + ttl_s",
        FROM_SENDING,
        "The read left later than the keepalive that renewed the lease.",
    ),
    Mutant(
        "grant-from-receive-time",
        SESSION,
        "self.lease_deadline.until = event.sent_at + event.ttl_s",
        "self.lease_deadline.until = now + event.ttl_s",
        FROM_SENDING,
        "A slow grant makes the right longer than the lease.",
    ),
    Mutant(
        "asked-for-ttl",
        SESSION,
        "self.lease_deadline.until = event.sent_at + event.ttl_s",
        "self.lease_deadline.until = event.sent_at + self._settings.lease_ttl_s",
        FROM_SENDING,
        "The TTL that was asked for, not the one that was granted.",
    ),
    Mutant(
        "no-lease-margin",
        SETTINGS,
        "return ttl_s * CLOCK_DRIFT + LEASE_GUARD_S",
        "return 0.0",
        ONE_OWNER,
        "The right ends when the lease does, on a clock that may be slower than etcd's.",
    ),
    Mutant(
        "no-drift-margin",
        SETTINGS,
        "return ttl_s * CLOCK_DRIFT + LEASE_GUARD_S",
        "return LEASE_GUARD_S",
        ONE_OWNER,
        "A TTL of some minutes drifts further than the guard.",
    ),
    Mutant(
        "drift-assumed-away",
        SETTINGS,
        "CLOCK_DRIFT = 0.001\n",
        "CLOCK_DRIFT = 0.0\n",
        ONE_OWNER,
        "The assumption itself is made smaller.",
    ),
    Mutant(
        "latest-deadline-counts",
        OWNERSHIP,
        "return min((deadline.until for deadline in self._deadlines.values()), default=NEVER)",
        "return max((deadline.until for deadline in self._deadlines.values()), default=NEVER)",
        "right: a set of deadlines, the earliest counts",
        "A second deadline makes the right longer.",
    ),
    Mutant(
        "renews-too-late",
        SETTINGS,
        "return min(RENEW_EVERY_S_MAX, ttl_s / RENEW_FRACTION)",
        "return ttl_s / 2",
        "election: in good time for two retries",
        "Two frozen endpoints cost the address.",
    ),
    # -- proof --------------------------------------------------------------------------------------------------------
    Mutant(
        "renewal-without-the-read",
        SESSION,
        "        request = self._begin(Kind.PROOF, endpoint=event.endpoint)\n",
        "        self.lease_until = event.sent_at + event.ttl_s - lease_margin_s(event.ttl_s)\n"
        "        self._listener.lease_renewed(now)\n"
        "        request = self._begin(Kind.PROOF, endpoint=event.endpoint)\n",
        PROOF,
        "An etcd leader that was cut off confirms keepalives for two seconds.",
    ),
    Mutant(
        "read-on-another-endpoint",
        SESSION,
        "if event.endpoint != keepalive.endpoint or event.raft_term != keepalive.raft_term:",
        "if event.raft_term != keepalive.raft_term:",
        PROOF,
        "Another member's word is taken for this one's.",
    ),
    Mutant(
        "proof-asked-elsewhere",
        SESSION,
        "        self._out(ReadKeys(request, event.endpoint, self.layout.root, self._timeout_s))",
        "        self._out(ReadKeys(request, self.endpoint, self.layout.root, self._timeout_s))",
        PROOF,
        "The read goes to whatever endpoint is the current one.",
    ),
    Mutant(
        "read-in-another-term",
        SESSION,
        "if event.endpoint != keepalive.endpoint or event.raft_term != keepalive.raft_term:",
        "if event.endpoint != keepalive.endpoint:",
        PROOF,
        "The leader changed between the keepalive and its read: the old one's word counts.",
    ),
    Mutant(
        "read-without-own-key",
        SESSION,
        "if not any(key.lease == self.lease for key in event.keys):",
        "if not event.keys:",
        PROOF,
        "Somebody else's keys prove our lease.",
    ),
    Mutant(
        "stale-term-of-a-read",
        SESSION,
        "if event.raft_term < purpose.raft_term or event.revision < purpose.revision:",
        "if event.revision < purpose.revision:",
        PROOF,
        "A read in an older term than one already seen lets a candidate claim.",
    ),
    Mutant(
        "stale-revision-of-a-read",
        SESSION,
        "if event.raft_term < purpose.raft_term or event.revision < purpose.revision:",
        "if event.raft_term < purpose.raft_term:",
        PROOF,
        "A read that is older than what was known when it was sent renews the lease.",
    ),
    Mutant(
        "stale-term-of-a-keepalive",
        SESSION,
        "        if event.raft_term < purpose.raft_term:\n",
        "        if event.raft_term < 0:\n",
        PROOF,
        "A stale leader is asked for the proof as well, and the time for another one is lost.",
    ),
    Mutant(
        "adoption-without-proof",
        SESSION,
        "            self._adopting = True\n",
        "            self._adopting = True\n"
        "            self.lease_until = now + self.ttl_s\n"
        "            self._listener.lease_renewed(now)\n",
        PROOF,
        "A restarted agent believes its state file.",
    ),
    # -- time first ---------------------------------------------------------------------------------------------------
    Mutant(
        "late-answer-revives",
        NODE,
        "        self._expire(now)\n        self._apply(event, now)\n",
        "        self._apply(event, now)\n        self._expire(now)\n",
        TIME_FIRST,
        "The event is applied before the end of the right.",
    ),
    Mutant(
        "agent-does-not-remove-at-the-end",
        CANDIDACY,
        "if self.ownership.has_lapsed(now):",
        "if self.ownership.has_lapsed(now - 3600):",
        TIME_FIRST,
        "The end of the right removes nothing; only the fence does, so the simulation alone can't tell.",
    ),
    Mutant(
        "ended-right-still-works",
        OWNERSHIP,
        "elif self.tenure is Tenure.HOLDING and now < self.lapses_at:",
        "elif self.tenure is Tenure.HOLDING:",
        TIME_FIRST,
        "Holds and announces after the end.",
    ),
    Mutant(
        "claim-without-a-right",
        CANDIDACY,
        "if self._obstacle() is None and self._may_add and self.ownership.can_hold(now):",
        "if self._obstacle() is None and self._may_add:",
        WAY_IN,
        "The key is enough; whether the lease still holds is not asked.",
    ),
    # -- the fence ----------------------------------------------------------------------------------------------------
    Mutant(
        "fence-forgets-the-late-kernel",
        OWNERSHIP,
        "room_s = self._lifetime_right - now - LIFETIME_LATE_S - LIFETIME_SLACK_S",
        "room_s = self._lifetime_right - now - LIFETIME_SLACK_S",
        FENCE,
        "The kernel removes up to a second late: the address outlives the right.",
    ),
    Mutant(
        "fence-assumes-a-punctual-kernel",
        SETTINGS,
        "LIFETIME_LATE_S = 1.0\n",
        "LIFETIME_LATE_S = 0.0\n",
        FENCE,
        "The measured bound itself is made smaller.",
    ),
    Mutant(
        "fence-rounds-up",
        OWNERSHIP,
        "return floor(room_s) if 1 <= room_s",
        "return floor(room_s) + 1 if 0 <= room_s",
        FENCE,
        "Whole seconds, rounded the wrong way.",
    ),
    Mutant(
        "fence-not-renewed",
        OWNERSHIP,
        "            self._hold_at = now  # under nftables: it had waited for a longer lease\n",
        "            pass\n",
        FENCE,
        "A longer right does not reach the kernel at once.",
    ),
    Mutant(
        "hold-has-no-end",
        OWNERSHIP,
        "self._out(HoldAddress(self.vip, lifetime_s, self._hold_not_after))",
        'self._out(HoldAddress(self.vip, lifetime_s, float("inf")))',
        FENCE,
        "An agent that freezes between the decision and the deed adds the address at any time.",
    ),
    # -- the way in ---------------------------------------------------------------------------------------------------
    Mutant(
        "own-key-not-rechecked",
        CANDIDACY,
        "        if own is None or own.create_revision != self.epoch or queue[0] is not own:\n",
        "        if False:\n",
        WAY_IN,
        "Whatever the read shows, the candidate claims (etcd issue 19597).",
    ),
    Mutant(
        "another-epoch-is-good-enough",
        CANDIDACY,
        "if own is None or own.create_revision != self.epoch or queue[0] is not own:",
        "if own is None or queue[0] is not own:",
        ITSELF,
        "A key that was deleted and made again counts as the one that was lost.",
        immortal="belt and braces: a read that is older than our own campaign is no picture (`_written_until`)",
    ),
    Mutant(
        "not-the-lowest-claims",
        CANDIDACY,
        "if own is None or own.create_revision != self.epoch or queue[0] is not own:",
        "if own is None or own.create_revision != self.epoch:",
        ONE_OWNER,
        "A place in the queue is enough, whichever.",
    ),
    Mutant(
        "claim-without-a-fresh-read",
        CANDIDACY,
        "            self._enter(Phase.VERIFYING, now)\n            self._session.want_read(now)\n",
        "            self._claim(queue, now)\n",
        WAY_IN,
        "The watch's picture is enough to claim.",
    ),
    Mutant(
        "claims-over-what-is-left",
        CANDIDACY,
        "return self.ownership.is_clear or (self._is_adopted and self.ownership.is_leftover)",
        "return True",
        WAY_IN,
        "A new tenure begins while the removal of the old one is not confirmed.",
    ),
    Mutant(
        "names-tell",
        CANDIDACY,
        "return next((candidate for candidate in queue if candidate.key == key), None)",
        "return next((c for c in queue if key and c.value == self._settings.node_name.encode()), None)",
        ITSELF,
        "A candidate knows itself by its name.",
    ),
    Mutant(
        "two-agents-one-name",
        SESSION,
        "        if key is not None and key.lease == self.lease:\n            was_registered",
        "        if key is not None:\n            was_registered",
        ITSELF,
        "A second agent with the same name is let in.",
    ),
    Mutant(
        "first-claim-without-a-probe",
        CANDIDACY,
        "            self._enter(Phase.PROBING, now)\n            self.ownership.probe(now)\n",
        '            self._take("nobody was asked", now)\n',
        "address: before the first claim, probe",
        "A stranger with the address is found out by the clients.",
    ),
    Mutant(
        "announced-before-it-is-held",
        OWNERSHIP,
        "        self._hold_at = self._gate_at = now\n        self._announced = False\n",
        "        self._hold_at = self._gate_at = now\n        self._announced = False\n"
        "        self._out(Announce(self.vip, self.right.until))\n",
        WAY_IN,
        "Neighbours are drawn to a node that can't answer yet.",
    ),
    Mutant(
        "older-snapshot-accepted",
        KEYS,
        "        if revision < self.revision:\n            return None\n",
        "",
        ONE_OWNER,
        "The picture of the keys goes back in time.",
    ),
    Mutant(
        "changes-applied-twice",
        KEYS,
        "            if change.revision <= known_until:\n                continue",
        "            if change.revision < 0:\n                continue",
        ONE_OWNER,
        "A slow watch undoes what a snapshot knew better.",
    ),
    # -- losing it ----------------------------------------------------------------------------------------------------
    Mutant(
        "lost-lease-keeps-the-address",
        CANDIDACY,
        "        was = self.phase\n        self._go_out(now)\n        if was is Phase.OWNING:\n"
        '            self._tell(Level.WARNING, "gave the address up", reason, now)\n',
        "        self._enter(Phase.OUT, now)\n",
        ONE_OWNER,
        "Every key is gone, and the address stays until its lifetime ends.",
    ),
    Mutant(
        "deleted-key-keeps-the-address",
        CANDIDACY,
        "if self.phase in KEYED and shown and (own is None or own.create_revision != self.epoch):",
        "if self.phase is Phase.CAMPAIGNING and shown and (own is None or own.create_revision != self.epoch):",
        ONE_OWNER,
        "The lease lives, the key does not: the next candidate owns as well.",
    ),
    Mutant(
        "lost-key-keeps-the-address",
        CANDIDACY,
        "        self.ownership.stop_probing()\n        if not self.ownership.is_clear:\n"
        "            self.ownership.give_up(now)\n"
        "        self._enter(Phase.OUT, now)",
        "        self.ownership.stop_probing()\n        self._enter(Phase.OUT, now)",
        ONE_OWNER,
        "No key of ours stands any more, and the address does.",
    ),
    Mutant(
        "weather-is-a-verdict",
        SESSION,
        "if event.failure is Failure.LEASE_NOT_FOUND and purpose.lease is not None:",
        "if event.failure in (Failure.LEASE_NOT_FOUND, Failure.NO_LEADER) and purpose.lease is not None:",
        CANNOT_TELL,
        "An etcd without a leader costs every address at once.",
    ),
    # -- the way out --------------------------------------------------------------------------------------------------
    Mutant(
        "release-before-confirmation",
        OWNERSHIP,
        "return self.tenure is Tenure.NONE and self.presence is Presence.ABSENT and not self._hold_pending",
        "return self.tenure is not Tenure.HOLDING",
        WAY_OUT,
        "The key goes when the removal is ordered, not when it is confirmed.",
    ),
    Mutant(
        "release-with-a-hold-under-way",
        OWNERSHIP,
        "return self.tenure is Tenure.NONE and self.presence is Presence.ABSENT and not self._hold_pending",
        "return self.tenure is Tenure.NONE and self.presence is Presence.ABSENT",
        WAY_OUT,
        "A hold that is still under way brings the address back behind the release.",
    ),
    Mutant(
        "failed-removal-counts",
        OWNERSHIP,
        "        self._removal_pending = False\n        self.presence = Presence.UNKNOWN\n"
        "        if self._removal_trouble",
        "        self.address_removed(now)\n        return\n        if self._removal_trouble",
        CANNOT_TELL,
        "RemovalFailed is heard as AddressRemoved.",
    ),
    Mutant(
        "late-hold-stays",
        OWNERSHIP,
        "        if self.tenure is not Tenure.HOLDING:\n            self.give_up(now)\n            return\n"
        "        self.refusals = 0",
        "        if self.tenure is not Tenure.HOLDING:\n            self.presence = Presence.ABSENT\n"
        "            return\n"
        "        self.refusals = 0",
        WAY_OUT,
        "An address that is held after it was given up stays.",
    ),
    Mutant(
        "resigned-and-back-again",
        CANDIDACY,
        "            self._release_at = now + RELEASE_RETRY_S\n            return\n",
        "            self._enter(Phase.WAITING, now)\n            return\n",
        WAY_OUT,
        "A release without an answer is taken back, though it may be applied later.",
    ),
    Mutant(
        "release-unguarded",
        CANDIDACY,
        "Kind.RELEASE, self.vip, (Guard(key, GuardTarget.CREATE, self.epoch),), operations",
        "Kind.RELEASE, self.vip, (), operations",
        ITSELF,
        "A release that is applied late deletes the key of a later campaign.",
    ),
    Mutant(
        "revoke-before-all-is-clear",
        NODE,
        "clear = all(candidacy.is_clear for candidacy in everything)",
        "clear = True",
        WAY_OUT,
        "A stop revokes the lease while an address stands.",
    ),
    Mutant(
        "exit-before-all-is-clear",
        NODE,
        "if self.session.is_over or (not patient and self._is_harmless(now)):",
        "if self.session.is_over or not patient:",
        WAY_OUT,
        "A stop that takes long ends with the address on the link.",
    ),
    Mutant(
        "removals-last",
        AGENDA,
        "    return first + kernel + [",
        "    return kernel + first + [",
        WAY_OUT,
        "Whatever else is ordered goes before the removal.",
    ),
    Mutant(
        "aborted-campaign-stays",
        CANDIDACY,
        "if own is not None and self.phase is Phase.OUT and self._circumstances.may_claim_key(self):",
        "if own is not None and self.phase is Phase.CAMPAIGNING:",
        "election: an aborted campaign deletes its key at once",
        "A campaign that is applied late blocks everybody behind it.",
    ),
    # -- what is left behind ------------------------------------------------------------------------------------------
    Mutant(
        "leftover-stays",
        CANDIDACY,
        "if self.ownership.is_leftover and not (queue and self._own_key(queue) is queue[0]):",
        "if self.ownership.is_leftover and not queue:",
        NOTHING_BEHIND,
        "A former run's address stays though another candidate is the first now.",
    ),
    Mutant(
        "stray-address-stays",
        OWNERSHIP,
        "if self.tenure in (Tenure.NONE, Tenure.PROBING) and ours and not self._hold_pending:",
        "if self.tenure is Tenure.PROBING and ours and not self._hold_pending:",
        NOTHING_BEHIND,
        "An address with our tag that nobody here holds is left alone.",
    ),
    Mutant(
        "lease-saved-too-late",
        NODE,
        "self._commands.insert(0, SaveState(write_state(run)))",
        "self._commands.append(SaveState(write_state(run)))",
        NOTHING_BEHIND,
        "A crash leaves keys on a lease that nobody knows.",
    ),
    # -- endpoints ----------------------------------------------------------------------------------------------------
    Mutant(
        "silent-endpoint-kept",
        ENDPOINTS,
        "        if failure in (Failure.TIMEOUT, Failure.NONSENSE):\n",
        "        if failure is Failure.NONSENSE:\n",
        "election: a silent endpoint is dropped with its connection",
        "A frozen connection swallows the next request too.",
    ),
    Mutant(
        "no-other-endpoint",
        ENDPOINTS,
        "self.current = (endpoint + 1) % len(self._urls)",
        "self.current = endpoint",
        "election: retries on other endpoints",
        "One frozen member costs the address.",
    ),
    Mutant(
        "answers-about-an-old-lease",
        SESSION,
        "if purpose is None or purpose.lease != self.lease or self.lease is None:\n            return\n"
        "        if event.raft_term",
        "if purpose is None or self.lease is None:\n            return\n        if event.raft_term",
        ITSELF,
        "A read that was sent on a lease that is gone counts for its successor.",
        immortal="belt and braces: `_forget_lease` forgets the requests of the old lease, and with them their purpose",
    ),
    # -- what a former run, or a former tenure, still has under way ---------------------------------------------------
    Mutant(
        "an-older-read-proves",
        SESSION,
        "if purpose.kind is not Kind.PROOF or self._keepalive is None or self._keepalive.read != event.request:",
        "if purpose.kind is not Kind.PROOF or self._keepalive is None:",
        PROOF,
        "A read that was sent before the keepalive counts as its proof.",
    ),
    Mutant(
        "own-writes-forgotten",
        SESSION,
        "if event.revision < max(self.registry.revision, self._written_until):",
        "if event.revision < self.registry.revision:",
        WAY_OUT,
        "A read from before the own release is a picture to claim on.",
        immortal="belt and braces: `_released_epoch` refuses the key that the older read shows",
    ),
    Mutant(
        "released-key-found-again",
        CANDIDACY,
        "        if own.create_revision <= self._released_epoch:\n",
        "        if own.create_revision <= 0:\n",
        WAY_OUT,
        "A key that was given up is taken up again while the watch still shows it.",
    ),
    Mutant(
        "resignation-not-saved",
        NODE,
        "            resigned=tuple(self._resigned.items()),\n",
        "            resigned=(),\n",
        WAY_OUT,
        "The next run takes an address that the former one had released to somebody.",
    ),
    Mutant(
        "lease-saved-while-it-is-given-back",
        NODE,
        "lease=None if self.session.is_giving_back else self.session.lease,",
        "lease=self.session.lease,",
        WAY_OUT,
        "The next run stands on a lease whose revocation is on its way.",
    ),
    # -- the witnessed lease: the four breaks that the model found, and their neighbours ------------------------------
    Mutant(
        "promise-from-receive-time",
        DESIGNATION,
        "promise.deadline.until = sent_at + designation.window_s",
        "promise.deadline.until = now + designation.window_s",
        WITNESSED,
        "The owner counts a promise from the acknowledgement, the witness from the beat.",
    ),
    Mutant(
        "beats-before-the-fence",
        DESIGNATION,
        "                if loose:\n",
        "                if False:\n",
        WITNESSED,
        "A witness gets its power while the kernel still holds the address for the whole lease.",
    ),
    Mutant(
        "witness-does-not-bind",
        OWNERSHIP,
        "return min((deadline.until for deadline in self._deadlines.values()), default=NEVER)",
        'return self.get("lease")',
        WITNESSED,
        "The lease alone decides, though a witness may depose.",
    ),
    Mutant(
        "deposed-early",
        WITNESS,
        "duty.promised_until or received_at, received_at + duty.window_s * (1 + 2 * CLOCK_DRIFT)",
        "duty.promised_until or received_at, received_at + duty.window_s / 2",
        WITNESSED,
        "The witness deposes when half of its promise is over.",
    ),
    Mutant(
        "deposed-without-the-owners-guard",
        WITNESS,
        "            guards.append(Guard(owner_key, GuardTarget.CREATE, epoch))\n",
        "",
        WITNESSED,
        "A deposition is not tied to the owner's epoch.",
    ),
    Mutant(
        "deposed-without-the-designations-guard",
        WITNESS,
        "            guards.append(Guard(witness_key, GuardTarget.MOD, duty.revision))\n",
        "",
        WITNESSED,
        "A witness that was replaced deposes all the same.",
    ),
    Mutant(
        "acknowledges-while-it-deposes",
        WITNESS,
        "if duty is None or duty.is_deposing or duty.is_mute or beat.sequence <= duty.last_sequence:",
        "if duty is None or duty.is_mute or beat.sequence <= duty.last_sequence:",
        WITNESSED,
        "A promise is made while a deposition may still be applied.",
    ),
)

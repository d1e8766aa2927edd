"""Mutants of the secrets between agents, of pings, and of who may be a successor."""

from __future__ import annotations

from tests.mutants.mutant import CANNOT_TELL, DESIGNATION, INBOX, RENEWAL, WITNESS, Mutant

PEERS, PEERWIRE, IDENTITY = "core/etcd/agent_records.py", "core/segment/wire.py", "core/identity.py"
AGREEMENT, STATE = "adapters/agreement.py", "adapters/state.py"
SIGNED = "8: a word is signed with a secret that reading etcd does not give"
SUCCESSOR = "right: a successor was proved after etcd had failed the owner"

MUTANTS = (
    Mutant(
        "what-etcd-shows-authenticates",
        PEERS,
        "self._secrets[peer.public] = self._identity.secret_with(peer.public)",
        "self._secrets[peer.public] = peer.public",
        SIGNED,
        "Whoever reads the records speaks in everybody's name.",
        in_histories=True,
    ),
    Mutant(
        "what-is-agreed-is-what-etcd-shows",
        IDENTITY,
        "        agreed = self.agree(public)\n",
        "        agreed: bytes | None = bytes(32)\n",
        SIGNED,
        "The secret is made of the two public values alone.",
        in_histories=True,
    ),
    Mutant(
        "the-nonce-authenticates",
        INBOX,
        "            entry = open_entry(envelope, body, tag, secret)\n",
        "            entry = open_entry(envelope, body, tag, secret) or open_entry(envelope, body, tag, bytes(16))\n",
        SIGNED,
        "What stands in a designation is believed again.",
    ),
    Mutant(
        "tag-without-direction",
        PEERWIRE,
        "message = HEADER.pack(MAGIC, kind, 0, sender, receiver) + body",
        "message = HEADER.pack(MAGIC, kind, 0, *sorted((sender, receiver))) + body",
        SIGNED,
        "What an agent has said can be sent back to it in its peer's name.",
    ),
    Mutant(
        "tag-without-kind",
        PEERWIRE,
        "message = HEADER.pack(MAGIC, kind, 0, sender, receiver) + body",
        "message = HEADER.pack(MAGIC, 0, 0, sender, receiver) + body",
        SIGNED,
        "A heartbeat acknowledges itself.",
    ),
    Mutant(
        "a-record-that-is-gone",
        PEERS,
        "known, self._by_lease = self._by_lease, found",
        "known, self._by_lease = self._by_lease, {**self._by_lease, **found}",
        SIGNED,
        "Whoever had a record on that lease once goes on speaking for it.",
    ),
    Mutant(
        "beats-under-anothers-designation",
        WITNESS,
        "if duty is None or duty.owner != sender:",
        "if duty is None:",
        SIGNED,
        "Any agent keeps a dead owner's witness quiet.",
    ),
    Mutant(
        "remembers-under-another-key",
        PEERS,
        "if lease not in found or found[lease].public != peer.public:",
        "if lease not in found:",
        SIGNED,
        "What an agent has proved under its former key counts for whoever has another one.",
    ),
    Mutant(
        "agrees-with-its-own-value",
        IDENTITY,
        " or public == self.public:",
        ":",
        SIGNED,
        "A copy of our own record speaks to us.",
    ),
    Mutant(
        "agrees-on-zero",
        AGREEMENT,
        "return agreed if any(agreed) else None",
        "return agreed",
        SIGNED,
        "Whoever publishes a point of low order shares a secret with everybody (RFC 7748 section 6.1).",
    ),
    Mutant(
        "the-key-of-another-boot",
        STATE,
        'document["boot_id"] != boot or not boot:',
        "not boot:",
        SIGNED,
        "Who has read an old disk speaks for this boot's agent.",
    ),
    Mutant(
        "a-key-that-others-may-read",
        STATE,
        "if is_secret and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):",
        "if False:",
        SIGNED,
        "A secret that others know is used for the whole boot.",
    ),
    Mutant(
        "one-nonce-for-all-attempts",
        DESIGNATION,
        "        nonce = self._nonce()\n",
        "        nonce = bytes(16)\n",
        CANNOT_TELL,
        "What a former attempt wrote is taken for what the newest one has.",
    ),
    Mutant(
        "a-ping-answered-twice",
        PEERS,
        "        if sequence <= self._pinged.get(lease, -1):\n",
        "        if False:\n",
        "protocol: a ping that comes again is not answered",
        "Who has recorded a ping draws answers with it for as long as the secret lives.",
    ),
    Mutant(
        "a-pong-of-any-age",
        DESIGNATION,
        "proved_at = sent_at - pong.age_ms / 1000 * (1 + 2 * CLOCK_DRIFT)",
        "proved_at = sent_at",
        SUCCESSOR,
        "A proof from before etcd went away makes a successor.",
    ),
    Mutant(
        "an-age-without-drift",
        DESIGNATION,
        "pong.age_ms / 1000 * (1 + 2 * CLOCK_DRIFT)",
        "pong.age_ms / 1000 * (1 - 2 * CLOCK_DRIFT)",
        SUCCESSOR,
        "The successor's clock is the slower one.",
    ),
    Mutant(
        "a-successor-that-was-heard-and-no-more",
        PEERS,
        "if window_s is None or failing_since is None or self.proved_at(lease) <= failing_since:",
        "if window_s is None:",
        SUCCESSOR,
        "Where etcd is away for all, a short lease's owner gives its place to one that can't take it.",
    ),
    Mutant(
        "failed-for-the-last-time",
        RENEWAL,
        "self.failing_since = now if self.failing_since is None else self.failing_since",
        "self.failing_since = now",
        SUCCESSOR,
        "Each retry that fails asks for a later proof, until no successor is left.",
    ),
)

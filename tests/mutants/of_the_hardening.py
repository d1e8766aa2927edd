"""Mutants of what outsiders get: of a turn, of the places, of the log, of what root runs."""

from __future__ import annotations

from tests.mutants.mutant import INBOX, OWN_PAST, Mutant

TURNS, LISTENER, CONNECTION = "adapters/api/turns.py", "adapters/api/listener.py", "adapters/api/connection.py"
PEER = "adapters/peer.py"
LEAVINGS, RIGHTS = "adapters/probes/leavings.py", "adapters/probes/rights.py"
LEAST = "16: what the agent starts has none of its rights"
RENDERING, LIFE = "adapters/api/rendering.py", "agent/life.py"
LOAD, MODES = "config/load.py", "config/modes.py"
HISTORY, LOGS = "core/history.py", "adapters/logs.py"
SUSPICION, CANDIDATE = "core/election/suspicion.py", "core/election/candidacy.py"
SUSPECTED = "8: a frame is a suspicion, not a proof"
OUTSIDERS = "11: no outsider decides how much of a turn he gets"

MUTANTS = (
    Mutant(
        "a-turn-for-everybody",
        TURNS,
        "return time.monotonic() < self._until",
        "return True",
        OUTSIDERS,
        "Sixty-four clients that ask at once share one round of the loop.",
    ),
    Mutant(
        "a-rendering-in-one-go",
        RENDERING,
        "        if time.monotonic() >= until:\n",
        "        if False:\n",
        OUTSIDERS,
        "A scrape of a thousand VIPs stands the loop still for a tenth of a second.",
    ),
    Mutant(
        "a-rendering-for-each",
        RENDERING,
        "begun_after = time.monotonic() - age_s_max",
        "begun_after = time.monotonic()",
        OUTSIDERS,
        "Whoever asks again has the agent render anew.",
    ),
    Mutant(
        "an-answer-to-each-in-line",
        CONNECTION,
        "is_last = is_last or bool(self._h11.trailing_data[0])",
        "is_last = is_last",
        OUTSIDERS,
        "A thousand requests in one datagram are a thousand answers.",
    ),
    Mutant(
        "who-waits-keeps-the-place",
        LISTENER,
        "        if is_crowd or len(self._seats) >= CONNECTIONS_MAX:\n",
        "        if len(self._seats) >= CONNECTIONS_MAX:\n            _turn_away(made)\n            return\n"
        "        if is_crowd:\n",
        OUTSIDERS,
        "Sixty-four idle connections lock everybody out.",
    ),
    Mutant(
        "no-cap-for-a-source",
        LISTENER,
        "is_crowd = source != _LOCAL and len(of_source) >= PER_SOURCE_MAX",
        "is_crowd = False",
        OUTSIDERS,
        "One machine on the network takes all places.",
    ),
    Mutant(
        "a-shortage-is-a-bug",
        LIFE,
        'if isinstance(error, OSError) and error.errno in SHORTAGE and "handle" not in context:',
        "if False:",
        OUTSIDERS,
        "Whoever uses up the descriptors ends the agent.",
    ),
    Mutant(
        "a-broken-turn-is-weather",
        LIFE,
        'error.errno in SHORTAGE and "handle" not in context:',
        "error.errno in SHORTAGE:",
        OUTSIDERS,
        "An order that could not be carried out is forgotten, and the agent goes on as if it had been.",
    ),
    Mutant(
        "checks-keep-capabilities",
        RIGHTS,
        '        _check(libc.capset(_CAPABILITY_HEADER, _NO_CAPABILITIES), "capset")\n',
        "        pass\n",
        LEAST,
        "A check may move addresses.",
    ),
    Mutant(
        "root-gets-them-back",
        RIGHTS,
        '    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))), "prctl")\n',
        "",
        LEAST,
        "A check of root's has all capabilities again as soon as it begins.",
    ),
    Mutant(
        "orphans-stay",
        LEAVINGS,
        "            elif child.session in self._over or _is_marked(child.pid):",
        "            elif child.session in self._over:",
        LEAST,
        "A check leaves a daemon behind at each run.",
    ),
    Mutant(
        "every-child-is-a-leaving",
        LEAVINGS,
        "            if child.pid in self._running or child.session in self._running:",
        "            if False:",
        LEAST,
        "A check that ends kills another one that runs.",
    ),
    Mutant(
        "garbage-fills-the-buffer",
        PEER,
        "    if lease is not None:\n        code += [(_LENGTH",
        "    if False:\n        code += [(_LENGTH",
        OUTSIDERS,
        "A flood of garbage crowds out the witness's answers.",
    ),
    Mutant(
        "another-s-datagrams-pass",
        PEER,
        "        code += _only(_WORD, _UDP_HEADER + RECEIVER_AT + 4, lease & 0xFFFF_FFFF)\n",
        "",
        OUTSIDERS,
        "Who knows the form, and not the lease, fills the buffer.",
    ),
    Mutant(
        "the-former-self-is-not-heard",
        INBOX,
        "return self._session.lease if self._session.former_self.lease is None else None",
        "return self._session.lease",
        OWN_PAST,
        "A former self that lives is taken for dead, for the kernel drops what it says.",
    ),
    Mutant(
        "a-frame-is-a-proof",
        SUSPICION,
        "if self._asked and not self._has_answered:",
        "if False:",
        SUSPECTED,
        "One forged frame moves an address.",
    ),
    Mutant(
        "any-mac-answers",
        SUSPICION,
        "(mac == self.mac and in_time)",
        "in_time",
        SUSPECTED,
        "Whoever claims the address answers for the one that was asked.",
    ),
    Mutant(
        "yields-to-nobody-else",
        CANDIDATE,
        "if step is not Step.PROVEN or next(sound, None) is None:",
        "if step is not Step.PROVEN:",
        SUSPECTED,
        "An address is given away though no sound node would take it.",
    ),
    Mutant(
        "yields-in-circles",
        CANDIDATE,
        "                self.suspicion.rest(now + YIELDED_REST_S)\n            self.suspicion.claimed",
        "                pass\n            self.suspicion.claimed",
        SUSPECTED,
        "A stranger drives an address from node to node.",
    ),
    Mutant(
        "a-line-for-each-mac",
        HISTORY,
        "        if now - known.reported_at < CONFLICT_REPORT_EVERY_S:\n            return\n",
        "",
        OUTSIDERS,
        "Whoever forges frames fills the log.",
    ),
    Mutant(
        "lines-that-are-alike",
        LOGS,
        "        is_alike = key not in self._said and self._is_one_too_many(kind, now)",
        "        is_alike = False",
        OUTSIDERS,
        "Whoever chooses a number in a line chooses how many there are.",
    ),
    Mutant(
        "documents-of-anybody",
        LOAD,
        "    tell = findings.problem if is_strict else findings.notice\n",
        "    tell = findings.notice\n",
        LEAST,
        "What everybody may write is what root runs.",
    ),
    Mutant(
        "folders-of-anybody",
        MODES,
        "    for parent in (*real.parents, *path.absolute().parents):\n",
        "    for parent in ():\n",
        LEAST,
        "A document can be exchanged where its folder may be written.",
    ),
)

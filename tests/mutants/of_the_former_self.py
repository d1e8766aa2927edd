"""Mutants of the own former self: who is known again, what is waited for, what is seen before a lease is revoked."""

from __future__ import annotations

from tests.mutants.mutant import CANNOT_TELL, FORMER_SELF, NODE, ONE_OWNER, OWN_PAST, SESSION, WAY_OUT, Mutant

MUTANTS = (
    Mutant(
        "former-self-never-known",
        FORMER_SELF,
        "        is_here = bool(self._identity.kernel) and kernel == self._identity.kernel\n",
        "        return False\n        is_here = bool(self._identity.kernel) and kernel == self._identity.kernel\n",
        OWN_PAST,
        "After a power cut every node waits for the lease of its own past.",
    ),
    Mutant(
        "former-self-by-machine-alone",
        FORMER_SELF,
        "lives_on or not is_at_our_address or not",
        "lives_on or not",
        ONE_OWNER,
        "A clone shares machine id and name: its lease is revoked while it lives.",
    ),
    Mutant(
        "former-self-without-an-address",
        FORMER_SELF,
        'own.advertise is not None and record.get("peer") == own.advertise',
        'record.get("peer") == own.advertise',
        CANNOT_TELL,
        "Two agents that cannot bind the port take each other for their past.",
    ),
    Mutant(
        "former-self-of-any-machine",
        FORMER_SELF,
        "            and machine == self._identity.machine\n",
        "",
        ONE_OWNER,
        "Whoever has the address by now revokes the lease of whoever had it.",
    ),
    Mutant(
        "former-self-at-a-copied-address",
        FORMER_SELF,
        "            own.is_here  # else",
        "            True  # else",
        ONE_OWNER,
        "A clone whose documents name the other one's address hears nothing of it.",
    ),
    Mutant(
        "former-self-without-the-address",
        FORMER_SELF,
        '            and record.get("peerIsLocal") is True  #',
        "            #",
        ONE_OWNER,
        "A clone whose documents name our address, which it never had, counts as our former self.",
    ),
    Mutant(
        "former-self-of-a-kernel-unknown",
        FORMER_SELF,
        '            and kernel not in ("", self._identity.kernel)\n',
        "",
        CANNOT_TELL,
        "A kernel that has no name is another one than ours.",
    ),
    Mutant(
        "former-self-without-waiting",
        FORMER_SELF,
        "return self._quiet_since + max(window_s or 0.0, SILENCE_S_MIN)",
        "return NEVER",
        ONE_OWNER,
        "A clone that lives is not listened to.",
    ),
    Mutant(
        "former-self-deaf",
        FORMER_SELF,
        "if self.lease is not None and self.lease in (sender, answered):",
        "if False:",
        ONE_OWNER,
        "Its datagrams are no sign of its life.",
    ),
    Mutant(
        "former-self-deaf-to-answers",
        FORMER_SELF,
        "if self.lease is not None and self.lease in (sender, answered):",
        "if self.lease is not None and self.lease == sender:",
        ONE_OWNER,
        "That its witness answers it is no sign of its life.",
    ),
    Mutant(
        "former-self-blind",
        FORMER_SELF,
        "if self.lease != name.lease or not shown <= self._shown:",
        "if self.lease != name.lease:",
        ONE_OWNER,
        "What it writes is no sign of its life.",
    ),
    Mutant(
        "former-self-renewed-for-ever",
        FORMER_SELF,
        "lives_on = now - self._found[1] > LIVES_ON_TTLS * ttl_s",
        "lives_on = False",
        CANNOT_TELL,
        "A lease that outlives its TTL is still taken for a dead one's, and nobody is told.",
    ),
    Mutant(
        "former-self-by-an-old-picture",
        SESSION,
        "if held.shown_at < self.former_self.silent_at(self._settings.window_s):\n            return",
        "if False:\n            return",
        ONE_OWNER,
        "What was read before the silence was over shows nothing of its end.",
    ),
    Mutant(
        "former-self-before-the-address",
        NODE,
        "        if self._nothing_is_left() and not any(each.history.strays for each in self.vips.all()):\n",
        "        if True:\n",
        WAY_OUT,
        "The key goes while its address stands.",
    ),
    Mutant(
        "former-self-without-a-removal",
        NODE,
        "                candidacy.ownership.give_up(now)\n"
        "            self.vips.touch_all()\n"
        "            self._settle(now)\n"
        "        # A copy",
        "                pass\n            self.vips.touch_all()\n            self._settle(now)\n        # A copy",
        OWN_PAST,
        "What nobody has looked for counts as gone.",
    ),
)

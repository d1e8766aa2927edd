"""Who has an address, since when and why, what follows if something dies now, and which window the cluster could keep:
the status document in sentences.

Must never: reckon with numbers of its own; the seconds are those that `outlook.py` has made of what the core reckons
with. Counterparts: `agent/status.py` (has them in the document, for the page), `cli/explain.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sharedip.core.problems import listed

if TYPE_CHECKING:
    from sharedip.core.status import ChangeStatus, VipStatus, VipView, WindowView

    Told = VipView | VipStatus


def explained(vip: Told, changes: list[ChangeStatus], node: str, ttl_s: float) -> Iterator[str]:
    """Who has it; what if it dies, if the next one dies with it, if etcd goes. `node`: who speaks."""
    address, owner = vip["address"], vip["owner"]
    if vip["standing"] == "down":
        yield f"{address} is DOWN, for {_duration(vip['down_s'] or 0.0)}" + (f"; {owner} is first" if owner else "")
        return
    if owner is None:
        yield f"who has {address} can't be told: {node} sees no owner"
        return
    may = "may be" if vip["standing"] == "unknown" else "is"
    # What the agent says of itself is the change of owner that it has seen; before that, since when it looks.
    yield f"{address} {may} on {owner} ({vip['reason']})" + _seen(changes)
    yield from _if_it_dies(vip, owner)
    yield from _who_tells_clients(vip)
    kept_s = vip["without_etcd_s"]
    kept = f"for up to {ttl_s} s" if kept_s is None else f"for {_duration(kept_s)}"
    yield f"If etcd goes now, {owner} keeps it {kept}; then nobody has it until etcd is back."


def _seen(changes: list[ChangeStatus]) -> str:
    return f", since {changes[-1]['at']}." if changes else "; who had it before, this agent has not seen."


def _if_it_dies(vip: Told, owner: str) -> Iterator[str]:
    # Who is not sound passes it on to who is, and takes it where nobody is.
    behind = sorted(vip["next"], key=lambda each: bool(each["unsound"]))
    if not behind:
        yield f"If {owner} dies now, nobody has it."
        return
    first, *rest = [each["node"] for each in behind]
    within = _within(vip["crash_least_s"], vip["crash_s"])
    how = f", by its witness {listed(vip['witnesses'])}" if vip["witnesses"] else ""
    election = f", after an election of etcd, which {owner} leads" if vip["leads_etcd"] else ""
    unsound = f", though it {behind[0]['unsound']}" if behind[0]["unsound"] else ""
    takes_etcd = _takes_etcd(vip, 1)
    yield f"If {owner} dies now, {first} has it {within}{how}{election}{unsound}{takes_etcd}."
    if not rest:
        yield f"If {first} dies with it, nobody has it."
        return
    after = "when their leases end" if vip["lease_s"] is None else f"within {vip['lease_s']:.1f} s"
    unsound = f", though it {behind[1]['unsound']}" if behind[1]["unsound"] else ""
    takes_etcd = _takes_etcd(vip, 2)
    yield f"If {first} dies with it, {rest[0]} has it {after}{unsound}{takes_etcd}."


def _takes_etcd(vip: Told, deaths: int) -> str:
    """What is so where these are whole machines, with etcd's members on them."""
    if vip["etcd_ends_after"] is None or vip["etcd_ends_after"] > deaths:
        return ""
    along = "etcd" if vip["etcd_members"] == 1 else f"the majority of etcd's {vip['etcd_members']} members"
    return f"; but where that takes {along} along, nobody has it until etcd is back"


def window_explained(window: WindowView) -> str:
    """Which window would have held, and by what."""
    late_s, answer_s, could_s = window["late_s"], window["answer_s"], window["could_keep_s"]
    if answer_s is None:
        return "Which window this cluster could keep can't be told: no witness has answered an owner in the last day."
    late = f"{window['late_node']} was late by up to {_short(late_s)} and " if late_s else ""
    seen = f"in the last day {late}a witness took up to {_short(answer_s)} to answer {window['answer_node']}"
    if could_s is None:
        return f"This cluster could keep no window: {seen}."
    configured_s = window["configured_s"]
    is_short = configured_s is not None and configured_s < could_s
    too_short = f", and not the {_short(configured_s)} that are configured" if is_short else ""
    return f"This cluster could keep a window of {_short(could_s)}{too_short}: {seen}."


def _short(seconds: float | None) -> str:
    """As documents have it."""
    if seconds is None:
        return "?"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.3g} s"


def _who_tells_clients(vip: Told) -> Iterator[str]:
    count, told_to = vip["clients"]["count"], vip["clients"]["told_to"]
    if count and told_to:
        clients = "1 client" if count == 1 else f"{count} clients"
        know = "knows" if len(told_to) == 1 else "know"
        yield f"Then {clients} with connections of more than 10 s, of whom {listed(told_to)} {know}, will be told."


def _within(least_s: float | None, most_s: float | None) -> str:
    """The range in which it falls; the end of it is what counts."""
    if most_s is None:
        return "in a time that is not known yet"
    return f"within {most_s:.1f} s" + ("" if least_s is None else f" ({least_s:.1f} to {most_s:.1f} s)")


def _duration(seconds: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds:.1f} s" if seconds < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"

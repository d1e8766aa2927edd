"""Which window of the witness this cluster could keep, in `sharedip check`.

Role: what the agents have measured and published, against what the documents ask for; in the words of `explain`.
Must never: measure anything itself: the day is the agents'. Counterparts: `core/keeping.py`, `core/explanation.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from sharedip.agent.settings import choose_fence, window_s_of
from sharedip.cli.facts import Finding, MachineFacts, Severity
from sharedip.config.model import Config
from sharedip.core.explanation import window_explained
from sharedip.core.keeping import kept_by


def check_window(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Nothing is said without a witness's window, or before any agent has published what it measured."""
    fence = choose_fence(config, lambda: machine.nftables_error)[0]
    window_s = window_s_of(config, fence)
    if window_s is None or not machine.etcd.records:
        return
    kept = kept_by(((peer.name, peer.measured) for peer in machine.etcd.records), fence)
    text = window_explained(
        {
            "configured_s": window_s,
            "now_s": None,
            "could_keep_s": kept.could_keep_s,
            "late_s": kept.late_s,
            "late_node": kept.late_node,
            "answer_s": kept.answer_s,
            "answer_node": kept.answer_node,
        }
    )
    if kept.answer_s is None:
        yield Finding(Severity.NOT_YET, "window", text, "ask again when the agents have run for some minutes")
    elif kept.could_keep_s is None or kept.could_keep_s > window_s:
        longer = (
            "" if kept.could_keep_s is None else f"set failover.window to {kept.could_keep_s:g}s on every node, or "
        )
        remedy = f"{longer}give {kept.late_node or kept.answer_node} more CPU, or a quieter network"
        yield Finding(Severity.WARNING, "window", text, remedy)
    else:
        yield Finding(Severity.OK, "window", text)

"""`hooks` of an `AgentConfig`: the operator's own programs at the moments of a VIP.

Role: a section → frozen commands. Must never: run one. Counterparts: `adapters/probes/hooks.py` runs them,
`core/election/hooks.py` says when.
"""

from __future__ import annotations

from sharedip.config.fields import Fields
from sharedip.config.health_checks import read_command
from sharedip.config.model import HookConfig, HooksConfig
from sharedip.config.values import duration

TIMEOUT_S_DEFAULT, TIMEOUT_S_MIN, TIMEOUT_S_MAX = 2.0, 0.1, 5.0
"""Clients wait for `onAcquire`, and a reboot for `onRelease`: the agent gives everything 10 s when it is stopped."""


def read_hooks(agent: Fields) -> HooksConfig:
    """Read the section; what can't be read is reported and left out."""
    hooks = agent.section("hooks")
    config = HooksConfig(_read(hooks, "onAcquire"), _read(hooks, "onRelease"), _read(hooks, "onChange"))
    hooks.close()
    return config


def _read(hooks: Fields, name: str) -> HookConfig | None:
    if not hooks.has(name):
        return None
    hook = hooks.section(name)
    command = read_command(hook)
    timeout_s = hook.read("timeout", duration(TIMEOUT_S_MIN, TIMEOUT_S_MAX), TIMEOUT_S_DEFAULT)
    hook.close()
    return None if command is None or timeout_s is None else HookConfig(command, timeout_s)

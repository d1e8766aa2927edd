"""`hooks` of an AgentConfig: what is read, and what is refused with its place."""

from __future__ import annotations

import pytest

from sharedip.agent.reload import what_changed
from sharedip.agent.settings import configured_hooks, hook_commands
from sharedip.config.model import HookConfig, HooksConfig
from sharedip.core.model import Hook
from tests.unit.config.config_cases import agent, config_of, said

ALL = """\
hooks:
  onAcquire: {command: [/bin/acquire, "--ip", "a b"], timeout: 1500ms}
  onRelease: {command: [/bin/release]}
  onChange:
    command: [/bin/change]
    timeout: 5s"""


def test_all_three_are_read_and_each_may_be_left_out() -> None:
    config = config_of(agent(ALL))
    assert config.hooks == HooksConfig(
        HookConfig(("/bin/acquire", "--ip", "a b"), 1.5),
        HookConfig(("/bin/release",), 2.0),
        HookConfig(("/bin/change",), 5.0),
    )
    assert list(configured_hooks(config)) == list(Hook)
    assert hook_commands(config)[Hook.RELEASE] == ("/bin/release",)
    assert config_of(agent("hooks: {onChange: {command: [/bin/change]}}")).hooks.on_acquire is None
    assert config_of(agent("hooks:")).hooks == HooksConfig()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("hooks: {onAquire: {command: [/x]}}", '8:9: "hooks.onAquire" is not a field of this document'),
        ("hooks: [x]", "8:8: hooks is a list"),
        ("hooks: {onChange: /bin/x}", '8:19: hooks.onChange is the word "/bin/x"'),
        ("hooks: {onChange: {}}", "8:19: hooks.onChange.command has nothing in it"),
        ("hooks: {onChange: {command: [x]}}", '8:30: hooks.onChange.command[0]: "x" is a relative path'),
        ("hooks: {onChange: {command: [/x], timeout: 6s}}", '8:44: hooks.onChange.timeout: "6s" is too long'),
        ("hooks: {onChange: {command: [/x], timeout: 50ms}}", '8:44: hooks.onChange.timeout: "50ms" is too short'),
        ("hooks: {onChange: {command: [/x], retries: 3}}", '8:35: "hooks.onChange.retries" is not a field'),
    ],
)
def test_what_cannot_work_is_named_with_its_place(fields: str, message: str) -> None:
    (only,) = said(agent(fields))
    assert only.startswith(message), only


def test_a_reload_takes_them_over_one_by_one() -> None:
    before, after = (
        config_of(agent(ALL)),
        config_of(agent(ALL.replace("1500ms", "1s").replace("/bin/change", "/bin/c"))),
    )
    assert what_changed(before, after) == ["hooks.onAcquire", "hooks.onChange"]

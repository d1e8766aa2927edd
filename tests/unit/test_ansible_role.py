"""The Ansible role stops where it says that it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).parents[2] / "packaging/ansible/roles/sharedip"
TASKS: list[dict[str, Any]] = [
    task for file in sorted(ROLE.rglob("tasks/*.yaml")) for task in yaml.safe_load(file.read_text(encoding="utf-8"))
]
TRIED_AGAIN = [task for task in TASKS if "until" in task]


def test_the_role_waits_somewhere() -> None:
    assert len(TRIED_AGAIN) == 2


@pytest.mark.parametrize("task", TRIED_AGAIN, ids=lambda task: str(task["name"]))
def test_what_is_waited_for_is_what_must_hold_in_the_end(task: dict[str, Any]) -> None:
    """When the tries run out Ansible fails the task, unless there is a failed_when: then that alone decides, and an
    `until` of its own would be waited for and forgotten.
    """
    if "failed_when" in task:
        assert task["until"] == f"{task['register']} is not failed"

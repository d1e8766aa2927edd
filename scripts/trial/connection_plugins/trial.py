"""How Ansible gets into a booted trial: by the command line that the machine gives, where others have ssh.

SHAREDIP_TRIAL names a JSON file: by host the words before a line of shell, and the folder of its root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: trial
short_description: into a booted trial
description: [Runs commands in the namespaces of a trial's machine.]
author: sharedip maintainers
options: {}
"""


class Connection(ConnectionBase):  # type: ignore[misc]  # Ansible has no type hints
    """One machine."""

    transport = "trial"
    has_pipelining = True

    def _connect(self) -> Connection:
        told = json.loads(Path(os.environ["SHAREDIP_TRIAL"]).read_text(encoding="utf-8"))
        self._enter, self._root = told[self._play_context.remote_addr]
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:  # noqa: FBT001, FBT002  # Ansible's signature
        """Run a line of shell."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = subprocess.run([*self._enter, f"cd /; {cmd}"], input=in_data, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file into it."""
        shutil.copyfile(in_path, self._root + out_path)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file out of it."""
        shutil.copyfile(self._root + in_path, out_path)

    def close(self) -> None:
        """Nothing is kept open."""
        self._connected = False

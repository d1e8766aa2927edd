"""What a program that the agent starts has of the agent's rights: nothing.

Role: takes priority, capabilities and environment away before a program begins, the OOM killer's favour right after.
Must never: change anything of the agent itself. All but the last are properties of a thread in Linux, and a child has
those of the thread that starts it: so the thread gives them up, and is of no other use afterwards.
Counterpart: `exec.py`.

Without it a check that runs away would be the last process of the node to be throttled or killed, and one that is
exchanged could take the VIPs anywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_HEADER: Final = struct.pack("=Ii", 0x2008_0522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
_NO_CAPABILITIES: Final = bytes(24)  # effective, permitted, inheritable, twice 32 bits of each

PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ")


def environment(environ: Mapping[str, str], **ours: str) -> dict[str, str]:
    """Where programs are, language and time zone, and `ours`. What systemd or a kubelet told the agent is for it alone:
    who sends READY=1 or WATCHDOG=1 speaks for it.
    """
    kept = {key: value for key, value in environ.items() if key in _PASSED_ON}
    return {"PATH": PATH_DEFAULT, **kept, **ours}


def give_up_ours() -> None:
    """In the thread that is going to start the program, and does nothing else. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    # setpriority(2), NOTES: on Linux of the calling thread alone. More niceness is always granted.
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        with contextlib.suppress(PermissionError):  # a filter on system calls
            os.setpriority(os.PRIO_PROCESS, 0, 0)
    # Root gains all capabilities again by execve(2), unless it may gain no privileges (cap_bprm_creds_from_file).
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))), "prctl")
    _check(libc.prctl(_PR_CAP_AMBIENT, *map(ctypes.c_ulong, (_PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))), "prctl")
    if os.geteuid() == 0:  # another user's programs have the ambient ones alone, and the unit's filter denies the call
        _check(libc.capset(_CAPABILITY_HEADER, _NO_CAPABILITIES), "capset")


def take_favour_away(pid: int, proc: Path = Path("/proc")) -> None:
    """The OOM killer is to take it before the agent. It has begun by now: this is a property of a whole process."""
    score = proc / str(pid) / "oom_score_adj"
    with contextlib.suppress(OSError, ValueError):  # it is over, or there is no /proc
        if int(score.read_text(encoding="ascii")) < 0:
            score.write_text("0", encoding="ascii")


def _check(result: int, call: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")

"""Clean roots of Debian and Ubuntu, made once by mmdebstrap and kept as tar files."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOTS = ROOT / "out" / "roots"
SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13", "noble": "Ubuntu 24.04"}
UBUNTU = frozenset({"noble"})
UBUNTU_COMPONENTS = "main,universe"
"""As Ubuntu's own images have it: git, make and python3 are in main, etcd and keepalived in universe."""
_UBUNTU_KEYS = "usr/share/keyrings/ubuntu-archive-keyring.gpg"
PACKAGES = (
    # A node: what boots it, and what a control plane has at hand.
    *("systemd", "systemd-sysv", "dbus", "iproute2", "nftables", "procps", "python3", "etcd-server", "etcd-client"),
    # What the trial asks with.
    *("man-db", "bash-completion", "zsh", "fish", "iputils-ping", "python3-venv", "python3-protobuf", "rpm"),
    # What the pages and the role ask for.
    *("openssl", "python3-apt", "arping"),
)


def root(suite: str) -> Path:
    """The tar of one suite, made where it is missing (about three minutes)."""
    key = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:8]
    return _make(suite, ROOTS / f"{suite}-{key}.tar", f"--include={','.join(PACKAGES)}")


def minimal(suite: str, folder: Path) -> None:
    """Lay out a root with nothing but what the distribution calls essential, and apt."""
    folder.mkdir(parents=True)
    tar = _make(suite, ROOTS / f"{suite}-minimal.tar")
    subprocess.run(["tar", "-C", str(folder), "-xf", str(tar)], check=True)


def _make(suite: str, tar: Path, *options: str) -> Path:
    if not tar.exists():
        began = time.monotonic()
        ROOTS.mkdir(parents=True, exist_ok=True)
        making = tar.with_suffix(".new.tar")
        if suite in UBUNTU:
            # To Debian apt is required, to Ubuntu important.
            options += ("--components", UBUNTU_COMPONENTS, "--keyring", str(_ubuntu_keys()), "--include=apt")
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", *options, suite, str(making)], check=True)
        making.rename(tar)
        print(f"made a root of {SUITES[suite]} in {time.monotonic() - began:.0f} s", flush=True)
    return tar


def _ubuntu_keys() -> Path:
    """By what Ubuntu's archive is trusted: a package of Debian 13, which Debian's own keys vouch for."""
    keys = ROOTS / Path(_UBUNTU_KEYS).name
    if not keys.exists():
        ROOTS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="sharedip-keys-") as folder:
            tar = Path(folder, "keys.tar")
            extract = ["mmdebstrap", "--quiet", "--variant=extract", "--include=ubuntu-keyring", "trixie", str(tar)]
            subprocess.run(extract, check=True)
            subprocess.run(["tar", "-C", folder, "-xf", str(tar), f"./{_UBUNTU_KEYS}"], check=True)
            shutil.copyfile(Path(folder, _UBUNTU_KEYS), keys)
    return keys


def unpack(suite: str, folder: Path) -> None:
    """Lay it out."""
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-C", str(folder), "-xf", str(root(suite))], check=True)

"""The private environment of deb and rpm: /opt/sharedip, for every Python that the package admits.

Role: the agent's wheel and those that it needs, unpacked side by side into one folder. Extension modules carry the
version of their Python in their names, so those for 3.11 to 3.14 stand beside each other, and one package suits Debian
12 and 13, Ubuntu 24.04, Fedora and EL 9. `pyvenv.cfg` makes it a virtual environment of whatever
/opt/sharedip/bin/python points at. Must never: ship byte code, which belongs to one Python: the maintainer scripts
compile it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from typing import TYPE_CHECKING, NamedTuple

from scripts.artifacts.places import DIST, ROOT, STAGE, WHEELS, version

if TYPE_CHECKING:
    from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's names and the kernel's."""
GLIBCS = ("manylinux_2_28", "manylinux_2_26", "manylinux_2_17", "manylinux2014")
"""Not newer than EL 9's 2.34, by a margin: Debian 10 had 2.28."""
LOCK = ROOT / "packaging" / "requirements-agent.txt"
LAUNCHER = """\
#!/opt/sharedip/bin/python -I
import sys

from sharedip.cli.main import main

sys.exit(main())
"""


class Bundled(NamedTuple):
    """One distribution in the environment."""

    name: str
    version: str
    license: str


def stage(arch: str) -> list[Bundled]:
    """Write opt/sharedip below the stage of one architecture; returns what is in it."""
    home = STAGE / arch / "opt" / "sharedip"
    packages = home / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    wheels = {each.name: each for python in PYTHONS for each in _wheels(arch, python)}
    for wheel in [*sorted(wheels.values()), DIST / f"sharedip-{version()}-py3-none-any.whl"]:
        _unpack(wheel, packages)
    for record in packages.glob("*.dist-info/RECORD"):
        _complete(record)
    for python in PYTHONS:
        (home / "lib" / f"python{python}").symlink_to("python3")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n", encoding="utf-8")
    launcher = home / "bin" / "sharedip"
    launcher.parent.mkdir()
    launcher.write_text(LAUNCHER, encoding="utf-8")
    for path in (home, *home.rglob("*")):  # whatever the builder's umask
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path == launcher else 0o644)
    return sorted(_bundled(each) for each in packages.glob("*.dist-info/METADATA"))


def _wheels(arch: str, python: str) -> list[Path]:
    """What the agent needs, for one Python: what the lock names, and no byte that it has no hash of."""
    folder = WHEELS / arch / python / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    if not (folder / ".complete").exists():
        download(arch, python, folder, ["--require-hashes", "--no-deps", "-r", str(LOCK)])
        (folder / ".complete").touch()
    return list(folder.glob("*.whl"))


def download(arch: str, python: str, folder: Path, wanted: list[str]) -> None:
    """Fetch wheels of one Python for one of Debian's architectures; nothing is compiled here.

    Raises: subprocess.CalledProcessError where there is none, or one whose hash is another.
    """
    platforms = [f"--platform={glibc}_{MACHINES[arch]}" for glibc in GLIBCS]
    command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "-d", str(folder)]
    command += ["--only-binary=:all:", f"--python-version={python}", *platforms]
    subprocess.run([*command, *wanted], check=True)


def _unpack(wheel: Path, packages: Path) -> None:
    """A wheel is a zip of what belongs into site-packages; what several Pythons' wheels share has to be equal."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir() or _is_leftover(member.filename):
                continue
            target, content = packages / member.filename, archive.read(member)
            if target.exists() and target.read_bytes() != content:
                if target.name not in {"RECORD", "WHEEL"}:
                    raise RuntimeError(f"{wheel.name}: another Python's wheel has another {member.filename}")
                if target.name == "RECORD":
                    content += target.read_bytes()  # made one by _complete
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _is_leftover(name: str) -> bool:
    """What nothing reads at run time: C sources and headers, type hints, command lines and tests of libraries."""
    ends = (".c", ".h", ".pyi", ".pyx", ".pxd", ".proto")
    return name.endswith(ends) or ".data/scripts/" in name or "/_testcapi." in name


def _complete(record: Path) -> None:
    """RECORD lists what stands: `pip list`, `importlib.metadata` and auditors read it."""
    packages = record.parents[1]
    named = {row[0] for row in csv.reader(record.read_text(encoding="utf-8").splitlines())}
    rows = []
    for name in sorted(named - {str(record.relative_to(packages))}):
        if (packages / name).is_file():
            content = (packages / name).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(content)}\n")
    record.write_text("".join(rows) + f"{record.relative_to(packages)},,\n", encoding="utf-8")


def _bundled(metadata: Path) -> Bundled:
    said = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
    name = re.sub(r"[-_.]+", "-", said["Name"]).lower()
    return Bundled(name, said["Version"], said["License-Expression"] or said["License"] or "see its own files")

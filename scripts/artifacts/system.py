"""deb and rpm, by nfpm from packaging/nfpm.yaml."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.artifacts import environment, manuals
from scripts.artifacts.places import DIST, ROOT, STAGE, epoch, version

if TYPE_CHECKING:
    from scripts.artifacts.environment import Bundled

MAINTAINER = os.environ.get("MAINTAINER", "sharedip maintainers <maintainers@sharedip.example>")
DOCUMENTS = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
COMPLETION_FOLDERS = {"bash": "bash-completion/completions", "fish": "fish/vendor_completions.d"}
ZSH_FOLDERS = {"deb": "zsh/vendor-completions", "rpm": "zsh/site-functions"}
KINDS = ("deb", "rpm")


def build(arch: str, release: str) -> None:
    """Stage and pack, for one of Debian's architecture names."""
    shutil.rmtree(STAGE / arch, ignore_errors=True)
    bundled = environment.stage(arch)
    share = STAGE / arch / "usr" / "share"
    scratch = STAGE / f"{arch}.scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    manuals.write_man_pages(scratch / "man")
    manuals.write_completions(scratch / "completion")
    for each in sorted((scratch / "man").iterdir()):
        _zip(each.read_bytes(), share / "man" / "man1" / f"{each.name}.gz")
    _document(share / "doc" / "sharedip", bundled, release)
    for shell, folder in COMPLETION_FOLDERS.items():
        shutil.copytree(scratch / "completion" / shell, share / folder)
    for kind in KINDS:
        # The one file whose folder differs: staged for the kind that is packed next.
        zsh = share / ZSH_FOLDERS[kind]
        shutil.copytree(scratch / "completion" / "zsh", zsh)
        if kind == "deb":
            overrides = share / "lintian" / "overrides"
            overrides.mkdir(parents=True)
            shutil.copyfile(ROOT / "packaging/debian/lintian-overrides", overrides / "sharedip")
        _pack(arch, release, kind)
        shutil.rmtree(zsh)
        shutil.rmtree(share / "lintian", ignore_errors=True)


def _pack(arch: str, release: str, kind: str) -> None:
    usr = STAGE / arch / "usr"
    for path in (usr, *usr.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in (STAGE / arch).rglob("*"):
        os.utime(path, (epoch(), epoch()), follow_symlinks=False)
    said = {
        "ARCH": arch,
        "VERSION": version(),
        "RELEASE": release,
        "MAINTAINER": MAINTAINER,
        "STAGE": str((STAGE / arch).relative_to(ROOT)),
        "SOURCE_DATE_EPOCH": str(epoch()),
    }
    nfpm = Path(sys.executable).with_name("nfpm")
    command = [str(nfpm), "package", "-f", "packaging/nfpm.yaml", "-p", kind, "-t", str(DIST)]
    subprocess.run(command, cwd=ROOT, env=os.environ | said, check=True, stdout=subprocess.DEVNULL)


def _document(folder: Path, bundled: list[Bundled], release: str) -> None:
    """What Debian's policy and an operator look for in /usr/share/doc/sharedip."""
    folder.mkdir(parents=True)
    for name in DOCUMENTS:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "docs" / name, folder / name)
    shutil.copyfile(ROOT / "README.md", folder / "README.md")
    shutil.copytree(ROOT / "docs" / "examples", folder / "examples")
    shutil.copytree(ROOT / "packaging" / "monitoring", folder / "monitoring")
    lines = [f"  {each.name} {each.version}: {each.license}" for each in bundled if each.name != "sharedip"]
    text = (ROOT / "packaging/debian/copyright").read_text(encoding="utf-8")
    (folder / "copyright").write_text(text.replace("@BUNDLED@", "\n".join(lines)), encoding="utf-8")
    _zip((ROOT / "CHANGELOG.md").read_bytes(), folder / "changelog.gz")
    date = format_datetime(datetime.fromtimestamp(epoch(), UTC))
    entry = f"sharedip ({version()}-{release}) unstable; urgency=medium\n\n  * Release: see changelog.gz.\n\n"
    entry += f" -- {MAINTAINER}  {date}\n"
    _zip(entry.encode(), folder / "changelog.Debian.gz")


def _zip(content: bytes, target: Path) -> None:
    """As `gzip -9n`: neither name nor time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(content, 9, mtime=0))

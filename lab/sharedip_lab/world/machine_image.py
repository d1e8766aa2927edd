"""A Debian for virtual machines: kernel, initrd and disk, made of Debian's packages and the agent's own .deb.

Role: mmdebstrap makes the root, `guest/` lays the files of the lab over it, mke2fs turns it into a disk; everything is
kept under `out/vm` and made again only where what it is made of has changed.
Must never: need anything but Debian's mirrors, or leave a root mounted. Counterpart: `machine.py`, which boots it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sharedip_lab.world.namespaces import LabError, run

SUITES = {"bookworm": "Linux 6.1, etcd 3.4", "trixie": "Linux 6.12, etcd 3.5.16", "forky": "Linux 7.2, etcd 3.5.30"}
"""What each Debian brings."""
PACKAGES = (
    # A node as users have it.
    *("linux-image-amd64", "initramfs-tools", "systemd", "systemd-sysv", "udev", "dbus", "iproute2", "nftables"),
    *("procps", "python3", "etcd-server", "etcd-client", "network-manager", "chrony"),
)
INITRD = {
    "etc/initramfs-tools/conf.d/lab": "MODULES=list",
    "usr/share/initramfs-tools/modules.d/lab": "virtio_pci virtio_blk ext4",
}
"""What an emulated machine needs until it has its root: all of Debian's modules would take half a minute."""
CACHE = Path("out", "vm")
PROGRAMS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "qemu-img": "qemu-utils", "dpkg-deb": "dpkg"}
QEMU = "qemu-system-x86_64"
DISK_BYTES = 2 << 30
"""Sparse: what is not written takes no room."""
DEBIAN_S, COMMAND_S = 1800.0, 300.0
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made there; many small files are slow on a disk
ENABLED = ("etcd", "sharedip", "lab-files", "lab-echo", "lab-orders")
DISABLED = ("systemd-networkd", "NetworkManager", "NetworkManager-dispatcher", "NetworkManager-wait-online", "chrony")
"""The kernel's line says which network there is (`machine.py`); a fault starts chrony."""
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("systemd-networkd-wait-online.service", "systemd-networkd-persistent-storage.service", "systemd-logind.service"),
    *("getty.target", "systemd-user-sessions.service", "e2scrub_reap.service", "systemd-machine-id-commit.service"),
)
"""What would take processor time from three machines that have two cores together."""
PARTS = ("world", "programs")
"""Of the lab itself: what runs in the machines, and what that imports."""
HOME = Path(__file__).resolve().parents[1]
_POLICY = "#!/bin/sh\nexit 101\n"


@dataclass(frozen=True)
class Image:
    """What a machine boots from."""

    suite: str
    kernel: Path
    initrd: Path
    disk: Path
    etcd: str
    """Its version."""
    agent: str
    """The agent's package, and the first digits of its SHA-256: one version number has many builds."""

    @property
    def linux(self) -> str:
        """The kernel's release."""
        return self.kernel.name.removeprefix("vmlinuz-")


def missing_programs() -> list[str]:
    """Why machines can't be made here, each with the way out."""
    return [
        f"the program `{program}` is missing: apt-get install {package}"
        for program, package in {**PROGRAMS, QEMU: "qemu-system-x86"}.items()
        if shutil.which(program) is None
    ]


def find_package(named: Path | None) -> Path:
    """The agent's .deb: the one that is named, or what `make dist` has made."""
    if named is not None:
        if not named.is_file():
            raise LabError(f"there is no {named}")
        return named
    found = sorted(Path("out", "dist").glob("sharedip_*_amd64.deb"))
    if not found:
        raise LabError("there is no package of the agent: run `make dist` first, or name one with --deb")
    return found[-1]


def make_image(suite: str, etcd_suite: str, package: Path, say: Callable[[str], None]) -> Image:
    """The image, from the cache where nothing has changed (two minutes and a few hundred megabytes otherwise)."""
    CACHE.mkdir(parents=True, exist_ok=True)
    base = _base(suite, say)
    key = _digest([base.name.encode(), etcd_suite.encode(), package.read_bytes(), *_sources()])
    folder = CACHE / f"{suite}-{key}"
    if not (folder / "disk.ext4").exists():
        say(f"a disk of {suite} with {package.name}")
        for old in CACHE.glob(f"{suite}-*"):
            if old.is_dir():
                shutil.rmtree(old)
        _lay(base, suite, etcd_suite, package, folder)
    (kernel,), (initrd,) = folder.glob("vmlinuz-*"), folder.glob("initrd.img-*")
    etcd = (folder / "etcd-version").read_text(encoding="ascii")
    agent = f"{package.name}, {hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
    return Image(suite, kernel.absolute(), initrd.absolute(), (folder / "disk.ext4").absolute(), etcd, agent)


def _sources() -> Iterable[bytes]:
    """What of the lab itself goes into the machines."""
    for part in (*(f"{name}/*.py" for name in PARTS), "world/guest/**/*"):
        for path in sorted(HOME.glob(part)):
            if path.is_file():
                yield str(path.relative_to(HOME)).encode() + path.read_bytes()


def _digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:10]


def _base(suite: str, say: Callable[[str], None]) -> Path:
    """A root of nothing but Debian's packages, as a tar."""
    tar = CACHE / f"{suite}-{_digest(name.encode() for name in (*PACKAGES, *INITRD.values()))}.tar"
    if not tar.exists():
        say(f"a Debian of {suite}, from Debian's packages: two minutes")
        for old in CACHE.glob(f"{suite}-*.tar"):
            old.unlink()
        small = "; ".join(
            f'mkdir -p "$(dirname "$1/{file}")"; printf "%s\\n" {text} >"$1/{file}"' for file, text in INITRD.items()
        )
        included = f"--include={','.join(PACKAGES)}"
        _mmdebstrap("--variant=minbase", f"--essential-hook={small}", included, suite, target=tar)
    return tar


def _mmdebstrap(*words: str, target: Path) -> None:
    making = target.with_suffix(".new.tar")
    lean = [f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "man", "locale", "i18n")]
    # A mirror may be weeks behind, which is no harm here. Signatures are checked all the same.
    lean += ['--aptopt=Acquire::Check-Valid-Until "false"']
    try:
        run(["mmdebstrap", "--quiet", *lean, *words, str(making)], timeout_s=DEBIAN_S)
        making.rename(target)
    finally:
        making.unlink(missing_ok=True)


def _lay(base: Path, suite: str, etcd_suite: str, package: Path, folder: Path) -> None:
    """Unpack, install, lay over, and turn into a disk."""
    with tempfile.TemporaryDirectory(prefix="sharedip-vm-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as name:
        root, made = Path(name, "root"), Path(name, "made")
        root.mkdir()
        made.mkdir()
        run(["tar", "-C", str(root), "-xf", str(base)], timeout_s=COMMAND_S)
        if etcd_suite != suite:
            _other_etcd(etcd_suite, Path(name), root)
        _install(root, package)
        shutil.copytree(HOME / "world" / "guest", root, dirs_exist_ok=True)
        for part in PARTS:
            shutil.copytree(HOME / part, root / "lab/lib/sharedip_lab" / part, ignore=shutil.ignore_patterns("guest"))
        shutil.copy(HOME / "__init__.py", root / "lab/lib/sharedip_lab/__init__.py")
        run(["chroot", str(root), "python3", "-m", "compileall", "-q", "/lab/lib"], timeout_s=COMMAND_S)
        said = run(["chroot", str(root), "etcd", "--version"], timeout_s=COMMAND_S)
        (made / "etcd-version").write_text(said.partition("etcd Version: ")[2].split()[0], encoding="ascii")
        (root / "etc/machine-id").write_text("", encoding="ascii")  # each machine is told its own
        (root / "etc/fstab").write_text("/dev/vda / ext4 defaults,noatime 0 1\n", encoding="ascii")
        systemctl = ["chroot", str(root), "systemctl", "--quiet"]
        run([*systemctl, "enable", *ENABLED], timeout_s=COMMAND_S)
        run([*systemctl, "disable", *DISABLED], timeout_s=COMMAND_S)
        run([*systemctl, "mask", *MASKED], timeout_s=COMMAND_S)
        for file in (*root.glob("boot/vmlinuz-*"), *root.glob("boot/initrd.img-*")):
            shutil.move(file, made / file.name)
        disk = made / "disk.ext4"
        mke2fs = ["mke2fs", "-q", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0", "-d", str(root), str(disk)]
        run([*mke2fs, str(DISK_BYTES >> 10)], timeout_s=COMMAND_S)
        folder.mkdir(parents=True)
        for file in sorted(made.iterdir(), key=lambda each: each == disk):  # the disk last: with it all is there
            run(["cp", "--sparse=always", str(file), str(folder / file.name)], timeout_s=COMMAND_S)


def _install(root: Path, package: Path) -> None:
    """The agent as its users install it; nothing is started in there."""
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(_POLICY, encoding="ascii")
    policy.chmod(0o755)
    (root / "lab").mkdir()
    shutil.copy(package, root / "lab/sharedip.deb")
    run(["chroot", str(root), "dpkg", "--install", "/lab/sharedip.deb"], timeout_s=COMMAND_S)
    policy.unlink()


def _other_etcd(suite: str, scratch: Path, root: Path) -> None:
    """The etcd of another Debian: a program without libraries."""
    tar = scratch / "etcd.tar"
    _mmdebstrap("--variant=extract", "--include=etcd-server", suite, target=tar)
    run(["tar", "-C", str(root), "-xf", str(tar), "./usr/bin/etcd"], timeout_s=COMMAND_S)


def overlay_of(image: Image, file: Path) -> None:
    """A machine's own disk: what it writes, over the image that all share."""
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image.disk), str(file)])


def qemu_version() -> str:
    """As QEMU says it; "?" where there is none."""
    try:
        said = subprocess.run([QEMU, "--version"], check=False, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return "?"
    return said.partition("version ")[2].split()[0] if "version " in said else "?"

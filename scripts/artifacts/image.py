"""`python -m scripts.artifacts.image`: a container image without any registry: Debian 13 by mmdebstrap, and the deb.

For machines that reach no registry of images. packaging/Containerfile is the other way. Both start tini, since the
agent refuses to be the first process of its namespace. The result is a tar that `podman import` and `docker import`
take; with podman here it is imported at once. Not the same bytes each time: Debian's packages move on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from scripts.artifacts.places import DIST, version

SUITE = "trixie"
PACKAGES = ("python3", "nftables", "tini", "init-system-helpers")
DOCUMENTATION = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
CHANGES = (
    'ENTRYPOINT ["tini", "-s", "--", "sharedip"]',
    'CMD ["run", "-c", "/etc/sharedip"]',
    "STOPSIGNAL SIGTERM",
)
PODMAN = ("podman", "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime=runc")
"""What works in the plainest of containers and virtual machines, too."""


def main() -> int:
    """Build the tar; import it where podman is."""
    machine = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (package,) = DIST.glob(f"sharedip_*_{machine}.deb")
    tar = DIST.with_name("image") / f"sharedip-{version()}-{machine}.tar"
    tar.parent.mkdir(parents=True, exist_ok=True)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={each}" for each in DOCUMENTATION]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    # /etc/sharedip is mounted where the image runs; what the package puts there would only be hidden.
    command += [f"--customize-hook=copy-in {package} /tmp", f'--customize-hook=chroot "$1" dpkg -i /tmp/{package.name}']
    command += ['--customize-hook=rm -rf "$1"/tmp/*.deb "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*']
    subprocess.run([*command, SUITE, str(tar)], check=True)
    print(f"{tar.stat().st_size / 1e6:7.1f} MB  {Path(*tar.parts[-3:])}")
    if shutil.which("podman") is not None:
        changes = [word for change in CHANGES for word in ("--change", change)]
        name = f"localhost/sharedip:{version()}"
        subprocess.run([*PODMAN, "import", "--quiet", *changes, str(tar), name], check=True, stdout=subprocess.DEVNULL)
        print(f"imported as {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

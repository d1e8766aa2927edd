"""What the printed unit may do: bounded by systemd's own count, blind for what makes certificates."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sharedip.cli.main import main
from sharedip.config.certificates import API_SERVER_FILES, ETCD_FILES

SECURITY = (Path(__file__).parents[3] / "SECURITY.md").read_text(encoding="utf-8")


def analysed(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What systemd says of the unit that `words` print."""
    options = [word for word in words if word.startswith("--json")]
    main(["manifest", "systemd", "--exec", "/bin/true", *(word for word in words if word not in options)])
    unit = folder / "sharedip.service"
    unit.write_text(capsys.readouterr().out)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", *options, str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize(("user", "exposure"), [([], 2.2), (["--user", "sharedip"], 1.8)])
def test_what_the_unit_may_do_has_a_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], user: list[str], exposure: float
) -> None:
    """By systemd 252's own count. What is left: the network, its configuration, and frames."""
    said = analysed(tmp_path, capsys, *user)
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= exposure


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_every_point_that_systemd_still_counts_is_listed_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SECURITY.md lists them, those of either unit and no other, by the count of the version that it names."""
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    if " ".join(version.split()[:2]) not in SECURITY:
        pytest.skip("another version counts otherwise")
    listed = re.findall(r"^\| `([A-Z]\S+=\S*)` \| (0\.\d) \|", SECURITY.replace("\\|", "|"), re.MULTILINE)
    counted: dict[str, str] = {}
    for user in ([], ["--user", "sharedip"]):
        points = json.loads(analysed(tmp_path, capsys, "--json=short", *user))
        counted |= {point["name"]: point["exposure"] for point in points if point["exposure"] not in (None, "0.0")}
    assert dict(listed) == counted


def test_root_s_unit_has_no_sight_of_what_makes_certificates(capsys: pytest.CaptureFixture[str]) -> None:
    """Root without capabilities still reads everything that is root's."""
    main(["manifest", "systemd"])
    hidden = {
        word.removeprefix("-")
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("InaccessiblePaths=")
        for word in line.removeprefix("InaccessiblePaths=").split()
    }
    rancher = {f"/var/lib/rancher/{name}/server/tls/etcd/server-ca.key" for name in ("k3s", "rke2")}
    kubeadm = {f"/etc/kubernetes/pki/{name}.key" for name in ("ca", "sa", "front-proxy-ca", "etcd/ca")}
    assert hidden >= {"/etc/shadow", "/run/containerd", "/etc/kubernetes/admin.conf"} | rancher | kubeadm
    used = {file for each in ETCD_FILES for file in (each.ca_file, each.cert_file, each.key_file)}
    used |= {file for each in API_SERVER_FILES for file in (each.ca_file, each.cert_file, each.key_file) if file}
    assert not {str(file) for file in used} & hidden
    assert not {str(parent) for file in used for parent in file.parents} & hidden


def test_a_user_of_its_own_has_the_two_capabilities_and_none_of_root_s(capsys: pytest.CaptureFixture[str]) -> None:
    main(["manifest", "systemd", "--user", "sharedip"])
    unit = capsys.readouterr().out
    assert "\nUser=sharedip\n" in unit
    assert "\nAmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW\n" in unit
    assert main(["manifest", "systemd", "--user", "root\nUser=x"]) == 2

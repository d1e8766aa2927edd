"""What machines are made of, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedip_lab.world.hub import Guest
from sharedip_lab.world.machine_image import HOME, find_package, missing_programs
from sharedip_lab.world.namespaces import LabError
from sharedip_lab.world.topology import FIRST, WITNESS_INDEX, WITNESS_MAC

GUEST = HOME / "world" / "guest"


def test_without_a_package_the_way_to_one_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError, match="make dist"):
        find_package(None)
    with pytest.raises(LabError, match=r"there is no other\.deb"):
        find_package(Path("other.deb"))
    package = tmp_path / "out/dist/sharedip_0.2.0-1_amd64.deb"
    package.parent.mkdir(parents=True)
    package.touch()
    assert find_package(None) == package.relative_to(tmp_path)


def test_each_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    which = "sharedip_lab.world.machine_image.shutil.which"
    monkeypatch.setattr(which, lambda program: None if program == "qemu-img" else program)
    assert missing_programs() == ["the program `qemu-img` is missing: apt-get install qemu-utils"]


def test_the_machines_own_files_agree_with_the_labs_addresses() -> None:
    """They are written twice, since one half is read by systemd."""
    guest = Guest("n2", 2, "hub")
    network = (GUEST / "lab/files/etc/systemd/network/30-vlan77.network").read_text().replace("@N@", "2")
    assert f"Address={guest.address4}/24" in network
    assert f"Address={FIRST.base4 + WITNESS_INDEX}\nLinkLayerAddress={WITNESS_MAC}" in network
    bond = (GUEST / "lab/files/etc/systemd/network/10-bond0.netdev").read_text().replace("@N@", "2")
    assert f"MACAddress={guest.mac}" in bond
    etcd = (GUEST / "lab/files/etc/default/etcd").read_text().replace("@N@", "2")
    assert f"ETCD_ADVERTISE_CLIENT_URLS=http://{guest.etcd_address}:2379" in etcd
    assert "name: 10.77.0.100\nlink: vlan77" in (GUEST / "lab/files/etc/sharedip/vip.yaml").read_text()

"""`manifest`: what it prints can be used as it is, and what could not work is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sharedip import __version__
from sharedip.cli import starters
from sharedip.cli.main import main
from sharedip.config.load import load

IMAGE = "localhost/sharedip:1"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["manifest", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["manifest", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_packaging_holds_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manifest", "systemd", "--exec", "/usr/bin/sharedip"]) == 0
    assert capsys.readouterr().out == Path("packaging/sharedip.service").read_text()
    assert main(["manifest", "kubeadm", "--image", f"localhost/sharedip:{__version__}"]) == 0
    assert capsys.readouterr().out == Path("packaging/sharedip-pod.yaml").read_text()


def test_the_unit_s_reload_fails_where_the_agent_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    """A signal, and with it Type=notify-reload, succeeds whatever becomes of the documents."""
    main(["manifest", "systemd", "--exec", "/usr/bin/sharedip", "-c", "/etc/vips"])
    lines = capsys.readouterr().out.splitlines()
    assert "Type=notify" in lines
    assert "ExecReload=/usr/bin/sharedip reload -c /etc/vips" in lines


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["manifest", "systemd", "--exec", "/bin/true"])
    (tmp_path / "sharedip.service").write_text(capsys.readouterr().out)
    command = ["systemd-analyze", "verify", str(tmp_path / "sharedip.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "sharedip.service" in done.stderr) == (0, False), done.stderr


def test_the_pod_is_yaml_with_its_holes_filled(capsys: pytest.CaptureFixture[str]) -> None:
    main(["manifest", "kubeadm", "--image", "registry.acme.io/x:1", "-c", "/etc/vip", "--api-port", "9999"])
    pod = yaml.safe_load(capsys.readouterr().out)
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "registry.acme.io/x:1"
    assert container["args"] == ["run", "-c", "/etc/vip"]
    assert container["readinessProbe"]["httpGet"]["port"] == 9999
    assert "livenessProbe" not in container, "who crowds the port must not decide about the agent's life"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert {v["name"] for v in pod["spec"]["volumes"]} == {m["name"] for m in container["volumeMounts"]}
    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["shareProcessNamespace"] is True, "as number 1 the agent refuses to start"


def test_in_the_image_the_agent_is_never_the_first_process() -> None:
    """Its timers could not kill it there, and nobody would reap what an exec check leaves behind."""
    text = Path("packaging/Containerfile").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("ENTRYPOINT")]
    assert json.loads(line.removeprefix("ENTRYPOINT")) == ["tini", "-s", "--", "sharedip"]
    (install,) = [line for line in text.splitlines() if "apt-get install" in line]
    assert "tini" in install.split()


@pytest.mark.parametrize("path", ["relative", "/etc/with space", "/etc/%n", "/etc/a'b", ""])
def test_a_path_that_would_break_the_unit_is_refused(path: str) -> None:
    assert main(["manifest", "systemd", "-c", path]) == 2


def test_a_pod_with_documents_of_its_own_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """kubelet writes the annotation to vip.yaml, behind a link, as for every downward API volume."""
    words = ("--vip", "192.168.0.15", "--vip", "fd00::15", "--link", "enp0s2", "--etcd", "https://[fd00::1]:2379")
    pod = yaml.safe_load(printed(capsys, "kubeadm", "--image", IMAGE, *words))
    config = next(each for each in pod["spec"]["volumes"] if each["name"] == "config")
    ((item),) = config["downwardAPI"]["items"]
    assert item["path"] == "vip.yaml"
    assert item["fieldRef"]["fieldPath"] == "metadata.annotations['sharedip-documents']"
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "vip.yaml").write_text(pod["metadata"]["annotations"]["sharedip-documents"])
    (tmp_path / "vip.yaml").symlink_to("..data/vip.yaml")
    loaded = load([tmp_path], "cp1")
    assert loaded.problems == ()
    assert loaded.config is not None
    assert [str(vip.address) for vip in loaded.config.vips] == ["192.168.0.15", "fd00::15"]
    assert [str(each) for each in loaded.config.etcd.endpoints] == ["https://[fd00::1]:2379"]
    assert loaded.config.etcd.key_file is None, "kubeadm's are found; /etc/sharedip of the node is not in the pod"


def test_documents_with_tls_name_the_files_that_the_operator_brings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--vip", "192.168.0.15", "--link", "eth0", "--etcd")
    (tmp_path / "vip.yaml").write_text(
        printed(capsys, "documents", *words, "https://10.0.0.1", "https://10.0.0.2:2380")
    )
    loaded = load([tmp_path], "cp1")
    assert loaded.problems == ()
    assert loaded.config is not None
    assert [str(each) for each in loaded.config.etcd.endpoints] == ["https://10.0.0.1:2379", "https://10.0.0.2:2380"]
    assert str(loaded.config.etcd.key_file) == "/etc/sharedip/etcd/client.key"
    assert "caFile" not in printed(capsys, "documents", *words, "http://10.0.0.1"), "there is no TLS"


@pytest.mark.parametrize("link", ["eth0", "on", "0x10", "1e3", "bond0.100"])
def test_documents_load_whatever_the_link_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], link: str
) -> None:
    (tmp_path / "vip.yaml").write_text(printed(capsys, "documents", "--vip", "192.168.0.15", "--link", link))
    loaded = load([tmp_path], "cp1")
    assert loaded.problems == ()
    assert loaded.config is not None
    assert [(str(vip.address), vip.link) for vip in loaded.config.vips] == [("192.168.0.15", link)]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("documents",), "write --vip and --link"),
        (("documents", "--vip", "192.168.0.15"), "--vip needs --link"),
        (("documents", "--link", "eth0"), "--link needs --vip"),
        (("documents", "--vip", "192.168.0.999", "--link", "eth0"), "192.168.0.999"),
        (("documents", "--vip", "127.0.0.1", "--link", "eth0"), "127.0.0.1"),
        (("documents", "--vip", "192.168.0.15", "--link", "a/b"), "slash"),
        (("documents", "--vip", "10.0.0.1", "--vip", "10.0.0.1", "--link", "eth0"), "twice"),
        (("documents", "--vip", "10.0.0.1", "--link", "eth0", "--etcd", "ftp://x"), "http"),
        (("kubeadm", "--image", IMAGE, "--etcd", "http://10.0.0.1:2379"), "--etcd needs --vip"),
        (("systemd", "--vip", "192.168.0.15", "--link", "eth0"), "--vip is for documents"),
    ],
)
def test_documents_that_would_be_refused_are_not_printed(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], why: str
) -> None:
    assert why in refused(capsys, *words)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (None, "nobody publishes one"),
        ("sharedip:0.1.0", "names no registry"),
        ("acme/sharedip:0.1.0", "names no registry"),
        ("registry.example/sharedip:0.1.0", "stands for your registry"),
        ("registry.example.com:5000/sharedip:0.1.0", "stands for your registry"),
        ('localhost/x"y', "not the name of an image"),
    ],
)
def test_an_image_that_no_node_could_have_is_refused(
    capsys: pytest.CaptureFixture[str], image: str | None, why: str
) -> None:
    assert why in refused(capsys, "kubeadm", *(("--image", image) if image else ()))


@pytest.mark.parametrize(
    "image", [IMAGE, "registry:5000/sharedip:1", "images.acme.io/a/b:1", f"images.acme.io/a/b@sha256:{'0' * 64}"]
)
def test_an_image_with_its_registry_is_taken(capsys: pytest.CaptureFixture[str], image: str) -> None:
    assert json.dumps(image) in printed(capsys, "kubeadm", "--image", image)


def test_the_unit_starts_the_program_that_printed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though PATH has another, or none: sudo's is often without /usr/local/bin."""
    program = tmp_path / "sharedip"
    program.touch()
    monkeypatch.setenv("PATH", "")
    assert starters.own_program(str(program), "/usr/bin/python3") == str(program)
    beside = str(tmp_path / "python")
    assert starters.own_program("/x/site-packages/sharedip/__main__.py", beside) == str(program), "python -m sharedip"
    assert starters.own_program("/x/site-packages/sharedip/__main__.py", "/nowhere/python3") == "/usr/bin/sharedip"


def test_a_unit_whose_program_protect_home_hides_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also behind a link that leads there, as pipx makes them."""
    assert main(["manifest", "systemd", "--exec", "/root/.local/bin/sharedip"]) == 0
    said = capsys.readouterr()
    assert "ProtectHome" in said.err
    assert "ExecStart=/root/.local/bin/sharedip" in said.out
    (tmp_path / "home" / "bin").mkdir(parents=True)
    (tmp_path / "home" / "bin" / "sharedip").touch()
    (tmp_path / "sharedip").symlink_to(tmp_path / "home" / "bin" / "sharedip")
    monkeypatch.setattr(starters, "HOMES", (str(tmp_path / "home"),))
    assert starters.hidden_home(str(tmp_path / "sharedip")) == str(tmp_path / "home")
    main(["manifest", "systemd", "--exec", "/usr/bin/sharedip"])
    assert capsys.readouterr().err == ""

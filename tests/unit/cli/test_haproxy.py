"""`manifest haproxy`: arguments in, files out. What HAProxy makes of them is in tests/contract/haproxy."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sharedip.cli.main import main
from sharedip.config.load import parse
from sharedip.config.model import HttpCheck

SERVERS = ["--servers", "192.168.0.10,192.168.0.11"]


def out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What it prints."""
    assert main(["manifest", "haproxy", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (SERVERS, "write --node-local (on any node) or --front (behind the VIP, on control planes)"),
        (["--front"], "--servers is missing; name the API servers by their nodes' own addresses, or by one DNS name"),
        (["--front", "--servers", "a,b", "a:6443"], "--servers names a:6443 twice; name each API server once"),
        (
            ["--front", "--servers", ",".join(f"10.0.0.{n}" for n in range(33))],
            "--servers names more than 32; name each API server once",
        ),
        (
            ["--node-local", *SERVERS, "--part", "check"],
            "--part check is for --front: no VIP follows an HAProxy that serves its own node alone",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", "haproxy", *words]) == 2
    assert capsys.readouterr() == ("", f"sharedip manifest: {why}\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--node-local", "--front", *SERVERS], "not allowed with argument"),
        (["--front", "--servers", "192.168.0.10/24"], '"192.168.0.10/24"'),
        (["--front", "--servers", "192.168.0.300"], '"192.168.0.300" is not an IPv4 address'),
        (["--front", "--servers", "fd00::10"], "without brackets; write such as [fd00::10]"),
        (["--front", "--servers", "192.168.0.10:0"], "no usable port; write a port from 1 to 65535"),
        (["--front", "--servers", "a,,b"], "there is no host; write such as 192.168.0.10:6443"),
        (["--front", "--servers", "a b"], "a b"),
        (["--front", *SERVERS, "--listen", "0.0.0.0:443"], "port 443: HAProxy runs without root"),
        (["--front", *SERVERS, "--listen", "0.0.0.0:65535"], "has its status on the next port; write 1024 to 65534"),
        (["--front", *SERVERS, "--listen", "vip:8443"], '"vip" is not an IP address'),
        (["--front", *SERVERS, "--interval", "100ms"], '"100ms" is too short; write 500ms or more, up to 1m'),
        (["--front", *SERVERS, "--ca-file", "ca.crt"], "not a plain absolute path"),
        (["--front", *SERVERS, "--crt-file", "/a b"], "not a plain absolute path"),
    ],
)
def test_a_word_that_can_not_be_read_is_refused_with_what_to_write(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", "haproxy", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert why in shown.err


@pytest.mark.parametrize("option", [["--front"], SERVERS, ["--part", "pod"], ["--listen", "127.0.0.1:7445"]])
@pytest.mark.parametrize("kind", ["systemd", "kubeadm"])
def test_what_is_for_haproxy_alone_is_refused_elsewhere(
    kind: str, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", kind, *option]) == 2
    assert f"{option[0]} is for haproxy; write sharedip manifest haproxy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["--node-local", *SERVERS], ["bind 127.0.0.1:7445", "bind 127.0.0.1:7446", "retries 3"]),
        (["--front", *SERVERS], ["bind 0.0.0.0:8443", "bind 127.0.0.1:8444"]),
        (["--front", *SERVERS, "--listen", "[::]:9443"], ["bind :::9443 v4v6", "bind 127.0.0.1:9444"]),
        (["--front", *SERVERS, "--listen", "[fd00::15]:9443"], ["bind [fd00::15]:9443"]),
        (
            ["--node-local", "--servers", "[fd00::10],192.168.0.11:7443"],
            ["server fd00__10-6443 [fd00::10]:6443", "server 192.168.0.11-7443 192.168.0.11:7443"],
        ),
        (
            ["--node-local", "--servers", "api.example"],
            [
                "server-template dns1- 7 api.example:6443 resolvers node init-addr none resolve-prefer ipv4",
                "parse-resolv-conf",
                "retries 7",
            ],
        ),
        (
            ["--node-local", *SERVERS, "--interval", "5s"],
            ["inter 5000ms fastinter 500ms downinter 5000ms fall 3 rise 2"],
        ),
    ],
)
def test_each_word_has_its_line(words: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = [line.strip().removeprefix("default-server ") for line in out(capsys, *words).splitlines()]
    assert [line for line in lines if line not in text] == []
    assert ("parse-resolv-conf" in text) == ("api.example" in words)


@pytest.mark.parametrize(
    "words",
    [
        ["--node-local", *SERVERS],
        ["--front", "--servers", "[fd00::10]", "api.example:7443", "--listen", "[::]:9443"],
        [
            *("--front", *SERVERS, "--interval", "1500ms", "--ca-file", "/etc/ca.crt", "--crt-file", "/etc/c.pem"),
            *("--config", "/etc/x.cfg"),
        ],
    ],
)
@pytest.mark.parametrize("part", ["config", "unit", "pod"])
def test_each_file_names_the_command_that_prints_it(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever has to change a server finds it there."""
    text = out(capsys, *words, "--part", part)
    (line,) = [line for line in text.splitlines() if line.startswith("# Printed by: ")]
    command = shlex.split(line.removeprefix("# Printed by: "))
    assert command[:3] == ["sharedip", "manifest", "haproxy"]
    assert " [" not in line, "a shell would take it for a pattern"
    assert out(capsys, *command[3:]) == text


def test_the_pod_is_yaml_with_its_holes_filled(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--front", *SERVERS, "--crt-file", "/etc/c.pem", "--image", "registry.example/haproxy:3.2"]
    pod = yaml.safe_load(out(capsys, *words, "--part", "pod"))
    (container,) = pod["spec"]["containers"]
    assert pod["metadata"]["name"] == "haproxy-front"
    assert container["image"] == "registry.example/haproxy:3.2"
    assert container["command"] == ["haproxy", "-W", "-db", "-f", "/etc/haproxy/sharedip.cfg"]
    assert container["livenessProbe"]["httpGet"] == {"host": "127.0.0.1", "port": 8444, "path": "/livez"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounted = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert mounted == {v["name"]: v["hostPath"]["path"] for v in pod["spec"]["volumes"]}
    assert set(mounted.values()) == {"/etc/haproxy/sharedip.cfg", "/etc/kubernetes/pki/ca.crt", "/etc/c.pem"}
    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["dnsPolicy"] == "Default", "the cluster's own resolvers are behind it"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = tmp_path / "sharedip-haproxy.service"
    unit.write_text(out(capsys, "--node-local", *SERVERS, "--part", "unit", "--exec", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr


def test_the_unit_tries_a_file_before_it_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines = out(capsys, "--node-local", *SERVERS, "--part", "unit", "--exec", "/opt/haproxy").splitlines()
    tried = "/opt/haproxy -c -q -f /etc/haproxy/sharedip.cfg"
    assert f"ExecStartPre={tried}" in lines
    assert lines.index(f"ExecReload={tried}") < lines.index("ExecReload=/bin/kill -USR2 $MAINPID")
    assert {"User=haproxy", "CapabilityBoundingSet="} <= set(lines)


GUIDE = (Path(__file__).parents[3] / "docs" / "haproxy.md").read_text(encoding="utf-8")
COMMANDS = [
    line.replace("$S", "192.168.0.10,192.168.0.11").partition(" > ")[0]
    for line in GUIDE.replace("\\\n", "").splitlines()
    if line.startswith("sharedip manifest ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_guide_tells_to_type_prints_something(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys, *shlex.split(command)[3:]).startswith("# ")


def test_the_guide_has_commands() -> None:
    assert len(COMMANDS) >= 6


def test_the_vip_follows_haproxy_by_a_document_that_the_agent_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """And the node's own API server is out of it: its death is what HAProxy is there for."""
    document = out(capsys, "--front", *SERVERS, "--listen", "0.0.0.0:9443", "--part", "check")
    vip = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n---\n"
    loaded = parse({"vip.yaml": vip + document}, "cp1")
    assert loaded.config is not None, loaded.problems
    (check,) = loaded.config.health_checks
    assert isinstance(check, HttpCheck)
    assert (check.name, str(check.url)) == ("haproxy", "http://127.0.0.1:9444/readyz")
    assert loaded.config.leaves_checks_open is False

"""docs/examples/hooks: each does what its head says, with the stories that the agent tells."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

HOOKS = Path(__file__).parents[2] / "docs" / "examples" / "hooks"
ACQUIRE = {"hook": "onAcquire", "node": "cp1", "vip": "203.0.113.15", "link": "eth0", "epoch": 42, "former": None}
OURS = {"node": "cp1", "epoch": 42}
THEIRS = {"node": "cp2", "epoch": 43}


def change(owner: dict[str, Any] | None, former: dict[str, Any] | None, vip: str = "203.0.113.15") -> dict[str, Any]:
    """As cp1 is told."""
    is_owner = owner is not None and owner["node"] == "cp1"
    told = {"hook": "onChange", "node": "cp1", "vip": vip, "link": "eth0", "owner": owner, "isOwner": is_owner}
    return {**told, "former": former, "reason": "cp2 handed it over"}


class Service:
    """What a hook talks to: it remembers, and answers with `code`."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str | None, Any]] = []
        self.code = 201
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.heard.append((self.path, self.headers["Authorization"], json.loads(body)))
                self.send_response(service.code)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


def run(name: str, told: dict[str, Any], **environment: str) -> subprocess.CompletedProcess[str]:
    """The hook as the agent runs it."""
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **environment}
    text = json.dumps(told)
    return subprocess.run([HOOKS / name], input=text, env=path, capture_output=True, text=True, timeout=30, check=False)


def cloud(tmp_path: Path, service: Service) -> dict[str, str]:
    (tmp_path / "cloud.token").write_text("secret\n")
    (tmp_path / "cloud.json").write_text(json.dumps({"server": 4711, "floatingIps": {"203.0.113.15": 815}}))
    return {"SHAREDIP_CLOUD_FILES": str(tmp_path), "SHAREDIP_CLOUD_API": service.url}


def test_the_floating_ip_goes_to_this_server(tmp_path: Path, service: Service) -> None:
    assert run("floating-ip", ACQUIRE, **cloud(tmp_path, service)).returncode == 0
    assert service.heard == [("/floating_ips/815/actions/assign", "Bearer secret", {"server": 4711})]


def test_a_vip_that_the_cloud_does_not_know_is_let_in(tmp_path: Path, service: Service) -> None:
    assert run("floating-ip", {**ACQUIRE, "vip": "10.0.0.15"}, **cloud(tmp_path, service)).returncode == 0
    assert service.heard == []


def test_a_cloud_that_says_no_or_nothing_refuses(tmp_path: Path, service: Service) -> None:
    environment = cloud(tmp_path, service)
    service.code = 422
    said = run("floating-ip", ACQUIRE, **environment)
    assert (said.returncode, said.stdout) == (1, "the cloud answers 422: {}\n")
    silent = run("floating-ip", ACQUIRE, **{**environment, "SHAREDIP_CLOUD_API": "http://127.0.0.1:1"})
    assert silent.returncode == 1
    assert silent.stdout.startswith("the cloud does not answer: ")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (change(OURS, THEIRS), "label node cp1 --overwrite sharedip/203.0.113.15=owner"),
        (change(THEIRS, OURS), "label node cp1 sharedip/203.0.113.15-"),
        (change(None, OURS), "label node cp1 sharedip/203.0.113.15-"),
        (change(OURS, None, "fd00::15"), "label node cp1 --overwrite sharedip/fd00--15=owner"),
    ],
)
def test_the_owner_s_node_has_the_label(tmp_path: Path, told: dict[str, Any], words: str) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    kubectl.chmod(0o755)
    said = run("node-label", told, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert said.returncode == 0, said
    assert (tmp_path / "said").read_text().strip().endswith(words)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (change(OURS, THEIRS), "203.0.113.15: cp2 -> cp1, cp2 handed it over"),
        (change(OURS, None), "203.0.113.15: nobody -> cp1, cp2 handed it over"),
        (change(None, OURS), "203.0.113.15: cp1 -> NOBODY, cp2 handed it over"),
        (change(THEIRS, OURS), None),
    ],
)
def test_the_new_owner_alone_speaks(tmp_path: Path, service: Service, told: dict[str, Any], line: str | None) -> None:
    (tmp_path / "webhook").write_text(service.url + "/hook\n")
    said = run("chat-message", told, SHAREDIP_WEBHOOK_FILE=str(tmp_path / "webhook"))
    assert said.returncode == 0, said
    assert service.heard == ([] if line is None else [("/hook", None, {"text": line})])


def test_a_chat_that_says_no_is_told(tmp_path: Path, service: Service) -> None:
    (tmp_path / "webhook").write_text(service.url)
    service.code = 500
    said = run("chat-message", change(OURS, None), SHAREDIP_WEBHOOK_FILE=str(tmp_path / "webhook"))
    assert said.returncode != 0
    assert "500" in said.stdout

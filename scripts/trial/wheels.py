"""The wheel: in a fresh virtual environment of each system's own Python, from files alone (an air-gapped machine)."""

from __future__ import annotations

from pathlib import Path

from scripts.artifacts.places import WHEELS
from scripts.trial import segment
from scripts.trial.machine import ARCHITECTURE, Machine, TrialError
from scripts.trial.roots import SUITES
from scripts.trial.story import Story, expect

# Documents and messages: what a library that does not fit would break.
_ROUND_TRIP = """
import google.protobuf
from google.protobuf.internal import api_implementation
from sharedip.adapters.etcd import client, rpc_pb2 as pb
put = pb.PutRequest(key=b"k", value=b"v", lease=7)
sent = pb.TxnRequest(
    compare=[pb.Compare(target=pb.Compare.CREATE, result=pb.Compare.EQUAL, key=b"k", create_revision=3)],
    success=[pb.RequestOp(request_put=put)],
)
assert pb.TxnRequest.FromString(sent.SerializeToString()) == sent
assert pb.Event(type=pb.Event.DELETE).type == pb.Event.EventType.Value("DELETE")
print(google.protobuf.__version__, api_implementation.Type(), google.protobuf.__file__)
"""


def tell(suite: str, wheel: Path) -> Story:
    """Install, ask, try the system's own protobuf, uninstall."""
    story = Story(f"wheel: {wheel.name}", SUITES[suite])
    try:
        with Machine(suite) as machine:
            _tell(story, machine, wheel)
    except TrialError as error:
        if not story.failed:
            story.failed = True
            story.steps.append({"step": "boot", "passed": False, "error": str(error)})
    return story


def _tell(story: Story, machine: Machine, wheel: Path) -> None:
    python = machine.run("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").stdout.strip()
    for needed in sorted((WHEELS / ARCHITECTURE / python).glob("*/*.whl")):
        machine.put(needed, f"/srv/wheels/{needed.name}")
    machine.put(wheel, f"/srv/wheels/{wheel.name}")
    with story.step(f"install into a fresh environment of Python {python}"):
        machine.run("python3 -m venv /opt/sharedip")
        machine.run("/opt/sharedip/bin/pip install --no-index --find-links /srv/wheels sharedip")
        machine.run("ln -s /opt/sharedip/bin/sharedip /usr/local/bin/")
    with story.step("command and module"):
        for command in ("/opt/sharedip/bin/sharedip", "/opt/sharedip/bin/python -m sharedip"):
            expect("sharedip 0." in machine.run(f"{command} --version").stdout, f"{command}: no version")
        machine.put(Path("docs/examples/kubernetes.yaml").resolve(), "/srv/kubernetes.yaml")
        machine.run("/opt/sharedip/bin/sharedip check --offline -c /srv/kubernetes.yaml")
        machine.run("/opt/sharedip/bin/sharedip manifest systemd | systemd-analyze verify /dev/stdin", check=False)
    with story.step("start by the unit that it prints: to a protected address"):
        segment.lay(machine)
        segment.configure_in_one_file(machine)
        machine.run("sharedip manifest systemd > /etc/systemd/system/sharedip.service")
        machine.run("systemctl daemon-reload && systemctl enable --now sharedip")
        machine.wait(f"ip -br addr show dev eth0 | grep -q {segment.VIP}/")
        segment.start_peer(machine)
        segment.protected(machine, segment.NODE_STATUS)
        machine.run("systemctl disable --now sharedip trial-peer", check=False)
    with story.step("typed: py.typed is there"):
        where = "import sharedip, pathlib; print(pathlib.Path(sharedip.__file__).with_name('py.typed').exists())"
        expect("True" in machine.run(f'/opt/sharedip/bin/python -c "{where}"').stdout, "no py.typed")
    machine.write("/srv/round_trip.py", _ROUND_TRIP)
    with story.step("messages with the newest protobuf") as figures:
        figures["protobuf"] = machine.run("/opt/sharedip/bin/python /srv/round_trip.py").stdout.split(" /")[0]
    system = _system_protobuf(machine)
    if system:
        with story.step("messages with the system's own protobuf") as figures:
            machine.run("/opt/sharedip/bin/pip uninstall -q -y protobuf")
            site = machine.run("ls -d /opt/sharedip/lib/python3*/site-packages").stdout.strip()
            machine.run(f"rm -rf {site}/google && ln -s /usr/lib/python3/dist-packages/google {site}/google")
            said = machine.run("/opt/sharedip/bin/python /srv/round_trip.py").stdout
            expect("google/protobuf" in said, said)
            figures["protobuf"] = said.split(" /")[0]
    with story.step("uninstall"):
        machine.run("/opt/sharedip/bin/pip uninstall -q -y sharedip && ! test -e /opt/sharedip/bin/sharedip")


def _system_protobuf(machine: Machine) -> bool:
    return machine.run("test -d /usr/lib/python3/dist-packages/google/protobuf", check=False).returncode == 0

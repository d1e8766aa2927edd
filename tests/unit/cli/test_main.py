"""The table of commands: help, slips, exit codes, and what is not imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sharedip import __version__
from sharedip.cli.main import COMMANDS, main


def test_without_a_command_the_overview_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: sharedip COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_every_command(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main([word]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name}" in shown for name in COMMANDS)


@pytest.mark.parametrize(
    ("slip", "answer"),
    [("stauts", "did you mean 'status'?"), ("undrian", "did you mean 'undrain'?"), ("xyzzy", "try sharedip --help")],
)
def test_a_slip_gets_a_suggestion(capsys: pytest.CaptureFixture[str], slip: str, answer: str) -> None:
    assert main([slip]) == 2
    assert answer in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_the_version(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main([word]) == 0
    assert capsys.readouterr().out.startswith(f"sharedip {__version__} (Python 3.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: sharedip {name}")


def test_an_unknown_option_is_a_usage_error() -> None:
    assert main(["status", "--colour"]) == 2
    assert main(["status", "--clust"]) == 2, "an abbreviation that is unique today is not tomorrow"
    assert main(["--frobnicate"]) == 2


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("sharedip.cli.version.run", interrupted)
    assert main(["version"]) == 130


@pytest.fixture
def _greeter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution on the path, with a command of its own."""
    (tmp_path / "greeter.py").write_text("COMMAND = ('greeter_commands', 'say good day', 'NAME')\n", encoding="utf-8")
    (tmp_path / "greeter_commands.py").write_text(
        "def add_arguments(parser): parser.add_argument('name')\n"
        "def run(args): print(f'good day, {args.name}'); return 1\n",
        encoding="utf-8",
    )
    about = tmp_path / "greeter-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n", encoding="utf-8")
    entries = "[sharedip.commands]\ngreet = greeter:COMMAND\nrun = greeter:COMMAND\n"
    (about / "entry_points.txt").write_text(entries, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("_greeter")
def test_another_distribution_adds_a_command_but_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greet", "Ada"]) == 1
    assert capsys.readouterr().out == "good day, Ada\n"
    assert main(["greet", "--help"]) == 0
    assert "Say good day." in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert re.search(r"^  greet NAME +say good day$", capsys.readouterr().out, re.MULTILINE)
    assert main(["gret"]) == 2
    assert "did you mean 'greet'?" in capsys.readouterr().err
    assert main(["run", "-c", "/nowhere/none.yaml"]) == 2, "its `run` is not ours"


@pytest.mark.usefixtures("_greeter")
def test_a_distribution_that_is_half_removed_costs_its_own_command_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "greeter.py").unlink()
    monkeypatch.delitem(sys.modules, "greeter", raising=False)
    assert main(["--help"]) == 0
    assert "greet" not in capsys.readouterr().out
    assert main(["greet"]) == 2
    assert "no command 'greet'" in capsys.readouterr().err


def test_without_the_lab_its_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    assert main(["lab", "demo"]) == 2
    said = capsys.readouterr().err
    assert "pip install ./lab" in said
    assert said.count("\n") == 1


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter; give the modules that it has loaded."""
    code += "\nimport sys; print(' '.join(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_help_loads_next_to_nothing() -> None:
    loaded = loaded_by("from sharedip.cli.main import main; main(['--help'])")
    assert not loaded & {"asyncio", "yaml", "h11", "grpclib", "ssl", "difflib", "sharedip.config.load", "rich"}


def test_status_loads_neither_the_agent_nor_etcd(tmp_path: Path) -> None:
    loaded = loaded_by(f"from sharedip.cli.main import main; main(['status', '--state-dir', {str(tmp_path)!r}])")
    assert not loaded & {"asyncio", "yaml", "grpclib", "sharedip.adapters.api"}


def test_a_mistake_in_a_document_is_told_without_loading_the_agent(tmp_path: Path) -> None:
    loaded = loaded_by(f"from sharedip.cli.main import main; main(['run', '-c', {str(tmp_path / 'none.yaml')!r}])")
    assert not loaded & {"asyncio", "grpclib", "sharedip.agent", "sharedip_lab", "importlib.metadata"}


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": "src"}
    command = [sys.executable, "-m", "sharedip.cli.main", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_package_itself_is_the_command() -> None:
    """`python -m sharedip`, where no script is installed."""
    environment = {**os.environ, "PYTHONPATH": "src"}
    command = [sys.executable, "-m", "sharedip", "version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(f"sharedip {__version__}")

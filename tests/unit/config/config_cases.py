"""What the tests of the documents share: short ways to write a document and to look at what was said about it."""

from __future__ import annotations

from sharedip.config.load import Loaded, parse
from sharedip.config.model import Config

VIP = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n"
AGENT = "apiVersion: v1alpha1\nkind: AgentConfig\n"


def agent(fields: str) -> str:
    """Write a VIP and an `AgentConfig` with these fields; the first of them stands in line 8."""
    return f"{VIP}---\n{AGENT}{fields}\n"


def said(text: str, hostname: str = "cp1") -> list[str]:
    """Return every problem as `line:column: message`, without file and remedy."""
    return [f"{p.place.line}:{p.place.column}: {p.message}" for p in read(text, hostname).problems]


def read(text: str, hostname: str = "cp1") -> Loaded:
    """Parse one file, and hold `parse` to its word: a configuration, or problems, never both or none."""
    loaded = parse({"f.yaml": text}, hostname)
    assert (loaded.config is None) == bool(loaded.problems)
    for problem in (*loaded.problems, *loaded.notices):
        assert problem.place.line >= 1
        assert problem.place.column >= 1
        assert problem.message
        assert problem.remedy
        assert str(problem) == f"{problem.place}: {problem.message}; {problem.remedy}"
        assert str(problem).isprintable()
    return loaded


def config_of(text: str, hostname: str = "cp1") -> Config:
    """Parse one file that must be in order."""
    loaded = read(text, hostname)
    assert loaded.config is not None, [str(problem) for problem in loaded.problems]
    return loaded.config

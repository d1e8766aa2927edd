"""`python -m scripts.manifests`: are the Kubernetes objects that we print or ship what Kubernetes' own schemas admit?

Role: every object against the schemas of several releases, strictly: an unknown field is an error. Objects of others'
kinds (ServiceMonitor) have no schema there, and are named as not checked.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from sharedip.cli.main import main as sharedip

RELEASES = ("1.28", "1.31", "1.34", "1.37")
IMAGE = "localhost/sharedip:0.0.0"
PRINTED = (
    ("kubeadm", "--image", IMAGE),
    ("kubeadm", "--image", IMAGE, "--vip", "192.168.0.15", "--link", "eth0"),
    ("haproxy", "--node-local", "--servers", "192.168.0.10", "--part", "pod"),
    ("haproxy", "--front", "--servers", "192.168.0.10", "--part", "pod"),
)
SHIPPED = (Path("packaging/sharedip-pod.yaml"), Path("packaging/monitoring/servicemonitor.yaml"))


def main() -> int:
    """0 if all of them are valid."""
    objects = [(f"manifest {' '.join(words)}", each) for words in PRINTED for each in yaml.safe_load_all(_print(words))]
    objects += [(str(file), each) for file in SHIPPED for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    faults = 0
    for name, one in objects:
        if "." in one["apiVersion"]:
            print(f"not checked  {one['kind']} of {name}: no schema of {one['apiVersion']} at hand")
            continue
        said = [fault for release in RELEASES for fault in _faults(one, release)]
        faults += len(said)
        print("\n".join(said) or f"valid        {one['kind']} of {name}, Kubernetes {', '.join(RELEASES)}")
    return 1 if faults else 0


def _print(words: tuple[str, ...]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert sharedip(["manifest", *words]) == 0
    return out.getvalue()


def _faults(one: dict[str, Any], release: str) -> list[str]:
    try:
        kubernetes_validate.validate(one, release, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"INVALID      {one['kind']}, Kubernetes {release}: {error.message}"]
    return []


if __name__ == "__main__":
    sys.exit(main())

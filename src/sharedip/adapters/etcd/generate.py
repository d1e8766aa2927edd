"""Writes `rpc_pb2.py` and `rpc_pb2.pyi` from `rpc.proto`.

Role: a development tool, `python src/sharedip/adapters/etcd/generate.py [folder]`; needs grpcio-tools.
Must never: be imported by the agent. Counterpart: the test that compares the committed stub with `rpc.proto`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROTO = "sharedip/adapters/etcd/rpc.proto"
SOURCES = Path(__file__).resolve().parents[3]


def generate(folder: Path) -> None:
    """Write the stub under `folder`, in the package's own path (the path becomes the stub's module name)."""
    arguments = ["-I", str(SOURCES), f"--python_out={folder}", f"--pyi_out={folder}", PROTO]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCES)

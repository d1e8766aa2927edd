"""Writes `rpc_pb2.py` and `rpc_pb2.pyi` from `rpc.proto`.

Role: a development tool, `python src/sharedip/adapters/etcd/generate.py [folder]`; needs grpcio-tools. The stub is the
serialized descriptor and what protobuf makes of it. protoc's own Python output is not taken: it refuses every
protobuf older than the one that it came with, and promises nothing for the next major version; a descriptor is read by
all of them.
Must never: be imported by the agent. Counterpart: the test that compares the committed stub with `rpc.proto`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

PROTO = "sharedip/adapters/etcd/rpc.proto"
SOURCES = Path(__file__).resolve().parents[3]
BYTES_PER_LINE = 24


def generate(folder: Path) -> None:
    """Write stub and type hints under `folder`, in the package's own path."""
    with tempfile.TemporaryDirectory() as scratch:
        described = Path(scratch) / "rpc.descriptors"
        outputs = [f"--descriptor_set_out={described}", f"--pyi_out={folder}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", str(SOURCES), *outputs, PROTO], check=True)
        (file,) = FileDescriptorSet.FromString(described.read_bytes()).file
    (folder / PROTO).with_name("rpc_pb2.py").write_text(stub(file), encoding="utf-8")


def stub(file: FileDescriptorProto) -> str:
    """The module's text."""
    for message in file.message_type:
        _drop_json_names(message)
    serialized = file.SerializeToString(deterministic=True)
    lines = [f"    {serialized[at : at + BYTES_PER_LINE]!r}" for at in range(0, len(serialized), BYTES_PER_LINE)]
    classes = [f'{message.name} = _class("{message.name}")' for message in file.message_type]
    return _STUB.format(proto=file.name, package=file.package, serialized="\n".join(lines), classes="\n".join(classes))


def _drop_json_names(message: DescriptorProto) -> None:
    """Names for JSON, which we never write: a fifth of the descriptor, and every reader derives the same ones."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _drop_json_names(nested)


_STUB = '''\
"""Generated from {proto} by generate.py; `make proto` writes it anew. Do not edit."""

try:
    # The half in C alone. The documented way to it loads the one in Python as well: more than 1 MB that nothing uses.
    from google._upb import _message
    from google.protobuf.message import Message
except ImportError:  # a protobuf that is built without it
    from google.protobuf import descriptor_pool as _message
    from google.protobuf import message_factory

# A pool of our own: whoever else in this process speaks etcd has messages of the same names in the default one.
_pool = _message.DescriptorPool()
_pool.AddSerializedFile(
{serialized}
)
DESCRIPTOR = _pool.FindFileByName("{proto}")


def _class(name):
    described = _pool.FindMessageTypeByName("{package}." + name)
    if hasattr(_message, "MessageMeta"):
        return _message.MessageMeta(name, (Message,), {{"DESCRIPTOR": described, "__module__": __name__}})
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(described)
    return message_factory.MessageFactory(_pool).GetPrototype(described)  # before 4.22


{classes}
'''


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCES)

"""The generated stub and the table of methods are what rpc.proto says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from sharedip.adapters.etcd import generate, rpc_pb2
from tests.unit.adapters.etcd.etcd_fake import METHODS


def test_committed_stub_is_generated_from_the_committed_proto(tmp_path: Path) -> None:
    """A changed rpc.proto without its stub would speak another protocol than the one read."""
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed: the stub can't be generated to compare")
    generate.generate(tmp_path)
    fresh = (tmp_path / "sharedip/adapters/etcd/rpc_pb2.py").read_text()
    assert fresh == Path(rpc_pb2.__file__).read_text()
    committed_hints = Path(rpc_pb2.__file__).with_suffix(".pyi").read_text()
    assert set(_classes((tmp_path / "sharedip/adapters/etcd/rpc_pb2.pyi").read_text())) == set(
        _classes(committed_hints)
    )


def _classes(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("class ")]


def test_every_method_of_the_table_is_declared_in_the_proto() -> None:
    """Path, shape and types of the hand-written table against the services of rpc.proto, both ways."""
    file = FileDescriptorProto()
    rpc_pb2.DESCRIPTOR.CopyToProto(file)
    declared = {
        f"/{file.package}.{service.name}/{method.name}": (
            method.input_type.removeprefix("."),
            method.output_type.removeprefix("."),
            method.client_streaming and method.server_streaming,
        )
        for service in file.service
        for method in service.method
    }
    written = {
        method.path: (
            method.request.DESCRIPTOR.full_name,
            method.reply.DESCRIPTOR.full_name,
            bool(method.cardinality.client_streaming),
        )
        for method in METHODS
    }
    assert written == declared


SPEAKS = """
import sys
{before}
from sharedip.adapters.etcd import rpc_pb2 as pb
asked = pb.TxnRequest(success=[pb.RequestOp(request_put=pb.PutRequest(key=b"k", lease=7))])
read = pb.TxnRequest.FromString(asked.SerializeToString())
assert read.success[0].request_put.lease == 7 and read == asked, read
print("google.protobuf.internal.python_message" in sys.modules)
"""


@pytest.mark.parametrize(("without_c", "before"), [(False, ""), (True, "sys.modules['google._upb'] = None")])
def test_messages_are_made_by_the_half_in_c_alone_where_there_is_one(without_c: bool, before: str) -> None:
    """The half in Python costs 1 MB at least; a protobuf that was built without the other one works all the same."""
    told = subprocess.run(
        [sys.executable, "-c", SPEAKS.format(before=before)], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{without_c}\n"

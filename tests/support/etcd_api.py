"""The stubs of etcd's API as the tests speak it (`etcd.proto`), generated where they are wanted."""

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from grpc_tools import protoc

HERE = Path(__file__).parent


def _generated() -> tuple[Any, Any]:
    folder = tempfile.mkdtemp(prefix="etcd-api-")
    arguments = ["protoc", f"-I{HERE}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main([*arguments, "etcd.proto"]) != 0:
        raise RuntimeError("protoc could not compile tests/support/etcd.proto")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("etcd_pb2"), importlib.import_module("etcd_pb2_grpc")
    finally:
        sys.path.remove(folder)


pb, rpc = _generated()

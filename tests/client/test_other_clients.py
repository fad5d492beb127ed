"""Clients that are not ours: gRPC's own in C++, and h2load. (Node has a module of its own.)"""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from fake_server import FakeServer
from harness import ServerProcess
from sanitizer import patient_s, plain_environment
from subject import DAY, Policy
from subject_grpc import GrpcSubject

from ownerd.v1 import dial_pb2

ROOT = Path(__file__).parents[2]
PLUGIN = shutil.which("grpc_cpp_plugin")
BUILD_S = 300.0
RUN_S = patient_s(60.0)


def _run(command: list[str | Path], timeout_s: float = RUN_S) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env=plain_environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _flags(*packages: str) -> list[str]:
    return _run(["pkg-config", "--cflags", "--libs", *packages]).split()


@pytest.fixture(scope="module")
def cpp_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of tests/client/cpp/smoke.cc."""
    if PLUGIN is None or not shutil.which("protoc") or not shutil.which("g++"):
        pytest.skip("no grpc_cpp_plugin, protoc and g++ to build a C++ client with")
    made = tmp_path_factory.mktemp("cpp")
    proto = "ownerd/v1/dial.proto"
    _run(
        [
            "protoc",
            f"-I{ROOT / 'protos'}",
            f"--cpp_out={made}",
            f"--grpc_out={made}",
            f"--plugin=protoc-gen-grpc={PLUGIN}",
            proto,
        ]
    )
    sources = [
        ROOT / "tests" / "client" / "cpp" / "smoke.cc",
        *sorted((made / "ownerd" / "v1").glob("*.cc")),
    ]
    program = made / "smoke"
    _run(
        ["g++", "-std=c++17", f"-I{made}", "-o", program, *sources, *_flags("grpc++", "protobuf")],
        BUILD_S,
    )
    return program


def test_a_client_in_cpp_gets_what_the_others_get(server: ServerProcess, cpp_client: Path) -> None:
    subject = GrpcSubject(server.dial_stub(), server.admin_stub())
    subject.create_list("list", Policy(True, None, None, DAY))
    found = _run([cpp_client, server.dial_address, "list"]).split("\n")
    assert found == [
        "CLAIM_DECISION_GRANTED",
        "CLAIM_DECISION_DENIED/A",
        "code=5",
        "10000",
        "code=3",
        "",
    ]


def test_the_recipe_in_cpp_goes_on_to_the_address_that_answers(
    server: ServerProcess, cpp_client: Path
) -> None:
    subject = GrpcSubject(server.dial_stub(), server.admin_stub())
    subject.create_list("list", Policy(True, None, None, DAY))
    with FakeServer() as frozen, socket.socket() as refusing:
        frozen.hold("Claim")
        refusing.bind(("127.0.0.1", 0))
        port = refusing.getsockname()[1]
        addresses = f"127.0.0.1:{port},{frozen.address},{server.dial_address}"
        assert _run([cpp_client, addresses, "list"]) == "2 code=0 CLAIM_DECISION_GRANTED\n"
        assert len(frozen.requests["Claim"]) == 1


def test_h2load_gets_an_answer_for_every_request(server: ServerProcess, tmp_path: Path) -> None:
    if not shutil.which("h2load"):
        pytest.skip("no h2load")
    subject = GrpcSubject(server.dial_stub(), server.admin_stub())
    subject.create_list("list", Policy(True, None, None, DAY))
    request = dial_pb2.ClaimRequest(list_id="list", record_id="1", campaign_id="A")
    message = request.SerializeToString()
    body = tmp_path / "body"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    shown = _run(
        [
            "h2load",
            "-n",
            "20000",
            "-c",
            "8",
            "-m",
            "200",
            "-d",
            body,
            "-H",
            "te: trailers",
            "-H",
            "content-type: application/grpc",
            f"http://{server.dial_address}/ownerd.v1.DialService/Claim",
        ]
    )
    assert "20000 succeeded, 0 failed, 0 errored, 0 timeout" in shown, shown
    assert subject.holder("list", "1") is not None

"""Fixtures that several test modules share: server processes, stubs, subjects and unique names.

With TESTS_SKIP_NOTHING=1 a test that would be skipped fails: where everything is there that tests
can want, nothing is to be left out unseen.
"""

import os

# Before grpcio is imported: ThreadSanitizer makes a fork of subprocess's vfork, and what grpcio
# does in the child of a fork ends it now and then before it has become what it is to be.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import itertools
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from harness import ServerProcess, listeners
from hypothesis import HealthCheck, settings
from model import Model
from sanitizer import SANITIZER
from scene import Scene, TimedScene
from subject_engine import EngineSubject
from subject_grpc import GrpcSubject

from ownerd.base.testing import live_objects
from ownerd.v1 import admin_pb2_grpc, dial_pb2_grpc

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

_numbers = itertools.count(1)
_no_skip = os.environ.get("TESTS_SKIP_NOTHING") == "1"

# Whoever runs the tests may have servers of their own; these say nothing about the tests'.
for _name in ("CONTEXT", "SERVER", "DIAL", "TOKEN", "TOKEN_FILE", "CA", "CERT", "KEY"):
    os.environ.pop(f"OWNERD_{_name}", None)

# A failure prints what reproduces it; nothing is kept in the source tree between runs.
settings.register_profile(
    "ownerd",
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ownerd")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this build does not have or its sanitizer cannot run; begin with the longest.

    The modules beside this one paste whole documents into a shell or run whole tools; where several
    processes share the run, one of them would be left alone with those at the end.
    """
    left_out = [item for item in items if _is_for_another_build(item)]
    config.hook.pytest_deselected(items=left_out)
    kept = [item for item in items if item not in left_out]
    items[:] = sorted(kept, key=lambda item: len(item.path.parts))


def _is_for_another_build(item: pytest.Item) -> bool:
    if item.get_closest_marker("debug") and live_objects() is None:
        return True
    return any(SANITIZER in mark.args for mark in item.iter_markers("unsanitized"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a skipped test fail, where none is to be skipped."""
    return _not_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Have a module that is skipped as a whole fail likewise."""
    return _not_skipped((yield))


def _not_skipped(report: Report) -> Report:
    if _no_skip and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"TESTS_SKIP_NOTHING=1 is set: {reason}"
    return report


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, on an empty data directory; the test may kill or restart it."""
    with ServerProcess(tmp_path / "data") as process:
        yield process


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the whole run: a test uses lists and campaigns named by `unique`."""
    with ServerProcess(tmp_path_factory.mktemp("shared") / "data") as process:
        yield process


@pytest.fixture(scope="session")
def grpcio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """As `shared_server`, with the listeners that serve where no native ones were built."""
    directory = tmp_path_factory.mktemp("grpcio") / "data"
    with ServerProcess(directory, *listeners("grpcio")) as process:
        yield process


@pytest.fixture(params=["native", "grpcio"])
def dial_listener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the servers that the test starts use each kind of listener in turn, on both ports."""
    name = str(request.param)
    if name == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    monkeypatch.setenv("OWNERD_DIAL_LISTENER", name)
    monkeypatch.setenv("OWNERD_ADMIN_LISTENER", name)
    return name


@pytest.fixture
def unique() -> str:
    """A name that no other test uses, fit for list, campaign and request ids."""
    return f"test-{next(_numbers)}"


@pytest.fixture(scope="session", params=["native", "grpcio"])
def any_server(request: pytest.FixtureRequest) -> ServerProcess:
    """The shared server with each kind of listener in turn."""
    if request.param == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    name = "shared_server" if request.param == "native" else "grpcio_server"
    process: ServerProcess = request.getfixturevalue(name)
    return process


@pytest.fixture(scope="session")
def dial(any_server: ServerProcess) -> dial_pb2_grpc.DialServiceStub:
    """DialService on the dial port of each kind of server."""
    return any_server.dial_stub()


@pytest.fixture(scope="session")
def admin(any_server: ServerProcess) -> admin_pb2_grpc.AdminServiceStub:
    """AdminService on each kind of server."""
    return any_server.admin_stub()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineSubject]:
    """An engine in process, on a manual clock and an empty data directory."""
    subject = EngineSubject(tmp_path / "data")
    yield subject
    subject.close()


@pytest.fixture(
    params=[
        "model",
        "engine",
        "native-dial-port",
        "native-admin-port",
        "grpcio-dial-port",
        "grpcio-admin-port",
    ]
)
def scene(request: pytest.FixtureRequest, unique: str) -> Scene:
    """A list, not yet opened, on every implementation of the rules in turn."""
    name = str(request.param)
    if name == "model":
        return Scene(Model(), unique)
    if name == "engine":
        return Scene(request.getfixturevalue("engine"), unique)
    if name.startswith("native"):
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    server = "grpcio_server" if name.startswith("grpcio") else "shared_server"
    process: ServerProcess = request.getfixturevalue(server)
    address = process.admin_address if name.endswith("admin-port") else process.dial_address
    return Scene(GrpcSubject(process.dial_stub(address), process.admin_stub()), unique)


@pytest.fixture(params=["model", "engine"])
def timed(request: pytest.FixtureRequest, unique: str) -> TimedScene:
    """A list, not yet opened, on every implementation whose clock can be moved."""
    if request.param == "model":
        return TimedScene(Model(), unique)
    return TimedScene(request.getfixturevalue("engine"), unique)

"""A data directory that cannot be used: one line that names it, and exit code 4."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sanitizer import patient_s
from subject_engine import EngineSubject

from ownerd.server import config, exits
from ownerd.server import store as opener

FEW = ["--dial-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--metrics-listen", ""]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ownerd to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ownerd.server", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )


def lock_is_a_directory(store: Path) -> str:
    (store / "LOCK").unlink()
    (store / "LOCK").mkdir()
    return str(store)


def lock_leads_nowhere(store: Path) -> str:
    (store / "LOCK").unlink()
    (store / "LOCK").symlink_to(store / "gone" / "LOCK")
    return str(store)


def data_is_a_file(store: Path) -> str:
    return str(store / "LOCK")


def data_is_below_a_file(store: Path) -> str:
    return str(store / "LOCK" / "store")


def name_is_too_long(store: Path) -> str:
    return str(store / ("x" * 300))


def records_lead_in_a_circle(store: Path) -> str:
    circle = store.with_name("circle")
    circle.symlink_to(circle)
    return str(circle)


UNUSABLE = [
    lock_is_a_directory,
    lock_leads_nowhere,
    data_is_a_file,
    data_is_below_a_file,
    name_is_too_long,
    records_lead_in_a_circle,
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that no server has open."""
    EngineSubject(tmp_path / "data").close()
    return tmp_path / "data"


@pytest.mark.parametrize("spoil", UNUSABLE)
@pytest.mark.parametrize("command", ["serve", "verify", "admin-token"])
def test_what_cannot_be_used_is_one_line(
    store: Path, command: str, spoil: Callable[[Path], str]
) -> None:
    where = spoil(store)
    words = [where] if command == "verify" else ["--data", where]
    ended = run(command, *words, *(FEW if command == "serve" else ()))
    assert ended.stderr.startswith("ownerd: ") and ended.stderr.count("\n") == 1
    # A path without a store in it is a wrong flag to `admin-token`.
    allowed = {exits.STORE_FAILED} | ({exits.USAGE} if command == "admin-token" else set())
    if command == "verify" and spoil is data_is_a_file:
        allowed = {exits.STORE_DAMAGED}  # what it takes for a backup
    assert ended.returncode in allowed and ended.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize("mode", [0, stat.S_IRUSR, stat.S_IRUSR | stat.S_IXUSR])
@pytest.mark.parametrize("closed", [".", "records"])
def test_what_may_not_be_read_is_one_line(store: Path, closed: str, mode: int) -> None:
    code = (
        "import os, sys\nfrom ownerd.server import app, cli\n"
        "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "cli.main(sys.argv[1:])"
    )
    for each in (store, *store.rglob("*")):
        os.chown(each, 65534, 65534)
    os.chown(store / closed, 0, 0)
    (store / closed).chmod(mode)
    for above in (store, *store.parents):
        if above != store and not above.stat().st_mode & stat.S_IXOTH:
            above.chmod(above.stat().st_mode | stat.S_IXOTH)
    for words in (
        ["serve", "--data", str(store), *FEW],
        ["admin-token", "--data", str(store)],
        ["verify", str(store)],
    ):
        ended = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == exits.STORE_FAILED, ended.stderr
        assert ended.stderr.startswith("ownerd: ") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "make room"), (errno.EACCES, "chown"), (errno.EIO, "")]
)
def test_what_the_system_refuses_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(opener, "Engine", refuse)
    with pytest.raises(exits.StoreFailed, match=f"{os.strerror(number)}.*{advice}"):
        opener.open_at(config.Settings(data="DIR"), opener._opening(config.Settings(), create=True))

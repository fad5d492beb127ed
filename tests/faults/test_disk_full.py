"""A disk with no space left: grants are refused, the rest goes on, and space that returns is used.

The disk is a small tmpfs in a mount namespace of its own, so nothing else on the machine sees it.
"""

import errno
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import ServerProcess, poll
from sanitizer import patient_s, plain_environment
from subject import DAY, OVERWRITE, Policy, Refusal, Row
from subject_grpc import GrpcSubject

MIB = 1 << 20
DISK_BYTES = 16 * MIB
HELD = Policy(True, None, None, DAY)
BATCH = 1_000
SIZES = ("--map-bytes", "256MiB", "--reserve-bytes", "2MiB")
# Says so once the disk is there, then keeps the namespace until its stdin ends.
HOLDER = 'mount -t tmpfs -o size="$1" none "$2" && echo mounted && exec cat'


class SmallDisk:
    """A tmpfs that only this object's servers see; it outlives them."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.place = place
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", HOLDER, "sh", str(DISK_BYTES), str(place)],
            env=plain_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.holder.stdout is not None
        self.said = self.holder.stdout.readline().strip()

    @property
    def is_mounted(self) -> bool:
        """Whether this machine lets us mount."""
        return self.said == "mounted"

    def server(self) -> ServerProcess:
        """Return a server, not yet started, whose data directory is on the disk."""
        command = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt"]
        return ServerProcess(self.place / "data", *SIZES, command=command)

    @property
    def _ballast(self) -> Path:
        return Path(f"/proc/{self.holder.pid}/root{self.place}/ballast")

    def fill(self) -> None:
        """Take all space that is left on the disk."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (64 << 10, 4 << 10):
                try:
                    while ballast.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC

    def clear(self) -> None:
        """Give the space back that `fill` took."""
        self._ballast.unlink()

    def close(self) -> None:
        """Let go of the disk and all that is on it."""
        with self.holder:
            assert self.holder.stdin is not None
            self.holder.stdin.close()
            self.holder.wait(10)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("no unshare and nsenter to make a small disk with")
    disk = SmallDisk(tmp_path / "disk")
    try:
        if not disk.is_mounted:
            pytest.skip(f"not permitted to mount a small disk: {disk.said}")
        yield disk
    finally:
        disk.close()


@pytest.fixture
def server(disk: SmallDisk) -> Iterator[ServerProcess]:
    """A server on the small disk, with a list."""
    with disk.server() as server:
        _subject(server).create_list("list", HELD)
        yield server


def _subject(server: ServerProcess) -> GrpcSubject:
    return GrpcSubject(server.dial_stub(), server.admin_stub())


def _fill_with_claims(subject: GrpcSubject, name: str = "record") -> list[str]:
    """Claim records for A until the server refuses, and return those that were granted."""
    granted: list[str] = []
    while len(granted) < 1_000_000:
        ids = [f"{name}-{len(granted) + number:07}" for number in range(BATCH)]
        try:
            subject.claim_batch("list", "A", ids)
        except Refusal as refusal:
            assert refusal.code == "RESOURCE_EXHAUSTED", refusal
            assert "disk" in refusal.message
            return granted
        granted += ids
    raise AssertionError("a million records fit on a disk of a few MiB")


def _grants(subject: GrpcSubject, record_id: str) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return subject.claim("list", record_id, "B").what == "GRANTED"
        except Refusal as refusal:
            assert refusal.code == "RESOURCE_EXHAUSTED", refusal
            return False

    return look


def _check_what_still_works(subject: GrpcSubject, granted: list[str]) -> None:
    """Everything that a full disk must not stop."""
    assert subject.claim("list", granted[0], "B").what == "DENIED"
    assert subject.attempt("list", granted[0], "A", "Busy").what == "OWNERSHIP_ACQUIRED"
    attempts = [(record_id, "Busy") for record_id in granted[1:BATCH]]
    answers = subject.attempt_batch("list", "A", attempts)
    assert set(answers.what) == {"OWNERSHIP_ACQUIRED"}
    subject.upsert_campaign("A", "Renamed")
    subject.update_policy("list", HELD._replace(duration_ns=DAY))
    assert subject.owners("list")[0].name == "Renamed"
    assert subject.release_records("list", granted[:1]) == 1
    assert subject.release("list", reservations=True) == BATCH - 1


def test_a_full_disk_refuses_grants_and_nothing_else(server: ServerProcess) -> None:
    subject = _subject(server)
    granted = _fill_with_claims(subject)
    assert len(granted) >= 10 * BATCH
    assert any("disk" in alarm for alarm in map(str, subject.status().alarms))
    assert subject.holder("list", granted[-1]) is not None
    _check_what_still_works(subject, granted)
    poll(
        _grants(subject, granted[0]),
        "the space of released records to be used again",
        patient_s(30),
    )
    assert server.stop() == 0


def test_grants_work_again_without_a_restart_when_room_returns(
    disk: SmallDisk, server: ServerProcess
) -> None:
    subject = _subject(server)
    disk.fill()
    granted = _fill_with_claims(subject)
    assert _grants(subject, "new")() is False
    disk.clear()
    assert subject.claim("list", "new", "B").what == "GRANTED"
    assert not subject.status().alarms
    assert len(_fill_with_claims(subject, "more")) > len(granted)
    assert subject.holder("list", "new") is not None


def test_a_disk_that_someone_else_fills_leaves_room_for_a_release(
    disk: SmallDisk, server: ServerProcess
) -> None:
    subject = _subject(server)
    subject.import_rows("list", [Row(f"row-{number}", "C") for number in range(4 * BATCH)])
    disk.fill()
    granted = _fill_with_claims(subject)
    if granted:
        assert subject.attempt("list", granted[0], "A", "Busy").what == "OWNERSHIP_ACQUIRED"
    assert subject.release("list", ["C"]) == 4 * BATCH
    assert subject.holder("list", "row-1") is None
    assert server.stop() == 0


def test_r18_a_server_starts_on_a_full_disk_with_all_that_was_answered(
    disk: SmallDisk, server: ServerProcess
) -> None:
    granted = _fill_with_claims(_subject(server))
    disk.fill()
    server.kill()
    subject = _subject(server.start())
    assert subject.owners("list")[0].reserved_count == len(granted)
    assert _grants(subject, "new")() is False
    _check_what_still_works(subject, granted)
    disk.clear()
    poll(_grants(subject, "new"), "a grant", patient_s(30))


def test_an_import_onto_a_full_disk_is_refused_whole(
    disk: SmallDisk, server: ServerProcess
) -> None:
    subject = _subject(server)
    disk.fill()
    _fill_with_claims(subject)
    rows = [Row(f"row-{number:06}-{'x' * 80}", "C") for number in range(40 * BATCH)]
    with pytest.raises(Refusal) as refusal:
        subject.import_rows("list", rows, OVERWRITE)
    assert refusal.value.code == "RESOURCE_EXHAUSTED"
    assert [owner.campaign_id for owner in subject.owners("list")] in ([], ["A"])
    disk.clear()
    assert subject.import_rows("list", rows[:BATCH], OVERWRITE).imported == BATCH


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", *SIZES) as server:
        subject = _subject(server)
        subject.create_list("list", HELD)
        _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (12 * MIB, most))
        granted = _fill_with_claims(subject)
        _check_what_still_works(subject, granted)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))
        poll(_grants(subject, "new"), "a grant", patient_s(30))
        assert server.stop() == 0

"""R18: a power cut at any moment loses nothing that was answered, and leaves a store that opens."""

import os
import random
from pathlib import Path

import pytest
from power_cut import Plan, Recording, build_recorder, opened_at, record, replay, unlike
from power_disk import CHOICES, Disk, Event, Everything, Faults, File, Kind, Nothing

IMAGES = 400


@pytest.fixture(scope="module")
def seed() -> int:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return seed


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = build_recorder(tmp_path_factory.mktemp("recorder"))
    if library is None:
        pytest.skip("no C compiler to build the recorder with")
    return library


@pytest.fixture(scope="module")
def recording(recorder: Path, tmp_path_factory: pytest.TempPathFactory, seed: int) -> Recording:
    return record(recorder, tmp_path_factory.mktemp("recording"), seed)


def test_the_recorder_sees_everything_that_is_written(recording: Recording) -> None:
    assert unlike(recording) == []


def test_r18_a_power_cut_loses_nothing_that_was_answered_and_invents_nothing(
    recording: Recording, seed: int
) -> None:
    print(f"seed {seed}, {recording.log}")
    plan = Plan(IMAGES, seed, first_point=opened_at(recording))
    assert replay(recording, plan) == []


def test_r18_a_power_cut_during_the_first_start_leaves_a_store_that_opens(
    recording: Recording, seed: int
) -> None:
    print(f"seed {seed}, {recording.log}")
    assert replay(recording, Plan(IMAGES // 2, seed, last_point=opened_at(recording))) == []


def test_r18_a_data_directory_in_new_directories_outlives_a_power_cut(
    recorder: Path, tmp_path: Path, seed: int
) -> None:
    data = "new/newer/data"
    recording = record(recorder, tmp_path, seed, lives=1, rounds=1, calls=5, data=data)
    plan = Plan(100, seed, first_point=opened_at(recording))
    assert replay(recording, plan, data) == []


# ---- the test is able to fail


@pytest.mark.parametrize(
    "faults", [Faults(ignores_sync=True), Faults(True, True)], ids=["sync", "both"]
)
def test_a_disk_that_ignores_syncs_is_noticed(
    recording: Recording, seed: int, faults: Faults
) -> None:
    plan = Plan(IMAGES, seed, faults=faults, first_point=opened_at(recording))
    assert len(replay(recording, plan)) == plan.failure_limit


def test_answers_that_come_before_the_commit_are_noticed(
    recorder: Path, tmp_path: Path, seed: int
) -> None:
    recording = record(recorder, tmp_path, seed, lives=1, rounds=1, early=True)
    failures = replay(recording, Plan(IMAGES, seed, first_point=opened_at(recording)))
    assert failures
    assert all("Lost" in failure.what for failure in failures)


# ---- the model of the disk


class Script:
    """Makes the events of a log, one call after another, and feeds them to a disk."""

    def __init__(self, faults: Faults = Faults()) -> None:
        self.disk = Disk("/root", faults)
        self.call = 0

    def event(
        self, kind: Kind, handle: int = 0, offset: int = 0, length: int = 0, data: bytes = b""
    ) -> None:
        self.disk.feed(Event(kind, self.call, handle, offset, length, data))

    def open(self, handle: int, path: str = "/root/file", flags: int = 0) -> None:
        self.event(Kind.OPEN, handle, flags, data=path.encode())

    def done(
        self, kind: Kind, handle: int, offset: int = 0, data: bytes = b"", length: int = 0
    ) -> None:
        """A call that begins, succeeds and returns."""
        self.call += 1
        self.event(kind, handle, offset, length or len(data), data)
        self.event(Kind.END, length=len(data) if kind == Kind.WRITE else 0)

    def lost(self) -> dict[str, bytes]:
        """The files if the power is cut now and nothing more reaches the disk."""
        return self._files(self.disk.image(Nothing()))

    def kept(self) -> dict[str, bytes]:
        """The files if all reaches the disk."""
        return self._files(self.disk.image(Everything()))

    def _files(self, image: dict[str, tuple[bytearray, int] | None]) -> dict[str, bytes]:
        return {
            path: bytes(content[0]) + bytes(content[1] - len(content[0]))
            for path, content in image.items()
            if content is not None
        }


@pytest.fixture
def script() -> Script:
    """A disk with a file whose name is promised."""
    script = Script()
    script.open(1)
    script.open(2, "/root")
    script.done(Kind.SYNC, 2)
    return script


def test_a_write_is_promised_once_a_sync_that_began_after_it_has_returned(script: Script) -> None:
    script.done(Kind.WRITE, 1, 0, b"old")
    script.done(Kind.SYNC, 1)
    script.done(Kind.WRITE, 1, 0, b"new")
    assert script.lost() == {"/root/file": b"old"}
    assert script.kept() == {"/root/file": b"new"}
    script.done(Kind.SYNC, 1)
    assert script.lost() == {"/root/file": b"new"}


def test_a_sync_promises_nothing_that_was_written_while_it_ran(script: Script) -> None:
    script.event(Kind.SYNC, 1)
    sync, script.call = script.call, 100
    script.done(Kind.WRITE, 1, 0, b"late")
    script.call = sync
    script.event(Kind.END)
    assert script.lost() == {"/root/file": b""}


def test_a_failed_sync_promises_nothing(script: Script) -> None:
    script.done(Kind.WRITE, 1, 0, b"data")
    script.call += 1
    script.event(Kind.SYNC, 1)
    script.event(Kind.END, length=-1)
    assert script.lost() == {"/root/file": b""}


def test_a_write_through_dsync_promises_itself_alone(script: Script) -> None:
    script.open(3, flags=os.O_DSYNC)
    script.done(Kind.WRITE, 1, 1024, b"plain")
    script.done(Kind.WRITE, 3, 0, b"through")
    assert script.lost() == {"/root/file": b"through"}


def test_a_name_is_promised_once_its_directory_is_synced() -> None:
    script = Script()
    script.open(1)
    script.done(Kind.WRITE, 1, 0, b"data")
    script.done(Kind.SYNC, 1)
    assert script.lost() == {}
    script.open(2, "/root")
    script.done(Kind.SYNC, 2)
    assert script.lost() == {"/root/file": b"data"}


def test_a_rename_is_lost_or_kept_as_one_with_what_is_in_the_directory() -> None:
    script = Script()
    script.event(Kind.MKDIR, data=b"/root/new")
    script.open(1, "/root/new/file")
    for handle, path in ((2, "/root/new"), (3, "/root")):
        script.open(handle, path)
        script.done(Kind.SYNC, handle)
    script.event(Kind.RENAME, data=b"/root/new\0/root/old")
    assert (script.lost(), script.kept()) == ({"/root/new/file": b""}, {"/root/old/file": b""})
    script.done(Kind.SYNC, 3)
    assert script.lost() == {"/root/old/file": b""}


def test_a_file_grows_and_shrinks_and_what_was_cut_off_is_gone(script: Script) -> None:
    script.done(Kind.WRITE, 1, 0, b"x" * 600)
    script.done(Kind.RESIZE, 1, length=4)
    script.done(Kind.GROW, 1, length=8)
    assert script.kept() == {"/root/file": b"xxxx\0\0\0\0"}
    script.done(Kind.SYNC, 1)
    assert script.lost() == {"/root/file": b"xxxx\0\0\0\0"}


def test_images_are_torn_at_sectors_and_a_sector_keeps_the_order_of_its_writes() -> None:
    file, seen = File(size=1024), set()
    file.write(1, 0, b"a" * 1024)
    file.write(2, 0, b"b" * 512)
    for number in range(300):
        choice = CHOICES["torn"](random.Random(number), [1, 2])
        content, _ = file.image(choice)
        sectors = bytes(content).ljust(1024, b"\0")
        first, second = {*sectors[:512]}, {*sectors[512:]}
        assert len(first) == len(second) == 1
        seen.add(chr(first.pop()) + chr(second.pop()))
    assert seen == {f + s for f in "\0ab" for s in "\0a"}

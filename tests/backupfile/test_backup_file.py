"""A backup file tells whether it is whole: no byte of it can be changed, added or left out."""

import hashlib
import io
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from sanitizer import examples, plain_environment

from ownerd.backupfile import layout, reading, writing
from ownerd.backupfile.layout import BackupDamaged, BackupError, Head, OtherBackupFormat

TIME_S = 1_800_000_000
HEAD = Head(7, "2027-01-15T08:00:00Z", "0123456789abcdef", "fedcba9876543210", 5, "1.0")


class Files:
    """Files in memory, read as those of a store are."""

    def __init__(self, *files: tuple[str, bytes, int]) -> None:
        self.contents = [data for _, data, _ in files]
        self.files = tuple((name, len(data), whole) for name, data, whole in files)

    def read(self, index: int, offset: int, size: int, /) -> bytes:
        return self.contents[index][offset : offset + size]


def some_files(seed: int = 1) -> Files:
    content = random.Random(seed).randbytes
    return Files(
        (f"log/{7:020d}", content(8_192), 16_384),
        (f"log/{8:020d}", content(4_100), 16_384),
        ("records/data.mdb", content(20_000), 20_000),
    )


def archive(files: Files | None = None, head: Head = HEAD, piece_bytes: int = 3_000) -> bytes:
    return b"".join(writing.pieces(head, files or some_files(), TIME_S, piece_bytes))


class Received:
    """A sink in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.name = ""

    def begin(self, name: str) -> None:
        self.name = name
        self.files[name] = b""

    def write(self, data: bytes) -> None:
        self.files[self.name] += data


class Slowly:
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self.left = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self.left.read(min(size, 700))


def test_what_was_written_is_read() -> None:
    files, sink = some_files(), Received()
    heads: list[Head] = []
    data = archive(files)
    found = reading.read(Slowly(data), sink, heads.append)
    assert heads == [found.head]
    assert found.head == HEAD._replace(total_bytes=len(data))
    assert found.head == writing.sized(HEAD, files)
    assert sink.files == dict(
        zip([name for name, _, _ in files.files], files.contents, strict=True)
    )
    assert [(each.name, each.whole_bytes) for each in found.members[1:]] == [
        (name, whole) for name, _, whole in files.files
    ]
    assert [each.sha256 for each in found.members[1:]] == [
        hashlib.sha256(content).hexdigest() for content in files.contents
    ]


def test_its_size_is_known_before_and_does_not_depend_on_the_pieces() -> None:
    assert len({archive(piece_bytes=size) for size in (1, 512, 4_096, 10**6)}) == 1
    for digits in range(1, 8):
        files = Files(
            ("log/" + "0" * 19 + "1", b"", 4_096), ("records/data.mdb", b"x" * 10**digits, 0)
        )
        assert len(archive(files)) == writing.sized(HEAD, files).total_bytes


def test_other_programs_read_it_as_a_tar_file(tmp_path: Path) -> None:
    files = some_files()
    (tmp_path / "backup").write_bytes(archive(files))
    with tarfile.open(tmp_path / "backup") as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "by python", filter="data")
    assert names == [
        layout.HEAD_NAME,
        *(name for name, _, _ in files.files),
        layout.MANIFEST_NAME,
        layout.SEAL_NAME,
    ]
    (tmp_path / "by tar").mkdir()
    subprocess.run(
        ["tar", "-xf", tmp_path / "backup", "-C", tmp_path / "by tar"],
        check=True,
        env=plain_environment(),
    )
    for by in ("by python", "by tar"):
        for (name, _, _), content in zip(files.files, files.contents, strict=True):
            assert (tmp_path / by / name).read_bytes() == content


def refused(data: bytes) -> BackupError | None:
    try:
        reading.read(io.BytesIO(data))
    except BackupError as error:
        return error
    return None


def changed(data: bytes, at: int, to: int) -> bytes:
    return data[:at] + bytes([to]) + data[at + 1 :]


def refuse_each_change(places: list[int], chance: random.Random) -> None:
    data = archive()
    for at in places:
        to = chance.choice([each for each in range(256) if each != data[at]])
        assert refused(changed(data, at, to)) is not None, f"byte {at} was made {to}"


def test_a_change_of_any_byte_is_refused() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    count = len(archive())
    refuse_each_change(chance.sample(range(count), examples(3_000)), chance)


def test_a_header_that_says_the_same_in_other_words_is_refused() -> None:
    """Also with a checksum that is right."""
    data = archive()
    name, size, _ = some_files().files[0]
    own = layout.header(name, size, TIME_S)
    assert data.count(own) == 1
    for field, value in (("mode", 0o644), ("mtime", TIME_S + 1), ("uname", "root"), ("uid", 1)):
        info = tarfile.TarInfo.frombuf(own, "utf-8", "strict")
        setattr(info, field, value)
        other = info.tobuf(tarfile.GNU_FORMAT)
        assert len(other) == len(own) and other != own
        assert "the header of" in str(refused(data.replace(own, other))), field


@pytest.mark.long
def test_a_change_of_every_byte_is_refused() -> None:
    chance = random.Random(1)
    for _ in range(3):
        refuse_each_change(list(range(len(archive()))), chance)


def test_one_that_was_cut_short_is_refused_wherever_it_was() -> None:
    data = archive()
    for size in (*range(0, len(data), 512), *range(len(data) - 3_000, len(data)), 1, 511):
        error = refused(data[:size])
        assert isinstance(error, BackupDamaged), size
        assert f"cut short, after {size:,} bytes" in str(error)


def test_what_follows_its_end_is_refused() -> None:
    for more in (b"\0", bytes(512), b"x", archive()):
        assert "follows its end" in str(refused(archive() + more))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut short, after 0 bytes"),
        (bytes(10_240), "no file begins at byte 0"),
        (b"PK\x03\x04" * 500, "no file begins at byte 0"),
        (layout.header("readme", 0, 0) + bytes(1_024), "no backup of ownerd"),
        (layout.header("BACKUP.json", 3, TIME_S) + b"[1]" + bytes(509), "no JSON"),
        (layout.header("BACKUP.json", 1 << 40, TIME_S), "which it never has"),
    ],
)
def test_what_is_no_backup_is_refused_by_name(data: bytes, why: str) -> None:
    error = refused(data)
    assert isinstance(error, BackupDamaged)
    assert why in str(error)


def test_a_newer_format_is_refused_by_name() -> None:
    error = refused(archive(head=HEAD._replace(format=2, version="9.0")))
    assert isinstance(error, OtherBackupFormat)
    assert "backup format 2" in str(error) and "9.0" in str(error)


@pytest.mark.parametrize(
    "names",
    [
        ["log/" + "0" * 19 + "1"],
        ["records/data.mdb"],
        ["records/data.mdb", "log/" + "0" * 19 + "1"],
        ["log/" + "0" * 19 + "1", "log/" + "0" * 19 + "3", "records/data.mdb"],
        ["log/" + "0" * 19 + "1", "records/data.mdb", "records/data.mdb"],
        ["log/../../../x", "records/data.mdb"],
        ["/etc/passwd", "records/data.mdb"],
        ["log/" + "0" * 19 + "1", "records/lock.mdb", "records/data.mdb"],
    ],
)
def test_files_that_no_store_has_there_are_refused(names: list[str]) -> None:
    sink = Received()
    files = Files(*((name, b"x", 1) for name in names))
    with pytest.raises(BackupDamaged):
        reading.read(io.BytesIO(archive(files)), sink)
    assert not any(".." in name or name.startswith("/") for name in sink.files)


def test_a_manifest_that_lists_other_files_is_refused() -> None:
    """Also where everything else was made anew to fit it."""
    files = some_files()
    data = archive(files)
    begin = data.index(layout.header(layout.MANIFEST_NAME, 0, TIME_S)[:20])
    members = list(reading.read(io.BytesIO(data)).members)
    for other in (
        members[:-1],
        [*members, members[-1]],
        [members[0], *members[2:], members[1]],
        [*members[:-1], members[-1]._replace(sha256="0" * 64)],
        [*members[:-1], members[-1]._replace(bytes=members[-1].bytes - 1)],
    ):
        assert isinstance(refused(data[:begin] + writing.ending(other, TIME_S)), BackupDamaged)
    assert refused(data[:begin] + writing.ending(members, TIME_S)) is None

"""What a disk may hold after a power cut: the log of `power_recorder.c`, and the model of a disk.

Owns the reading of the log and the rules of what is promised. A change may be on the disk from the
moment its call begins. It is promised to be there once a sync of its file that began after it has
returned; a write through O_DSYNC promises itself. A name is promised once its directory is synced
(a sync of the new file alone is not enough, though many filesystems are kinder). What is not yet
promised reaches the disk in any order, in sectors of 512 bytes, each whole or not at all; within a
sector, writes keep their order, as they do in the page cache. The size of a file comes separately.

`Faults` weakens the promises: a disk that ignores syncs, to see that a checker notices.
Knows nothing of what the files mean. One thread at a time.
"""

import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Protocol

SECTOR = 512
_HEADER = struct.Struct("<IIIIqq")
_NOT_YET = 2**62
Image = dict[str, tuple[bytearray, int] | None]
"""Content and size of files by path; None for a directory. Beyond the content are zeros."""


class Kind(IntEnum):
    """What an event says; see `power_recorder.c`."""

    START = 1
    MARK = 2
    OPEN = 3
    WRITE = 4
    RESIZE = 5
    GROW = 6
    SYNC = 7
    END = 8
    MKDIR = 9
    REMOVE = 10
    RENAME = 11
    MAP = 12
    HINT = 13


class Event(NamedTuple):
    """One event of the log; which fields mean something depends on the kind."""

    kind: Kind
    call: int
    handle: int
    offset: int
    length: int
    data: bytes


def read_log(path: Path) -> Iterator[Event]:
    """Yield the events of a log, oldest first; a last event that is cut short ends it."""
    with path.open("rb") as log:
        while len(header := log.read(_HEADER.size)) == _HEADER.size:
            kind, call, handle, data_size, offset, length = _HEADER.unpack(header)
            data = log.read(data_size)
            if len(data) < data_size:
                return
            yield Event(Kind(kind), call, handle, offset, length, data)


class Faults(NamedTuple):
    """Promises that the modelled disk breaks."""

    ignores_sync: bool = False
    """fdatasync and fsync of files return without an effect."""
    ignores_dsync: bool = False
    """O_DSYNC has no effect."""


class Choice(Protocol):
    """Which of the changes that are not promised yet are on the disk in one image."""

    def sector(self, change: int, sector: int) -> bool:
        """Whether this sector of a write is there."""
        ...

    def whole(self, change: int) -> bool:
        """Whether a change of size or of a name is there."""
        ...


class Nothing:
    """Everything that was not promised is lost."""

    def sector(self, change: int, sector: int) -> bool:
        return False

    def whole(self, change: int) -> bool:
        return False


class Everything:
    """Everything that was begun is there."""

    def sector(self, change: int, sector: int) -> bool:
        return True

    def whole(self, change: int) -> bool:
        return True


class Subset:
    """Each write, change of size and name is there, whole, or is not."""

    def __init__(self, chance: random.Random, changes: list[int]) -> None:
        share = chance.random()
        self.kept = {change for change in changes if chance.random() < share}

    def sector(self, change: int, sector: int) -> bool:
        return change in self.kept

    def whole(self, change: int) -> bool:
        return change in self.kept


class Torn(Subset):
    """As a subset, but of each write any of its sectors may be missing."""

    def __init__(self, chance: random.Random, changes: list[int]) -> None:
        super().__init__(chance, changes)
        self.chance = chance
        self.share = chance.random()

    def sector(self, change: int, sector: int) -> bool:
        return self.chance.random() < self.share


class Prefix:
    """In order: all up to one write, of that one the first sectors, nothing after it."""

    def __init__(self, chance: random.Random, changes: list[int]) -> None:
        self.last = chance.choice(changes) if changes else 0
        self.chance = chance
        self.sectors_left = chance.randrange(16)

    def sector(self, change: int, sector: int) -> bool:
        if change == self.last:
            self.sectors_left -= 1
            return self.sectors_left >= 0
        return change < self.last

    def whole(self, change: int) -> bool:
        return change <= self.last


CHOICES: dict[str, Callable[[random.Random, list[int]], Choice]] = {
    "drop": lambda chance, changes: Nothing(),
    "keep": lambda chance, changes: Everything(),
    "subset": Subset,
    "torn": Torn,
    "prefix": Prefix,
}


class Piece(NamedTuple):
    """What one write says about one sector: bytes from `start` on in the file."""

    change: int
    start: int
    data: bytes


@dataclass
class File:
    """A file's promised content and size, and the changes that are not promised."""

    content: bytearray = field(default_factory=bytearray)
    size: int = 0
    pieces: dict[int, list[Piece]] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    is_mapped: bool = False

    def changes(self) -> set[int]:
        """The numbers of the changes that are not promised."""
        found = {piece.change for pieces in self.pieces.values() for piece in pieces}
        return found | {change for change, _ in self.sizes}

    @property
    def newest_size(self) -> int:
        """The size as the running system sees it."""
        return self.sizes[-1][1] if self.sizes else self.size

    def write(self, change: int, offset: int, data: bytes) -> None:
        """Note a write that may be on the disk from now on."""
        for sector in range(offset // SECTOR, -(-(offset + len(data)) // SECTOR)):
            start = max(offset, sector * SECTOR)
            part = data[start - offset : (sector + 1) * SECTOR - offset]
            self.pieces.setdefault(sector, []).append(Piece(change, start, part))
        if offset + len(data) > self.newest_size:
            self.resize(change, offset + len(data))

    def resize(self, change: int, size: int) -> None:
        """Note a change of the size; what is cut off does not come back."""
        if size < self.newest_size:
            self._cut(change, size)
        self.sizes.append((change, size))

    def _cut(self, change: int, size: int) -> None:
        """Overwrite with zeros what a smaller size cuts off: as a write, for the same effect."""
        known = max([len(self.content), *((s + 1) * SECTOR for s in self.pieces)])
        end = min(known, self.newest_size)
        if end > size:
            self.write(change, size, bytes(end - size))

    def promise(self, is_covered: Callable[[int], bool]) -> None:
        """Make changes durable: in each sector, and of the sizes, as many as are covered."""
        for sector in list(self.pieces):
            pieces = self.pieces[sector]
            while pieces and is_covered(pieces[0].change):
                _put(self.content, pieces.pop(0))
            if not pieces:
                del self.pieces[sector]
        while self.sizes and is_covered(self.sizes[0][0]):
            self.size = self.sizes.pop(0)[1]

    def promise_write(self, change: int, offset: int, size: int) -> None:
        """Make one write durable, with all that came before it in its sectors."""
        for sector in range(offset // SECTOR, -(-(offset + size) // SECTOR)):
            pieces = self.pieces.get(sector, [])
            while pieces and pieces[0].change <= change:
                _put(self.content, pieces.pop(0))
            if not pieces:
                self.pieces.pop(sector, None)
        self.size = max(self.size, offset + size)
        self.sizes = [(number, max(length, self.size)) for number, length in self.sizes]

    def image(self, choice: Choice) -> tuple[bytearray, int]:
        """Return a content and a size that the disk may hold; beyond the content are zeros."""
        content = bytearray(self.content)
        for sector, pieces in self.pieces.items():
            count = len(pieces)
            while count and not choice.sector(pieces[count - 1].change, sector):
                count -= 1
            for piece in pieces[:count]:
                _put(content, piece)
        sizes = [size for change, size in self.sizes if choice.whole(change)]
        size = sizes[-1] if sizes else self.size
        del content[size:]
        return content, size


def _put(content: bytearray, piece: Piece) -> None:
    end = piece.start + len(piece.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[piece.start : end] = piece.data


@dataclass(eq=False)
class Directory:
    """A directory's names: those that are promised, and those that the running system sees."""

    promised: "dict[str, File | Directory]" = field(default_factory=dict)
    seen: "dict[str, File | Directory]" = field(default_factory=dict)


class Edit(NamedTuple):
    """A name of a directory that stands for `node` from now on, or for nothing."""

    directory: Directory
    name: str
    node: "File | Directory | None"


class Naming(NamedTuple):
    """A change of names; both edits of a rename happen together."""

    change: int
    edits: tuple[Edit, ...]


class Open(NamedTuple):
    """An open file or directory and the flags it was opened with."""

    node: File | Directory
    flags: int


class Disk:
    """Files and directories below `root`, fed with events; at any moment it gives images.

    Args:
        root: the directory that was recorded, empty when the recording began.
    """

    def __init__(self, root: str, faults: Faults = Faults()) -> None:
        self.root = root
        self.faults = faults
        self.position = 0
        self.tree = Directory()
        self.namings: list[Naming] = []
        self.opened: dict[int, Open] = {}
        self.begun: dict[int, tuple[int, Event, Open]] = {}
        self.done: dict[int, int] = {}

    # ---- feeding

    def feed(self, event: Event) -> None:
        """Take the next event of the log."""
        self.position += 1
        handler = getattr(self, f"_on_{event.kind.name.lower()}", None)
        if handler is not None:
            handler(event)

    def _on_start(self, event: Event) -> None:
        for position, begun, _ in self.begun.values():
            if begun.kind != Kind.SYNC:  # its process has ended: whatever it did is done
                self.done[position] = self.position
        self.begun.clear()
        self.opened.clear()

    def _on_open(self, event: Event) -> None:
        directory, name = self._find(event.data.decode())
        if name and name not in directory.seen:
            self._name(Edit(directory, name, File()))
        node = directory.seen[name] if name else directory
        self.opened[event.handle] = Open(node, event.offset)
        if event.offset & os.O_TRUNC and isinstance(node, File) and node.newest_size:
            self.done[self.position] = self.position
            node.resize(self.position, 0)

    def _on_mkdir(self, event: Event) -> None:
        self._name(Edit(*self._find(event.data.decode()), Directory()))

    def _on_remove(self, event: Event) -> None:
        self._name(Edit(*self._find(event.data.decode()), None))

    def _on_rename(self, event: Event) -> None:
        old, new = (self._find(path) for path in event.data.decode().split("\0"))
        node = old[0].seen[old[1]]
        self._name(Edit(*old, None), Edit(*new, node))

    def _on_map(self, event: Event) -> None:
        node = self.opened[event.handle].node
        assert isinstance(node, File)
        node.is_mapped = True

    def _on_write(self, event: Event) -> None:
        file = self._begin(event)
        assert isinstance(file, File)
        file.write(self.position, event.offset, event.data)

    def _on_resize(self, event: Event) -> None:
        file = self._begin(event)
        assert isinstance(file, File)
        if event.length != file.newest_size:
            file.resize(self.position, event.length)

    def _on_grow(self, event: Event) -> None:
        file = self._begin(event)
        assert isinstance(file, File)
        if event.length > file.newest_size:
            file.resize(self.position, event.length)

    def _on_sync(self, event: Event) -> None:
        self._begin(event)

    def _on_end(self, event: Event) -> None:
        if event.call not in self.begun:  # begun by something that is not followed: a hint
            return
        position, begun, opened = self.begun.pop(event.call)
        if begun.kind == Kind.SYNC:
            self._synced(position, opened, event.length)
            return
        self.done[position] = self.position
        if begun.kind == Kind.WRITE:
            if event.length != begun.length:
                raise NotImplementedError(f"a write of {begun.length} bytes wrote {event.length}")
            is_dsync = opened.flags & os.O_DSYNC
            if is_dsync and not self.faults.ignores_dsync and isinstance(opened.node, File):
                opened.node.promise_write(position, begun.offset, begun.length)

    def _begin(self, event: Event) -> File | Directory:
        opened = self.opened[event.handle]
        self.begun[event.call] = (self.position, event, opened)
        return opened.node

    def _find(self, path: str) -> tuple[Directory, str]:
        """Return the directory of a path and its name there; no name for the root."""
        *parents, name = path.removeprefix(self.root).removeprefix("/").split("/")
        directory = self.tree
        for parent in parents:
            node = directory.seen[parent]
            assert isinstance(node, Directory), path
            directory = node
        return directory, name

    def _name(self, *edits: Edit) -> None:
        self.done[self.position] = self.position
        self.namings.append(Naming(self.position, edits))
        for edit in edits:
            _apply(edit, edit.directory.seen)

    def _synced(self, began: int, opened: Open, result: int) -> None:
        if result != 0:
            return
        if isinstance(opened.node, File):
            if not self.faults.ignores_sync:
                opened.node.promise(lambda change: self.done.get(change, _NOT_YET) < began)
            return
        waiting = []
        for naming in self.namings:
            if naming.change < began and any(e.directory is opened.node for e in naming.edits):
                for edit in naming.edits:
                    _apply(edit, edit.directory.promised)
            else:
                waiting.append(naming)
        self.namings = waiting

    # ---- images

    def unpromised(self) -> list[int]:
        """The numbers of all changes that a power cut may lose now, oldest first."""
        changes = {naming.change for naming in self.namings}
        for _, node in self._walk(lambda directory: {**directory.promised, **directory.seen}):
            if isinstance(node, File) and not node.is_mapped:
                changes |= node.changes()
        return sorted(changes)

    def mapped(self) -> set[str]:
        """The paths of files that were written through memory: their content is not known."""
        nodes = self._walk(lambda directory: directory.seen)
        return {path for path, node in nodes if isinstance(node, File) and node.is_mapped}

    def image(self, choice: Choice) -> Image:
        """Return what the disk may hold."""
        edits = [edit for n in self.namings if choice.whole(n.change) for edit in n.edits]

        def names(directory: Directory) -> dict[str, File | Directory]:
            found = dict(directory.promised)
            for edit in edits:
                if edit.directory is directory:
                    _apply(edit, found)
            return found

        return {
            path: node.image(choice) if isinstance(node, File) else None
            for path, node in self._walk(names)
        }

    def _walk(
        self, names: Callable[[Directory], dict[str, File | Directory]]
    ) -> Iterator[tuple[str, File | Directory]]:
        """Yield every path and node, a directory before what is in it."""
        waiting: list[tuple[str, File | Directory]] = [(self.root, self.tree)]
        while waiting:
            path, node = waiting.pop()
            yield path, node
            if isinstance(node, Directory):
                waiting += [(f"{path}/{name}", below) for name, below in names(node).items()]


def _apply(edit: Edit, names: dict[str, File | Directory]) -> None:
    if edit.node is None:
        names.pop(edit.name, None)
    else:
        names[edit.name] = edit.node


def write_image(image: Image, root: str, directory: Path) -> None:
    """Write an image of what was below `root` into `directory`, which must be empty."""
    for path, content in image.items():
        place = directory / os.path.relpath(path, root)
        if content is None:
            place.mkdir(exist_ok=True)
            continue
        with place.open("wb") as file:
            file.write(content[0])
            file.truncate(content[1])

"""What a running server lives on, for whoever looks for a fault: checked, and as files.

Blocking, on any thread but the event loop's. Changes nothing; nothing here is secret, or is kept
from being shown: settings that could be are left out, and the log has none.
"""

import ctypes
import json
import os
import resource
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest

from ownerd.native import Engine
from ownerd.server import about, config, logs
from ownerd.server.alarms import Alarm
from ownerd.server.config import Settings

_DAY_S = 86_400
_SYNCS = 7
_SYNC_BYTES = 4_096
_SLOW_SYNC_MS, _BAD_SYNC_MS = 20, 200
_SECRET = ("password", "secret", "token")
_TIME_ERROR = 5  # of adjtimex: nothing keeps the clock


class Check(NamedTuple):
    """One thing that was looked at: how it is, what was found, and what to do."""

    name: str
    status: Literal["ok", "warning", "failure"]
    found: str
    advice: str = ""


class Workings:
    """What one server lives on.

    Args:
        engine: its engine.
        settings: what it was started with.
        registry: its metrics.
        certificate_end: returns when its certificate ends, seconds since the epoch; None: it has
            none.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        registry: CollectorRegistry,
        certificate_end: Callable[[], float | None],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._registry = registry
        self._certificate_end = certificate_end

    # ---- checks

    def checks(self, more_alarms: Sequence[Alarm]) -> list[Check]:
        """Look at everything once."""
        return [
            self._alarms(more_alarms),
            *self._room(),
            self._sync_time(),
            self._filesystem(),
            self._clock(),
            self._descriptors(),
            self._certificate(),
        ]

    def _alarms(self, more: Sequence[Alarm]) -> Check:
        up = [*self._engine.alarms(), *more]
        if not up:
            return Check("alarms", "ok", "none is up")
        names = ", ".join(name.upper() for name, _ in up)
        return Check("alarms", "failure", names, " ".join(text for _, text in up))

    def _room(self) -> Iterator[Check]:
        """Tell the room that is left; whether grants have ended is the engine's to say.

        The store reserves room ahead of need, so grants go on for a while on a disk that is full.
        """
        stats = self._engine.stats()
        up = {name for name, _ in self._engine.alarms()}
        for name, alarm, advice in (
            ("disk_free", "disk_full", "make room on the disk of the store"),
            ("map_free", "map_full", "raise map_bytes, and restart"),
        ):
            yield self._room_of(name, stats[f"{name}_bytes"], advice, is_full=alarm in up)

    def _room_of(self, name: str, free: int, advice: str, *, is_full: bool) -> Check:
        reserve = self._settings.reserve_bytes
        if is_full:
            return Check(name, "failure", f"{_size(free)} free; grants are refused", advice)
        if free <= reserve:
            said = (
                f"{_size(free)} free; grants go on while the room that the store has reserved lasts"
            )
            return Check(name, "failure", said, f"{advice} now")
        if free < 8 * reserve:
            said = f"{_size(free)} free; under {_size(8 * reserve)} is little"
            return Check(name, "warning", said, advice)
        return Check(name, "ok", f"{_size(free)} free")

    def _sync_time(self) -> Check:
        """Sync a few small writes to the store's disk, as each commit does."""
        try:
            took_ms = _sync_ms(self._settings.data)
        except OSError as error:
            why = error.strerror or str(error)
            return Check("disk_sync", "warning", f"not measured: {why}", "look at the disk")
        said = f"{took_ms:.1f} ms, the median of {_SYNCS} syncs"
        if took_ms < _SLOW_SYNC_MS:
            return Check("disk_sync", "ok", said)
        advice = (
            "every grant waits for it: see what else writes to the disk, or use one that has a "
            "cache which survives a power cut"
        )
        return Check("disk_sync", "failure" if took_ms > _BAD_SYNC_MS else "warning", said, advice)

    def _filesystem(self) -> Check:
        kind, where = _mount_of(self._settings.data)
        said = f"{kind}, mounted on {where}"
        if kind in ("tmpfs", "ramfs"):
            return Check(
                "filesystem", "failure", said, "it is gone with the machine: move it to a disk"
            )
        if kind == "overlay":
            return Check(
                "filesystem", "warning", said, "it may go with the container: use a volume"
            )
        return Check("filesystem", "ok", said)

    def _clock(self) -> Check:
        offset_s = self._engine.clock_offset_ns / 1e9
        kept = "" if _is_clock_kept() else "; no NTP keeps this machine's clock"
        said = f"the store's time is {offset_s:+z,.3f} s from the machine's clock{kept}"
        if abs(offset_s) >= 60:
            advice = "mend the clock; if the store's time is ahead, see 'ownerd clock'"
            return Check("clock", "failure", said, advice)
        if kept:
            return Check("clock", "warning", said, "run chrony, or systemd-timesyncd")
        return Check("clock", "ok", said)

    def _descriptors(self) -> Check:
        used = len(os.listdir("/proc/self/fd"))
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self._settings.dial_max_connections + self._settings.admin_max_connections
        said = f"{used:,} of {most:,} in use; settings allow {wanted:,} connections"
        if used > 0.9 * most:
            return Check("descriptors", "failure", said, "raise LimitNOFILE (ulimit -n)")
        if most < wanted:
            advice = "raise LimitNOFILE (ulimit -n), or lower dial_max_connections"
            return Check("descriptors", "warning", said, advice)
        return Check("descriptors", "ok", said)

    def _certificate(self) -> Check:
        end_s = self._certificate_end()
        if end_s is None:
            return Check("certificate", "ok", "no TLS")
        left_days = (end_s - time.time()) / _DAY_S
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(end_s))
        if left_days <= 0:
            advice = "nobody can connect: put a new one in its place, it is taken up by itself"
            return Check("certificate", "failure", f"expired at {when}", advice)
        said = f"valid until {when}, {left_days:.0f} days"
        if left_days < 14:
            advice = "put a new one in its place, it is taken up by itself"
            return Check("certificate", "warning", said, advice)
        return Check("certificate", "ok", said)

    # ---- files

    def files(self) -> dict[str, str]:
        """Return what one looks for a fault by, by the names of files."""
        stats = {key: _plain(value) for key, value in self._engine.stats().items()}
        return {
            "versions.json": _json(about.parts()),
            "settings.json": _json(self._shown_settings()),
            "engine.json": _json(stats),
            "metrics.txt": generate_latest(self._registry).decode(),
            "threads.txt": "".join(_threads()),
            "machine.txt": "".join(_machine(self._settings.data)),
            "log.txt": logs.tail(),
        }

    def _shown_settings(self) -> dict[str, str]:
        return {
            name: "(not shown)"
            if any(word in name for word in _SECRET)
            else config.spell(name, getattr(self._settings, name))
            for name in config.KEYS
        }


def _size(value: int) -> str:
    return f"{value / 2**30:,.1f} GiB" if value >= 1 << 30 else f"{value / 2**20:,.0f} MiB"


def _sync_ms(directory: str) -> float:
    """Return the median time of a small write and its sync, of a file that has no name."""
    file = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        took = []
        for number in range(_SYNCS):
            os.pwrite(file, bytes(_SYNC_BYTES), number * _SYNC_BYTES)
            began = time.perf_counter()
            os.fdatasync(file)
            took.append(time.perf_counter() - began)
        return statistics.median(took) * 1e3
    finally:
        os.close(file)


def _mount_of(path: str) -> tuple[str, str]:
    """Return the kind of the filesystem that a path is on, and where that is mounted."""
    found = ("unknown", "/")
    real = os.path.realpath(path)
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            where = left.split()[4].replace("\\040", " ")
            inside = real == where or real.startswith(where.rstrip("/") + "/")
            if inside and len(where) >= len(found[1]):
                found = (right.split()[0], where)
    return found


def _is_clock_kept() -> bool:
    """Return whether something keeps the machine's clock, as far as the kernel says."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return True
    return state != _TIME_ERROR


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=1, default=str) + "\n"


def _plain(value: object) -> object:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _threads() -> Iterator[str]:
    """Yield where each thread of Python is, then what each thread of the process does."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield f"== {names.get(ident, 'not of Python')} ({ident})\n"
        yield from traceback.format_stack(frame)
    yield "== of the process: id, name, state, processor time in ticks (user, system)\n"
    for task in sorted(Path("/proc/self/task").iterdir()):
        with suppress(OSError, IndexError):
            text = (task / "stat").read_text()
            name, rest = (
                text[text.index("(") + 1 : text.rindex(")")],
                text.rpartition(")")[2].split(),
            )
            yield f"{task.name:>9} {name:16} {rest[0]} {rest[11]:>9} {rest[12]:>9}\n"


def _machine(data: str) -> Iterator[str]:
    """Yield what the machine gives this process."""
    kind, where = _mount_of(data)
    yield f"store: {data}, on {kind}, mounted on {where}\n"
    for place in ("self/limits", "self/status", "self/io", "loadavg", "meminfo", "pressure/io"):
        with suppress(OSError):
            yield f"== /proc/{place}\n{Path('/proc', place).read_text()}"

"""The audit's end: entries that are older than `audit_keep_days` go, once they are in a file.

Each cut writes its entries to a file of their own, as JSON lines, syncs it, and only then has the
engine delete them; the audit keeps an entry that says which went and where to. Cut off in between,
the same entries are written again, under the same name. The files are nobody's but the operator's:
they are never read or deleted here.

One task on the event loop; the work is done on a worker thread.
"""

import asyncio
import json
from pathlib import Path

import structlog
from google.protobuf.json_format import MessageToDict

from ownerd import files
from ownerd.native import Engine, sync_directory
from ownerd.server.admin.audit import Recorded, entry_of
from ownerd.server.config import Settings
from ownerd.server.principals import ITSELF
from ownerd.server.workers import Workers
from ownerd.v1 import admin_pb2

ACTION = "CutAudit"
CUT_ENTRIES = 1_000
_DAY_NS = 86_400 * 10**9
_LOOK_EVERY_S = 3_600.0

log = structlog.get_logger("ownerd.server")


class AuditEnd:
    """Exports and deletes what is old.

    Args:
        engine: its audit.
        workers: where the work is done.
        settings: how long entries are kept, and where they go.
    """

    def __init__(self, engine: Engine, workers: Workers, settings: Settings) -> None:
        self._engine = engine
        self._workers = workers
        self._settings = settings

    def take(self, settings: Settings) -> None:
        """Keep entries as other settings say, from the next look on."""
        self._settings = settings

    async def run(self) -> None:
        """Look every hour; never returns."""
        while True:
            try:
                while await self._workers.run(self.cut):
                    pass
            except Exception as error:
                log.error("audit_not_cut", cause=str(error))
            await asyncio.sleep(_LOOK_EVERY_S)

    def cut(self) -> int:
        """Export and delete the oldest entries, if they are old enough; return how many went.

        Raises:
            OSError: they cannot be written; none is deleted.
        """
        keep_ns = int(self._settings.audit_keep_days * _DAY_NS)
        if not keep_ns:
            return 0
        old = self._old(self._engine.time_ns - keep_ns)
        if not old:
            return 0
        first, last = old[0][0], old[-1][0]
        path = self._write(first, last, old)
        detail = {"first_entry_id": first, "last_entry_id": last, "file": str(path)}
        note = admin_pb2.AuditEntry(
            principal=ITSELF, action=ACTION, reason="audit_keep_days", detail=json.dumps(detail)
        )
        done = self._engine.cut_audit(first, last, note=note.SerializeToString(deterministic=True))
        log.info("audit_cut", entries=done.count, **detail)
        return done.count or 0

    def _old(self, before_ns: int) -> list[Recorded]:
        """Return the oldest entries up to the first that is new, or still to be counted for."""
        found: list[Recorded] = []
        for entry in self._engine.oldest_audit(CUT_ENTRIES):
            _, time_ns, _, count, _ = entry
            # Ids are cut from the first to the last, of which there are no more than that.
            if (
                time_ns >= before_ns
                or count is None
                or (found and entry[0] - found[0][0] >= CUT_ENTRIES)
            ):
                break
            found.append(entry)
        return found

    def _write(self, first: int, last: int, entries: list[Recorded]) -> Path:
        directory = Path(self._settings.audit_export or Path(self._settings.data) / "audit")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / f"audit-{first:012}-{last:012}.jsonl"
        with files.replacing(path, private=True) as text:
            for entry in entries:
                shown = MessageToDict(entry_of(entry), preserving_proto_field_name=True)
                text.write(json.dumps(shown) + "\n")
        sync_directory(directory)
        return path

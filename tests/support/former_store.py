"""Stores of former formats for tests: written from their rows, changed, and looked at.

`store_format_N.txt` has the rows of a true store of format N; `store_rows` writes them.
"""

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from sanitizer import patient_s

from ownerd.api.task import Refused
from ownerd.base.testing import checksum

SUPPORT = Path(__file__).parent
MIGRATE = (
    "import sys\n"
    "from ownerd.storage.migration import migrate\n"
    "migrate(sys.argv[1], map_bytes=int(sys.argv[2]), step_rows=int(sys.argv[3]))\n"
)


class Place(NamedTuple):
    """Where a row lies."""

    part: str
    table: str
    key: bytes


STATE = Place("journal", "meta", b"state")
SESSION = Place("journal", "meta", b"session")
TREE_STATE = Place("records", "meta", b"state")
KILLED_4_NS = 1_760_000_060 * 10**9
LISTS_4 = ["forever", "list", "twin"]
RECORDS_4 = [*map(str, range(1, 10)), *(f"{number:03}-" + "x" * 96 for number in range(140))]
"""When the store of format 4 was killed, and what to ask for in it."""
Rows = dict[Place, bytes]
"""Rows without their checksum, by place."""


def text_of(number: int) -> Path:
    """Return the rows of a store of that format, as a text."""
    return SUPPORT / f"store_format_{number}.txt"


def read_rows(text: Path) -> Rows:
    """Return the rows of a text; empty tables are left out."""
    lines = [line.split() for line in text.read_text().splitlines() if not line.startswith("#")]
    return {
        Place(part, table, bytes.fromhex(row[0])): bytes.fromhex(row[1])[:-4]
        for part, table, *row in lines
        if row
    }


def stored(place: Place, row: bytes) -> bytes:
    """Return a row with its checksum."""
    return row + struct.pack("<I", checksum(place.key + row))


def write(text: Path, store: Path) -> Path:
    """Write rows into a store, which is made if it is not there."""
    command = [sys.executable, SUPPORT / "store_rows.py", text, store]
    subprocess.run(command, check=True, timeout=patient_s(60))
    return store


def change(store: Path, rows: dict[Place, bytes | None], *, torn: bool = False) -> None:
    """Put rows into a store that is there, or delete those that are None.

    Args:
        store: which nobody has open.
        rows: without their checksum.
        torn: whether the checksum is to be wrong.
    """
    lines = []
    for place, row in rows.items():
        line = [place.part, place.table, place.key.hex()]
        if row is not None:
            whole = stored(place, row)
            line.append((whole[:-1] + bytes([whole[-1] ^ 1]) if torn else whole).hex())
        lines.append(" ".join(line))
    text = store.with_name(f"{store.name}.rows")
    text.write_text("\n".join(lines))
    write(text, store)
    text.unlink()


def migrating(
    store: Path, map_bytes: int = 1 << 30, step_rows: int = 4, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Migrate in a process of its own, which may end in the middle."""
    command = [sys.executable, "-c", MIGRATE, str(store), str(map_bytes), str(step_rows)]
    return subprocess.run(
        command, check=False, timeout=patient_s(60), capture_output=True, text=True, **options
    )


def contents(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory but locks, by path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ("LOCK", "lock.mdb")
    }


def told_again(engine: Any, name: str) -> str:
    """Return what boss gets who sends a request again; why not, where it is known."""
    try:
        return repr(engine.request(name, "boss"))
    except Refused as refused:
        return refused.reason


def of_a_copy(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what a store shows whose files are a copy, and which begins a new incarnation."""
    known = ["None" if told == "None" else "OTHER_INCARNATION" for told in shown["requests"]]
    return {**shown, "requests": known}


def seen(subject: Any, list_ids: list[str], record_ids: list[str]) -> dict[str, Any]:
    """Return all that an engine shows of what is stored."""
    engine = subject.engine
    campaigns = engine.campaigns("", 99)
    return {
        "id": f"{engine.store_id:016x}",
        "settings": engine.settings(),
        "lists": [list(map(str, info)) for info in engine.lists("", 99)],
        "campaigns": [list(row) for row in campaigns],
        "codes": [list(row) for row in engine.codes("", 99)],
        "principals": [[name, kept.hex()] for name, kept in engine.principals()],
        "audit": [[*entry[:4], entry[4].hex()] for entry in engine.audit(2**63 - 1, 999)],
        "pending": engine.pending_counts(),
        "requests": [told_again(engine, name) for name in ("release", "import", "none")],
        "holds": {
            list_id: {
                record_id: repr(found)
                for record_id in record_ids
                if (found := subject.holder(list_id, record_id)) is not None
            }
            for list_id in list_ids
        },
        "owners": {
            list_id: [list(map(str, owner)) for owner in subject.owners(list_id)]
            for list_id in list_ids
        },
        "held": [engine.lists_held(campaign_id) for campaign_id, _ in campaigns],
    }

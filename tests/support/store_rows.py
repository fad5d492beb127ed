"""Writes a store from a text of its rows: `python store_rows.py TEXT STORE`.

A line names environment, table, key and value, in hexadecimal; one without a key is a table that is
empty, one without a value a row that goes. A process of its own, since LMDB must not be in one
process twice.
"""

import sys
from pathlib import Path

import lmdb


def main(text: Path, store: Path) -> None:
    """Write the rows into the store, made if it is not there; each environment in one commit."""
    lines = [line.split() for line in text.read_text().splitlines() if not line.startswith("#")]
    for part in dict.fromkeys(line[0] for line in lines):
        (store / part).mkdir(parents=True, exist_ok=True)
        with (
            lmdb.open(str(store / part), max_dbs=20, map_size=1 << 30) as env,
            env.begin(write=True) as txn,
        ):
            for _, table, *row in (line for line in lines if line[0] == part):
                database = env.open_db(table.encode(), txn)
                if len(row) == 1:
                    txn.delete(bytes.fromhex(row[0]), db=database)
                elif row:
                    txn.put(*(bytes.fromhex(field) for field in row), db=database)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

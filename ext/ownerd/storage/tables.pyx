"""The tables of the journal's environment: their names on disk and the layout of their rows.

Rows are the machine's own byte order (x86-64 and arm64 Linux are both little-endian); keys that
must sort are big-endian. Numbers of lists and campaigns are never used twice.

It reads and writes none: `table_cursor` reads what is committed, `transaction` reads and writes in
the open transaction.
"""

TABLE_NAMES[:] = [
    "meta", "lists", "graves", "events", "campaigns", "codes", "audit", "requests", "journal",
    "principals",
]

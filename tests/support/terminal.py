"""The person at the terminal: types a line, and reads what ownerctl printed."""

import io
import re

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def answer_with(monkeypatch, line):
    """Sit a person at the terminal who types a line."""
    stdin = io.StringIO(line)
    stdin.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", stdin)


def table_of(out):
    """Return the cells of a printed table."""
    return [re.split(r"  +", line.strip()) for line in out.splitlines()]

"""`ownerd verify`: says whether a store that no server has open is sound, and what is not.

The check itself runs in a child process: LMDB trusts its pages, and reading a torn file can end the
process that does it. This module is both sides: `check` is the parent, `main` the child.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, TypedDict

from rich.table import Table
from rich.text import Text

from ownerd.consoles import PipeConsole
from ownerd.server import exits

_PRESENT, _FORMER = "present", "former"


class Finding(TypedDict):
    """What the check of one table found."""

    table: str
    rows: int
    damaged: int
    keys: list[str]
    error: str | None


def check(directory: str) -> int:
    """Check the store in a child process, print what it finds, return the exit code.

    Raises:
        exits.StoreInUse: a server has the store open.
        exits.StoreFailed: there is no store, or it cannot be opened.
        exits.StoreDamaged: something in it is not as it was written.
    """
    findings = _findings(directory)
    _print(findings)
    _refuse_damaged(directory, findings)
    return exits.OK


def refuse_damaged(directory: str, *, former: bool = False) -> None:
    """Raise as `check` does unless the store is sound; print nothing.

    Args:
        directory: of the store.
        former: whether it is of an earlier version, to be migrated.
    """
    _refuse_damaged(directory, _findings(directory, _FORMER if former else _PRESENT))


def _findings(directory: str, kind: str = _PRESENT) -> list[Finding]:
    try:
        child = subprocess.run(
            [sys.executable, "-m", "ownerd.server.verify", directory, kind],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            process_group=0,  # Ctrl-C is for us, who then end it
        )
    except OSError as error:
        raise exits.StoreFailed(f"cannot verify {directory}: {error.strerror}") from None
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise exits.StoreDamaged(
            f"the store in {directory} is torn: reading it ended with {name}; restore a copy"
        )
    if child.returncode > 0:
        last = child.stderr.strip().rpartition("\n")[2]
        raise exits.StoreFailed(f"cannot verify {directory}: {last or 'no reason is known'}")
    report = json.loads(child.stdout)
    if "refused" in report:
        refusal = exits.StoreInUse if report["in_use"] else exits.StoreFailed
        raise refusal(report["refused"])
    findings: list[Finding] = report["findings"]
    return findings


def _refuse_damaged(directory: str, findings: list[Finding]) -> None:
    bad = [finding for finding in findings if finding["damaged"] or finding["error"]]
    if bad:
        names = ", ".join(finding["table"] for finding in bad)
        raise exits.StoreDamaged(
            f"the store in {directory} is damaged ({names}): restore a copy, do not serve it; "
            "'ownerd verify' shows what is damaged"
        )


def _print(findings: list[Finding]) -> None:
    table = Table("table", box=None)
    for column in ("rows", "damaged"):
        table.add_column(column, justify="right")
    table.add_column("")
    for finding in findings:
        what = finding["error"] or " ".join(finding["keys"][:3])
        table.add_row(
            finding["table"], f"{finding['rows']:,}", f"{finding['damaged']:,}", Text(what)
        )
    PipeConsole().print_table(table)


def _report(directory: str, kind: str) -> dict[str, Any]:
    from ownerd.native import StoreError, StoreInUseError, check_former, verify

    try:
        with suppress(FileNotFoundError, NotADirectoryError):  # of which `verify` says more
            os.stat(os.path.join(directory, "records"))
        findings = check_former(directory) if kind == _FORMER else verify(directory)
    except StoreError as error:
        return {"refused": str(error), "in_use": isinstance(error, StoreInUseError)}
    except OSError as error:
        named = error.filename or directory
        return {"refused": f"cannot use {named}: {error.strerror}", "in_use": False}
    names = ("table", "rows", "damaged", "keys", "error")
    return {
        "findings": [
            dict(zip(names, (*counts, [key.hex() for key in keys], error), strict=True))
            for *counts, keys, error in findings
        ]
    }


if __name__ == "__main__":
    print(json.dumps(_report(*sys.argv[1:])))

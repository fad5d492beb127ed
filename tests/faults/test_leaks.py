"""Nothing that the native core allocates is lost: `leak_cycles.py` under a leak checker.

LeakSanitizer on a build with OWNERD_SANITIZE=1 (its runtime preloaded, as CONTRIBUTING says), else
valgrind where it is installed. Only what was allocated by us, or in a call from us, counts: what
Python itself leaves behind does not.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sanitizer import SANITIZER

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

PROGRAM = Path(__file__).parent.parent / "support" / "leak_cycles.py"
ROUNDS = 3
DEADLINE_S = 900
OURS = re.compile(r"__pyx_\w*6ownerd|/ownerd/\w+\.(c|pyx|pxd)")
IMPORTING = "PyModule_ExecDef"  # what a module makes once, and Python never gives back


def run(command: list[str], **environment: str) -> str:
    """Run the cycles; return what was said on stderr."""
    done = subprocess.run(
        [*command, sys.executable, str(PROGRAM), str(ROUNDS)],
        text=True,
        capture_output=True,
        timeout=DEADLINE_S,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent), **environment},
    )
    assert "nothing is in use" in done.stdout, done.stderr[-3_000:]
    return done.stderr


def ours(blocks: list[str]) -> str:
    """Return the blocks of a report in whose stacks we are."""
    return "\n\n".join(block for block in blocks if OURS.search(block) and IMPORTING not in block)


@pytest.mark.long
@pytest.mark.skipif(SANITIZER != "address", reason="needs a build with OWNERD_SANITIZE=1")
def test_leak_sanitizer_finds_nothing_of_ours() -> None:
    said = run(
        [],
        ASAN_OPTIONS="detect_leaks=1:fast_unwind_on_malloc=0",
        LSAN_OPTIONS="max_leaks=0:exitcode=0",
    )
    assert "LeakSanitizer has encountered a fatal error" not in said, said
    blocks = [block for block in said.split("\n\n") if "leak of" in block]
    assert ours(blocks) == ""


@pytest.mark.long
@pytest.mark.skipif(SANITIZER is not None or not shutil.which("valgrind"), reason="needs valgrind")
def test_valgrind_finds_nothing_of_ours(tmp_path: Path) -> None:
    log = tmp_path / "valgrind.log"
    run(
        [
            "valgrind",
            "--leak-check=full",
            "--show-leak-kinds=definite",
            "--num-callers=40",
            "--undef-value-errors=no",
            "--error-limit=no",
            f"--log-file={log}",
        ],
        PYTHONMALLOC="malloc",
    )
    said = re.sub(r"(?m)^==\d+== ?", "", log.read_text())
    assert "LEAK SUMMARY" in said or "no leaks are possible" in said, said[-3_000:]
    blocks = [
        block for block in said.split("\n\n") if "definitely lost in" in block or "Invalid" in block
    ]
    assert ours(blocks) == ""

"""The tools find nothing: formatter, linters, types, and the stubs of the native modules.

Each test runs one tool as `pyproject.toml` sets it up, and fails with what the tool says.
"""

import ast
import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sanitizer import plain_environment

ROOT = Path(__file__).parent.parent
EXT = ROOT / "ext"
STUBS = sorted(".".join(path.relative_to(EXT).with_suffix("").parts) for path in EXT.rglob("*.pyi"))
# What Cython adds to a module, and what no stub can say: regular expressions.
OF_CYTHON = r"""
# The doctests of the module, of which there are none.
ownerd\..*\.__test__
# The C functions that other native modules call.
ownerd\..*\.__pyx_capi__
# Why an object of a cdef class cannot be pickled; they stand in the module as well.
ownerd\..*\.__reduce_cython__
ownerd\..*\.__setstate_cython__
"""
CONSUMER = """
from typing import assert_type

from ownerd.client import AsyncClient, Claim, Client, ResourceExhausted


def claim(client: Client) -> str | None:
    assert_type(client.claim("list", "record", "campaign"), Claim)
    client.claim("list", "record", 7)  # type: ignore[arg-type]
    client.claims  # type: ignore[attr-defined]
    try:
        found = client.claim("list", "record", "campaign")
    except ResourceExhausted as error:
        assert_type(error.retry_after_s, float | None)
        return None
    return found.holder.campaign_id if found.holder else None


async def claim_async(client: AsyncClient) -> bool:
    found = await client.claim("list", "record", "campaign")
    assert_type(found, Claim)
    client.claim("list", "record", "campaign").allowed  # type: ignore[attr-defined]
    return found.allowed
"""


def run(*command: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> None:
    """Run a tool that is installed beside this Python."""
    given = plain_environment() if environment is None else environment
    beside = Path(sys.executable).parent  # where cython-lint looks for pycodestyle
    given = {**given, "PATH": f"{beside}{os.pathsep}{given.get('PATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}", pytrace=False)


def native_imports() -> Iterator[tuple[Path, str]]:
    """Yield each module of ours that a Python file imports, with the file."""
    for folder in ("src", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}", *(f"{node.module}.{x.name}" for x in node.names)]
                elif isinstance(node, ast.Import):
                    names = [each.name for each in node.names]
                else:
                    continue
                yield from ((path, name) for name in names if name.startswith("ownerd."))


def test_ruff_finds_nothing() -> None:
    run("ruff", "check", "--quiet", ".")


def test_ruff_would_format_nothing_otherwise() -> None:
    run("ruff", "format", "--check", "--quiet", "--diff", ".")


def test_cython_lint_finds_nothing() -> None:
    from cython_lint.cython_lint import PYCODESTYLE_CODES

    # By itself it starts pycodestyle anew for each file.
    run("cython_lint.cython_lint", "--no-pycodestyle", "ext")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cython-lint"]
    longest = f"--max-line-length={settings['max-line-length']}"
    left_out = f"--ignore={','.join(sorted(PYCODESTYLE_CODES))}"
    run("pycodestyle", left_out, longest, "--filename=*.pyx,*.pxd", "ext")


def test_mypy_finds_nothing_in_the_package() -> None:
    run("mypy", "--no-error-summary")


def test_the_stubs_are_as_the_native_modules(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(OF_CYTHON)
    built = [name for name in STUBS if importlib.util.find_spec(name)]
    assert "ownerd.engine.engine" in built
    options = ["--allowlist", str(allowed), "--mypy-config-file", "pyproject.toml", "--concise"]
    run("mypy.stubtest", *options, *built, environment=os.environ)  # it imports what is ours


def test_what_python_imports_of_the_native_core_has_a_stub() -> None:
    modules = {".".join(path.relative_to(EXT).with_suffix("").parts) for path in EXT.rglob("*.pyx")}
    for path, name in native_imports():
        assert name not in modules or name in STUBS, f"{path} imports {name}"


def test_who_uses_the_client_sees_its_types(tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(CONSUMER)
    run("mypy", "--config-file=", "--strict", "consumer.py", cwd=tmp_path)

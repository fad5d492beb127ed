"""The house keeps its order: dependencies point one way, and every module says what it is for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXT = ROOT / "ext" / "ownerd"
SRC = ROOT / "src" / "ownerd"
NATIVE = sorted(EXT.glob("*.pyx")) + sorted(EXT.glob("*.pxd"))
PYTHON = sorted(SRC.rglob("*.py"))
NATIVE_NAMES = {path.stem for path in NATIVE}

# Through these modules the Python package uses the native core; the rest is the core's own.
DOORS = (
    "access",
    "engine",
    "mailbox",
    "clock",
    "store",
    "directory",
    "verify",
    "lmdb_api",
    "listener",
)
# What each room of the Python package may import of ours.
ROOMS = {
    "server": {"server", "errors", "v1", "demo", *DOORS},
    "ctl": {"ctl", "client", "durations", "load_plan", "load_http2", "load_tls", "v1"},
    "client": {"client", "v1"},
    "demo": {"demo", "client", "v1", "ctl", "durations"},
    "errors": {"engine"},
    "durations": set(),
    "__init__": set(),
}
# A native room never imports one that stands to its right in the data's way.
NATIVE_ORDER = (
    "lmdb_api",
    "clock",
    "rules",
    "wire",
    "access",
    "store",
    "engine",
    "mailbox",
    "listener",
)
# The load generator stands beside the data's way: nothing on it may import these.
LOAD_NAMES = {name for name in NATIVE_NAMES if name.startswith("load_")}

_CIMPORT = re.compile(r"^\s*(?:from\s+ownerd\.(\w+)\s+c?import|c?import\s+ownerd\.(\w+))", re.M)


def _native_imports(path: Path) -> set[str]:
    """Return the modules of ours that a .pyx or .pxd file imports."""
    return {one or other for one, other in _CIMPORT.findall(path.read_text())}


def _python_imports(path: Path) -> Iterator[str]:
    """Yield the modules of ours that a .py file imports, as `ownerd.a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides which way it points"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name == "ownerd" or name.startswith("ownerd."))


def _room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def test_the_files_are_where_the_checks_look() -> None:
    assert {"rules", "store", "engine", "wire", "clock", "lmdb_api"} <= NATIVE_NAMES
    assert {"server", "ctl", "client", "demo"} <= {_room(path) for path in PYTHON}


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: path.name)
def test_nothing_native_knows_the_python_package(path: Path) -> None:
    assert _native_imports(path) <= NATIVE_NAMES
    text = path.read_text()
    for foreign in ("grpc", "google.protobuf", "structlog", "asyncio.run"):
        assert f"import {foreign}" not in text and f"from {foreign}" not in text


@pytest.mark.parametrize("name", ["rules", "clock", "lmdb_api", "wire"])
def test_the_lowest_rooms_stand_alone(name: str) -> None:
    allowed = {"wire": {"calls", "rules", "containers"}}.get(name, {"containers"})
    imported = _native_imports(EXT / f"{name}.pyx") | _native_imports(EXT / f"{name}.pxd")
    assert imported - {name} <= allowed


def test_tokens_are_compared_without_telling_how_much_is_equal() -> None:
    text = (EXT / "listener_access.pyx").read_text()
    uses = re.findall(r"(\w+)\([^()]*connection\.token\b(?!_)", text)
    assert sorted(uses) == ["CRYPTO_memcmp", "memcpy"]


def test_rules_imports_nothing_of_ours_and_reads_no_clock() -> None:
    for path in (EXT / "rules.pyx", EXT / "rules.pxd"):
        assert _native_imports(path) <= {"rules"}
        found = re.search(r"clock_gettime|time\.h|\btime\(|malloc|\bwith gil\b", path.read_text())
        assert found is None


def test_only_the_clock_reads_a_clock() -> None:
    readers = [path.name for path in NATIVE if "clock_gettime" in path.read_text()]
    assert readers and set(readers) <= {"clock.pyx", "clock.pxd"}


def test_the_build_knows_which_rooms_need_nghttp2() -> None:
    rooms = re.search(r"HTTP2_ROOMS = \{(.*?)\}", (ROOT / "setup.py").read_text(), re.S)
    assert rooms is not None
    named = set(re.findall(r'"(\w+)"', rooms[1]))
    users = {path.stem for path in EXT.glob("*.pyx") if "nghttp2_api" in _native_imports(path)}
    assert users <= named
    # What is built without it must not import what is not.
    for path in EXT.glob("*.pyx"):
        if path.stem not in named:
            assert not _native_imports(path) & (named | {"nghttp2_api"}), path.name


def test_the_native_rooms_depend_one_way() -> None:
    imports: dict[str, set[str]] = {}
    for path in NATIVE:
        imports.setdefault(path.stem, set()).update(_native_imports(path) - {path.stem})
    for number, name in enumerate(NATIVE_ORDER):
        reached = _reached(imports, name)
        assert name not in reached, f"{name} imports itself by a detour"
        later = set(NATIVE_ORDER[number + 1 :])
        assert not reached & later, f"{name} imports {reached & later}"


def test_nothing_that_serves_imports_the_load_generator() -> None:
    assert {"load_plan", "load_tally", "load_engine", "load_http2"} <= LOAD_NAMES
    for path in NATIVE:
        if path.stem not in LOAD_NAMES:
            assert not _native_imports(path) & LOAD_NAMES


def _reached(imports: dict[str, set[str]], name: str) -> set[str]:
    """Return every module that `name` imports, directly or not."""
    reached: set[str] = set()
    waiting = list(imports[name])
    while waiting:
        found = waiting.pop()
        if found not in reached:
            reached.add(found)
            waiting.extend(imports.get(found, ()))
    return reached


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(SRC)))
def test_a_room_of_the_package_imports_only_what_it_may(path: Path) -> None:
    allowed = ROOMS[_room(path)]
    for name in _python_imports(path):
        parts = name.split(".")
        if len(parts) == 1 or parts[1] in ("__version__",):
            continue
        assert parts[1] in allowed, f"{path.relative_to(SRC)} imports {name}"


@pytest.mark.parametrize("path", [*PYTHON, *NATIVE], ids=lambda path: path.name)
def test_a_module_opens_with_a_docstring(path: Path) -> None:
    text = path.read_text()
    assert text.startswith('"""'), "the first thing in a module says what it owns"
    assert text[3:].strip().split('"""')[0].strip()


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(SRC)))
def test_whatever_is_public_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in tree.body:
        is_named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if is_named and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_no_line_is_longer_than_100_characters() -> None:
    long = [
        f"{path.name}:{number}"
        for path in [*PYTHON, *NATIVE, *sorted(Path(__file__).parent.rglob("*.py"))]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 100
    ]
    assert long == []


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: path.name)
def test_nothing_native_forks_or_relaxes_lmdb(path: Path) -> None:
    text = path.read_text()
    for name in ("MDB_WRITEMAP", "MDB_NOSYNC", "MDB_NOMETASYNC"):
        assert not re.search(rf"\|\s*{name}|{name}\s*\|", text), f"{name} is used"
    assert not re.search(r"\bfork\(", text)

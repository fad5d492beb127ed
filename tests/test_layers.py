"""The house keeps its order: dependencies point one way, and every module says what it is for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ownerd import limits

ROOT = Path(__file__).parent.parent
EXT = ROOT / "ext" / "ownerd"
SRC = ROOT / "src" / "ownerd"
# A folder of the native core never imports from one that stands to its right.
FOLDERS = ("base", "rules", "storage", "cluster", "api", "engine", "access", "net", "load")
NATIVE = sorted(path for end in ("pyx", "pxd") for path in EXT.rglob(f"*.{end}"))
PYTHON = sorted(
    path
    for path in SRC.rglob("*.py")
    if path.relative_to(SRC).parts[0] not in {*FOLDERS, "v1"}  # what a build in place put there
    and path.name != "_sync.py"
)
# Storage and api do not see each other: neither a row nor a message is laid out by the other.
APART = {frozenset({"storage", "api"})}
# What both programs need of the machine and the terminal that they run at.
SHARED = {"consoles", "loading", "machine", "printable", "streams"}
# What each part of the Python package may import of ours.
PARTS = {
    "server": {
        *("server", "backupfile", "contactfile", "files", "limits", "native", "v1", "demo"),
        *SHARED,
    },
    "ctl": {
        *("base", "ctl", "backupfile", "client", "console", "contactfile", "durations", "files"),
        *("limits", "load", "mirror", "v1"),
        *SHARED,
    },
    "client": {"client", "limits", "v1"},
    "console": {"console", "client", "durations", "printable"},
    "demo": {
        "demo",
        "client",
        "console",
        "contactfile",
        "v1",
        "ctl",
        "durations",
        "limits",
        *SHARED,
    },
    "native": {"access", "api", "base", "cluster", "engine", "net", "storage"},
    "backupfile": {"backupfile"},
    "contactfile": {"contactfile", "limits", "printable"},
    "mirror": {"mirror", "v1"},
    "durations": set(),
    "files": set(),
    "limits": set(),
    "loading": set(),
    "machine": set(),
    "printable": set(),
    "consoles": set(),
    "streams": set(),
    "programs": {"loading", "machine", "server", "ctl"},
    "__main__": {"programs"},
    "__init__": set(),
}

_CIMPORT = re.compile(
    r"^[ \t]*(?:from\s+(ownerd[\w.]*)\s+c?import|c?import\s+(ownerd[\w.]*))", re.M
)


def _name(path: Path) -> str:
    """Return the module that a native file belongs to, as `folder.module`."""
    return ".".join(path.relative_to(EXT).with_suffix("").parts)


NAMES = {_name(path) for path in NATIVE}


def _native_imports(path: Path) -> set[str]:
    """Return the modules of ours that a .pyx or .pxd file imports, as `folder.module`."""
    found = {one or other for one, other in _CIMPORT.findall(path.read_text())}
    return {name.removeprefix("ownerd").removeprefix(".") for name in found}


def _folder(name: str) -> str:
    return name.split(".")[0]


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


def _part(path: Path) -> str:
    # How a folder is started is no part of it.
    place = path.name if path.name == "__main__.py" else path.relative_to(SRC).parts[0]
    return place.removesuffix(".py")


def test_the_files_are_where_the_checks_look() -> None:
    assert {_folder(name) for name in NAMES} == set(FOLDERS)
    assert {"rules.ownership", "engine.group_commit", "base.clock"} <= NAMES
    assert {"server", "ctl", "client", "demo"} <= {_part(path) for path in PYTHON}


@pytest.mark.parametrize("path", NATIVE, ids=_name)
def test_nothing_native_knows_the_python_package(path: Path) -> None:
    assert _native_imports(path) <= NAMES
    text = path.read_text()
    for foreign in ("grpc", "google.protobuf", "structlog", "asyncio.run"):
        assert not re.search(rf"\b(import|from) {re.escape(foreign)}\b", text)


@pytest.mark.parametrize("path", NATIVE, ids=_name)
def test_a_folder_never_imports_from_one_to_its_right(path: Path) -> None:
    here = _folder(_name(path))
    for name in _native_imports(path):
        there = _folder(name)
        assert FOLDERS.index(there) <= FOLDERS.index(here), f"{_name(path)} imports {name}"
        assert frozenset({here, there}) not in APART, f"{_name(path)} imports {name}"


def test_python_and_the_core_have_the_same_limits() -> None:
    found = re.findall(
        r"^    ([A-Z_]+) = ([\d_]+)", (EXT / "rules" / "limits.pxd").read_text(), re.M
    )
    assert len(found) >= 9
    for name, value in found:
        assert getattr(limits, name) == int(value), name


def test_no_native_module_imports_itself_by_a_detour() -> None:
    imports: dict[str, set[str]] = {}
    for path in NATIVE:
        imports.setdefault(_name(path), set()).update(_native_imports(path) - {_name(path)})
    for name in imports:
        assert name not in _reached(imports, name), f"{name} imports itself by a detour"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_a_package_that_says_what_it_owns_and_exports_nothing(folder: str) -> None:
    # A cimport imports the parent package first: an export there would pull in what is half made.
    tree = ast.parse((EXT / folder / "__init__.py").read_text())
    assert len(tree.body) == 1 and len(ast.get_docstring(tree) or "") > 80
    assert not _native_imports(EXT / folder / "__init__.pxd")


def test_tokens_are_compared_without_telling_how_much_is_equal() -> None:
    text = (EXT / "net" / "authn.pyx").read_text()
    uses = re.findall(r"(\w+)\([^()]*connection\.token\b(?!_)", text)
    assert sorted(uses) == ["CRYPTO_memcmp", "memcpy"]


def test_rules_imports_only_base_and_reads_no_clock() -> None:
    for path in (EXT / "rules").glob("*.p*"):
        assert {_folder(name) for name in _native_imports(path)} <= {"base", "rules"}
        assert "base.clock" not in _native_imports(path)
        found = re.search(r"clock_gettime|time\.h|\btime\(|malloc|\bwith gil\b", path.read_text())
        assert found is None


def test_only_the_clock_reads_a_clock() -> None:
    readers = {_name(path) for path in NATIVE if "clock_gettime" in path.read_text()}
    assert readers == {"base.clock"}


def test_what_is_built_without_nghttp2_does_not_import_what_is_not() -> None:
    http2 = {name for name in NAMES if _folder(name) in {"cluster", "net", "load"}}
    http2 -= {"net.aio_bridge", "load.engine", "load.plan", "load.tally", "load.threads"}
    http2 |= {"base.channel", "base.secure_channel", "base.tls"}
    speakers = {"base.nghttp2", "base.openssl"}
    for path in NATIVE:
        if _name(path) not in http2 | speakers:
            assert not _native_imports(path) & (http2 | speakers), _name(path)


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
def test_a_part_of_the_package_imports_only_what_it_may(path: Path) -> None:
    allowed = PARTS[_part(path)]
    for name in _python_imports(path):
        parts = name.split(".")
        if len(parts) == 1 or parts[1] in ("__version__",):
            continue
        assert parts[1] in allowed, f"{path.relative_to(SRC)} imports {name}"


def test_the_parts_of_ownerctl_depend_one_way() -> None:
    parts = ("terminal", "connect", "declared", "commands", "cli")
    for number, part in enumerate(parts):
        found = [*(SRC / "ctl").glob(f"{part}.py"), *(SRC / "ctl" / part).glob("*.py")]
        assert found, part
        later = {f"ownerd.ctl.{name}" for name in parts[number + 1 :]}
        for path in found:
            for name in _python_imports(path):
                assert ".".join(name.split(".")[:3]) not in later, f"{path} imports {name}"


@pytest.mark.parametrize("path", [*PYTHON, *NATIVE], ids=str)
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


@pytest.mark.parametrize("path", NATIVE, ids=_name)
def test_nothing_native_forks_or_relaxes_lmdb(path: Path) -> None:
    text = path.read_text()
    for name in ("MDB_WRITEMAP", "MDB_NOSYNC", "MDB_NOMETASYNC"):
        assert not re.search(rf"\|\s*{name}|{name}\s*\|", text), f"{name} is used"
    assert not re.search(r"\bfork\(", text)

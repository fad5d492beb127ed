"""The law is in the house: every rule that is cited is defined, and no link is dead."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from model import SHIPPED_CODES
from subject import Code

ROOT = next(path for path in Path(__file__).parents if (path / "pyproject.toml").is_file())
RULES = ROOT / "protos" / "ownerd" / "v1" / "RULES.md"
PAPERS = sorted(
    [
        ROOT / "README.md",
        RULES,
        *(
            path
            for where in (".github", "ext", "src/ownerd/docs")
            for path in ROOT.glob(f"{where}/*.md")
        ),
    ]
)
SOURCES = {".py", ".pyx", ".pxd", ".pyi", ".proto", ".md", ".c", ".cc", ".h", ".js"}

_CITED = re.compile(r"\bR(\d+)\b")
_TESTED = re.compile(r"\btest_r(\d+)_")
_DEFINED = re.compile(r"^### R(\d+)$", re.M)
_CODES = re.compile(r"^\| (`.+`) \| (yes|no) \| (yes|no) \|$", re.M)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)


def _sources() -> Iterator[Path]:
    for folder in ("ext", "src", "tests", "protos", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SOURCES and "node_modules" not in path.parts:
                yield path


def _defined() -> list[int]:
    return [int(number) for number in _DEFINED.findall(RULES.read_text())]


def _anchors(paper: Path) -> set[str]:
    """Return the fragments under which a paper's headings are reached."""
    headings = _HEADING.findall(paper.read_text())
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_rule_is_defined_once() -> None:
    assert _defined()
    assert len(_defined()) == len(set(_defined()))


def test_every_rule_that_is_cited_is_defined() -> None:
    cited = {
        (int(number), str(path.relative_to(ROOT)))
        for path in _sources()
        for found in (_CITED, _TESTED)
        for number in found.findall(path.read_text())
    }
    assert len({path for _, path in cited}) > 50, "the citations are where this test looks"
    assert [where for where in sorted(cited) if where[0] not in _defined()] == []


def test_every_rule_has_a_test() -> None:
    tests = [path.read_text() for path in _sources() if path.name.startswith("test_")]
    tested = {int(number) for text in tests for number in _TESTED.findall(text)}
    assert set(_defined()) - tested == set()


def test_the_shipped_wrap_up_codes_are_those_of_the_table() -> None:
    rows = _CODES.findall(RULES.read_text())
    table = {
        name: Code(name, counts == "yes", success == "yes")
        for names, counts, success in rows
        for name in re.findall("`(.+?)`", names)
    }
    assert table == SHIPPED_CODES


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_link_of_a_paper_leads_somewhere(paper: Path) -> None:
    for link in _LINK.findall(paper.read_text()):
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        target = (paper.parent / name) if name else paper
        assert target.exists(), f"{link}: there is no such file"
        if fragment:
            assert fragment in _anchors(target), f"{link}: there is no such heading"


def test_the_plan_of_the_core_names_functions_that_are_where_it_says() -> None:
    core = ROOT / "ext" / "ownerd"
    rows = [
        line.strip("|").split("|")
        for line in (ROOT / "ext" / "README.md").read_text().splitlines()
        if line.startswith("|")
    ]
    found = 0
    for row in rows:
        modules = re.findall(r"`(\w+/\w+)`", row[-1])
        text = "".join(path.read_text() for name in modules for path in core.glob(f"{name}.p[yx]*"))
        for function in re.findall(r"`([a-z_]\w+)`", row[-2]) if modules else ():
            assert re.search(rf"\bcdef\b[^\n]*\b{function}\(", text), f"{modules}: {function}"
            found += 1
    assert found > 50

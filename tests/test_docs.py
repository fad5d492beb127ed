"""The pages of the manual: shown, and right: what they have for a shell does what it says."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from harness import ServerProcess
from sanitizer import patient_s, plain_environment

from ownerd.ctl import cli
from ownerd.ctl.declared import form
from ownerd.server import papers

DOCS = Path(papers.__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXT = "\n".join(page.read_text() for page in PAGES)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("docs") / "data", auth=True) as process:
        yield process


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_has_for_a_shell_does_what_it_says(page, server, tmp_path):
    script = "".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S))
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patient_s(120),
        env={
            **plain_environment(),
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "OWNERD_SERVER": server.admin_address,
            "OWNERD_TOKEN_FILE": str(server.directory / "admin.token"),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "note:" not in done.stdout


def test_pages_are_shown_by_name_and_what_is_meant_is_said():
    def shown(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "ownerd.server.cli", "docs", *arguments],
            capture_output=True,
            text=True,
            timeout=patient_s(60),
        )

    names = [line.split()[0] for line in shown().stdout.splitlines()]
    assert names == [page.stem for page in PAGES] == papers.pages()
    assert shown("apply").stdout == (DOCS / "apply.md").read_text()
    mistyped = shown("aply")
    assert mistyped.returncode == 2 and 'did you mean "apply"' in mistyped.stderr


def test_every_field_of_a_declared_configuration_is_documented():
    page = (DOCS / "apply.md").read_text()
    for section in form.SECTIONS:
        for name in (section.name, *(field.name for field in section.fields)):
            assert re.search(rf"^\|.*`{name}`.*\|", page, re.M), name
    for right in form.RIGHTS:
        assert f"`{right}`" in page


@pytest.mark.parametrize(
    "words", sorted({found.split("`")[0] for found in re.findall(r"`ownerctl ([a-z][^`]*)`", TEXT)})
)
def test_every_command_that_pages_name_is_there(words):
    plain = [word for word in words.split() if re.fullmatch("[a-z-]+", word)]
    _, apps, _ = cli.app.parse_commands(plain)
    assert len(apps) > 1, words


def test_lines_of_pages_have_no_more_than_a_screen_shows():
    for page in PAGES:
        for line in page.read_text().splitlines():
            assert len(line) <= 110 or line.startswith("|"), f"{page.name}: {line}"

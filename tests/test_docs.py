"""The pages of the manual: shown, and right: what they have for a shell does what it says."""

import re
import subprocess
import sys

import manual
import msgspec
import pytest
from harness import ServerProcess
from manual import DOCS, PAGES, ROOT
from sanitizer import patient_s, plain_environment, programs_path

from ownerd.client.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from ownerd.ctl import cli
from ownerd.ctl.connect import access
from ownerd.ctl.declared import form
from ownerd.ctl.terminal.exits import Exit
from ownerd.server import config, exits, papers

TEXT = "\n".join(page.read_text() for page in [manual.README, *PAGES])
# Pages with commands that run on, or that start servers: pasted by tests that end those.
PASTED_ELSEWHERE = {
    "cluster": "cluster/test_page.py",
    "console": "console/test_console_command.py",
    "feed": "test_readme.py",
    "mirror": "mirror/test_mirror_of_a_server.py",
    "security": "test_readme.py",
}


def run(script, server, directory):
    for port, address in (("7411", server.dial_address), ("7412", server.admin_address)):
        script = script.replace(f"127.0.0.1:{port}", address)
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=patient_s(120),
        env={
            **plain_environment(),
            "PATH": programs_path(directory),
            "HOME": str(directory),
            "OWNERD_SERVER": server.admin_address,
            "OWNERD_DIAL": server.dial_address,
            "OWNERD_TOKEN_FILE": str(server.directory / "admin.token"),
        },
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with what the README has made of it."""
    directory = tmp_path_factory.mktemp("docs")
    with ServerProcess(directory / "data", auth=True) as process:
        done = run(manual.script_of(manual.sections()["Dial"]), process, directory)
        assert done.returncode == 0, done.stderr
        yield process


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.stem not in PASTED_ELSEWHERE],
    ids=lambda page: page.stem,
)
def test_what_a_page_has_for_a_shell_does_what_it_says(page, server, tmp_path):
    done = run(manual.script_of(page.read_text()), server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "note:" not in done.stdout


@pytest.mark.parametrize(("name", "test"), PASTED_ELSEWHERE.items())
def test_pages_that_are_pasted_elsewhere_are(name, test):
    assert f'manual.page("{name}")' in (ROOT / "tests" / test).read_text()


def test_pages_that_are_named_are_there():
    sources = [*(ROOT / "src").rglob("*.py"), manual.README, *PAGES]
    named = {
        name for path in sources for name in re.findall(r"ownerd docs ([a-z]+)", path.read_text())
    }
    assert len(named) > 5 and named <= {page.stem for page in PAGES}


def test_the_readme_links_to_every_page():
    linked = re.findall(r"\| \[(\w+)\]\(src/ownerd/docs/(\w+)\.md\) \| (.*) \|", TEXT)
    titles = {page.stem: page.read_text().split("\n", 1)[0] for page in PAGES}
    assert {name: f"# {title}" for name, path, title in linked if name == path} == titles


def test_pages_are_shown_by_name_and_what_is_meant_is_said():
    def shown(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "ownerd.server", "docs", *arguments],
            capture_output=True,
            text=True,
            timeout=patient_s(60),
        )

    names = [line.split()[0] for line in shown().stdout.splitlines()]
    assert names == [page.stem for page in PAGES] == papers.pages()
    assert shown("apply").stdout == (DOCS / "apply.md").read_text()
    mistyped = shown("aply")
    assert mistyped.returncode == 2 and 'did you mean "apply"' in mistyped.stderr


def test_every_exit_code_is_documented():
    ctl, server_ = (manual.page("exits").replace("`", "").split("| ownerctl |")[i] for i in (1, 0))
    for code in Exit:
        assert f"| {code.value} | {code.meaning} |".replace("`", "") in ctl
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", server_, re.M)] == list(
        exits.MEANINGS
    )


def test_every_variable_of_ownerctl_is_documented():
    text = manual.page("configuration")
    for name in (
        *access.VARIABLES.values(),
        TOKEN_VARIABLE,
        TOKEN_FILE_VARIABLE,
        access.CONTEXT_VARIABLE,
    ):
        assert re.search(rf"^\|.*`{name}`", text, re.M), name


def test_every_setting_is_documented_with_its_default():
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| (.*?)\|", manual.page("configuration"), re.M)
    told = {name: default for names, default in rows for name in re.findall(r"\w+", names)}
    assert told.keys() == config.KEYS.keys()
    given = {name: text.strip("` ") for name, text in told.items() if text.strip()}
    given["data"] = "DIR"
    loaded = config.load({}, {config.KEYS[name].variable: text for name, text in given.items()})
    assert loaded.settings == msgspec.structs.replace(config.Settings(), data="DIR")


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

"""Screens of 80 and 120 columns: what is shown fits them, and says what it should."""

import pytest
from harness import ServerProcess
from screens import shown

from ownerd.client import Client
from ownerd.ctl import cli

DECLARED = """
lists: {customers: {enabled: yes, duration: 2d3h}, other: {}}
campaigns: {spring: Spring Renewals, summer: "Summer Offers 2027, second wave"}
principals: {dialer: {grants: [{right: dial, lists: [customers], campaigns: [spring]}]}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("screens")
    (directory / "declared.yaml").write_text(DECLARED)
    with ServerProcess(directory / "data", auth=True) as process:
        process.variables = {
            "OWNERD_SERVER": process.admin_address,
            "OWNERD_TOKEN": process.token,
            "XDG_CONFIG_HOME": str(directory),
        }
        process.declared = directory / "declared.yaml"
        code, lines = shown(
            "ownerctl", ["apply", "-f", process.declared], columns=80, environment=process.variables
        )
        assert code == 0, lines
        with Client(process.dial_address, token=process.token) as client:
            for number in range(30):
                campaign = ("spring", "summer")[number % 2]
                client.claim("customers", str(number), campaign)
                client.report("customers", str(number), campaign, "Busy")
                client.claim("customers", str(number), "autumn")
        yield process


def screen(server, columns, *arguments, program="ownerctl", lines=60):
    return shown(program, arguments, columns=columns, environment=server.variables, lines=lines)


@pytest.mark.parametrize(
    ("columns", "words", "first", "last"),
    [
        (120, ["owners", "customers"], "CAMPAIGN", "FIRST EXPIRES"),
        (80, ["owners", "customers"], "CAMPAIGN", "FIRST EXPIRES"),
        (80, ["owners", "customers", "--columns", "campaign,name,share"], "CAMPAIGN", "SHARE"),
        (120, ["describe", "campaign", "spring"], "LIST", "FIRST EXPIRES"),
        (80, ["describe", "list", "customers"], "CAMPAIGN", "FIRST EXPIRES"),
        (80, ["describe", "principal", "dialer"], "Principal", "dialer"),
        (80, ["list", "ls"], "LIST", "SHARES WITH"),
        (60, ["list", "ls"], "LIST", "RESERVATION TTL"),
        (80, ["whoami"], "Principal", "admin"),
        (80, ["doctor"], "CHECK", "WHAT TO DO"),
        (80, ["audit"], "TIME (UTC)", "CHANGE"),
    ],
    ids=str,
)
def test_a_table_fits_its_terminal(server, columns, words, first, last):
    code, lines = screen(server, columns, *words)
    text = "\n".join(lines)
    assert code in (0, 16), text
    # What does not fit goes on at the begin of the next line: then the heading has no end.
    (head,) = [line for line in lines if line.startswith(f"{first} ")]
    assert head.endswith(last), text
    empty = lines.index("", lines.index(head))
    assert empty - lines.index(head) > 1, text


def test_what_is_asked_for_is_shown_however_narrow_it_is(server):
    code, lines = screen(server, 40, "owners", "customers", "--columns", "campaign_id,lapsed,name")
    assert code == 0 and lines[0].split() == ["CAMPAIGN", "LAPSED", "NAME"]


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "words",
    [["--help"], ["list", "--help"], ["policy", "set", "--help"], ["apply", "--help"], ["options"]],
    ids=" ".join,
)
def test_help_fits_a_screen(server, columns, words):
    code, lines = screen(server, columns, *words, lines=50)
    used = [line for line in lines if line]
    assert code == 0 and len(used) <= 48
    assert used[0].startswith(("Usage: ownerctl", "Options of every command"))
    assert not any("--server-name" in line for line in used) or words == ["options"]


def test_every_command_has_a_summary_that_fits_its_line():
    for name in cli.app:
        if not name.startswith("-"):
            first = (cli.app[name].help or "").strip().split("\n")[0]
            assert 0 < len(first) <= 54, f"{name}: {first}"


def test_a_difference_has_colours_and_no_line_is_cut(server, tmp_path):
    changed = tmp_path / "changed.yaml"
    changed.write_text(DECLARED.replace("2d3h", "1h").replace("spring]}", "spring, autumn]}"))
    code, lines = screen(server, 80, "diff", "-f", changed)
    text = "\n".join(lines)
    assert code == 1 and "- duration: 2d3h" in text and "+ duration: 1h" in text
    assert "campaigns: [autumn, spring]" in text

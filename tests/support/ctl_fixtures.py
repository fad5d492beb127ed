"""What the tests of ownerctl share: a fake server, ownerctl run against it, someone who types."""

import io
import re

import pytest
from fake_admin import fake_server

from ownerd.ctl import cli
from ownerd.v1 import admin_pb2 as pb

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def fake():
    with fake_server() as server:
        yield server


@pytest.fixture
def ctl(fake, capsys, monkeypatch):
    """Run ownerctl against the fake; returns exit code, stdout and stderr."""
    monkeypatch.setenv("OWNERD_SERVER", fake.address)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The path of the contexts' file, in a configuration directory of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "ownerd" / "contexts.json"


def own(fake, list_id, count, campaign_id="C1", expire_s=None):
    """Let a campaign own records of a list of the fake."""
    for _ in range(count):
        row = pb.OwnershipRow(campaign_id=campaign_id, campaign_name=f"Campaign {campaign_id}")
        row.record_id = f"r{len(fake.rows[list_id]):05}"
        if expire_s is not None:
            row.expire_time.seconds = expire_s
        fake.rows[list_id][row.record_id] = row


def answer_with(monkeypatch, line):
    """Sit a person at the terminal who types a line."""
    stdin = io.StringIO(line)
    stdin.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", stdin)


def table_of(out):
    """Return the cells of a printed table."""
    return [re.split(r"  +", line.strip()) for line in out.splitlines()]

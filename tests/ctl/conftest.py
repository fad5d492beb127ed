"""Fixtures of the tests of ownerctl: a fake server, ownerctl run against it, its contexts' file."""

import pytest
from fake_admin import fake_server

from ownerd.ctl import cli


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

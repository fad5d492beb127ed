"""Which server ownerctl speaks to, how, and as whom: options, variables, contexts, tokens, TLS."""

import json
import os
import shlex
import stat
import subprocess
import sys
from contextlib import contextmanager

import grpc
import pytest
from certificates import Certificates
from fake_admin import fake_server
from sanitizer import patient_s
from terminal import table_of

from ownerd.client.credentials import Tls
from ownerd.ctl import cli
from ownerd.ctl.connect.access import Access, TokenOrigin
from ownerd.ctl.terminal.exits import Exit

TOKEN = "ownerd_" + "A" * 43
OTHER = "ownerd_" + "B" * 43


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


# Tokens


def test_a_token_goes_with_every_call(ctl, fake, token_file, tmp_path):
    assert ctl("list", "create", "L", "--token-file", token_file)[0] == 0
    (tmp_path / "rows.csv").write_text(
        "i3_identity,i3_campaignownerid,i3_campaignownername,i3_campaignownerexpiration\n1,C,C,\n"
    )
    for words in (["import", "L", tmp_path / "rows.csv"], ["export", "L"], ["owners", "L"]):
        code, _, err = ctl("--token-file", token_file, *words)
        assert code == 0, err
    assert fake.authorizations and set(fake.authorizations) == {f"Bearer {TOKEN}"}


def test_a_token_comes_from_an_option_or_a_variable(ctl, fake, token_file, monkeypatch):
    ctl("status")
    monkeypatch.setenv("OWNERD_TOKEN_FILE", str(token_file))
    ctl("status")
    monkeypatch.setenv("OWNERD_TOKEN", OTHER)
    ctl("status")
    ctl("status", "--token-file", token_file)
    assert fake.authorizations == [None, f"Bearer {TOKEN}", f"Bearer {OTHER}", f"Bearer {TOKEN}"]


def test_without_a_token_it_says_where_to_get_one(ctl, fake):
    fake.valid_tokens = {TOKEN}
    code, out, err = ctl("status")
    assert (code, out) == (Exit.PERMISSION, "") and err.count("\n") == 1
    for word in ("admin.token", "--token-file", "OWNERD_TOKEN_FILE", "ownerctl context add"):
        assert word in err


def test_a_token_that_is_not_valid_is_named_by_its_place(ctl, fake, token_file):
    fake.valid_tokens = {OTHER}
    code, _, err = ctl("status", "--token-file", token_file)
    assert code == Exit.PERMISSION and str(token_file) in err and TOKEN not in err


@pytest.mark.parametrize("content", [None, "", "two words\n", f"{TOKEN}\n{OTHER}\n"])
def test_a_token_file_without_a_token_is_named(ctl, fake, tmp_path, content):
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
        file.chmod(0o600)
    code, out, err = ctl("status", "--token-file", file)
    assert (code, out) == (Exit.PERMISSION, "") and str(file) in err and err.count("\n") == 1
    assert TOKEN not in err and not fake.requests


def test_a_token_file_that_others_can_read_is_used_with_a_warning(ctl, fake, token_file):
    token_file.chmod(0o644)
    code, _, err = ctl("status", "--token-file", token_file)
    assert code == 0 and fake.authorizations == [f"Bearer {TOKEN}"]
    assert err == f"ownerctl: {token_file} can be read by others; chmod 600 {token_file}\n"
    token_file.chmod(0o640)
    assert ctl("status", "--token-file", token_file)[2] == ""


def test_a_token_that_would_go_over_a_network_in_the_clear_is_warned_of(token_file):
    token = TokenOrigin("file", str(token_file))
    for server in ("h.example:1", "10.0.0.1:1", "[2001:db8::1]:1"):
        said = f"your token goes to {server} without TLS; see --ca and --tls"
        assert Access(server, token=token).complaints() == [said]
        assert Access(server, token=token, tls=Tls()).complaints() == []
        assert Access(server).complaints() == []
    for server in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        assert Access(server, token=token).complaints() == []


def test_there_is_no_option_for_a_token(ctl, fake):
    for words in (["status"], ["principal", "create", "P"], ["context", "add", "n"]):
        code, out, err = ctl(*words, "--token", TOKEN)
        assert (code, out) == (Exit.USAGE, "") and TOKEN not in err
    assert not fake.requests


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--token-file", TOKEN],
        ["status", TOKEN],
        [TOKEN],
        ["status", "--server", TOKEN],
        ["status", "--context", TOKEN],
        ["principal", "show", TOKEN],
        ["context", "add", "n", "--server", "h:1", "--token-file", TOKEN],
        ["context", "add", "n", "--server", "h:1", "--token-env", TOKEN],
        ["context", "add", "n", "--server", "h:1", "--token-command", f"echo {TOKEN}"],
        ["context", "add", TOKEN, "--server", "h:1"],
    ],
)
def test_a_token_in_the_wrong_place_is_not_repeated(ctl, config, words):
    code, out, err = ctl(*words)
    assert code not in (0, Exit.INTERNAL) and TOKEN not in out + err and err.count("\n") == 1
    assert not config.exists()


def test_no_help_and_no_failure_shows_the_token(ctl, fake, monkeypatch, config):
    monkeypatch.setenv("OWNERD_TOKEN", TOKEN)
    monkeypatch.setenv("OWNERCTL_DEBUG", "1")
    shown = [*ctl("--help"), *ctl("principal", "create", "--help"), *ctl("context", "--help")]
    shown += ctl("context", "add", "n", "--server", fake.address, "--token-env", "OWNERD_TOKEN")
    shown += ctl("context", "show", "n")
    for code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL):
        fake.fail_next("GetServerStatus", code, "no")
        shown += ctl("status")
    monkeypatch.setattr("ownerd.ctl.commands.statuses.status_row", None)
    shown += ctl("status")
    assert fake.authorizations == [f"Bearer {TOKEN}"] * 3
    assert TOKEN not in str(shown) and "TypeError" in str(shown)


def test_a_failed_command_shows_its_token_to_nobody_else_either(fake, token_file):
    command = [sys.executable, "-m", "ownerd.ctl", "--token-file", str(token_file), "status"]
    environment = {**os.environ, "OWNERD_SERVER": fake.address, "GRPC_VERBOSITY": "DEBUG"}
    fake.valid_tokens = {OTHER}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=patient_s(60)
    )
    assert done.returncode == Exit.PERMISSION
    assert TOKEN not in done.stdout + done.stderr


def test_a_rate_limit_has_the_exit_code_of_a_full_server_and_says_the_wait(ctl, fake):
    fake.trailers = (("grpc-retry-pushback-ms", "60000"),)
    said = "over the limit of 5 calls a second; wait 60 s"
    fake.fail_next("GetServerStatus", grpc.StatusCode.RESOURCE_EXHAUSTED, said)
    assert ctl("status") == (Exit.EXHAUSTED, "", f"ownerctl: {said}\n")


# Contexts


def read(config):
    return json.loads(config.read_text())


def test_a_context_is_kept_in_a_file_that_only_its_owner_reads(ctl, config, monkeypatch):
    monkeypatch.chdir(config.parent.parent.parent)
    umask = os.umask(0)
    try:
        code, _out, err = ctl(
            "context",
            "add",
            "prod",
            "--server",
            "h.example:7412",
            "--dial",
            "h.example:7411",
            "--ca",
            "ca.pem",
            "--cert",
            "c.pem",
            "--key",
            "c.key",
            "--server-name",
            "x",
            "--token-file",
            "token",
        )
    finally:
        os.umask(umask)
    assert code == 0 and "ownerctl context use prod" in err
    here = os.getcwd()
    assert read(config) == {
        "current": "",
        "contexts": {
            "prod": {
                "server": "h.example:7412",
                "dial": "h.example:7411",
                "tls": True,
                "ca": f"{here}/ca.pem",
                "cert": f"{here}/c.pem",
                "key": f"{here}/c.key",
                "server_name": "x",
                "token_file": f"{here}/token",
            }
        },
    }
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert [found.name for found in config.parent.iterdir()] == ["contexts.json"]


def test_the_default_place_is_in_the_home_directory(ctl, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    ctl("context", "add", "n", "--server", "h:1")
    assert (tmp_path / ".config" / "ownerd" / "contexts.json").exists()


def test_a_file_of_a_context_that_is_not_there_is_told_of(ctl, config, tmp_path):
    options = ("context", "add", "n", "--server", "h:1", "--token-file")
    code, _, err = ctl(*options, tmp_path / "none.token")
    assert code == 0 and f"{tmp_path / 'none.token'} is not there" in err
    (tmp_path / "a.token").touch(mode=0o600)
    assert "is not there" not in ctl(*options, tmp_path / "a.token", "--replace")[2]


def test_contexts_are_used_listed_shown_and_removed(ctl, config, fake):
    assert "There are no contexts" in ctl("context", "list")[1]
    ctl("context", "add", "a", "--server", "h:1")
    ctl("context", "add", "b", "--server", "h:2", "--use")
    listed = json.loads(ctl("context", "ls", "-o", "json")[1])["contexts"]
    assert [(row["name"], row["in_use"]) for row in listed] == [("a", False), ("b", True)]
    assert ctl("context", "use", "a")[0] == 0
    assert ["Context", "a"] in table_of(ctl("context", "show")[1])
    assert ["Context", "b"] in table_of(ctl("context", "show", "--context", "b")[1])
    assert ctl("context", "add", "a", "--server", "h:3")[0] == Exit.ALREADY_EXISTS
    assert ctl("context", "add", "a", "--server", "h:3", "--replace")[0] == 0
    assert ctl("context", "remove", "a")[0] == 0
    assert read(config) == {"current": "", "contexts": {"b": {"server": "h:2"}}}
    for words in (["use", "a"], ["show", "a"], ["remove", "a"], ["show"]):
        assert ctl("context", *words)[0] == Exit.USAGE
    assert not fake.requests


@pytest.mark.parametrize(
    "words",
    [
        ["add", "n"],
        ["add", "n", "--server", "nowhere"],
        ["add", "-x", "--server", "h:1"],
        ["add", "a b", "--server", "h:1"],
        ["add", "n", "--server", "h:1", "--cert", "c"],
        ["add", "n", "--server", "h:1", "--token-env", "A", "--token-command", "b"],
        ["add", "n", "--server", "h:1", "--token-file", "f", "--token-env", "A"],
        ["add", "n", "--server", "h:1", "--token-command", "'open"],
        ["use"],
    ],
)
def test_a_context_that_makes_no_sense_is_a_usage_error(ctl, config, words):
    code, out, err = ctl("context", *words)
    assert (code, out) == (Exit.USAGE, "") and err.count("\n") == 1
    assert not config.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"contexts": {"n": {"sever": "h:1"}}}', "\xff"])
def test_a_broken_file_is_named_and_left_as_it_is(ctl, config, monkeypatch, content):
    monkeypatch.delenv("OWNERD_SERVER")
    config.parent.mkdir(parents=True)
    config.write_text(content, encoding="latin-1")
    for words in (["status"], ["context", "ls"], ["context", "add", "n", "--server", "h:1"]):
        code, _, err = ctl(*words)
        assert code == Exit.USAGE and str(config) in err and err.count("\n") == 1
    assert config.read_text(encoding="latin-1") == content


def test_a_file_that_cannot_be_written_is_named(ctl, config):
    config.parent.parent.mkdir()
    config.parent.write_text("in the way")
    code, _, err = ctl("context", "add", "n", "--server", "h:1")
    assert code in (Exit.USAGE, Exit.OUTPUT_FILE) and "contexts.json" in err


def test_a_file_that_others_can_change_is_used_with_a_warning(ctl, config):
    ctl("context", "add", "n", "--server", "h:1")
    config.chmod(0o666)
    code, _, err = ctl("status")
    assert code == 0 and err == f"ownerctl: {config} can be changed by others; chmod 600 {config}\n"


def test_no_command_is_run_that_others_can_have_written(ctl, config, tmp_path):
    marker = tmp_path / "ran"
    ctl("context", "add", "n", "--server", "h:1", "--token-command", f"touch {marker}")
    config.chmod(0o620)
    code, _, err = ctl("--context", "n", "status")
    assert code == Exit.USAGE and "no command of it is run" in err and not marker.exists()
    # To look at such a context runs nothing.
    for words in (("context", "list"), ("context", "show", "n")):
        code, out, _ = ctl(*words)
        assert code == 0 and "touch" in out and not marker.exists()


def test_a_file_behind_a_link_stays_behind_it(ctl, config, tmp_path):
    ctl("context", "add", "a", "--server", "h:1")
    config.rename(tmp_path / "elsewhere.json")
    config.symlink_to(tmp_path / "elsewhere.json")
    ctl("context", "add", "b", "--server", "h:1")
    assert config.is_symlink() and set(read(config)["contexts"]) == {"a", "b"}


@contextmanager
def second_fake():
    with fake_server() as other:
        yield other


def test_options_win_over_a_named_context_over_variables_over_the_one_in_use(
    ctl, config, fake, token_file, tmp_path, monkeypatch
):
    other_token = tmp_path / "other"
    other_token.write_text(OTHER)
    other_token.chmod(0o600)
    bearer = f"Bearer {OTHER}"
    with second_fake() as there:
        monkeypatch.delenv("OWNERD_SERVER")
        ctl("context", "add", "there", "--server", there.address, "--token-file", other_token)
        ctl("context", "use", "there")

        ctl("status")  # the context in use
        assert there.authorizations == [bearer]
        monkeypatch.setenv("OWNERD_TOKEN_FILE", str(token_file))
        ctl("status")  # but a variable for the token
        assert there.authorizations == [bearer, f"Bearer {TOKEN}"]
        ctl("status", "--context", "there")  # which does not count for a named context
        assert there.authorizations[2:] == [bearer]
        monkeypatch.delenv("OWNERD_TOKEN_FILE")

        ctl("status", "--server", fake.address)  # another server never gets its token
        monkeypatch.setenv("OWNERD_SERVER", fake.address)
        ctl("status")
        assert fake.authorizations == [None, None]
        ctl("status", "--context", "there")
        assert there.authorizations[3:] == [bearer]
        ctl("status", "--context", "there", "--server", fake.address)  # unless both are said
        assert fake.authorizations[2:] == [bearer]
        assert len(there.requests) == 4


def test_a_variable_names_the_context_in_use(ctl, config, fake, monkeypatch):
    monkeypatch.delenv("OWNERD_SERVER")
    ctl("context", "add", "n", "--server", fake.address)
    monkeypatch.setenv("OWNERD_CONTEXT", "n")
    assert ctl("status")[0] == 0 and len(fake.requests) == 1
    monkeypatch.setenv("OWNERD_CONTEXT", "gone")
    code, _, err = ctl("status")
    assert code == Exit.USAGE and '"gone"' in err and "there are: n" in err
    assert ctl("context", "list")[0] == 0


def test_a_token_command_is_run_without_a_shell(ctl, config, fake, tmp_path):
    code = f"import sys; sys.stdout.write('{TOKEN}\\n' * ('$HOME;' in sys.argv))"
    script = tmp_path / "store.py"
    script.write_text(code)
    command = shlex.join([sys.executable, str(script), "$HOME;"])
    ctl("context", "add", "n", "--server", fake.address, "--token-command", command)
    assert TOKEN not in config.read_text()
    assert ctl("status", "--context", "n")[0] == 0
    assert fake.authorizations == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize(
    "command", ["false", "echo", "echo two words", "no-such-command", f"printf '{TOKEN} x'"]
)
def test_a_token_command_without_a_token_is_named(ctl, config, fake, command, tmp_path):
    config.parent.mkdir(parents=True)
    context = {"server": fake.address, "token_command": shlex.split(command)}
    config.write_text(json.dumps({"contexts": {"n": context}}))
    code, out, err = ctl("status", "--context", "n")
    assert (code, out) == (Exit.PERMISSION, "") and command.split()[0] in err
    assert err.count("\n") == 1 and TOKEN not in err and not fake.requests


# TLS


@pytest.fixture
def secured(capsys, certificates, monkeypatch):
    """Run ownerctl against a fake that speaks TLS; lends the fake, too."""
    with fake_server(certificates.of_server("localhost", "ownerd.example")) as fake:
        monkeypatch.setenv("OWNERD_SERVER", fake.address.replace("127.0.0.1", "localhost"))

        def run(*arguments):
            code = cli.main([str(argument) for argument in arguments])
            out, err = capsys.readouterr()
            return code, out, err

        run.fake = fake
        yield run


def test_a_server_is_trusted_by_its_ca(secured, certificates, monkeypatch, token_file):
    assert secured("status", "--ca", certificates.ca, "--token-file", token_file)[0] == 0
    monkeypatch.setenv("OWNERD_CA", str(certificates.ca))
    assert secured("status")[0] == 0
    address = secured.fake.address
    named = ("--server", address, "--server-name", "ownerd.example")
    assert secured("status", *named)[0] == 0
    monkeypatch.delenv("OWNERD_CA")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    assert secured("status", "--tls")[0] == 0


def test_what_is_wrong_with_the_tls_is_said(secured, certificates, fake):
    expected = {
        (): "it speaks TLS); name the CAs",
        ("--ca", certificates.other_ca): "its certificate is not trusted: ",
        ("--ca", certificates.ca, "--server-name", "x.example"): "that name with --server-name",
        ("--ca", certificates.ca, "--server", fake.address): "no TLS with it, ",
    }
    for options, message in expected.items():
        code, out, err = secured("status", *options)
        assert (code, out) == (Exit.UNAVAILABLE, "")
        assert message in err and err.count("\n") == 1
    assert not secured.fake.requests and not fake.requests


def test_a_certificate_is_shown_to_a_server_that_asks(ctl, certificates, monkeypatch, tmp_path):
    certificate, key = certificates.issue("supervisor.example")
    others = Certificates(tmp_path).issue("supervisor.example")
    with fake_server(certificates.of_server("127.0.0.1", asks_client=True)) as fake:
        options = ("--server", fake.address, "--ca", certificates.ca)
        code, _, err = ctl("status", *options)
        assert code == Exit.UNAVAILABLE and not fake.requests
        assert "wants your certificate" in err or "no TLS with it, " in err
        other = ("--cert", others[0], "--key", others[1])
        code, _, err = ctl("status", *options, *other)
        assert code == Exit.UNAVAILABLE and not fake.requests
        assert ctl("status", *options, "--cert", certificate, "--key", key)[0] == 0
        fake.valid_tokens = set()
        code, _, err = ctl("status", *options, "--cert", certificate, "--key", key)
        assert code == Exit.PERMISSION and f"{certificate} stands for nobody" in err
        fake.valid_tokens = None
        monkeypatch.setenv("OWNERD_CERT", str(certificate))
        monkeypatch.setenv("OWNERD_KEY", str(key))
        assert ctl("status", *options)[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ca", "missing.pem"], "cannot read missing.pem: No such file"),
        (["--ca", "empty"], "empty holds no certificates"),
        (["--cert", "empty"], "go together"),
        (["--cert", "empty", "--key", "empty"], "no certificate and its key"),
    ],
)
def test_tls_files_that_do_not_fit_are_usage_errors(
    ctl, fake, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("")
    code, out, err = ctl("status", *options)
    assert (code, out) == (Exit.USAGE, "") and message in err and err.count("\n") == 1
    assert not fake.requests

"""What the README says of a server with TLS, dialers and supervisors, done as it stands there."""

import os
import re
import socket
import subprocess
import sysconfig
from pathlib import Path

import pytest
from sanitizer import patient_s, plain_environment

from ownerd.client.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from ownerd.ctl.connect import access
from ownerd.ctl.terminal.exits import Exit

README = Path(__file__).parent.parent / "README.md"
DEADLINE_S = patient_s(120)
PORTS = ("7411", "7412", "7413")
TOKEN = re.compile(r"ownerd_[A-Za-z0-9_-]{43}")


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)^## ", README.read_text(), re.M | re.S)
    assert found is not None, title
    return found[1]


def script_of(title: str) -> str:
    """Return the commands of a section; Python becomes a command, too."""
    lines = []
    for language, text in re.findall(r"```(sh|python)\n(.*?)```", section(title), re.S):
        lines.append(text if language == "sh" else f"python - <<'PY'\n{text}PY\n")
    return "".join(lines)


def free_ports() -> list[str]:
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for each in (one, two, three):
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in (one, two, three)]


def commands() -> str:
    """Return the script of a server that asks who one is."""
    create_list = "ownerctl list create customers --enable --days 2 --hours 3"
    assert create_list in script_of("Administer")
    secured = script_of("Who may do what")
    for once, instead in (
        # The variable is the test's own.
        ("unset OWNERD_TOKEN_FILE\n", "unset OWNERD_TOKEN_FILE OWNERD_SERVER\n"),
        ("ownerctl audit --follow", f"timeout -s INT {patient_s(3)} ownerctl audit --follow"),
    ):
        assert once in secured
        secured = secured.replace(once, instead)
    token = "export OWNERD_TOKEN_FILE=./store/admin.token\n"
    assert token in script_of("Administer")
    return f"ownerd serve --data ./store &\n{token}{create_list}\n{secured}"


def run_script(directory: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Run commands on free ports; a line FAILED and the command for each that fails."""
    for port, free in zip(PORTS, ports := free_ports(), strict=True):
        script = script.replace(port, free)
    listens = f"(exec 3<>/dev/tcp/127.0.0.1/{ports[1]}) 2>/dev/null"
    script = script.replace(" &\n", f" &\nuntil {listens}; do sleep 0.05; done\n")
    variables = {
        "OWNERD_DIAL_LISTEN": f"127.0.0.1:{ports[0]}",
        "OWNERD_ADMIN_LISTEN": f"127.0.0.1:{ports[1]}",
        "OWNERD_METRICS_LISTEN": f"127.0.0.1:{ports[2]}",
        "OWNERD_SERVER": f"127.0.0.1:{ports[1]}",
    }
    trap = "trap 'echo \"FAILED $BASH_COMMAND\"' ERR\ntrap 'kill $(jobs -p); wait' EXIT\n"
    preload = f"export LD_PRELOAD='{os.environ.get('LD_PRELOAD', '')}'\n"  # of ours, not of bash
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", preload + trap + script],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**plain_environment(), "PATH": path, "HOME": str(directory), **variables},
    )


def test_the_commands_of_the_readme_do_what_it_says(tmp_path: Path) -> None:
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True)
    if not version.stdout.startswith("OpenSSL 3"):
        pytest.skip("no openssl 3 here")
    done = run_script(tmp_path, commands())
    told = done.stdout + done.stderr
    failed = re.findall(r"^FAILED (.*)$", done.stdout, re.M)
    assert [line.split()[1:5] for line in failed[:1]] == [
        ["principal", "can", "summer-dialer", "dial"]
    ], told
    # timeout's own code, by which it ends what would follow for ever.
    assert len(failed) == 2 and failed[1].startswith("timeout -s INT"), told
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in ("True", "False")] == ["True", "False"], told
    assert any("'summer-dialer'" in line or '"summer-dialer"' in line for line in lines), told
    assert "REFUSED (permission denied)" in done.stdout and "Ended 1 token" in done.stdout, told
    assert '"refusal": "permission_denied"' in (tmp_path / "audit.jsonl").read_text()
    assert not TOKEN.search(told)
    for name in ("spring.token", "supervisor.token", "store/admin.token"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_the_commands_of_the_feed_do_what_the_readme_says(tmp_path: Path) -> None:
    feed = script_of("Follow what changes")
    for endless in ("ownerctl watch --include", "python - <<"):
        assert endless in feed
        # It goes on until it is interrupted, which is how it ends here.
        feed = feed.replace(endless, f"timeout -s INT {patient_s(4)} {endless}")
    dial = (
        "from ownerd.client import Client\n"
        'with Client("127.0.0.1:7411") as client:\n'
        '    client.report("customers", "42", "spring", "Busy")\n'
    )
    script = (
        "ownerd serve --data ./store &\nexport OWNERD_TOKEN_FILE=./store/admin.token\n"
        f"ownerctl list create customers --enable --days 2 --hours 3\npython - <<'PY'\n{dial}PY\n"
        f"{feed}"
    )
    done = run_script(tmp_path, script)
    told = done.stdout + done.stderr
    failed = re.findall(r"^FAILED (.*)$", done.stdout, re.M)
    assert [line.split()[0] for line in failed] == ["timeout", "timeout"], told
    assert "customers: 42 is owned by spring until" in done.stdout, told
    assert re.search(r"^42 spring 20", done.stdout, re.M), told
    assert "These are all records that are owned, for the list was changed as a whole" in told
    assert "42,spring" in (tmp_path / "changes.csv").read_text()


def test_the_readme_has_every_exit_code_and_every_variable_of_ownerctl() -> None:
    text = README.read_text().replace("`", "")
    for code in Exit:
        assert f"| {code.value} | {code.meaning} |".replace("`", "") in text
    for name in (
        *access.VARIABLES.values(),
        TOKEN_VARIABLE,
        TOKEN_FILE_VARIABLE,
        access.CONTEXT_VARIABLE,
    ):
        assert re.search(rf"^\|.*\b{name}\b", text, re.M), name

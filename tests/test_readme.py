"""The README, pasted from top to bottom into one shell, and the pages that go on from its end."""

import re
import sqlite3
import subprocess
from pathlib import Path

import manual
import pytest
from sanitizer import patient_s, plain_environment, programs_path

from ownerd.demo.etcd_process import free_ports

DEADLINE_S = patient_s(120)
PORTS = ("7411", "7412", "7413")
TOKEN = re.compile(r"ownerd_[A-Za-z0-9_-]{43}")


def pasted() -> str:
    """Return what the README has for a shell, from Serve on; what runs until Ctrl-C is ended so."""
    sections = manual.sections()
    names = list(sections)
    text = "".join(sections[name] for name in names[names.index("Serve") :])
    script = manual.script_of(text)
    for endless in ("ownerd demo --console", "ownerctl console --sign-in"):
        assert endless in script
        of_its_own = " --listen 127.0.0.1:0" if endless.startswith("ownerctl") else ""
        script = script.replace(endless, f"timeout -s INT {patient_s(6)} {endless}{of_its_own}")
    # The test runs in an environment of its own.
    assert ". .venv/bin/activate\n" in script
    return script.replace(". .venv/bin/activate\n", "")


def secured() -> str:
    """Return the page of a server that asks who one is, and what the README has done before."""
    begun = (
        "ownerd serve --data ./store &\nexport OWNERD_TOKEN_FILE=./store/admin.token\n"
        "export OWNERD_MIRROR_TO=sqlite:///contacts.db\n"
    )
    create_list = "ownerctl list create customers --enable --days 2 --hours 3\n"
    assert all(line in pasted() for line in (create_list, *begun.splitlines()[1:]))
    script = manual.script_of(manual.page("security"))
    for once, instead in (
        # The variable is the test's own.
        ("unset OWNERD_TOKEN_FILE\n", "unset OWNERD_TOKEN_FILE OWNERD_SERVER\n"),
        ("ownerctl audit --follow", f"timeout -s INT {patient_s(3)} ownerctl audit --follow"),
    ):
        assert once in script
        script = script.replace(once, instead)
    return begun + create_list + script


def run_script(
    directory: Path, script: str, *, waits: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run commands on free ports; a line FAILED and the command for each that fails.

    Args:
        directory: Where they run.
        script: The commands.
        waits: Whether to wait for a server after what goes into the background.
    """
    for port, free in zip(PORTS, ports := [str(port) for port in free_ports(3)], strict=True):
        script = script.replace(port, free)
    listens = f"(exec 3<>/dev/tcp/127.0.0.1/{ports[1]}) 2>/dev/null"
    if waits:
        script = script.replace(" &\n", f" &\nuntil {listens}; do sleep 0.05; done\n")
    variables = {
        "OWNERD_DIAL_LISTEN": f"127.0.0.1:{ports[0]}",
        "OWNERD_ADMIN_LISTEN": f"127.0.0.1:{ports[1]}",
        "OWNERD_METRICS_LISTEN": f"127.0.0.1:{ports[2]}",
        "OWNERD_SERVER": f"127.0.0.1:{ports[1]}",
    }
    trap = "trap 'echo \"FAILED $BASH_COMMAND\"' ERR\ntrap 'kill $(jobs -p); wait' EXIT\n"
    path = programs_path(directory)
    try:
        return subprocess.run(
            ["bash", "-c", trap + script],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**plain_environment(), "PATH": path, "HOME": str(directory), **variables},
        )
    except subprocess.TimeoutExpired as error:
        told = b"".join(each for each in (error.stdout, error.stderr) if isinstance(each, bytes))
        pytest.fail(f"not over in {DEADLINE_S} s; so far:\n{told.decode()}", pytrace=False)


def test_the_readme_is_pasted_from_top_to_bottom(tmp_path: Path) -> None:
    done = run_script(tmp_path, pasted(), waits=False)
    told = done.stdout + done.stderr
    failed = re.findall(r"^FAILED (.*)$", done.stdout, re.M)
    assert not [line for line in failed if not line.startswith("timeout -s INT")], told
    # Nothing shows zeros: what Dial has done is what all after it look at.
    assert "summer may dial 42: False" in done.stdout, told
    assert re.search(r"^spring +Spring Renewals +3 ", done.stdout, re.M), told
    assert "customers: 42 is owned by spring until" in done.stdout, told
    for name in ("owners.csv", "changes.csv"):
        assert "42,spring" in (tmp_path / name).read_text(), told
    assert "These are all records that are owned, for the list was changed as a whole" in told
    assert ": sound." in done.stdout and "begins a new incarnation" in done.stdout, told
    with sqlite3.connect(tmp_path / "contacts.db") as base:
        rows = base.execute("SELECT i3_identity, i3_campaignownername FROM contacts").fetchall()
    assert rows == [(41, "Spring Renewals"), (42, "Spring Renewals"), (43, None)], told
    assert "http://" in done.stdout.rpartition("is at ")[2], told
    assert not TOKEN.search(told)


def test_the_readme_is_short_enough_to_be_read() -> None:
    lines = manual.README.read_text().splitlines()
    assert len(lines) < 250
    for line in lines:
        assert len(line) <= 112 or line.startswith("pkg-config"), line


def test_the_commands_of_the_page_about_security_do_what_it_says(tmp_path: Path) -> None:
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True)
    if not version.stdout.startswith("OpenSSL 3"):
        pytest.skip("no openssl 3 here")
    done = run_script(tmp_path, secured())
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


def test_the_commands_about_backups_do_what_they_say(tmp_path: Path) -> None:
    more = manual.script_of(manual.page("backup"))
    script = manual.script_of(manual.sections()["Back up and restore"]) + more
    minutely = more[more.index("mkdir -p") :]
    ports = [str(port) for port in free_ports(3)]
    began = (
        "ownerd serve --data ./store & trap 'kill $!; wait' EXIT\n"
        f"until (exec 3<>/dev/tcp/127.0.0.1/{ports[1]}) 2>/dev/null; do sleep 0.05; done\n"
        "export OWNERD_TOKEN_FILE=./store/admin.token\nset -e\n"
    )
    # What a day of them leaves; the one of just now may be of the same second as the next.
    old = (
        "mv backups/*.backup backups/20251231T000000.backup\n"
        "for i in $(seq 100 170); do echo x > backups/20260101T000$i.backup; done\n"
    )
    checks = 'ownerd verify ./restored\nownerd verify "$(ls backups/*.backup | tail -1)"\n'
    done = subprocess.run(
        ["bash", "-c", began + script + old + minutely + checks],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={
            **plain_environment(),
            "PATH": programs_path(tmp_path),
            "HOME": str(tmp_path),
            "OWNERD_DIAL_LISTEN": f"127.0.0.1:{ports[0]}",
            "OWNERD_ADMIN_LISTEN": f"127.0.0.1:{ports[1]}",
            "OWNERD_METRICS_LISTEN": "",
            "OWNERD_SERVER": f"127.0.0.1:{ports[1]}",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": sound.") == 3, done.stdout
    assert "begins a new incarnation" in done.stdout
    assert (tmp_path / "store.backup").stat().st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "backups").iterdir())) == 60


def test_the_commands_of_the_feed_do_what_they_say(tmp_path: Path) -> None:
    readme = manual.script_of(manual.sections()["Follow what changes"])
    feed = readme + manual.script_of(manual.page("feed"))
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

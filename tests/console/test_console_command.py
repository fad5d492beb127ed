"""`ownerctl console` as a program, and what README and page say of it, done as it stands there."""

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import manual
import pytest
from harness import poll
from sanitizer import patient_s
from tls_files import Authority, context

from ownerd.ctl.commands import consoles
from ownerd.ctl.terminal.exits import Exit

DEADLINE_S = patient_s(30)
PROGRAM = [sys.executable, "-m", "ownerd.ctl"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def commands() -> list[str]:
    """Return the lines of the README's section and of its page that call ownerctl."""
    text = manual.sections()["For supervisors"] + manual.page("console")
    return [line for line in manual.script_of(text).splitlines() if line.startswith("ownerctl ")]


@pytest.fixture
def environment(floor: Any, tmp_path: Path) -> dict[str, str]:
    """A context of the boss's, whose browser does nothing."""
    token = tmp_path / "boss.token"
    token.write_text(floor.tokens["root"])
    token.chmod(0o600)
    return {
        **os.environ,
        "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "BROWSER": "true",
        "OWNERD_SERVER": floor.server.admin_address,
        "OWNERD_TOKEN_FILE": str(token),
    }


def started(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    found = re.search(r"is at (\S+)", process.stdout.readline())
    assert found is not None
    return found[1]


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """Return what starts a command and gives the address that it says; ended with Ctrl-C."""
    running = []

    def start(*command: str) -> str:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
        )
        running.append(process)
        return started(process)

    yield start
    for process in running:
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == Exit.OK
        assert process.stdout is not None
        process.stdout.close()


def test_the_commands_of_the_readme_serve_the_page(
    run: Any, environment: Any, tmp_path: Path
) -> None:
    create, signing_in, own, floors, behind = commands()
    authority = Authority()
    server = authority.issue()
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "server.pem").write_bytes(server.certificate)
    (tmp_path / "tls" / "server.key").write_bytes(server.key)
    done = subprocess.run(create.split(), env=environment, cwd=tmp_path, timeout=DEADLINE_S)
    assert done.returncode == Exit.OK
    token = (tmp_path / "anna.token").read_text().strip()

    address = run(*own.split(), "--listen", "127.0.0.1:0")
    with httpx.Client(trust_env=False, follow_redirects=True) as person:
        assert "Sign out" in person.get(address).text

    base = run(*signing_in.split(), "--listen", "127.0.0.1:0").rstrip("/")
    with httpx.Client(trust_env=False, follow_redirects=True) as person:
        person.post(f"{base}/signin", data={"token": token}, headers={"Origin": base})
        assert "anna" in person.get(f"{base}/").text

    port = free_port()
    run(*floors.replace("7415", str(port)).split())
    base = f"https://localhost:{port}"
    trusting = context(authority.pem, alpn=(), directory=tmp_path)
    with httpx.Client(trust_env=False, verify=trusting) as person:
        answer = person.post(f"{base}/signin", data={"token": token}, headers={"Origin": base})
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "anna" in person.get(f"{base}/").text

    port = free_port()
    assert run(*behind.replace("7416", str(port)).split()) == "https://ownerd.example/"
    with httpx.Client(trust_env=False, headers={"Host": "ownerd.example"}) as person:
        assert person.get(f"http://127.0.0.1:{port}/signin").status_code == 200


def test_the_configuration_of_nginx_is_for_that_command() -> None:
    text = manual.page("console")
    assert "proxy_pass http://127.0.0.1:7416" in text and "--listen 127.0.0.1:7416" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "nowhere"], "is no address"),
        (["--listen", "0.0.0.0:0"], "tokens would pass in the clear"),
        (["--tls-certificate", "x"], "go together"),
        (["--tls-certificate", "nowhere.pem", "--tls-key", "x"], "cannot read nowhere.pem"),
        (["--tls-certificate", "boss.token", "--tls-key", "boss.token"], "no certificate"),
        (["--ca", "nowhere.pem"], "cannot read nowhere.pem"),
        (["--public-url", "ownerd.example"], "give scheme and host"),
        (["--listen", "203.0.113.1:7414", "--insecure"], "cannot listen on"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    environment: dict[str, str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = subprocess.run(
        [*PROGRAM, "console", "--no-browser", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=DEADLINE_S,
    )
    assert done.returncode == Exit.USAGE and said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_in_use_is_one_line(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*PROGRAM, "console", "--no-browser", "--listen", f"127.0.0.1:{port}"],
            capture_output=True,
            text=True,
            env=environment,
            timeout=DEADLINE_S,
        )
    assert done.returncode == Exit.USAGE and "cannot listen" in done.stderr


def test_without_the_extra_one_line_says_how_to_get_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError('starlette')\n")
    done = subprocess.run(
        [*PROGRAM, "console"],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(tmp_path)},
        timeout=DEADLINE_S,
    )
    assert done.returncode == Exit.NOT_BUILT
    assert consoles.NOT_INSTALLED in done.stderr and len(done.stderr.splitlines()) == 1


def test_it_ends_with_sigterm_too(floor: Any, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "console", "--no-browser", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        address = started(process)
        with httpx.Client(trust_env=False, follow_redirects=True) as person:
            poll(lambda: person.get(address).status_code == 200, "the page")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == Exit.OK

"""`ownerctl mirror` beside a real server: killed, restarted, twice; as its papers have it."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import manual
import pytest
import sqlalchemy as sa
from harness import ServerProcess, poll
from mirrored import CAMPAIGNS, Mirrored
from sanitizer import patient_s, plain_environment, programs_path
from subject import HOUR, OVERWRITE, Policy, Row
from subject_grpc import GrpcSubject

from ownerd.ctl.terminal.exits import Exit
from ownerd.mirror.source import Owned

LIST = "customers"
TABLE = "contacts"
RECORDS = [str(number) for number in range(60)]
DEADLINE_S = patient_s(60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that is at the same address after a restart."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with ServerProcess(tmp_path / "data", "--admin-listen", address) as process:
        yield process


@pytest.fixture
def contacts(engine: sa.Engine) -> Mirrored:
    """A table of contacts that nobody owns, in each kind of database in turn."""
    with engine.begin() as connection:
        for name in (TABLE, "ownerd_mirror"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
    return filled(engine)


@pytest.fixture
def contacts_file(tmp_path: Path) -> Iterator[Mirrored]:
    """The same in SQLite alone."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'contacts.db'}")
    yield filled(engine)
    engine.dispose()


def filled(engine: sa.Engine) -> Mirrored:
    made = Mirrored(engine, TABLE)
    made.fill(RECORDS[:50])
    return made


def arguments(contacts: Mirrored, *more: str) -> list[str]:
    url = contacts.engine.url.render_as_string(hide_password=False)
    wanted = ["mirror", LIST, "--to", url, "--table", TABLE, "-o", "jsonl", "--every", "1s"]
    return [sys.executable, "-m", "ownerd.ctl", *wanted, *more]


class Running:
    """A mirror in a process of its own, and the last status that it told."""

    def __init__(self, contacts: Mirrored, server: ServerProcess, *more: str) -> None:
        self.process = subprocess.Popen(
            arguments(contacts, *more),
            env={**os.environ, "OWNERD_SERVER": server.admin_address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.status: dict[str, Any] = {}
        self.said: list[str] = []
        self._threads = [
            threading.Thread(target=self._read_status, daemon=True),
            threading.Thread(target=self._read_said, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read_status(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.status = json.loads(line)

    def _read_said(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip())

    def is_in_step(self) -> bool:
        assert self.process.poll() is None, self.said
        return self.status.get("state") == "in step"

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@contextmanager
def running(contacts: Mirrored, server: ServerProcess, *more: str) -> Iterator[Running]:
    made = Running(contacts, server, *more)
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)


def something(subject: GrpcSubject, chance: random.Random) -> None:
    """Do one of what dialers and administrators do."""
    record_id, campaign_id = chance.choice(RECORDS), chance.choice(CAMPAIGNS)
    what = chance.randrange(25)
    if what == 0:
        subject.release(LIST)
    elif what == 1:
        subject.transfer(
            LIST, campaign_id, chance.choice([c for c in CAMPAIGNS if c != campaign_id])
        )
    elif what == 2:
        subject.update_policy(LIST, Policy(duration_ns=chance.choice((None, HOUR, 3 * HOUR))))
    elif what == 3:
        subject.upsert_campaign(campaign_id, chance.choice(("Spring", "Sale", campaign_id)))
    elif what == 4:
        subject.release_records(LIST, chance.sample(RECORDS, 5))
    elif what == 5:
        subject.import_rows(LIST, [Row(each, campaign_id) for each in RECORDS[:9]], OVERWRITE)
    else:
        subject.claim(LIST, record_id, campaign_id)
        subject.attempt(LIST, record_id, campaign_id, "Busy")


def wanted(contacts: Mirrored, subject: GrpcSubject) -> dict[str, Owned]:
    """What the table is to say, by the server."""
    expirations = contacts.table.expirations
    return {
        row.record_id: Owned(
            row.campaign_id,
            row.name,
            None if row.expire_ns is None else expirations.rounded_up(row.expire_ns),
        )
        for row in subject.owned(LIST)
        if row.record_id in RECORDS[:50]
    }


def wait_for_table(contacts: Mirrored, subject: GrpcSubject) -> None:
    """Wait until the table says what the server does, where nothing changes meanwhile."""
    right = wanted(contacts, subject)
    try:
        poll(lambda: contacts.alive(0) == right, "the table", DEADLINE_S)
    except TimeoutError:
        assert contacts.alive(0) == right
        raise


def begin(server: ServerProcess) -> GrpcSubject:
    subject = GrpcSubject(server.dial_stub(), server.admin_stub())
    subject.create_list(LIST, Policy(duration_ns=HOUR))
    for campaign_id in CAMPAIGNS:
        subject.upsert_campaign(campaign_id, campaign_id.title())
    return subject


def follow_traffic(contacts: Mirrored, server: ServerProcess, seed: int, rounds: int) -> None:
    """Follow a server's traffic by mirrors that are killed, each after what the one before did."""
    chance = random.Random(seed)
    subject = begin(server)
    for number in range(rounds):
        with running(contacts, server) as mirror:
            for _ in range(chance.randrange(60)):
                something(subject, chance)
            if number % 2:
                poll(mirror.is_in_step, "that it is in step", DEADLINE_S)
                for _ in range(chance.randrange(60)):
                    something(subject, chance)
        contacts.unlock()
    with running(contacts, server) as mirror:
        wait_for_table(contacts, subject)
        assert mirror.end() == Exit.INTERRUPTED


def test_a_mirror_that_is_killed_again_and_again_ends_in_step(
    contacts: Mirrored, server: ServerProcess
) -> None:
    follow_traffic(contacts, server, 5, 2)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_long_a_mirror_that_is_killed_again_and_again(
    contacts: Mirrored, server: ServerProcess, seed: int
) -> None:
    follow_traffic(contacts, server, seed, 10)


def test_it_goes_on_after_a_restart_and_a_crash_of_the_server(
    contacts_file: Mirrored, server: ServerProcess
) -> None:
    contacts = contacts_file
    chance = random.Random(3)
    begin(server)
    with running(contacts, server) as mirror:
        poll(mirror.is_in_step, "that it is in step", DEADLINE_S)
        for end in (server.stop, server.kill):
            subject = GrpcSubject(server.dial_stub(), server.admin_stub())
            for _ in range(30):
                something(subject, chance)
            end()
            server.start()
            subject = GrpcSubject(server.dial_stub(), server.admin_stub())
            for _ in range(30):
                something(subject, chance)
            wait_for_table(contacts, subject)
        poll(mirror.is_in_step, "that it is in step", DEADLINE_S)
        assert mirror.status["comparison_count"] == 1
        second = subprocess.run(
            arguments(contacts, "--once"),
            env={**os.environ, "OWNERD_SERVER": server.admin_address},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert second.returncode == Exit.IN_USE, second.stderr
        assert "another mirror is at work" in second.stderr


def script() -> str:
    """Return the README's commands and those of its page, with a table that is there already."""
    readme = manual.script_of(manual.sections()["Mirror into SQL"])
    assert "CREATE TABLE contacts" in readme
    readme = re.sub(r"python <<'PY'.*?^PY$", "", readme, flags=re.M | re.S)
    return readme + manual.script_of(manual.page("mirror"))


def test_the_commands_of_the_readme_do_what_it_says(
    contacts_file: Mirrored, server: ServerProcess, tmp_path: Path
) -> None:
    contacts = contacts_file
    subject = begin(server)
    for record_id in RECORDS:
        subject.attempt(LIST, record_id, "spring", "Busy")
    done = subprocess.run(
        ["bash", "-ec", script()],
        cwd=tmp_path,
        env={
            **plain_environment(),
            "PATH": programs_path(tmp_path),
            "OWNERD_SERVER": server.admin_address,
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["state"], row["missing_count"]) == ("in step", 10), done.stdout
    wait_for_table(contacts, subject)
    subject.release_records(LIST, ["7"])
    with running(contacts, server):
        wait_for_table(contacts, subject)
    sql = re.search(r"```sql\n(.*?)```", manual.page("mirror"), re.S)
    assert sql is not None
    assert [row[0] for row in contacts.sql(sql[1])] == [7]

"""`ownerctl doctor`, `debug` and `log-level`: what is wrong, and what to look at when something is.

The doctor looks from here (can the server be reached, is its certificate good, do the clocks agree)
and has the server look at what it lives on.
"""

import io
import json
import os
import socket
import ssl
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from cryptography import x509
from cyclopts import Parameter

import ownerd
from ownerd.client.fail_over import split
from ownerd.ctl.commands import statuses
from ownerd.ctl.commands.options import InSession, Session
from ownerd.ctl.connect.access import Access
from ownerd.ctl.terminal import outfiles, times
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, json_row
from ownerd.v1 import admin_pb2 as pb

DAY_S = 86_400
SOON_DAYS = 14
PROBE_TIMEOUT_S = 3.0
CLOCKS_APART_S = 10.0

COLUMNS = (
    Column("check", "Check"),
    Column("status", "Status"),
    Column("found", "Found"),
    Column("advice", "What to do"),
)
SAVED = (
    Column("file", "File"),
    Column("files", "Holds", Kind.TEXTS),
    Column("bytes", "Size", Kind.BYTES),
)
LEVEL = (Column("level", "Level"), Column("former_level", "Before"))

Status = Literal["ok", "warning", "failure"]
LevelName = Literal["debug", "info", "warning", "error"]
_STATUSES: dict[int, Status] = {
    pb.CHECK_STATUS_OK: "ok",
    pb.CHECK_STATUS_WARNING: "warning",
    pb.CHECK_STATUS_FAILURE: "failure",
}


class Check(NamedTuple):
    """One thing that was looked at: how it is, what was found, and what to do."""

    check: str
    status: Status
    found: str
    advice: str = ""


def doctor(*, session: InSession) -> Exit:
    """Look for what is wrong, from here and on the server.

    Whether it can be reached and its certificate is good, who you are, whether versions and clocks
    agree; on the server alarms, room, the time that the disk takes to sync, file system, clock and
    descriptors. Exit code 16 if anything is wrong, 8 if the server cannot be reached.
    """
    checks = [*_from_here(session.connection.access)]
    code: Exit | None = None
    try:
        checks += _asked(session)
    except CtlError as error:
        code = error.exit_code
        checks.append(_out_of_reach(str(error)))
    session.printer.rows("checks", COLUMNS, [each._asdict() for each in checks], empty="")
    wrong = [each for each in checks if each.status != "ok"]
    if not wrong:
        session.printer.hint("Nothing is wrong.")
    return code or (Exit.ALARM if wrong else Exit.OK)


def _out_of_reach(said: str) -> Check:
    """Part what an error says into what was found and what to do."""
    found, _, advice = said.partition("; ")
    return Check("reach", "failure", found, advice or "see the server's log")


def _from_here(access: Access) -> Iterator[Check]:
    """Look at what can be seen without a call: the certificate."""
    if access.tls is None:
        return
    for address in split(access.server):
        try:
            found = _certificate_of(address)
        except (OSError, ValueError):
            continue  # that it cannot be reached is told by the call
        yield _certificate(
            found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
        )


def _certificate(begin_s: float, end_s: float) -> Check:
    """Judge a certificate's time by this machine's clock, which may be what is wrong."""
    now_s = time.time()
    left_days = (end_s - now_s) / DAY_S
    when, now = times.plain(int(end_s) * 10**9), times.plain(int(now_s) * 10**9)
    if left_days <= 0:
        found = f"expired at {when} UTC; this machine's clock says {now}"
        advice = (
            "put a new one in its place on the server, it is taken up by itself; if the clock is "
            "wrong, set that"
        )
        return Check("server_certificate", "failure", found, advice)
    if now_s < begin_s:
        begin = times.plain(int(begin_s) * 10**9)
        found = f"not valid before {begin} UTC; this machine's clock says {now}"
        advice = (
            "set this clock (NTP); if it is right, the one that the certificate was made by was not"
        )
        return Check("server_certificate", "failure", found, advice)
    if left_days < SOON_DAYS:
        found = f"expires in {left_days:.0f} days, at {when} UTC"
        return Check("server_certificate", "warning", found, "renew it")
    return Check("server_certificate", "ok", f"valid until {when} UTC")


def _certificate_of(address: str) -> x509.Certificate:
    """Return the certificate of the server there, trusted or not."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is looked at only, and nothing is said over it
    with (
        socket.create_connection((host.strip("[]"), int(port)), PROBE_TIMEOUT_S) as plain,
        context.wrap_socket(plain) as secured,
    ):
        found = secured.getpeercert(binary_form=True) or b""
    return x509.load_der_x509_certificate(found)


def _asked(session: Session) -> Iterator[Check]:
    """Ask the server: who one is, its version and clock, then what it finds itself.

    Raises:
        CtlError: it does not answer; or to a caller who may not ask.
    """
    connection = session.connection
    began_s, asked_ns = time.monotonic(), time.time_ns()
    me = connection.ask(connection.admin.WhoAmI, pb.WhoAmIRequest())
    took_ms = (time.monotonic() - began_s) * 1e3
    yield Check("reach", "ok", f"{connection.server} answered in {took_ms:.0f} ms")
    yield _identity(me)
    began_ns = time.time_ns()
    status = connection.ask(connection.admin.GetServerStatus, pb.GetServerStatusRequest())
    yield _versions(status.version)
    yield _clocks(status, (began_ns + time.time_ns()) / 2, asked_ns)
    answer = connection.ask(connection.admin.Diagnose, pb.DiagnoseRequest())
    for each in answer.checks:
        yield Check(each.name, _STATUSES.get(each.status, "warning"), each.found, each.advice)


def _identity(me: pb.WhoAmIResponse) -> Check:
    name = me.principal.principal_id
    if me.asks_nobody:
        return Check(
            "identity",
            "warning",
            "the server asks nobody who they are",
            "leave no_auth out where others can reach it",
        )
    used = next((each for each in me.principal.tokens if each.token_id == me.token_id), None)
    if used is None or not used.HasField("expire_time"):
        return Check("identity", "ok", f"you are {name}")
    left_days = (used.expire_time.ToNanoseconds() / 1e9 - time.time()) / DAY_S
    found = f"you are {name}; your token ends in {left_days:.0f} days"
    if left_days < SOON_DAYS:
        return Check("identity", "warning", found, "make another: ownerctl principal rotate")
    return Check("identity", "ok", found)


def _versions(server: str) -> Check:
    ours = ownerd.__version__
    if server.split(".")[:2] == ours.split(".")[:2]:
        return Check("versions", "ok", f"server {server}, ownerctl {ours}")
    found = f"the server is {server}, ownerctl is {ours}"
    return Check("versions", "warning", found, "use that of the server; see ownerd docs upgrade")


def _clocks(status: pb.GetServerStatusResponse, here_ns: float, asked_ns: int) -> Check:
    wall_ns = status.time.ToNanoseconds() - status.clock_offset.ToNanoseconds()
    apart_s = (wall_ns - here_ns) / 1e9
    found = f"the server's clock is {apart_s:+z,.1f} s from that of this machine"
    if abs(apart_s) > CLOCKS_APART_S:
        advice = "run NTP on both; dialers whose clock is ahead have their reports refused (R24)"
        return Check("clocks", "warning", found, advice)
    return Check("clocks", "ok", found)


# ---- debug


def debug(
    file: Annotated[Path, Parameter(help="The archive to write, such as ownerd.tar.gz.")],
    /,
    *,
    session: InSession,
) -> None:
    """Write what one looks for a fault by into an archive.

    Status, checks, settings without secrets, metrics, what each thread does, limits of the process,
    the last lines of the log. Ids of lists, campaigns and principals, and addresses, are in it.
    """
    connection = session.connection
    answer = connection.ask(connection.admin.GetDebugInfo, pb.GetDebugInfoRequest())
    files = {each.name: each.content for each in answer.files}
    status = connection.ask(connection.admin.GetServerStatus, pb.GetServerStatusRequest())
    row = json_row(statuses.COLUMNS, statuses.status_row(connection.server, status))
    files["status.json"] = json.dumps(row, indent=1).encode()
    checks = [*_from_here(connection.access), *_asked(session)]
    files["doctor.json"] = json.dumps([each._asdict() for each in checks], indent=1).encode()
    files["ownerctl.json"] = json.dumps({"version": ownerd.__version__}).encode()
    size = _write(file, files)
    saved = {"file": str(file), "files": sorted(files), "bytes": size}
    session.printer.done(f"Wrote {file}, {len(files)} files.", SAVED, saved)


def _write(path: Path, files: dict[str, bytes]) -> int:
    """Write an archive that nobody else may read; return its size."""
    folder = path.name.removesuffix(".gz").removesuffix(".tar") or "ownerd"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"{folder}/{Path(name).name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
    with outfiles.written(path):
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise CtlError(
                Exit.OUTPUT_FILE, f"{path} exists, and is left as it is; name a new file"
            ) from error
        with open(number, "wb") as binary:
            return binary.write(packed.getvalue())


def log_level(
    level: Annotated[LevelName | None, Parameter(help="The level; without: say which it is.")] = (
        None
    ),
    /,
    *,
    session: InSession,
) -> None:
    """Show or set from which level up the server logs.

    Until it is started or reads its settings again (SIGHUP).
    """
    connection = session.connection
    request = pb.SetLogLevelRequest(level=level or "")
    answer = connection.ask(connection.admin.SetLogLevel, request)
    row = {"level": answer.level, "former_level": answer.former_level}
    said = f"The log is written from {answer.level} up."
    session.printer.done(said, LEVEL, row)

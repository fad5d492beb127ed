"""`ownerctl bench`: how many calls a second a server's dial listener answers, and how soon.

Makes a contact list of its own through AdminService, loads the dial listener natively, and deletes
the list at the end, also after an error or Ctrl-C. A list that exists is somebody's: its records
are claimed only if that is asked for.
"""

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import grpc
from cyclopts import Parameter, validators
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ownerd import durations, limits
from ownerd.client.fail_over import ATTEMPT_TIMEOUT_S, split
from ownerd.client.transport import ChannelFactory
from ownerd.ctl.commands.options import InSession, ListId, Session
from ownerd.ctl.connect import diagnose
from ownerd.ctl.connect.access import DEFAULT_DIAL
from ownerd.ctl.connect.channel import CHANNEL_OPTIONS
from ownerd.ctl.terminal import progress
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, Row, warn
from ownerd.load.plan import Plan
from ownerd.load.tally import LoadResult
from ownerd.v1 import admin_pb2 as pb

CAMPAIGN = "ownerctl-bench"
REASON = "ownerctl bench"
DAY_NS = 86_400 * durations.NS_PER_SECOND
ID_BITS = 44
DIAL_SERVICE = "ownerd.v1.DialService"

Drive = Callable[..., LoadResult]  # `ownerd.load.http2.drive`

COLUMNS = (
    Column("list_id", "List"),
    Column("dial", "Dial address"),
    Column("seconds", "Measured", Kind.LENGTH),
    Column("calls_per_s", "Calls/s", Kind.COUNT),
    Column("decisions_per_s", "Decisions/s", Kind.COUNT),
    Column("lowest_second", "Lowest second", Kind.COUNT),
    Column("p50", "p50", Kind.ROUGH_LENGTH, absent="-"),
    Column("p99", "p99", Kind.ROUGH_LENGTH, absent="-"),
    Column("p999", "p99.9", Kind.ROUGH_LENGTH, absent="-"),
    Column("max", "Longest", Kind.ROUGH_LENGTH, absent="-"),
    Column("answers", "Answers", Kind.TEXTS),
    Column("error_count", "Errors", Kind.COUNT),
    Column("errors", "", Kind.TEXTS),
    Column("client_cpu_percent", "Client CPU, % of a core", Kind.COUNT),
)


def read_mix(type_: Any, tokens: Any) -> tuple[int, int]:
    """Convert `3:1` to so many claims for so many attempts."""
    text = tokens[0].value
    claims, colon, attempts = text.partition(":")
    if colon and claims.isdecimal() and attempts.isdecimal() and int(claims) + int(attempts):
        return int(claims), int(attempts)
    raise ValueError(f'"{text}" is no mix; give claims:attempts, such as 3:1 or 1:0')


Positive = Parameter(validator=validators.Number(gte=1))
Mix = Annotated[
    tuple[int, int],
    Parameter(converter=read_mix, n_tokens=1, metavar="C:A", negative="", show_default="1:0"),
]


@Parameter(name="*")
@dataclass(frozen=True)
class LoadOptions:
    """What to send; see `ownerd.load.http2.drive`."""

    connections: Annotated[int, Positive, Parameter(help="Connections to the dial listener.")] = 8
    in_flight: Annotated[int, Positive, Parameter(help="Calls under way, over all of them.")] = 256
    threads: Annotated[int, Positive, Parameter(help="Native threads that share them.")] = 1
    records: Annotated[
        int,
        Parameter(
            help="Records of the list to choose from.",
            validator=validators.Number(gte=1, lte=1 << ID_BITS),
        ),
    ] = 1_000_000
    batch: Annotated[
        int,
        Parameter(
            help="Records in a call.", validator=validators.Number(gte=1, lte=limits.BATCH_RECORDS)
        ),
    ] = 1
    mix: Annotated[Mix, Parameter(help="Claims : reported attempts.")] = (1, 0)
    seconds: Annotated[
        float, Parameter(help="How long to measure.", validator=validators.Number(gt=0, lte=86_400))
    ] = 10.0
    warm_up: Annotated[
        float,
        Parameter(help="Seconds of load before that.", validator=validators.Number(gte=0, lte=600)),
    ] = 1.0
    rate: Annotated[
        float,
        Parameter(
            help="Calls due each second, whether or not earlier ones were answered; 0: each call"
            " follows an answer.",
            validator=validators.Number(gte=0),
        ),
    ] = 0.0
    seed: Annotated[int, Parameter(help="Seed of record ids and picks.")] = 1


class DialSecurity(NamedTuple):
    """What the load says and shows to the dial listener.

    Attributes:
        token: sent with every call; empty: none.
        tls: whether to speak TLS; the rest counts only then.
        ca_pem: CAs of the server's certificate; None: those that the system trusts.
        certificate_pem, key_pem: the load's own certificate, and its key; None: none.
        server_name: what the server's certificate must be for; empty: the host in the address.
    """

    token: str = ""
    tls: bool = False
    ca_pem: bytes | None = None
    certificate_pem: bytes | None = None
    key_pem: bytes | None = None
    server_name: str = ""

    def __repr__(self) -> str:
        """Say nothing of the token."""
        return f"DialSecurity(tls={self.tls})"

    def arguments(self, dial: str) -> dict[str, Any]:
        """Return the arguments of `ownerd.load.http2.drive` for it.

        Raises:
            ValueError: something is no PEM, broken, or does not fit.
        """
        if not self.tls:
            return {"token": self.token}
        from ownerd.base.secure_channel import TlsClient

        client = TlsClient(
            self.server_name or dial.rpartition(":")[0].strip("[]"),
            ca_pem=self.ca_pem,
            certificate_pem=self.certificate_pem,
            key_pem=self.key_pem,
        )
        return {"token": self.token, "tls": client}


def _security(session: Session, dial: str) -> DialSecurity:
    """Return what the session's credentials are for the dial listener."""
    connection = session.connection
    metadata = connection.metadata()
    token = metadata[0][1].removeprefix("Bearer ") if metadata else ""
    tls = connection.access.tls
    if tls is None or dial.startswith("unix:"):  # which is never secured
        return DialSecurity(token)
    ca_pem, certificate_pem, key_pem = tls.contents()
    return DialSecurity(token, True, ca_pem, certificate_pem, key_pem, tls.server_name or "")


def bench(
    list_id: ListId = "",
    /,
    *,
    dial: Annotated[
        str,
        Parameter(
            help="Dial address of the same server, host:port or unix:path. [OWNERD_DIAL]"
            f" [default: {DEFAULT_DIAL}]"
        ),
    ] = "",
    load: LoadOptions = LoadOptions(),
    use_existing: Annotated[
        bool, Parameter(negative="", help="Claim the records of a list that exists, and leave it.")
    ] = False,
    session: InSession,
) -> None:
    """Load a dial listener; show its rate and latencies.

    Makes a contact list for it (LIST_ID, by default a name that nobody has) and deletes it.

    Every call changes a record and is synced to disk; other dialers wait longer meanwhile.
    """
    drive = _driver()
    if use_existing and not list_id:
        raise CtlError(Exit.USAGE, "--use-existing needs the name of the list")
    dial = _serving(dial or session.connection.access.dial, session)
    list_id = list_id or f"ownerctl-bench-{uuid.uuid4().hex[:8]}"
    plan = _plan(list_id, load)
    bar = progress.progress_bar(f"Loading {dial}", None, of_bytes=False)
    with _list_lent(list_id, use_existing, session), bar:
        found = _drive(drive, dial, plan, load, session)
    session.printer.thing(COLUMNS, bench_row(list_id, dial, found))


def _serving(dial: str, session: Session) -> str:
    """Return the first of several addresses at which dials are taken; one is that.

    Raises:
        CtlError: UNAVAILABLE, there is none.
    """
    if len(addresses := split(dial)) == 1:
        return dial
    factory = ChannelFactory(session.connection.access.tls, CHANNEL_OPTIONS)
    request = health_pb2.HealthCheckRequest(service=DIAL_SERVICE)
    for address in addresses:
        with factory.open(grpc, address) as channel:
            check: Any = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
            with suppress(grpc.RpcError):
                found = check(request, timeout=ATTEMPT_TIMEOUT_S).status
                if found == health_pb2.HealthCheckResponse.SERVING:
                    return address
    raise CtlError(Exit.UNAVAILABLE, f"none of {', '.join(addresses)} takes dials")


def _driver() -> Drive:
    """Return the native HTTP/2 load."""
    try:
        from ownerd.load.http2 import drive
    except ImportError as error:
        raise CtlError(
            Exit.NOT_BUILT,
            "ownerd was installed without libnghttp2, which bench needs; install it (Debian:"
            " apt-get install libnghttp2-dev pkg-config), then ownerd again",
        ) from error
    return drive


def _plan(list_id: str, load: LoadOptions) -> Plan:
    chance = random.Random(load.seed)
    claims, attempts = load.mix
    try:
        return Plan(
            list_id,
            record_count=load.records,
            factor=chance.randrange(1 << ID_BITS) | 1,
            shift=chance.randrange(1 << ID_BITS),
            batch_records=load.batch,
            claims=claims,
            attempts=attempts,
            campaign_ids=(CAMPAIGN,),
            pick_seed=load.seed & (1 << 64) - 1,
        )
    except ValueError as error:
        raise CtlError(Exit.USAGE, str(error)) from error


@contextmanager
def _list_lent(list_id: str, use_existing: bool, session: Session) -> Iterator[None]:
    """Make the list, lend it, delete it; or check that it exists, and leave it."""
    connection = session.connection
    if use_existing:
        connection.ask(connection.admin.GetContactList, pb.GetContactListRequest(list_id=list_id))
        yield
        return
    _make(list_id, session)
    try:
        yield
    finally:
        _delete(list_id, session)


def _make(list_id: str, session: Session) -> None:
    # A reservation outlasts any ownership and an attempt is always within the renewal window, so
    # that every call writes.
    policy = pb.OwnershipPolicy(
        enabled=True,
        duration=durations.to_message(DAY_NS),
        renewal_window=durations.to_message(DAY_NS),
        reservation_ttl=durations.to_message(2 * DAY_NS),
    )
    request = pb.CreateContactListRequest(list_id=list_id, policy=policy, reason=REASON)
    try:
        session.connection.change(session.connection.admin.CreateContactList, request)
    except CtlError as error:
        if error.exit_code is not Exit.ALREADY_EXISTS:
            raise
        raise CtlError(
            Exit.ALREADY_EXISTS,
            f"list {list_id} exists, and a load would claim its records; give another name, or"
            " --use-existing if that is what you want",
        ) from error


def _delete(list_id: str, session: Session) -> None:
    request = pb.DeleteContactListRequest(list_id=list_id, force=True, reason=REASON)
    try:
        session.connection.change(session.connection.admin.DeleteContactList, request)
    except CtlError as error:  # what was measured, or went wrong before, is to be seen all the same
        warn(f"ownerctl: list {list_id} is left behind: {error}")


def _drive(drive: Drive, dial: str, plan: Plan, load: LoadOptions, session: Session) -> LoadResult:
    security = _security(session, dial)
    try:
        found = drive(
            dial,
            plan,
            connections=min(load.connections, load.in_flight),
            seconds=load.seconds,
            in_flight=load.in_flight,
            warm_up_s=load.warm_up,
            rate_per_s=load.rate,
            threads=min(load.threads, load.connections, load.in_flight),
            **security.arguments(dial),
        )
    except (OSError, ValueError) as error:
        raise _unreachable(dial, session, str(error)) from error
    if not found.calls:
        if not found.errors:
            raise _unreachable(dial, session, "no answer came")
        raise CtlError(
            Exit.UNAVAILABLE,
            f"no call was answered with OK ({', '.join(_counts(found.errors))}); is"
            f" {dial} the dial address of the server that --server names?",
        )
    return found


def _unreachable(dial: str, session: Session, found: str) -> CtlError:
    """Say why no call came through: what TLS with the listener lacks, or what was found."""
    told = diagnose.complaint(dial, session.connection.access.tls, lambda: True)
    why, advice = told or (found, diagnose.START_ONE)
    if advice == diagnose.START_ONE:
        advice = "name the dial address of the server with --dial or OWNERD_DIAL"
    return CtlError(Exit.UNAVAILABLE, f'cannot reach a dial listener at "{dial}" ({why}); {advice}')


def bench_row(list_id: str, dial: str, found: LoadResult) -> Row:
    """Return a LoadResult as raw values under the keys of COLUMNS."""

    def latency(share: float) -> int | None:
        return found.latency.quantile_ns(share) if found.calls else None

    return {
        "list_id": list_id,
        "dial": dial,
        "seconds": round(found.seconds * durations.NS_PER_SECOND),
        "calls_per_s": round(found.calls / found.seconds),
        "decisions_per_s": round(found.records / found.seconds),
        "lowest_second": min(found.records_by_second[: int(found.seconds)], default=None),
        "p50": latency(0.5),
        "p99": latency(0.99),
        "p999": latency(0.999),
        "max": found.latency.max_ns if found.calls else None,
        "answers": _counts(found.decisions | found.outcomes),
        "error_count": sum(found.errors.values()),
        "errors": _counts(found.errors),
        "client_cpu_percent": round(100 * found.load_cpu_s / found.seconds),
    }


def _counts(counts: dict[str, int]) -> list[str]:
    return [f"{name} {count}" for name, count in counts.items()]

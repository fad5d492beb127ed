"""`ownerd serve` as the benchmarks run it: on a store, by either kind of dial listener.

The load is native and runs in the benchmark's own process; processor time and memory are the
server process's. A server asks nobody who they are and speaks plaintext, unless its protection says
otherwise; its certificate is made on the spot.
"""

import importlib.util
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import processes, records
from ownerd.load import http2 as load_http2

CONNECTIONS = 8
NATIVE, GRPCIO = "native", "grpcio"
# More than the records of all calls in flight, so that no call of a load is refused.
QUEUE_LIMIT = 1_000_000
WRONG_TOKEN = f"ownerd_{'x' * 43}"


class Protection(NamedTuple):
    """What a server asks of its dialers: a token, TLS."""

    token: bool = False
    tls: bool = False

    def __str__(self) -> str:
        return " and ".join(name for name, on in (("token", self.token), ("TLS", self.tls)) if on)


OPEN = Protection()


class Measured(NamedTuple):
    """What a load of the dial port measured; times of processors are microseconds a decision."""

    decisions_per_s: float
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    server_cpu_us: float
    client_cores: float
    error_count: int
    answers: dict[str, int]

    def row(self) -> dict[str, Any]:
        """Return the figures under the names that the report prints."""
        return {
            "decisions/s": self.decisions_per_s,
            "calls/s": self.calls_per_s,
            "p50 ms": self.p50_ms,
            "p99 ms": self.p99_ms,
            "p99.9 ms": self.p999_ms,
            "max ms": self.max_ms,
            "server us": self.server_cpu_us,
            "client cores": self.client_cores,
            "errors": self.error_count,
            "answers": self.answers,
        }


def kinds() -> list[str]:
    """Return the kinds of dial listener that this build has, the default one first."""
    found = [NATIVE] if importlib.util.find_spec("ownerd.net.listener") else []
    return [*found, GRPCIO]


@contextmanager
def serving(
    store: Path, kind: str, directory: Path, protection: Protection = OPEN
) -> Iterator[processes.Server]:
    """Run a server on a store while the context lasts; its addresses are `dial` and `admin`."""
    arguments = ["serve", "--data", str(store), "--metrics-listen", ""]
    arguments += ["--dial-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    arguments += ["--queue-limit", str(QUEUE_LIMIT)]
    arguments += ["--dial-listener", kind]
    if not protection.token:
        arguments.append("--no-auth")
    if protection.tls:
        certificate, key = _identity(directory)
        arguments += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    with processes.serving(
        f"ownerd-{kind}", "ownerd.server", arguments, ("dial", "admin"), directory
    ) as server:
        yield server


def credentials(store: Path, directory: Path, protection: Protection) -> dict[str, Any]:
    """Return the arguments that a load needs for a server of `serving` with this protection.

    The token is the administrator's, who may do everything.
    """
    found: dict[str, Any] = {}
    if protection.token:
        found["token"] = (store / "admin.token").read_text("ascii").strip()
    if protection.tls:
        from ownerd.base.secure_channel import TlsClient

        certificate, _ = _identity(directory)
        found["tls"] = TlsClient("127.0.0.1", ca_pem=certificate.read_bytes())
    return found


@contextmanager
def strangers(
    server: processes.Server, known: records.Records, rate_per_s: int, seconds: float
) -> Iterator[None]:
    """Have calls with a wrong token come at a rate while the context lasts; 0: none."""
    if not rate_per_s:
        yield
        return
    plan = known.plan(records.OPEN_LIST)
    with ThreadPoolExecutor(1) as pool:
        wrong = pool.submit(
            load_http2.drive,
            server.addresses["dial"],
            plan,
            seconds=2 * seconds,
            warm_up_s=0.0,
            in_flight=256,
            connections=CONNECTIONS,
            rate_per_s=float(rate_per_s),
            token=WRONG_TOKEN,
        )
        yield
        found = wrong.result()
    if found.calls or not sum(found.errors.values()):
        raise RuntimeError(f"calls with a wrong token: {found.calls} let in, {found.errors}")


def _identity(directory: Path) -> tuple[Path, Path]:
    """Return a certificate for loopback, signed by its own key, and the key; made once.

    Raises:
        OSError, subprocess.SubprocessError: there is no openssl program, or it failed.
    """
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    if not certificate.exists():
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=ownerd benchmarks",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                str(key),
                "-out",
                str(certificate),
            ],
            check=True,
            capture_output=True,
            timeout=30,
        )
    return certificate, key


def drive(
    server: processes.Server,
    known: records.Records,
    *,
    in_flight: int,
    seconds: float,
    warm_up_s: float,
    pick_seed: int,
    batch_records: int = 1,
    rate_per_s: float = 0.0,
    shown: dict[str, Any] | None = None,
) -> Measured:
    """Load a server's dial port with claims on the open list.

    Warms up first and measures then, so that the server's processor time is that of the calls
    which count. `shown` is what `credentials` returns, for a server that is protected.
    """
    plan = known.plan(records.OPEN_LIST, batch_records=batch_records, pick_seed=pick_seed)
    load = {
        "in_flight": in_flight,
        "connections": min(CONNECTIONS, in_flight),
        "rate_per_s": rate_per_s,
        **(shown or {}),
    }
    address = server.addresses["dial"]
    load_http2.drive(address, plan, seconds=warm_up_s, warm_up_s=0.0, **load)
    cpu_s = server.cpu_s()
    found = load_http2.drive(address, plan, seconds=seconds, warm_up_s=0.0, **load)
    cpu_s = server.cpu_s() - cpu_s
    if not found.calls:
        raise RuntimeError(f"no call was answered with OK: {found.errors}")

    def ms(share: float) -> float:
        return found.latency.quantile_ns(share) / 1e6

    return Measured(
        decisions_per_s=found.records / found.seconds,
        calls_per_s=found.calls / found.seconds,
        p50_ms=ms(0.5),
        p99_ms=ms(0.99),
        p999_ms=ms(0.999),
        max_ms=found.latency.max_ns / 1e6,
        server_cpu_us=cpu_s / found.records * 1e6,
        client_cores=found.load_cpu_s / found.seconds,
        error_count=sum(found.errors.values()),
        answers=found.decisions | found.errors,
    )

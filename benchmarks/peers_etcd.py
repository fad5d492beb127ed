"""etcd: a transaction that puts the record if it has never been created, with no lease.

The load is the native one that measures ownerd's dial port, with etcd's requests in place of
ownerd's.
"""

from collections.abc import Sequence

from benchmarks import peers, processes, records
from ownerd.load import http2 as load_http2

_PACKAGE = "etcd-server"
_READY = "ready to serve client requests"
_BODIES = 200_000
_CONNECTIONS = 4
_VARINT, _BYTES = 0, 2  # wire types of protobuf
_EQUAL, _CREATE = 0, 1  # Compare.CompareResult, Compare.CompareTarget


class Etcd:
    """The peer."""

    name = "etcd"

    def version(self) -> str:
        """See `peers.Contender`."""
        said = peers.run_tool([peers.find("etcd", _PACKAGE), "--version"])
        return said.split()[2]

    def why_not(self, shape: peers.Shape) -> str:
        """See `peers.Contender`."""
        if shape.batch_records > 1:
            return "a transaction of many claims is granted or denied as one"
        return ""

    def measure(self, task: peers.Task) -> peers.Figures:
        """See `peers.Contender`."""
        address = f"127.0.0.1:{peers.free_port()}"
        picks = task.known.picks(task.seed, _BODIES)
        bodies = [transaction(pick) for pick in picks]
        with peers.running(_server_command(task, address), _READY, task) as pid:
            cpu_s = processes.cpu_s(pid)
            found = load_http2.drive_requests(
                address,
                "/etcdserverpb.KV/Txn",
                bodies,
                in_flight=task.shape.in_flight,
                connections=min(task.shape.in_flight, _CONNECTIONS),
                seconds=task.seconds,
                warm_up_s=task.warm_up_s,
            )
            cpu_s = processes.cpu_s(pid) - cpu_s
            own_bytes = processes.own_bytes(pid)
        if found.errors:
            raise RuntimeError(f"etcd answered with errors: {found.errors}")
        calls = round(found.calls * (task.seconds + task.warm_up_s) / task.seconds)
        return peers.Figures(
            decisions_per_s=found.calls / found.seconds,
            p50_ms=found.latency.quantile_ns(0.5) / 1e6,
            p99_ms=found.latency.quantile_ns(0.99) / 1e6,
            server_cpu_us=cpu_s / calls * 1e6,
            granted_share=_first_time_share(picks, calls),
            own_bytes=own_bytes,
        )


def _server_command(task: peers.Task, address: str) -> list[str]:
    peer = f"http://127.0.0.1:{peers.free_port()}"
    return [
        peers.find("etcd", _PACKAGE),
        "--data-dir",
        str(task.directory / "data"),
        "--listen-client-urls",
        f"http://{address}",
        "--advertise-client-urls",
        f"http://{address}",
        "--listen-peer-urls",
        peer,
        "--initial-advertise-peer-urls",
        peer,
        "--initial-cluster",
        f"default={peer}",
    ]


def _first_time_share(picks: Sequence[str], calls: int) -> float:
    """Return the share of calls whose record had not been claimed before."""
    return len(set(picks[:calls])) / calls


def transaction(record_id: str) -> bytes:
    """Return an etcdserverpb.TxnRequest: if the key was never created, put it."""
    key = f"{records.OPEN_LIST}/{record_id}".encode()
    compare = _number(1, _EQUAL) + _number(2, _CREATE) + _field(3, key) + _number(5, 0)
    put = _field(1, key) + _field(2, records.CLAIMER.encode())
    return _field(1, compare) + _field(2, _field(2, put))


def _number(field: int, value: int) -> bytes:
    """Return a protobuf integer below 128."""
    return bytes((field << 3 | _VARINT, value))


def _field(field: int, content: bytes) -> bytes:
    """Return protobuf bytes, or a message within a message, shorter than 128."""
    return bytes((field << 3 | _BYTES, len(content))) + content

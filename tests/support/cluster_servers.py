"""Servers that are nodes of a cluster, and what one asks of them again and again."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from harness import ServerProcess
from real_etcd import Member

from ownerd.demo.etcd_process import free_ports
from ownerd.v1 import admin_pb2

LEASE_S = 2


def eventually(holds: Callable[[], bool], what: str, deadline_s: float = 60) -> None:
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def server(
    directory: Path, etcd: list[Member], node: str, name: str, *more: str, auth: bool = False
) -> ServerProcess:
    """Return a node that is a server, of the cluster of that name, not started."""
    dial, admin, metrics = free_ports(3)
    return ServerProcess(
        directory / node,
        *("--cluster", f"etcd://{','.join(each.address for each in etcd)}/{name}"),
        *("--node", node, "--cluster-lease-s", str(LEASE_S)),
        *("--dial-listen", f"127.0.0.1:{dial}", "--advertise-dial", f"{node}.example:7411"),
        *("--admin-listen", f"127.0.0.1:{admin}"),
        *("--metrics-listen", f"127.0.0.1:{metrics}", "--map-bytes", "256MiB"),
        *more,
        auth=auth,
    )


def status(each: ServerProcess, page: str) -> int:
    """Return the HTTP status of a page, without credentials; 0: it is not there yet."""
    try:
        with urllib.request.urlopen(f"http://{each.address('metrics')}{page}", timeout=5) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def leads(each: ServerProcess) -> bool:
    return status(each, "/readyz") == 200


def make_list(leader: ServerProcess) -> None:
    policy = admin_pb2.OwnershipPolicy(
        enabled=True, duration=Duration(seconds=86_400), reservation_ttl=Duration(seconds=3_600)
    )
    leader.admin_stub().CreateContactList(
        admin_pb2.CreateContactListRequest(list_id="list", policy=policy), timeout=10
    )

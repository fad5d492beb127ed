"""etcd's part of the bargain in this process: keys with revisions, transactions, leases, watches.

Deterministic: nothing expires by itself (`expire`), and each call is done in full or not at all. A
test has its way with single transactions by `faults`: for the next ones, in order, one of

    lose        done, and never answered
    refuse      not done, and answered UNAVAILABLE, which tells nobody that
    drop        not done, and never answered
    late        done after the caller gave up, when the test says `do_late()`
    full        not done, as NOSPACE has it
    filled      done, and answered as if it was not: it was what filled it
    pass        done and answered
"""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from etcd_api import pb, rpc


class FakeEtcd:
    """One member; several addresses may lead to it."""

    def __init__(self, addresses: int = 1) -> None:
        self.guard = threading.Condition()
        self.rows: dict[bytes, Any] = {}
        self.history: list[Any] = []  # events, in order
        self.revision = 1
        self.compacted = 0
        self.leases: dict[int, int] = {}
        self.least_ttl = 1
        self.faults: deque[str] = deque()
        self.transactions: list[Any] = []  # that came, whatever became of them
        self.late: list[Any] = []
        self.deaf = False  # to everything
        self.ignores_revokes = False  # of leases
        self.full = False  # takes no puts, as with NOSPACE
        self.used_bytes, self.quota_bytes = 1 << 19, 0  # as Status tells; 0: it does not
        self.lost_events = 0  # to be left out of the next watch answers
        self.keep_alives = 0
        self._next_lease = 7000
        self._ended = threading.Event()
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=48), options=[("grpc.so_reuseport", 0)]
        )
        for name in ("KV", "Watch", "Lease", "Maintenance"):
            getattr(rpc, f"add_{name}Servicer_to_server")(_Service(self), self._server)
        self.addresses = [
            f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}" for _ in range(addresses)
        ]
        self._server.start()

    def stop(self) -> None:
        """End; whoever waits is let go."""
        self._ended.set()
        with self.guard:
            self.guard.notify_all()
        self._server.stop(0).wait(5)

    # --- what a test does -------------------------------------------------------------------------

    def value(self, key: bytes) -> bytes | None:
        """Return what a key holds."""
        row = self.rows.get(key)
        return None if row is None else bytes(row.value)

    def keys(self, prefix: bytes) -> list[bytes]:
        """Return the keys that begin so, sorted."""
        with self.guard:
            return sorted(key for key in self.rows if key.startswith(prefix))

    def expire(self, lease: int) -> None:
        """Have a lease run out, with its keys."""
        with self.guard:
            self.leases.pop(lease, None)
            gone = [key for key, row in self.rows.items() if row.lease == lease]
            self._commit([("delete", key, b"", 0) for key in gone])

    def expire_key(self, key: bytes) -> None:
        """Have the lease of a key run out, if it has not."""
        row = self.rows.get(key)
        if row is not None:
            self.expire(row.lease)

    def do_late(self) -> None:
        """Do what was to be done late."""
        with self.guard:
            waiting, self.late = self.late, []
            for request in waiting:
                self._transact(request)

    def put(self, key: bytes, value: bytes) -> None:
        """Put a key, as anybody could."""
        with self.guard:
            self._commit([("put", key, value, 0)])

    def compact(self) -> None:
        """Forget every revision but the last."""
        with self.guard:
            self.compacted = self.revision
            self.history = []

    # --- what it does, under the guard ------------------------------------------------------------

    def _header(self) -> Any:
        return pb.ResponseHeader(cluster_id=77, member_id=1, revision=self.revision)

    def _commit(self, changes: list[tuple[str, bytes, bytes, int]]) -> None:
        """Take changes as one revision; none takes none."""
        if not changes:
            return
        self.revision += 1
        for kind, key, value, lease in changes:
            former = self.rows.get(key)
            if kind == "delete":
                if former is not None:
                    del self.rows[key]
                    gone = pb.KeyValue(key=key, mod_revision=self.revision)
                    self.history.append(pb.Event(type=1, kv=gone))
                continue
            row = pb.KeyValue(
                key=key,
                value=value,
                lease=lease,
                mod_revision=self.revision,
                create_revision=former.create_revision if former else self.revision,
                version=former.version + 1 if former else 1,
            )
            self.rows[key] = row
            self.history.append(pb.Event(type=0, kv=row))
        self.guard.notify_all()

    def _range(self, request: Any) -> Any:
        found = [
            row
            for key, row in sorted(self.rows.items())
            if _within(key, request.key, request.range_end)
        ]
        limit = request.limit or len(found)
        return pb.RangeResponse(
            header=self._header(), kvs=found[:limit], more=len(found) > limit, count=len(found)
        )

    def _holds(self, compare: Any) -> bool:
        row = self.rows.get(compare.key)
        if compare.target == pb.Compare.CREATE:
            return (row.create_revision if row else 0) == compare.create_revision
        assert compare.target == pb.Compare.MOD and compare.result == pb.Compare.EQUAL
        return (row.mod_revision if row else 0) == compare.mod_revision

    def _transact(self, request: Any) -> Any:
        succeeded = all(self._holds(compare) for compare in request.compare)
        operations = request.success if succeeded else request.failure
        changes: list[tuple[str, bytes, bytes, int]] = []
        for each in operations:
            if each.HasField("request_put"):
                put = each.request_put
                changes.append(("put", put.key, put.value, put.lease))
            elif each.HasField("request_delete_range"):
                gone = each.request_delete_range
                changes += [
                    ("delete", key, b"", 0)
                    for key in self.rows
                    if _within(key, gone.key, gone.range_end)
                ]
        self._commit(changes)
        answer = pb.TxnResponse(header=self._header(), succeeded=succeeded)
        for each in operations:
            if each.HasField("request_range"):
                answer.responses.add().response_range.CopyFrom(self._range(each.request_range))
            elif each.HasField("request_put"):
                answer.responses.add().response_put.header.CopyFrom(self._header())
            else:
                answer.responses.add().response_delete_range.header.CopyFrom(self._header())
        return answer


def _within(key: bytes, begin: bytes, end: bytes) -> bool:
    return key == begin if not end else begin <= key < end


class _Service:
    """The calls, as grpcio wants them."""

    def __init__(self, etcd: FakeEtcd) -> None:
        self.etcd = etcd

    def _never(self, context: grpc.ServicerContext) -> None:
        """Answer nothing until the caller gives up."""
        gone = threading.Event()
        context.add_callback(gone.set)
        while not gone.wait(0.05) and not self.etcd._ended.is_set():
            pass
        context.abort(grpc.StatusCode.CANCELLED, "nobody waits")

    def _hear(self, context: grpc.ServicerContext) -> None:
        if self.etcd.deaf:
            self._never(context)

    def Range(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._hear(context)
        with self.etcd.guard:
            return self.etcd._range(request)

    def Put(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._hear(context)
        with self.etcd.guard:
            self.etcd._commit([("put", request.key, request.value, request.lease)])
            return pb.PutResponse(header=self.etcd._header())

    def Txn(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._hear(context)
        etcd = self.etcd
        with etcd.guard:
            etcd.transactions.append(request)
            fault = etcd.faults.popleft() if etcd.faults else "pass"
            operations = [*request.success, *request.failure]
            if etcd.full and any(each.HasField("request_put") for each in operations):
                fault = "full"
            if fault in ("pass", "lose", "filled"):
                answer = etcd._transact(request)
            if fault == "late":
                etcd.late.append(request)
        if fault == "refuse":
            context.abort(grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out")
        if fault in ("full", "filled"):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "database space exceeded")
        if fault != "pass":
            self._never(context)
        return answer

    def Compact(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._hear(context)
        with self.etcd.guard:
            self.etcd.compacted = request.revision
            self.etcd.history = [
                event for event in self.etcd.history if event.kv.mod_revision > request.revision
            ]
            return pb.CompactionResponse(header=self.etcd._header())

    def LeaseGrant(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._hear(context)
        if self.etcd.full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "database space exceeded")
        with self.etcd.guard:
            self.etcd._next_lease += 1
            lease, ttl = self.etcd._next_lease, max(request.TTL, self.etcd.least_ttl)
            self.etcd.leases[lease] = ttl
            return pb.LeaseGrantResponse(header=self.etcd._header(), ID=lease, TTL=ttl)

    def LeaseRevoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._hear(context)
        if not self.etcd.ignores_revokes:
            self.etcd.expire(request.ID)
        return pb.LeaseRevokeResponse()

    def LeaseKeepAlive(
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        self._hear(context)
        for request in requests:
            with self.etcd.guard:
                self.etcd.keep_alives += 1
                ttl = self.etcd.leases.get(request.ID, 0)
            yield pb.LeaseKeepAliveResponse(ID=request.ID, TTL=ttl)

    def Status(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._hear(context)
        return pb.StatusResponse(
            version="fake",
            dbSize=1 << 20,
            dbSizeInUse=self.etcd.used_bytes,
            dbSizeQuota=self.etcd.quota_bytes,
            leader=1,
        )

    def Alarm(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._hear(context)
        alarms = [pb.AlarmMember(memberID=1, alarm=1)] if self.etcd.full else []
        return pb.AlarmResponse(alarms=alarms)

    def Defragment(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.DefragmentResponse()

    def Watch(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        self._hear(context)
        etcd = self.etcd
        wanted = next(requests).create_request
        at = wanted.start_revision
        yield pb.WatchResponse(created=True)
        if at <= etcd.compacted:
            yield pb.WatchResponse(canceled=True, compact_revision=etcd.compacted + 1)
            return
        while context.is_active() and not etcd._ended.is_set():
            with etcd.guard:
                news = [
                    event
                    for event in etcd.history
                    if event.kv.mod_revision >= at
                    and _within(event.kv.key, wanted.key, wanted.range_end)
                ]
                if not news or etcd.deaf:
                    etcd.guard.wait(0.05)
                    continue
                at = news[-1].kv.mod_revision + 1
                lost, etcd.lost_events = etcd.lost_events, 0
                answer = pb.WatchResponse(header=etcd._header(), events=news[lost:])
            yield answer

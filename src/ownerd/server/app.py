"""Builds the server from its parts, runs it, and takes it down again.

Owns the order of things: the store is opened before anything listens; a listener is announced when
it takes calls; on the way down health says so first, then the clients are told to begin no more
calls here, then new calls are refused, then calls in flight are answered, then the listeners and at
last the store are closed. Nothing here forks, and
nothing may: neither gRPC nor LMDB survives it.
"""

import asyncio
import functools
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

import ownerd
from ownerd import machine
from ownerd.native import Access, AioBridge, Clock, Engine, map_large_blocks
from ownerd.server import (
    addresses,
    cluster,
    dial,
    exits,
    grpc_options,
    joining,
    logs,
    native_listener,
    ports,
    reload,
    rights,
    store,
    tls,
    tracing,
)
from ownerd.server.admin import service, spool
from ownerd.server.admin.context import AdminContext
from ownerd.server.alarms import Alarm, AlarmBoard, AlarmLog
from ownerd.server.audit_end import AuditEnd
from ownerd.server.authn import Authenticator
from ownerd.server.called_twice import CalledTwiceLog
from ownerd.server.cluster_watch import Cluster, ClusterCollector, ClusterWatch
from ownerd.server.config import Settings
from ownerd.server.crowding import CrowdWatch
from ownerd.server.errors import PermissionDenied
from ownerd.server.grpc_listener import GrpcioListener, Listener, reflection_handlers, stop_all
from ownerd.server.leader_listener import LeaderListener
from ownerd.server.log_bounds import LogBounds
from ownerd.server.memory import MemoryWatch
from ownerd.server.metrics import Metrics
from ownerd.server.metrics_http import MetricsServer
from ownerd.server.native_calls import NativeCalls
from ownerd.server.principals import ITSELF, Principals
from ownerd.server.refusal_audit import RefusalAudit
from ownerd.server.sd_notify import Notifier
from ownerd.server.signals import Signals
from ownerd.server.slow_calls import SlowCallLog
from ownerd.server.workers import Workers
from ownerd.server.workings import Workings
from ownerd.v1 import admin_pb2

# Answers that are being sent, and health watchers, get this long once all calls are decided.
_LAST_WORDS_S = 0.5
_POLL_S = 0.005
# Clients that read nothing for a second are not waited for; calls are served until then.
_FAREWELL_S = 1.5
# gRPC hands calls over one by one and ends those it still has with CANCELLED when it is stopped, so
# a draining server goes on refusing until none has come for a moment, or its patience is over.
_HUSH_S = 0.1
_HUSH_PATIENCE_S = 1.0
# How late a standby sees that the leader lets somebody in.
_PRINCIPALS_S = 1.0
# How long a busy worker thread may keep the event loop, and so the dialers, from going on.
_SWITCH_INTERVAL_S = 0.0005
# The engine's, gRPC's, those of admin calls and the metrics page, besides the dial listener's.
_OTHER_THREADS = 48

log = structlog.get_logger("ownerd.server")


def serve(settings: Settings, read_again: reload.Read | None = None) -> int:
    """Serve until a signal or a failure; return the exit code.

    Args:
        settings: what the server is told.
        read_again: reads them anew when the server is asked to; None: they stay as they are.

    Raises:
        exits.Stop: the settings do not go together, the store cannot be opened, or an address
            cannot be listened on.
    """
    signals = Signals()
    Notifier().tell(STATUS="opening and checking the store")
    tls.refuse_unprotected(settings)
    material = tls.load(settings)
    tracer = tracing.start()
    map_large_blocks()
    if not settings.core_dumps:
        _forbid_core_dumps()
    try:
        machine.need_threads(_OTHER_THREADS + settings.dial_threads)
    except machine.TooLittle as error:
        raise exits.Stop(str(error)) from None
    if settings.migrate and store.is_former(settings):
        log.info("store_migrated", data=settings.data, said=" ".join(store.migrate(settings)))
    clock = Clock()
    node = cluster.open_node(settings, clock)
    if node is not None and settings.cluster_create:
        store.flush_before(settings)
    elif node is not None:
        joining.begin_if_new(settings, node)
    engine = store.open_engine(settings, node=node, clock=clock)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        if node is not None:
            cluster.join(settings, node, engine)
        principals = open_principals(settings, engine)
        read = read_again or (lambda: settings)
        server = _Server(settings, read, signals, engine, principals, material, tracer, node)
        return asyncio.run(server.run())
    finally:
        engine.close()
        if tracer is not None:
            tracer.close()


def open_principals(settings: Settings, engine: Engine) -> Principals:
    """Return who may make calls; a store without anybody gets an administrator first.

    Raises:
        exits.StoreFailed: the administrator's token cannot be written.
    """
    principals = Principals(
        engine, Access(open=settings.no_auth), certificates_asked=bool(settings.admin_client_ca)
    )
    if not engine.standing_by:
        make_first_admin(settings, principals)
    return principals


def make_first_admin(settings: Settings, principals: Principals) -> None:
    """Give a store without anybody an administrator.

    Raises:
        exits.StoreFailed: the administrator's token cannot be written.
    """
    if not settings.no_auth and principals.is_empty:
        path = _make_admin(principals, settings, "CreatePrincipal", "first start")
        log.info("admin_token_written", path=str(path))


def renew_admin(settings: Settings) -> Path:
    """Make a new token for `admin` of a store that no server has open; return its file.

    Raises:
        exits.StoreInUse, exits.StoreFailed, exits.StoreDamaged
    """
    engine = store.open_engine(settings, create=False)
    try:
        principals = Principals(engine, Access())
        return _make_admin(principals, settings, "RotateToken", "asked for on the server itself")
    finally:
        engine.close()


def _make_admin(principals: Principals, settings: Settings, action: str, reason: str) -> Path:
    """Give the principal `admin` every right and a new token; return the token's file."""
    entry = admin_pb2.AuditEntry(principal=ITSELF, action=action, reason=reason)
    note = entry.SerializeToString(deterministic=True)
    try:
        return principals.make_admin(Path(settings.data), note)
    except OSError as error:
        raise exits.StoreFailed(
            f"cannot write the administrator's token to {settings.data}: {error.strerror}"
        ) from None


def _forbid_core_dumps() -> None:
    """Leave no core file, and nothing in one that is made all the same."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    # A program that takes cores by a pipe is not bound by the limit.
    with suppress(OSError):
        Path("/proc/self/coredump_filter").write_text("0")


class _Server:
    """One run of the server, on one event loop."""

    def __init__(
        self,
        settings: Settings,
        read_again: reload.Read,
        signals: Signals,
        engine: Engine,
        principals: Principals,
        material: tls.Material | None,
        tracer: tracing.Tracer | None,
        node: Any = None,
    ) -> None:
        self._node = node
        self._cluster: Cluster | None = None
        self._cluster_began = False
        self._settings = settings
        self._tracer = tracer
        self._read_again = read_again
        self._signals = signals
        self._engine = engine
        self._principals = principals
        self._access = principals.access
        self._material = material
        self._start_ns: int = engine.time_ns
        self._notifier = Notifier()

    async def run(self) -> int:
        """Serve; return the exit code."""
        self._build()
        try:
            await self._start()
            code = await self._until_asked_to_stop()
            return await self._drain(code)
        finally:
            await stop_all(self._listeners, 0)
            if self._cluster is not None and self._cluster_began:
                await asyncio.to_thread(self._cluster.watch.stop)
                await asyncio.to_thread(self._cluster.membership.stop)
            await _cancelled(self._reloading | ({self._watching} if self._watching else set()))
            if self._metrics_server is not None:
                self._metrics_server.close()
            self._bridge.detach(self._loop)
            self._bell.close()
            if self._calls is not None:
                self._calls.detach()
            self._workers.close()

    def _build(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._failed = asyncio.Event()
        self._left = asyncio.Event()  # the cluster, for good
        self._leading: LeaderListener | None = None
        self._dials_taken = False  # by it
        self._role_lock = asyncio.Lock()
        self._metrics_server: MetricsServer | None = None
        self._watching: asyncio.Task[None] | None = None
        self._tls_watch: tls.Watch | None = None
        self._calls: NativeCalls | None = None
        self._reloading: set[asyncio.Task[None]] = set()
        self._takers: dict[tuple[str, ...], reload.Take] = {
            ("log_level",): lambda new: logs.set_level(new.log_level),
            ("slow_call_ms",): lambda new: self._slow_calls.limit(new.slow_call_ms),
            ("queue_limit",): lambda new: self._engine.limit_queue(new.queue_limit),
            ("drain_timeout_s",): lambda new: None,
            ("audit_keep_days", "audit_export"): lambda new: self._audit_end.take(new),
        }
        self._bridge = AioBridge(self._engine, self._access)
        self._bridge.attach(self._loop)
        self._workers = Workers()
        self._audit_end = AuditEnd(self._engine, self._workers, self._settings)
        self._authenticator = Authenticator(self._access, self._engine)
        self._refusals = RefusalAudit(self._engine, self._access, self._workers)
        self._alarms = AlarmBoard()
        self._dial_kind = "native" if native_listener.wanted(self._settings, "dial") else "grpcio"
        self._metrics = Metrics(self._engine, self._alarms.up, self._dial_kind)
        self._metrics.watch_refusals(self._refusals.counts)
        if self._node is not None:
            self._cluster = self._cluster_of(self._node)
        self._health = health.HealthServicer()
        self._slow_calls = SlowCallLog(
            self._engine, self._settings.slow_call_ms, self._tracer, service.SERVICE
        )
        self._listeners = [self._open_dial_listener(), self._admin_listener()]
        self._natives = [
            each
            for each in self._listeners
            if native_listener.wanted(self._settings, each.name)
            and isinstance(each, (native_listener.NativeListener, LeaderListener))
        ]
        stats = {each.name: each.stats for each in self._natives}
        for name, found in stats.items():
            self._metrics.watch(name, found)
        self._crowds = CrowdWatch(self._alarms, stats)
        limits = {limit for name in stats for limit in native_listener.LIMITS[name]}
        self._takers[tuple(sorted(limits))] = self._take_limits

    def _take_limits(self, new: Settings) -> None:
        for each in self._natives:
            each.limit(new)

    def _open_dial_listener(self) -> Listener:
        """Return the dial listener, in a cluster one that is open while this node leads."""
        if self._node is None:
            return self._dial_listener()
        self._leading = LeaderListener(self._dial_listener)
        return self._leading

    def _dial_listener(self) -> Listener:
        if self._dial_kind == "native":
            return native_listener.NativeListener(
                "dial",
                self._engine,
                self._access,
                native_listener.dial_limits(self._settings),
                self._material,
            )
        return GrpcioListener(
            "dial",
            grpc_options.dial_options(self._settings),
            [dial.generic_handler(self._bridge, self._authenticator, self._loop)],
            grpc_options.DIAL_CALLS_PER_STREAM * self._settings.dial_max_streams,
            self._health,
            material=self._material,
        )

    def _admin_listener(self) -> Listener:
        context = AdminContext(
            self._engine,
            spool.Spools(
                Path(self._settings.data),
                self._settings.import_spool_bytes,
                self._settings.reserve_bytes,
            ),
            self._start_ns,
            self._principals,
            threading.Lock(),
            self._alarms.up,
            self._dial_kind,
            self._settings.backup_limit_s,
            Workings(self._engine, self._settings, self._metrics.registry, self._certificate_end),
            self._cluster,
        )
        admin = service.AdminService(
            context,
            self._workers,
            self._authenticator,
            self._metrics.observe,
            self._slow_calls.admin_call,
        )
        self._bell = admin.bell
        reflected = (dial.SERVICE, service.SERVICE)
        if native_listener.wanted(self._settings, "admin"):
            self._calls = NativeCalls(
                {service.SERVICE: admin.handlers(), **reflection_handlers(reflected)},
                open_services=(reflection.SERVICE_NAME,),
            )
            self._calls.attach(self._loop)
            return native_listener.NativeListener(
                "admin",
                self._engine,
                self._access,
                native_listener.admin_limits(self._settings),
                self._material,
                self._calls,
            )
        return GrpcioListener(
            "admin",
            grpc_options.admin_options(self._settings),
            [
                admin.generic_handler(),
                dial.generic_handler(self._bridge, self._authenticator, self._loop),
            ],
            grpc_options.ADMIN_CALLS,
            self._health,
            reflected=reflected,
            material=self._material,
        )

    async def _start(self) -> None:
        texts = [self._settings.dial_listen, [self._settings.admin_listen]]
        bound = [
            (listener, listener.bind(wanted))
            for listener, wanted in zip(self._listeners, texts, strict=True)
        ]
        if self._settings.metrics_listen:
            self._metrics_server = MetricsServer(
                self._metrics.registry,
                addresses.parse(self._settings.metrics_listen),
                self._may_scrape,
                self._material,
                self._unready,
            )
            self._crowds.watch("metrics", self._metrics_server.stats)
        found = [(listener.name, address) for listener, each in bound for address in each]
        if self._metrics_server is not None:
            found.append(("metrics", self._metrics_server.address))
        ports.need_different(found)
        self._watch_tls()
        for listener in self._listeners:
            await listener.start()
        await self._health.set(service.SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._tell_dials(not self._engine.standing_by)
        self._reloader = reload.Reloader(
            self._settings, self._read_again, self._takers, self._alarms
        )
        self._signals.heed(self._loop, self._on_signal, self._on_reload)
        self._loop.add_reader(self._engine.failure_fd, self._on_failure)
        self._announce(found)
        self._notifier.ready(self._doing())
        if self._cluster is not None:
            self._cluster_began = True
            self._cluster.membership.start()
            self._cluster.watch.start()

    # ---- in a cluster

    def _cluster_of(self, node: Any) -> Cluster:
        membership = cluster.Membership(
            self._engine,
            node,
            lambda role: self._from_thread(self._on_role, role),
            lambda why: self._from_thread(self._on_cluster_lost),
            LogBounds(self._engine, node, self._alarms, self._settings.cluster_log_bytes),
        )
        watch = ClusterWatch(membership, self._alarms)
        self._metrics.registry.register(ClusterCollector(membership, watch))
        return Cluster(membership, watch)

    def _doing(self) -> str:
        """Return what systemd shows of a server that serves."""
        if self._cluster is None:
            return "serving"
        member = self._cluster.membership
        return f"{member.role} of the cluster {member.name} (node {member.node_id})"

    async def _follow_principals(self) -> None:
        """See whom the leader lets in, also on a standby; ends when it is cancelled."""
        read_at = None
        while self._cluster is not None:
            await asyncio.sleep(_PRINCIPALS_S)
            revision = self._engine.revision
            if self._engine.standing_by and revision != read_at:
                await asyncio.to_thread(self._principals.read)
                read_at = revision

    def _from_thread(self, what: Callable[..., object], *told: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(what, *told)

    def _unready(self) -> str:
        """Say why no calls should be sent here; any thread."""
        if self._failed.is_set():
            return "the storage failed"
        if self._asked.is_set():
            return "draining"
        # Whoever has just begun to lead opens the dial port a moment later.
        taken = self._leading is None or self._dials_taken
        return "standby" if self._engine.standing_by or not taken else ""

    async def _tell_dials(self, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        await self._health.set(dial.SERVICE, states.SERVING if serving else states.NOT_SERVING)
        for each in self._natives:
            if isinstance(each, native_listener.NativeListener):
                each.tell_health()

    def _on_role(self, role: str) -> None:
        task = asyncio.create_task(self._take_role(role))
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _take_role(self, role: str) -> None:
        """Take dials or refuse connections, as the role is; see what another node has changed."""
        async with self._role_lock:
            if role != "leader":
                await self._take_dials(False)
                self._bell.ring()  # those who follow the leader's changes go on elsewhere
            try:
                await asyncio.to_thread(self._principals.read)
                if role == "leader":
                    await asyncio.to_thread(make_first_admin, self._settings, self._principals)
            except Exception:
                log.exception("principals_not_read")
            if role == "leader" and not self._engine.standing_by:
                await self._take_dials(True)
        if role == "leader":
            try:
                await self._finish_counts()
            except Exception:
                log.exception("releases_not_counted")

    async def _take_dials(self, taken: bool) -> None:
        if self._asked.is_set() or self._leading is None:
            return
        if taken:
            await self._leading.open()
        self._dials_taken = taken
        await self._tell_dials(taken)
        if not taken:
            await self._leading.close()
        self._notifier.tell(STATUS=self._doing())

    def _on_cluster_lost(self) -> None:
        self._left.set()

    def _watch_tls(self) -> None:
        """Have the listeners follow the files of the certificate, if there is one."""
        if self._material is None:
            return
        users = [listener.use_tls for listener in self._listeners]
        if self._metrics_server is not None:
            users.append(self._metrics_server.use_tls)
        watch = tls.Watch(self._settings, self._material, users, self._alarms)
        self._metrics.watch_tls(watch)
        self._tls_watch = watch
        self._takers[tls.FILES] = functools.partial(_take_tls, watch)
        self._watching = asyncio.create_task(watch.run())

    def _certificate_end(self) -> float | None:
        """Return when the certificate in use ends, in seconds since the epoch."""
        return None if self._tls_watch is None else self._tls_watch.material.expiry_s

    def _may_scrape(self, authorization: str | None, names: Sequence[str], peer: str) -> None:
        """Refuse whoever may not see the metrics; on a thread of the page.

        Raises:
            Unauthenticated, PermissionDenied, RateLimited
        """
        what = "metrics"
        identity = self._authenticator.of_request(authorization, names, peer, what)
        self._authenticator.spend(identity)
        try:
            rights.require(identity, rights.METRICS_RULE.rights[0], None, None)
        except PermissionDenied as error:
            self._authenticator.refused(error, peer, what)
            raise

    def _announce(self, found: Iterable[tuple[str, addresses.Address]]) -> None:
        log.info(
            "serving",
            version=ownerd.__version__,
            data=self._settings.data,
            pid=os.getpid(),
            revision=self._engine.revision,
            store_id=store.spell_id(self._engine.store_id),
        )
        for name, address in found:
            secure = self._material is not None and not address.path
            kind = {"kind": self._dial_kind} if name == "dial" else {}
            opens = name != "dial" or self._leading is None
            event = "listening" if opens else "listens_when_leading"
            log.info(event, listener=name, address=str(address), tls=secure, **kind)
            if not address.is_local and not (secure and not self._settings.no_auth):
                log.warning(
                    "listening_without_protection",
                    listener=name,
                    address=str(address),
                    advice="other machines can reach this address, without TLS or without being "
                    "asked who they are, as insecure allows; put a proxy in front",
                )

    def _on_signal(self, name: str) -> None:
        if not self._asked.is_set():
            self._asked.set()
            log.info("asked_to_stop", signal=name)
            return
        self._hurried.set()
        log.warning("asked_to_stop_at_once", signal=name)
        # A third signal ends the process the way the system does it.
        self._signals.let_stop(self._loop)

    def _on_reload(self) -> None:
        if self._asked.is_set():
            return
        log.info("asked_to_reload", signal="SIGHUP")
        task = asyncio.create_task(self._reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload(self) -> None:
        self._notifier.reloading()
        await self._reloader.reload()
        self._notifier.ready(self._doing())

    def _on_failure(self) -> None:
        self._loop.remove_reader(self._engine.failure_fd)
        self._failed.set()
        log.critical("storage_failed", cause=self._engine.failed)

    async def _until_asked_to_stop(self) -> int:
        """Return the exit code that the first reason to stop asks for."""
        background = [
            asyncio.create_task(self._finish_counts()),
            asyncio.create_task(self._refusals.watch()),
            asyncio.create_task(self._crowds.run()),
            asyncio.create_task(self._notifier.keep_alive(lambda: not self._engine.failed)),
            asyncio.create_task(MemoryWatch(self._workers).run()),
            asyncio.create_task(AlarmLog(self._all_alarms).watch()),
            asyncio.create_task(CalledTwiceLog(self._engine).watch()),
            asyncio.create_task(self._slow_calls.watch()),
            asyncio.create_task(self._audit_end.run()),
            asyncio.create_task(self._follow_principals()),
        ]
        broken = [asyncio.create_task(listener.failed()) for listener in self._listeners]
        asked = asyncio.create_task(self._asked.wait())
        failed = asyncio.create_task(self._failed.wait())
        left = asyncio.create_task(self._left.wait())
        await asyncio.wait([asked, failed, left, *broken], return_when=asyncio.FIRST_COMPLETED)
        ended = [
            listener.name
            for listener, task in zip(self._listeners, broken, strict=True)
            if task.done()
        ]
        await _cancelled([*background, asked, failed, left, *broken])
        if self._failed.is_set():
            return exits.STORE_FAILED
        if self._left.is_set():
            return exits.STORE_FAILED
        if ended and not self._asked.is_set():
            log.critical("listeners_lost", listeners=ended)
            return exits.FAILED
        return exits.OK

    def _all_alarms(self) -> list[Alarm]:
        return [*self._engine.alarms(), *self._alarms.up()]

    async def _finish_counts(self) -> None:
        """Count the releases that an earlier run made and had not counted when it ended."""
        if self._engine.standing_by:
            return  # whoever leads does
        for entry_id in await self._workers.run(self._engine.pending_counts):
            try:
                count = await self._workers.run(self._engine.count_released, entry_id)
                log.info("release_counted", entry_id=entry_id, released_count=count)
            except Exception:
                log.exception("release_not_counted", entry_id=entry_id)

    async def _drain(self, code: int) -> int:
        """Answer what is in flight and refuse the rest; return the final exit code."""
        self._notifier.stopping("answering the calls in flight")
        await self._health.enter_graceful_shutdown()
        for listener in self._listeners:
            listener.begin_drain()
        if not self._failed.is_set():
            await self._all_told()
        self._bridge.send()
        self._engine.begin_drain()
        self._workers.begin_drain()
        self._bell.ring()
        # A failed engine answers everything at once, and nothing is gained by waiting for more.
        patience_s = self._reloader.settings.drain_timeout_s
        if self._failed.is_set():
            patience_s = _LAST_WORDS_S
        answered = await self._all_answered(patience_s)
        if not self._failed.is_set():
            await self._refusals.tell_rest()
        await stop_all(self._listeners, _LAST_WORDS_S if answered else 0)
        if not answered:
            log.error("calls_left_unanswered", at_once=self._hurried.is_set())
        if self._failed.is_set():
            return exits.STORE_FAILED
        log.info("stopped", calls_answered=answered)
        return code if answered or code != exits.OK else exits.FAILED

    async def _all_told(self) -> None:
        """Wait until no client begins a call here any more, or does not listen, or a signal."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                while not self._hurried.is_set() and not all(each.told for each in self._listeners):
                    await asyncio.sleep(_POLL_S)
        if self._calls is not None:
            await self._calls.settle()

    async def _all_answered(self, patience_s: float) -> bool:
        """Wait until no call is in flight or on its way; False after `patience_s` or a signal."""
        quiet = asyncio.create_task(self._quiet())
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait(
            [quiet, hurried], timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
        )
        answered = quiet.done()
        await _cancelled([quiet, hurried])
        return answered

    async def _quiet(self) -> None:
        await self._workers.idle()
        while self._bridge.pending or any(each.pending for each in self._listeners):
            await asyncio.sleep(_POLL_S)
        if self._cluster is not None:
            await asyncio.to_thread(self._cluster.membership.leave)
        with suppress(TimeoutError):
            async with asyncio.timeout(_HUSH_PATIENCE_S):
                await self._hush()

    async def _hush(self) -> None:
        """Return once no dial has come for a moment."""
        received = -1
        while received != (now := self._received()):
            received = now
            await asyncio.sleep(_HUSH_S)

    def _received(self) -> int:
        return self._bridge.received + sum(each.received for each in self._listeners)


async def _take_tls(watch: tls.Watch, settings: Settings) -> None:
    if not settings.tls_certificate:
        raise reload.NeedsRestart
    await watch.take(settings)


async def _cancelled(tasks: Iterable["asyncio.Task[object]"]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task

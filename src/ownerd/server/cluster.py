"""One node of a cluster: it follows whoever leads, leads when nobody does, and hands over.

A thread of its own goes round: it opens a session with etcd, checks that the log is the one that
the store was in, and follows it into the engine. When the leader's key is gone it stands; whoever
gets the key catches up, begins its epoch, waits until the one before can answer nothing any more,
and has the engine decide. An end of leading, a lost lease or an etcd that does not answer ends the
session, and the next begins with a check again. What may be told, and when, is the native log's.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from ownerd import native
from ownerd.native import ClusterError, Engine, EtcdUnavailableError, NodeInUseError, Refused
from ownerd.server import addresses, cluster_view, exits
from ownerd.server.cluster_view import Member
from ownerd.server.config import Settings
from ownerd.server.hand_over import NOBODY, HandOver
from ownerd.server.log_bounds import LogBounds
from ownerd.server.principals import ITSELF
from ownerd.v1 import admin_pb2

_WAIT_S = 0.25  # for news, before the thread looks whether it is to stop
_LOOK_S = 3.0  # between two looks at the log that do not trust the watch
_PAUSE_S = 0.3  # after a failure
_RENEW_S = 0.25  # between two registrations, if what they say has changed
_RENEW_IDLE_S = 3.0

log = structlog.get_logger("ownerd.cluster")


def open_node(settings: Settings, clock: Any) -> Any:
    """Return the node that the settings name, not yet in a session; None: there is no cluster.

    Raises:
        exits.ConfigError: the settings do not go together, or this build has no clusters.
    """
    if not settings.cluster:
        return None
    if native.Node is None or native.Etcd is None:
        raise exits.ConfigError("cluster: this build has none: nghttp2 and OpenSSL were missing")
    members, name = _parse(settings.cluster)
    if not settings.node:
        raise exits.ConfigError("cluster: a node has a name in it; use --node NAME")
    try:
        etcd = native.Etcd(
            members,
            tls=bool(settings.etcd_ca or settings.etcd_certificate),
            ca_pem=_read(settings.etcd_ca),
            certificate_pem=_read(settings.etcd_certificate),
            key_pem=_read(settings.etcd_key),
            user=settings.etcd_user,
            password=(_read(settings.etcd_password_file) or b"").decode().rstrip("\n"),
        )
    except (OSError, ValueError) as error:
        raise exits.ConfigError(f"cluster: {error}") from None
    member = {"node": settings.node, "dial": _dial(settings), "admin": _admin(settings)}
    node = native.Node(
        etcd,
        name,
        clock,
        node_id=settings.node,
        member=json.dumps(member).encode(),
        lease_s=settings.cluster_lease_s,
    )
    native.LogUpkeep(node).prove_each_read(settings.cluster_reads == "append")
    return node


def _parse(text: str) -> tuple[list[str], str]:
    """Return etcd's members and the cluster's name, of `etcd://host:port,.../NAME`."""
    members, _, name = text.removeprefix("etcd://").partition("/")
    if not text.startswith("etcd://") or not members or not name or "/" in name:
        raise exits.ConfigError(
            f"cluster: found {text!r}; allowed: etcd://HOST:PORT,HOST:PORT,HOST:PORT/NAME"
        )
    return members.split(","), name


def _read(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()


def _advertised(given: str, listens: str, setting: str) -> str:
    """Return what other machines reach this node by."""
    found = addresses.parse(given or listens)
    if found.path or not found.port or found.host in ("0.0.0.0", "::", ""):
        raise exits.ConfigError(
            f"{setting}: {found} is nothing that other machines could call; set {setting} to this "
            "machine's HOST:PORT"
        )
    return str(found)


def _dial(settings: Settings) -> str:
    return _advertised(settings.advertise_dial, settings.dial_listen[0], "advertise_dial")


def _admin(settings: Settings) -> str:
    return _advertised(settings.advertise_admin, settings.admin_listen, "advertise_admin")


def join(settings: Settings, node: Any, engine: Engine) -> None:
    """Make the store a node's of the cluster, if it is not one yet; make the log, if asked to.

    Raises:
        exits.StoreFailed: the two do not belong together, or etcd does not answer.
    """
    if engine.position is not None:
        return
    try:
        if settings.cluster_create:
            begin = (engine.incarnation, engine.revision, 0, 0)
            node.create(begin)
            log.info("cluster_created", cluster=node.name, revision=engine.revision)
        else:
            begin = node.begin(None)
            if engine.revision != begin[1] or (engine.revision and engine.incarnation != begin[0]):
                raise ClusterError(
                    f"the store in {settings.data} is not what the log of the cluster "
                    f"{node.name!r} begins with. If nothing in it is wanted, have the node begin "
                    "from a backup of another one: 'ownerd cluster join --replace'"
                )
        engine.take_position(begin)
    except (ClusterError, EtcdUnavailableError, native.StoreError) as error:
        raise exits.StoreFailed(str(error)) from None


def open_session(node: Any, stop: threading.Event) -> None:
    """Be this node, once the lease of a process that was killed is over, or it is time to stop.

    Raises:
        ClusterError: another process is this node.
        EtcdUnavailableError: etcd does not answer.
    """
    deadline = None
    while not stop.is_set():
        try:
            node.open_session()
            return
        except NodeInUseError:
            now = time.monotonic()
            deadline = deadline or now + node.lease_ns / 1e9 + 1
            if now >= deadline:
                raise
            stop.wait(_PAUSE_S)


class Membership:
    """This node's part in its cluster, on a thread of its own.

    Args:
        engine: of a store that is in the cluster's log; it stands by until this node leads.
        node: not in a session.
        on_role: told `leader` or `standby` whenever that changes; on the thread.
        on_failure: told what ended it for good; likewise.
        bounds: keep the log small while this node leads; None: by default.
    """

    def __init__(
        self,
        engine: Engine,
        node: Any,
        on_role: Callable[[str], None],
        on_failure: Callable[[str], None],
        bounds: LogBounds | None = None,
    ) -> None:
        self._engine = engine
        self._node = node
        self._on_role = on_role
        self._on_failure = on_failure
        self._bounds = bounds or LogBounds(engine, node)
        self._stop = threading.Event()
        self._leader_seen: bytes | None = None
        self._look_at = self._stand_at = self._registered_at = 0.0
        self._registered: tuple[int, int] | None = None
        self._wished_until: float | None = None
        self._leaving = False
        self.roster = native.Roster(node.etcd, node.name)
        self.hand_over = HandOver(engine, node, self.roster, self._hold_back)
        self.role: cluster_view.Role = "standby"
        self.leader: Member | None = None
        self.epoch = 0
        self._thread = threading.Thread(target=self._run, name="ownerd-cluster", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def leave(self) -> None:
        """Hand over, if this node leads, and follow no more; once nothing is in flight any more."""
        self._leaving = True
        self.hand_over.leave()

    def stop(self) -> None:
        """Resign, if this node leads, and end; once nothing is in flight any more."""
        self._stop.set()
        self._thread.join()

    @property
    def name(self) -> str:
        """The cluster's."""
        return str(self._node.name)

    @property
    def node_id(self) -> str:
        """This node's."""
        return str(self._node.node_id)

    @property
    def lease_s(self) -> float:
        """The lease that etcd granted, in seconds."""
        return float(self._node.lease_ns / 1e9)

    @property
    def time_ns(self) -> int:
        """The leader's time, as far as this node knows it."""
        heard = self._node.heard
        if self.role == "leader" or heard is None or not heard[0]:
            return int(self._engine.time_ns)
        return int(sum(heard))

    def figures(self) -> dict[str, Any]:
        """Return what is counted of this node's calls to etcd."""
        return dict(self._node.figures())

    # ---- the round

    def _run(self) -> None:
        while not self._stop.is_set() and not self._leaving:
            try:
                self._session()
            except EtcdUnavailableError as error:
                log.warning("etcd_unavailable", cause=str(error))
                self._stop.wait(_PAUSE_S)
            except Refused as error:
                log.warning("cluster_not_followed", cause=str(error))
                self._stop.wait(_PAUSE_S)
            except ClusterError as error:
                log.critical("cluster_left", cause=str(error))
                self._on_failure(str(error))
                return
            except Exception:
                log.exception("cluster_failed")
                self._on_failure("the cluster's thread failed")
                return
            finally:
                self._stand_by(NOBODY)
                self._node.close_session()

    def _session(self) -> None:
        """Follow until this node leads, then until it no longer does."""
        node = self._node
        node.begin(self._engine.position)
        open_session(node, self._stop)
        self._leader_seen = self._registered = None
        self._registered_at = 0.0
        while not self._stop.is_set() and not self._leaving and not node.session_lost:
            self._engine.follow(node.follow(min(_WAIT_S, self._due_s())))
            self._tell_leader()
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + _LOOK_S
                self._engine.follow(node.catch_up())
            self._register()
            if node.leader is None and self._may_stand() and node.stand():
                self._take_over()
                return

    def _tell_leader(self) -> None:
        """Have callers be told who leads, when that changes."""
        leader = self._node.leader
        if leader == self._leader_seen and self._leader_seen is not None:
            return
        if leader is None and self._leader_seen is not None:
            log.warning("cluster_leader_gone", node=self._node.node_id, epoch=self.epoch)
        self._leader_seen = leader
        self._engine.stand_by(NOBODY if leader is None else _spell(leader))
        self.leader, self.epoch = cluster_view.member_of(leader), self._node.leader_epoch
        if leader is not None:
            log.info("cluster_leader", leader=_spell(leader), epoch=self._node.leader_epoch)

    def _told(self) -> tuple[int, int]:
        return self._node.applied_revision, self._engine.flushed_revision

    def _due_s(self) -> float:
        """Return in how many seconds this node is to say where it is; 0: now."""
        length_s = _RENEW_IDLE_S if self._told() == self._registered else _RENEW_S
        return max(0.0, self._registered_at + length_s - time.monotonic())

    def _register(self) -> None:
        """Say where this node is, often if that changes."""
        if self._due_s() > 0:
            return
        told = self._told()
        with suppress(EtcdUnavailableError):
            self._node.register(told[1])
            self._registered = told
        self._registered_at = time.monotonic()

    # ---- standing

    def _hold_back(self) -> None:
        """Leave it to others to stand, for as long as a lease."""
        self._stand_at = time.monotonic() + self._node.lease_ns / 1e9

    def _may_stand(self) -> bool:
        """Tell whether nobody else should lead rather than this node."""
        node, now = self._node, time.monotonic()
        _, behind_s = node.behind()
        seen = self.roster.look()
        if seen.resigned and seen.next_node == node.node_id:
            return True
        if now < self._stand_at:
            return False
        rather = cluster_view.closer(seen, node.node_id, node.applied_revision, behind_s)
        if rather:
            log.info("cluster_stands_back", node=node.node_id, behind_s=behind_s, closer=rather)
            return False
        if not cluster_view.wished(seen, node.node_id):
            self._wished_until = None
            return True
        # Whoever is wished for and does not stand is not waited for longer than for a dead one.
        self._wished_until = self._wished_until or now + node.lease_ns / 1e9
        return now >= self._wished_until

    # ---- leading

    def _take_over(self) -> None:
        node, engine = self._node, self._engine
        engine.follow(node.catch_up())
        wait_s = node.lead()
        if wait_s is None:
            return
        heard = node.heard
        heard_at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._stop.wait(wait_s)
        if self._stop.is_set() or node.fate != "leading":
            node.resign()
            return
        passed = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - heard_at
        engine.lead(0 if heard is None or not heard[0] else sum(heard) + passed)
        self.role = "leader"
        self.leader, self.epoch = cluster_view.member_of(node.member), node.epoch
        log.info("cluster_leads", node=node.node_id, epoch=node.epoch, waited_s=round(wait_s, 3))
        self._note_election(wait_s)
        self._on_role(self.role)
        self._lead()

    def _note_election(self, wait_s: float) -> None:
        """Leave an entry in the audit."""
        detail = {"node": self._node.node_id, "epoch": self.epoch, "waited_s": round(wait_s, 3)}
        note = admin_pb2.AuditEntry(
            principal=ITSELF, action="TakeLeadership", detail=json.dumps(detail)
        )
        try:
            self._engine.note_event(note=note.SerializeToString(deterministic=True))
        except Refused as error:
            log.warning("election_not_recorded", cause=error.message)

    def _lead(self) -> None:
        reason = None
        self._bounds.begin()
        while reason is None and not self._stop.is_set() and not self._node.session_lost:
            reason = self._node.end_reason(_WAIT_S)
            if reason is None:
                self._register()
                self._bounds.look()
        self._bounds.end()
        if reason is None:
            known = self._node.resign()
            log.info("cluster_resigned", node=self._node.node_id, epoch=self.epoch, known=known)
        elif reason != "resigned":  # which was told by whoever did
            log.warning("cluster_leads_no_more", node=self._node.node_id, reason=reason)

    def _stand_by(self, leader: str) -> None:
        self._engine.stand_by(leader)
        self.leader, self.epoch = None, 0
        if self.role == "leader":
            self._node.keep_time()
            self.role = "standby"
            self._on_role(self.role)


def _spell(member: bytes) -> str:
    """Say who leads, as a caller is told."""
    try:
        told = json.loads(member)
        return f"{told['node']} does, at {told['dial']} (administration: {told['admin']})"
    except (ValueError, KeyError, TypeError):
        return "another node does"

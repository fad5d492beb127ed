"""Into a cluster and out of it: a node's store from a backup of another node, or one of its own.

A node that has no store, or one that the log has gone on from, begins with a backup that it asks
the leader for; from there on it follows the log. A pin in etcd, which goes with this process,
keeps the log from forgetting what comes after the backup. Nothing here begins an incarnation but to
leave, which makes the store one of its own.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import msgspec
import structlog

from ownerd.backupfile.layout import BackupError, Head
from ownerd.native import Clock, ClusterError, EtcdUnavailableError, Opening
from ownerd.server import addresses, cluster, exits, restore, store
from ownerd.server.config import Settings
from ownerd.v1 import admin_pb2, admin_pb2_grpc

_LOOK_S = 0.3
_LEADERS_LEASES = 2  # that may pass until another node leads
_OPTIONS = (("grpc.max_receive_message_length", 64 << 20), ("grpc.keepalive_time_ms", 20_000))

log = structlog.get_logger("ownerd.cluster")


# ---- in


def begin_if_new(settings: Settings, node: Any) -> None:
    """Have a node without a store begin from a backup, unless the log has all from its start.

    Raises:
        exits.Stop: it cannot.
    """
    if store.is_store(settings.data) or settings.cluster_create:
        return
    if settings.must_exist:
        raise exits.StoreFailed(
            f"there is no store in {settings.data}, and must_exist says that there has to be one: "
            "a new node gets its own by 'ownerd cluster join'"
        )
    with _told():
        whole = _has_everything(node)
    if not whole:
        log.info("cluster_joined", said=" ".join(fetch(settings, node)))


def _has_everything(node: Any) -> bool:
    """Tell whether the log began with an empty store, and has forgotten nothing yet."""
    begin = node.begin(None)
    if begin[1]:
        return False
    try:
        node.begin(begin)
    except ClusterError:
        return False
    return True


def fetch(settings: Settings, node: Any, *, replace: bool = False) -> list[str]:
    """Make a node's store of the leader's backup; say what it is, in lines.

    Args:
        settings: which directory, and how the other nodes are called.
        node: this one, not in a session.
        replace: whether a store that is there makes room, once the other one is whole.

    Raises:
        exits.Stop: nobody could be asked, or the store cannot be made. What was there is there.
    """
    with _told():
        node.begin(None)
        cluster.open_session(node, threading.Event())
        try:
            node.pin(min(node.registered().values(), default=0))
            peer = _leader(node)
            log.info("cluster_joining", cluster=node.name, node=node.node_id, leader=peer)
            try:
                with _channel(settings, peer) as channel:
                    return _restore(settings, node, peer, channel, replace)
            except grpc.RpcError as error:
                why = f"{error.code().name}: {error.details()}"
            except BackupError as error:
                why = str(error)
            raise exits.Stop(f"{peer} gave no backup, and nothing was changed: {why}")
        finally:
            node.close_session()


def _leader(node: Any) -> str:
    """Return the administrators' address of the node that leads: a backup is audited.

    Raises:
        exits.Stop: none does.
    """
    end_s = time.monotonic() + _LEADERS_LEASES * node.lease_ns / 1e9
    while node.leader is None:
        if time.monotonic() > end_s:
            raise exits.Stop(
                f"no node of the cluster {node.name!r} leads: there is none to ask for a backup"
            )
        time.sleep(_LOOK_S)
        node.begin(None)
    return str(json.loads(node.leader)["admin"])


def _restore(
    settings: Settings, node: Any, peer: str, channel: grpc.Channel, replace: bool
) -> list[str]:
    request = admin_pb2.BackupStoreRequest(reason=f"for the node {node.node_id}")
    stub = admin_pb2_grpc.AdminServiceStub(channel)
    answers = stub.BackupStore(request, metadata=_credentials(settings, peer), timeout=86_400)

    def begin(place: str, head: Head) -> list[str]:
        return _begin(settings, node, place, peer)

    return restore.made(settings, _Arriving(answers), f"{peer}'s backup", begin, replace=replace)


def _begin(settings: Settings, node: Any, place: str, peer: str) -> list[str]:
    """Check that the log goes on from the store, and register what it has."""
    opening = Opening(create=False, allowed_filesystems=settings.allow_filesystems, cluster=node)
    engine = store.open_at(msgspec.structs.replace(settings, data=place), opening)
    try:
        position, revision = engine.position, engine.flushed_revision
        if position is None or position[1] != revision:
            raise ClusterError(f"the store of {peer} is in no cluster")
        node.begin(position)
        node.register(revision)
    finally:
        engine.close()
    return [
        f"The store in {settings.data} is the node {node.node_id!r} of the cluster {node.name!r}, "
        f"from a backup of {peer}, as of revision {revision}; the rest comes from the log."
    ]


class _Arriving:
    """A backup as it comes."""

    def __init__(self, answers: Iterator[admin_pb2.BackupStoreResponse]) -> None:
        self._answers = answers
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes."""
        while not self._left:
            answer = next(self._answers, None)
            if answer is None:
                return b""
            self._left = memoryview(answer.data)
        taken, self._left = self._left[:size], self._left[size:]
        return bytes(taken)


def _channel(settings: Settings, peer: str) -> grpc.Channel:
    if settings.cluster_peer_ca:
        pair = settings.cluster_peer_key, settings.cluster_peer_certificate
        credentials = grpc.ssl_channel_credentials(
            _file(settings.cluster_peer_ca), *(_file(each) if each else None for each in pair)
        )
        return grpc.secure_channel(peer, credentials, options=_OPTIONS)
    return grpc.insecure_channel(peer, options=_OPTIONS)


def _credentials(settings: Settings, peer: str) -> tuple[tuple[str, str], ...]:
    """Return what says who asks; a token goes to other machines by TLS only.

    Raises:
        exits.ConfigError: it would not, or cannot be read.
    """
    if not settings.cluster_peer_token_file:
        return ()
    local = addresses.parse(peer).is_local
    if not (settings.cluster_peer_ca or settings.insecure or local):
        raise exits.ConfigError(
            f"cluster_peer_token_file: the token would go to {peer} without TLS; set "
            "cluster_peer_ca, or insecure where the network is trusted"
        )
    token = _file(settings.cluster_peer_token_file).decode("ascii", "replace").strip()
    return (("authorization", f"Bearer {token}"),)


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise exits.ConfigError(f"cannot read {path}: {error.strerror}") from None


# ---- out


def leave(settings: Settings, node: Any, ask: Callable[[str], bool]) -> list[str]:
    """Make a stopped node's store one of its own; say what it is, in lines.

    Args:
        settings: which directory.
        node: of the cluster, to fetch from its log what the store lacks; None: give that up.
        ask: told what ends; False: nothing is changed.

    Raises:
        exits.Stop: it is not in that cluster, or the log cannot be asked.
    """
    if not store.is_store(settings.data):
        raise exits.StoreFailed(f"there is no store in {settings.data}")
    others = _level(settings, node) if node is not None else list[str]()
    if not ask(_ending(settings, node, others)):
        raise exits.Stop("nothing was changed")
    opening = Opening(create=False, allowed_filesystems=settings.allow_filesystems, leave=True)
    engine = store.open_at(settings, opening)
    try:
        begun, revision = engine.incarnation, engine.revision
    finally:
        engine.close()
    if engine.failed is not None:
        raise exits.StoreFailed(engine.failed)
    if not any(event == "new_incarnation" for event, _ in opening.found):
        raise exits.StoreFailed(f"the store in {settings.data} is in no cluster")
    for event, text in opening.found:
        log.warning(event, data=settings.data, advice=text)
    lines = [
        f"The store in {settings.data} is in no cluster any more; it has all up to revision "
        f"{opening.stored_revision}.",
        f"It begins a new incarnation, {store.spell_id(begun)}, at revision {revision}.",
    ]
    if others:
        lines.append(
            f"The cluster's log waits for this node: ownerctl cluster remove {settings.node}"
        )
    return lines


def _level(settings: Settings, node: Any) -> list[str]:
    """Bring the store up to the log's end, durably; return which other nodes run.

    Raises:
        exits.Stop: it cannot be.
    """
    with _told("; or give up what the store lacks: --without-log"):
        engine = store.open_engine(settings, create=False, node=node, clock=Clock())
        try:
            if engine.position is None:
                raise ClusterError(f"the store in {settings.data} is in no cluster")
            node.begin(engine.position)
            engine.follow(node.catch_up())
            return sorted(node.alive() - {node.node_id})
        finally:
            engine.close()


def _ending(settings: Settings, node: Any, others: list[str]) -> str:
    said = (
        f"The store in {settings.data} leaves its cluster and begins a new incarnation: clients' "
        "page tokens, etags and request ids of before are refused."
    )
    if others:
        said += (
            f" {', '.join(others)} run and go on granting: never let dialers call both, or they "
            "call one person twice."
        )
    if node is None:
        said += (
            " What this node had not flushed is in the cluster's log only, and is given up, but "
            "for what its own files have: records that were granted then may be free."
        )
    return said


@contextmanager
def _told(hint: str = "") -> Iterator[None]:
    """End the program with what the cluster or etcd says."""
    try:
        yield
    except ClusterError as error:
        raise exits.StoreFailed(f"{error}{hint}") from None
    except EtcdUnavailableError as error:
        raise exits.Stop(f"{error}{hint}") from None

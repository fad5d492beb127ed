"""A client of etcd: what it asks is what etcd understands, and how a call ended is told apart."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from etcd_api import pb
from fake_etcd import FakeEtcd
from real_etcd import Member, etcd_members
from tls_files import Authority

pytest.importorskip("ownerd.cluster.etcd_client")

from ownerd.cluster.etcd_client import Etcd, split_address
from ownerd.cluster.testing import Caller
from ownerd.demo.etcd_process import free_ports

TXN = "/etcdserverpb.KV/Txn"
RANGE = "/etcdserverpb.KV/Range"


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    with etcd_members(tmp_path_factory.mktemp("etcd")) as members:
        yield members[0]


@pytest.fixture
def fake() -> Iterator[FakeEtcd]:
    etcd = FakeEtcd(addresses=2)
    yield etcd
    etcd.stop()


def put(key: bytes, value: bytes) -> bytes:
    request = pb.TxnRequest()
    request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=value))
    return bytes(request.SerializeToString())


@pytest.mark.parametrize("size", [0, 100, 512 << 10])
def test_a_transaction_on_real_etcd_is_done_and_answered(member: Member, size: int) -> None:
    caller = Caller(Etcd([member.address]))
    end, status, answer = caller.call(TXN, put(b"key", b"x" * size))
    assert (end, status) == ("answered", 0)
    assert pb.TxnResponse.FromString(answer).succeeded
    end, _, answer = caller.call(RANGE, pb.RangeRequest(key=b"key").SerializeToString())
    assert len(pb.RangeResponse.FromString(answer).kvs[0].value) == size


def test_what_etcd_refuses_is_refused_with_its_status(member: Member) -> None:
    caller = Caller(Etcd([member.address]))
    assert caller.call(RANGE, pb.RangeRequest().SerializeToString())[:2] == ("refused", 3)
    assert caller.call("/etcdserverpb.KV/Nothing", b"")[:2] == ("refused", 12)


def test_a_watch_on_real_etcd_tells_of_each_put(member: Member) -> None:
    watcher, caller = Caller(Etcd([member.address])), Caller(Etcd([member.address]))
    create = pb.WatchCreateRequest(key=b"watched", start_revision=0)
    asked = pb.WatchRequest(create_request=create).SerializeToString()
    assert watcher.open_stream("/etcdserverpb.Watch/Watch", asked)
    step, message = watcher.next()
    assert step == "message" and pb.WatchResponse.FromString(message).created
    for i in range(3):
        caller.call(TXN, put(b"watched", b"%d" % i))
    seen: list[Any] = []
    while len(seen) < 3:
        step, message = watcher.next()
        assert step == "message"
        seen += pb.WatchResponse.FromString(message).events
    assert [event.kv.value for event in seen] == [b"0", b"1", b"2"]
    assert watcher.next(0.05)[0] == "quiet"


def test_a_member_that_is_not_there_was_not_asked_and_the_next_one_is(member: Member) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    caller = Caller(Etcd([nobody, member.address]))
    assert caller.call(TXN, put(b"k", b"1"))[0] == "unsent"
    assert caller.call(TXN, put(b"k", b"2"))[0] == "answered"


@pytest.mark.parametrize("fault", ["lose", "drop"])
def test_an_answer_that_does_not_come_leaves_the_outcome_unknown(
    fake: FakeEtcd, fault: str
) -> None:
    fake.faults.append(fault)
    caller = Caller(Etcd(fake.addresses))
    begun = time.monotonic()
    assert caller.call(TXN, put(b"k", b"1"), 0.2)[0] == "unknown"
    assert time.monotonic() - begun < 5
    assert fake.value(b"k") == (b"1" if fault == "lose" else None)
    assert caller.call(TXN, put(b"k", b"2"))[0] == "answered"


def test_unavailable_is_no_refusal(fake: FakeEtcd) -> None:
    fake.faults.append("refuse")
    assert Caller(Etcd(fake.addresses)).call(TXN, put(b"k", b"1"))[:2] == ("unknown", 14)


def test_a_stop_ends_whoever_waits(fake: FakeEtcd) -> None:
    etcd = Etcd(fake.addresses)
    fake.deaf = True
    etcd.stop()
    assert Caller(etcd).call(TXN, put(b"k", b"1"), 60)[0] == "stopped"


def test_a_user_is_authenticated_first(tmp_path: Path) -> None:
    with etcd_members(tmp_path) as (member,):
        member.ask("Auth", "UserAdd", pb.AuthUserAddRequest(name="root", password="secret"))
        role = pb.AuthUserGrantRoleRequest(user="root", role="root")
        member.ask("Auth", "UserGrantRole", role)
        member.ask("Auth", "AuthEnable", pb.Empty())
        stranger = Caller(Etcd([member.address]))
        assert stranger.call(TXN, put(b"k", b"1"))[0] == "refused"
        known = Caller(Etcd([member.address], user="root", password="secret"))
        assert known.call(TXN, put(b"k", b"1"))[0] == "answered"
        wrong = Caller(Etcd([member.address], user="root", password="wrong"))
        assert wrong.call(TXN, put(b"k", b"1"))[0] == "unsent"


def test_etcd_is_called_by_tls_and_shown_a_certificate(tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.issue("client")
    with etcd_members(tmp_path, secure=authority) as (member,):
        shown = Etcd(
            [member.address],
            tls=True,
            ca_pem=authority.pem,
            certificate_pem=pair.certificate,
            key_pem=pair.key,
        )
        assert Caller(shown).call(TXN, put(b"k", b"1"))[0] == "answered"
        nobody = Etcd([member.address], tls=True, ca_pem=authority.pem)
        assert Caller(nobody).call(TXN, put(b"k", b"2"))[0] != "answered"
        distrusted = Etcd(
            [member.address],
            tls=True,
            ca_pem=Authority().pem,
            certificate_pem=pair.certificate,
            key_pem=pair.key,
        )
        assert Caller(distrusted).call(TXN, put(b"k", b"2"))[0] == "unsent"


@pytest.mark.parametrize("wrong", ["", "host", ":1", "host:", "host:0", "host:65536", "host:x"])
def test_an_address_without_host_or_port_is_none(wrong: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(wrong)
    assert split_address("[::1]:2379") == ("::1", 2379)

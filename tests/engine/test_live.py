"""Debug builds only: what an engine and its listener make is freed with them, object by object."""

import gc
from pathlib import Path

import pytest
from native_listener import LIST, Loopback
from raw_http2 import DIAL
from subject import DAY, Policy
from subject_engine import EngineSubject

from ownerd.base.testing import live_objects
from ownerd.v1 import dial_pb2

pytestmark = pytest.mark.debug


def live() -> dict[str, int]:
    """Return how many objects are alive, once Python has let go of what it can."""
    gc.collect()
    found = live_objects()
    assert found is not None
    return dict(found)


def use(subject: EngineSubject) -> None:
    """Have an engine make and replace one of everything that it keeps."""
    subject.create_list("other", Policy(True, None, None, DAY))
    for campaign in ("A", "B"):
        subject.upsert_campaign(campaign, campaign)
        subject.upsert_campaign(campaign, f"{campaign} renamed")
    subject.claim_batch("other", "A", [str(number) for number in range(100)])
    subject.attempt("other", "1", "A", "Busy")
    subject.release("other", None)
    subject.vacuum()
    with subject.engine.snapshot("other") as snapshot:
        assert snapshot.count_owned() == 0
    subject.claim("other", "1", "B")


def test_a_closed_engine_leaves_nothing_behind(tmp_path: Path) -> None:
    before = live()
    subject = EngineSubject(tmp_path)
    use(subject)
    during = live()
    for kind in ("Engine", "Store"):
        assert during[kind] == before[kind] + 1
    assert during["Memtable"] - before["Memtable"] in (1, 2)  # one may be on its way to the tree
    assert during["Campaign"] > before["Campaign"] and during["List"] > before["List"]
    subject.close()
    del subject
    assert live() == before


def test_an_ended_listener_leaves_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("ownerd.net.listener")
    before = live()
    with Loopback(tmp_path, threads=2) as listener, listener.client() as client:
        for number in range(10):
            request = dial_pb2.ClaimRequest(list_id=LIST, record_id=str(number), campaign_id="A")
            assert client.call(DIAL + "Claim", request.SerializeToString()).code == 0
        during = live()
        assert during["Connection"] == before["Connection"] + 1
        assert during["Loop"] == before["Loop"] + 2
    del listener, client
    assert live() == before

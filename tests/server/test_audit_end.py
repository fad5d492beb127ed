"""The audit's end: old entries go to files first, and only then out of the store."""

import json

import pytest
from subject import Policy

from ownerd.engine import engine as native
from ownerd.server.admin.audit import entry_of
from ownerd.server.audit_end import ACTION, CUT_ENTRIES, AuditEnd
from ownerd.server.config import ConfigError, Settings, load
from ownerd.storage.verify import verify
from ownerd.v1 import admin_pb2

DAY_NS = 86_400 * 10**9


def note(action):
    return admin_pb2.AuditEntry(principal="p", action=action).SerializeToString()


@pytest.fixture
def filled(engine):
    """An engine with seven entries of day 0 and three of day 10."""
    for number in range(10):
        if number == 7:
            engine.clock.advance_ns(10 * DAY_NS)
        engine.engine.upsert_campaign(f"C{number}", "", note=note(f"A{number}"))
    return engine


@pytest.fixture
def end(filled, tmp_path):
    settings = Settings(data=str(tmp_path), audit_keep_days=5)
    return AuditEnd(filled.engine, None, settings)


def actions(subject):
    return [entry_of(each).action for each in reversed(subject.engine.audit(0, 100))]


def test_old_entries_go_to_a_file_and_then_out_of_the_store(filled, end, tmp_path):
    before = [entry_of(each) for each in filled.engine.oldest_audit(7)]
    assert end.cut() == 7
    assert actions(filled) == ["A7", "A8", "A9", ACTION]
    (path,) = (tmp_path / "audit").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["action"] for line in lines] == [each.action for each in before]
    assert [int(line["entry_id"]) for line in lines] == [each.entry_id for each in before]
    assert path.stat().st_mode & 0o777 == 0o600
    told = entry_of(filled.engine.audit(0, 1)[0])
    assert json.loads(told.detail)["file"] == str(path) and told.principal == "ownerd"
    assert end.cut() == 0 and actions(filled)[-1] == ACTION


def test_ids_go_on_and_the_store_is_sound_after_everything_went(filled, end, tmp_path):
    filled.clock.advance_ns(100 * DAY_NS)
    newest = filled.engine.audit(0, 1)[0][0]
    assert end.cut() == 10
    assert filled.engine.audit(0, 100)[0][0] == newest + 1
    filled.engine.upsert_campaign("later", "", note=note("later"))
    assert actions(filled) == [ACTION, "later"]
    filled.close()
    assert not [each for each in verify(str(tmp_path / "data")) if each[2] or each[4]]


def test_what_cannot_be_exported_is_not_deleted(filled, end, tmp_path):
    (tmp_path / "audit").write_text("in the way")
    with pytest.raises(OSError):
        end.cut()
    assert len(actions(filled)) == 10


def test_an_entry_that_is_still_to_be_counted_stays_until_it_is(filled, end, tmp_path):
    filled.engine.create_list("L", native.Policy(*Policy()), note=note("List"))
    filled.attempt("L", "1", "C0", "Busy")
    released = filled.engine.release("L", ["C0"], False, note=note("Release"))
    assert released.count is None
    filled.clock.advance_ns(20 * DAY_NS)
    end.cut()
    assert actions(filled) == ["Release", ACTION]
    assert not [path for path in (tmp_path / "audit").iterdir() if "Release" in path.read_text()]
    assert filled.engine.count_released(released.entry_id) == 1
    assert end.cut() == 1 and actions(filled) == [ACTION, ACTION]


def test_for_ever_is_the_default_and_less_than_a_day_is_refused(filled, tmp_path):
    assert AuditEnd(filled.engine, None, Settings(data=str(tmp_path))).cut() == 0
    assert load({"audit_keep_days": "400"}, {}).settings.audit_keep_days == 400
    with pytest.raises(ConfigError):
        load({"audit_keep_days": "0.5"}, {})


def test_a_cut_is_bounded(filled):
    for first, last in ((1, CUT_ENTRIES + 1), (2, 1)):
        with pytest.raises(ValueError, match="1,000"):
            filled.engine.cut_audit(first, last, note=b"")

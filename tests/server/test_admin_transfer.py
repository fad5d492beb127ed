"""Import and export over gRPC: many rows, round trips, bounded memory."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ServerProcess
from model import key_order
from sanitizer import patient_s
from subject import DAY, FAIL, OVERWRITE, SKIP, Policy, Refusal, Row, Tally
from subject_engine import expire_ns
from subject_grpc import GrpcSubject, call, import_messages, row_message

from ownerd.v1 import admin_pb2

MANY = 50_000


@pytest.fixture
def subject(dial: Any, admin: Any) -> GrpcSubject:
    """The shared server, spoken to through its stubs."""
    return GrpcSubject(dial, admin)


def _export(subject: GrpcSubject, list_id: str, *campaigns: str) -> list[Row]:
    request = admin_pb2.ExportOwnershipRequest(list_id=list_id, campaign_ids=campaigns)
    return [
        Row(row.record_id, row.campaign_id, row.campaign_name, expire_ns(row))
        for message in subject.admin.ExportOwnership(request, timeout=patient_s(60))
        for row in message.rows
    ]


def _rows(count: int, campaign: str, end_ns: int) -> list[Row]:
    """Rows with numeric and textual ids, half of them without an end, in no order."""
    rows = [
        Row(
            str(number) if number % 3 else f"contact-{number}",
            f"{campaign}-{number % 4}",
            f"Campaign {number % 4}",
            None if number % 2 else end_ns + number,
        )
        for number in range(count)
    ]
    random.Random(count).shuffle(rows)
    return rows


def test_what_is_imported_is_exported_in_key_order(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, DAY))
    end_ns = subject.status().time.ToNanoseconds() + DAY
    rows = _rows(MANY, unique, end_ns)
    assert subject.import_rows(unique, rows) == Tally(MANY, 0, 0, 0)
    assert _export(subject, unique) == sorted(rows, key=lambda row: key_order(row.record_id))
    owners = subject.owners(unique)
    assert [owner.owned_count for owner in owners] == [MANY // 4] * 4
    assert [owner.name for owner in owners] == [f"Campaign {number}" for number in range(4)]
    one = _export(subject, unique, f"{unique}-1")
    assert one == [row for row in _export(subject, unique) if row.campaign_id == f"{unique}-1"]


def test_an_export_makes_the_same_list_elsewhere(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, DAY))
    end_ns = subject.status().time.ToNanoseconds() + DAY
    subject.import_rows(unique, _rows(3_000, unique, end_ns))
    copied = _export(subject, unique)
    subject.create_list(f"{unique}-copy", Policy(True, DAY))
    assert subject.import_rows(f"{unique}-copy", copied) == Tally(3_000, 0, 0, 0)
    assert _export(subject, f"{unique}-copy") == copied
    assert subject.import_rows(f"{unique}-copy", copied) == Tally(3_000, 0, 0, 0)


def test_a_large_import_counts_every_row_once(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique, Policy(True, DAY))
    campaign = f"{unique}-c"
    subject.import_rows(unique, [Row(str(number), campaign) for number in range(6_000)])
    other = f"{unique}-d"
    ends_ns = [1, *[None] * 9] * 1_200
    rows = [Row(str(number), other, "", end_ns) for number, end_ns in enumerate(ends_ns)]
    assert subject.import_rows(unique, rows, SKIP) == Tally(5_400, 5_400, 0, 1_200)
    assert subject.import_rows(unique, rows, OVERWRITE) == Tally(5_400, 0, 5_400, 1_200)
    counts = {owner.campaign_id: owner.owned_count for owner in subject.owners(unique)}
    assert counts == {campaign: 600, other: 10_800}


def test_a_conflict_in_the_last_row_of_a_large_import_leaves_nothing(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, Policy(True, DAY))
    subject.import_rows(unique, [Row("held", f"{unique}-c")])
    before = subject.revision()
    ids = [*map(str, range(12_000)), "held"]
    rows = [Row(record_id, f"{unique}-d") for record_id in ids]
    with pytest.raises(Exception, match="row 12001"):
        subject.import_rows(unique, rows)
    assert subject.revision() == before
    assert [record.record_id for record in subject.owned(unique)] == ["held"]


def test_rows_that_give_a_record_to_one_campaign_again_are_one_row_that_ends_last(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, Policy(True, DAY))
    late_ns = 2**62
    rows = [
        *(Row("1", unique, "", late_ns - soon) for soon in (2, 0, 1)),
        *(Row("2", unique, "", end_ns) for end_ns in (late_ns, None, late_ns)),
        Row("3", unique),
    ]
    assert subject.import_rows(unique, rows) == Tally(3, 0, 0, 0)
    owned = [(r.record_id, r.expire_ns) for r in subject.owned(unique)]
    assert owned == [("1", late_ns), ("2", None), ("3", None)]


@pytest.mark.parametrize("strategy", [FAIL, SKIP, OVERWRITE])
def test_a_record_with_two_owners_has_the_import_refused_and_both_rows_named(
    subject: GrpcSubject, unique: str, strategy: int
) -> None:
    subject.create_list(unique, Policy(True, DAY))
    before = subject.revision()
    rows = [Row(str(number), f"{unique}-c") for number in range(12_000)]
    with pytest.raises(Exception, match="row 8 and row 12001 give record '7' to two campaigns"):
        subject.import_rows(unique, [*rows, Row("7", f"{unique}-d")], strategy)
    assert subject.revision() == before and subject.owned(unique) == []


def test_a_row_that_has_expired_gives_its_record_to_nobody(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, Policy(True, DAY))
    rows = [Row("1", f"{unique}-c", "", 1), Row("1", f"{unique}-d")]
    assert subject.import_rows(unique, rows) == Tally(1, 0, 0, 1)


def test_a_conflict_behind_rows_that_are_one_has_the_number_of_its_row(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, Policy(True, DAY))
    subject.import_rows(unique, [Row("held", f"{unique}-c")])
    campaign = f"{unique}-d"
    rows = [Row("1", campaign), Row("1", campaign), Row("2", campaign), Row("held", campaign)]
    with pytest.raises(Exception, match="row 4 "):
        subject.import_rows(unique, rows)


def test_an_export_of_nothing_is_one_message(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique)
    request = admin_pb2.ExportOwnershipRequest(list_id=unique)
    messages = list(subject.admin.ExportOwnership(request, timeout=30))
    assert [len(message.rows) for message in messages] == [0]
    assert messages[0].revision == subject.revision()


def test_an_empty_import_changes_no_ownership(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique)
    assert subject.import_rows(unique, []) == Tally(0, 0, 0, 0)
    assert subject.owned(unique) == []


@pytest.mark.unsanitized("address", "thread", reason="its runtime keeps freed memory for a while")
@pytest.mark.parametrize(
    ("rows", "most_mib"), [(250_000, 48), pytest.param(1_000_000, 100, marks=pytest.mark.long)]
)
def test_any_number_of_rows_is_imported_in_one_call_with_bounded_memory(
    tmp_path: Path, rows: int, most_mib: int
) -> None:
    with ServerProcess(tmp_path) as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list("list", Policy(True, DAY))
        before_bytes = _memory_bytes(server)
        peaks_bytes: list[int] = []
        answer = subject.admin.ImportOwnership(_many(server, rows, peaks_bytes), timeout=300)
        assert answer.imported_count == rows
        peaks_bytes.append(_memory_bytes(server))
        assert max(peaks_bytes) - before_bytes < most_mib << 20
        assert [owner.owned_count for owner in subject.owners("list")] == [rows // 4] * 4
        release = admin_pb2.ReleaseOwnershipRequest(list_id="list", all_campaigns=True)
        assert call(subject.admin.ReleaseOwnership, release).released_count == rows


def _many(server: ServerProcess, count: int, peaks_bytes: list[int]) -> Iterator[Any]:
    """The messages of the import; the server's memory is noted on the way."""
    yield from import_messages("list", [], OVERWRITE)
    for start in range(0, count, 5_000):
        rows = [Row(str(number), f"c{number % 4}") for number in range(start, start + 5_000)]
        yield admin_pb2.ImportOwnershipRequest(rows=map(row_message, rows))
        if start % 50_000 == 0:
            peaks_bytes.append(_memory_bytes(server))


def _memory_bytes(server: ServerProcess) -> int:
    """Private memory of the server, without the pages of the store that it has mapped."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = [line.split() for line in status.splitlines() if line.startswith("RssAnon")]
    return int(found[0][1]) * 1024


def _imported(
    subject: GrpcSubject, list_id: str, rows: list[Row], strategy: int = FAIL, **options: Any
) -> admin_pb2.ImportOwnershipResponse:
    messages = import_messages(list_id, rows, strategy, **options)
    answer: admin_pb2.ImportOwnershipResponse = call(subject.admin.ImportOwnership, iter(messages))
    return answer


def _detail(subject: GrpcSubject, list_id: str) -> dict[str, Any]:
    """Return what the audit says of the last change of a list."""
    request = admin_pb2.ListAuditEntriesRequest(page_size=1)
    request.filter.list_id = list_id
    (entry,) = call(subject.admin.ListAuditEntries, request).entries
    detail: dict[str, Any] = json.loads(entry.detail)
    return detail


@pytest.mark.parametrize("strategy", [FAIL, SKIP, OVERWRITE])
def test_r32_a_dry_run_tells_what_the_import_then_does_and_changes_nothing(
    subject: GrpcSubject, unique: str, strategy: int
) -> None:
    subject.create_list(unique, Policy(True, DAY))
    holder, other = f"{unique}-a", f"{unique}-b"
    subject.import_rows(unique, [Row(str(number), holder) for number in range(1_500)])
    subject.claim(unique, "dialed", holder)
    rows = [Row(str(number), other, "Other") for number in range(2_400)]
    rows += [Row("dialed", other), Row("over", other, "", 1), Row("2000", other)]
    before = subject.status().revision
    would = _imported(subject, unique, rows, strategy, dry_run=True)
    assert would.revision == subject.status().revision == before
    assert other not in subject.campaigns()
    assert "dry_run" not in _detail(subject, unique)
    counts = (
        would.imported_count,
        would.skipped_count,
        would.overwritten_count,
        would.expired_count,
        would.renamed_campaign_count,
    )
    overwrites = strategy == OVERWRITE
    taken = (0, 1_501, 0) if not overwrites else (0, 1, 1_500)
    assert counts == (900, *taken[1:], 1, 1)
    if strategy == FAIL:
        with pytest.raises(Refusal) as refusal:
            _imported(subject, unique, rows, strategy)
        assert refusal.value.code == "FAILED_PRECONDITION"
        return
    answer = _imported(subject, unique, rows, strategy)
    answer.revision = would.revision
    assert answer == would


def test_r32_a_dry_run_is_refused_as_the_import_would_be(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique)
    for rows in ([Row("1", "A"), Row("1", "B")], [Row("", "A")]):
        with pytest.raises(Refusal) as refusal:
            _imported(subject, unique, rows, dry_run=True)
        assert refusal.value.code == "INVALID_ARGUMENT"
    with pytest.raises(Refusal) as refusal:
        _imported(subject, f"{unique}-none", [], dry_run=True)
    assert refusal.value.code == "NOT_FOUND"


def test_r32_options_belong_into_the_first_message(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique)
    messages = import_messages(unique, [Row(str(number), "A") for number in range(1_001)])
    for option in ("exact", "rename_campaigns", "expire_by_policy", "dry_run"):
        late = admin_pb2.ImportOwnershipRequest(**{option: True})
        with pytest.raises(Refusal) as refusal:
            call(subject.admin.ImportOwnership, iter([*messages, late]))
        assert refusal.value.code == "INVALID_ARGUMENT" and option in str(refusal.value)


def test_r32_the_audit_has_names_before_and_after(subject: GrpcSubject, unique: str) -> None:
    subject.create_list(unique)
    new, known, named = (f"{unique}-{each}" for each in ("new", "known", "named"))
    subject.upsert_campaign(known, known)
    subject.upsert_campaign(named, "Now")
    rows = [
        Row("1", new, "One"),
        Row("2", new, "Two"),
        Row("3", known, "Known"),
        Row("4", named, "Then"),
        Row("5", f"{unique}-gone", "Gone", 1),
    ]
    assert _imported(subject, unique, rows).renamed_campaign_count == 2
    assert _detail(subject, unique) == {
        "strategy": "FAIL",
        "row_count": 5,
        "renamed_campaign_count": 2,
        "campaign_names": {
            new: {"before": None, "after": "One"},
            known: {"before": known, "after": "Known"},
        },
    }
    assert _imported(subject, unique, rows).renamed_campaign_count == 0
    assert "campaign_names" not in _detail(subject, unique)
    assert _imported(subject, unique, rows, rename_campaigns=True).renamed_campaign_count == 2
    detail = _detail(subject, unique)
    assert detail["rename_campaigns"] is True
    assert detail["campaign_names"] == {
        new: {"before": "One", "after": "Two"},
        named: {"before": "Now", "after": "Then"},
    }
    names = subject.campaigns()
    assert (names[new], names[known], names[named]) == ("Two", "Known", "Then")


def test_r32_of_rows_for_one_record_the_later_by_the_policy_counts(
    subject: GrpcSubject, unique: str
) -> None:
    subject.create_list(unique, Policy(True, DAY))
    later_ns = subject.status().time.ToNanoseconds() + 2 * DAY
    rows = [Row("1", "A"), Row("1", "A", "", later_ns), Row("2", "A"), Row("2", "A", "", 1)]
    _imported(subject, unique, rows, expire_by_policy=True)
    first, second = subject.owned(unique)
    assert first.expire_ns == later_ns
    assert second.expire_ns is not None and second.expire_ns < later_ns


def test_what_is_exported_is_imported_with_since_when_it_is_owned(
    subject: GrpcSubject, unique: str
) -> None:
    for list_id in (unique, f"{unique}-copy"):
        subject.create_list(list_id, Policy(True, DAY))
    for number in range(3):
        subject.attempt(unique, str(number), f"{unique}-{number % 2}", "Busy")
    rows = [
        row
        for message in subject.admin.ExportOwnership(
            admin_pb2.ExportOwnershipRequest(list_id=unique), timeout=60
        )
        for row in message.rows
    ]
    head = admin_pb2.ImportOwnershipRequest(list_id=f"{unique}-copy", rows=rows)
    call(subject.admin.ImportOwnership, iter([head]))
    assert subject.owned(f"{unique}-copy") == subject.owned(unique)

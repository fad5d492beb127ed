"""The demo's checker must clear honest logs and catch doctored ones.

Times in the doctored logs are milliseconds of the host's clock; a request takes 2 ms.
"""

from pathlib import Path

import pytest
from msgspec.structs import replace

from ownerd.demo.checker import check, check_directory
from ownerd.demo.logbook import (
    SUFFIX,
    Claimed,
    Dialed,
    Entry,
    GaveBack,
    Logbook,
    PolicySet,
    ReleaseMade,
    Reported,
)
from ownerd.demo.verdict import Fault, Verdict

MS = 1_000_000
HOUR_MS = 3_600_000
POLICY = PolicySet(-2 * MS, -MS, HOUR_MS * MS, 300_000 * MS)


def claim(at_ms: int, decision: str | None = "GRANTED", holder_id: str | None = None) -> Claimed:
    return Claimed("1", at_ms * MS, (at_ms + 2) * MS, decision, holder_id)


def dial(begin_ms: int, end_ms: int) -> Dialed:
    return Dialed("1", begin_ms * MS, end_ms * MS)


def report(at_ms: int, outcome: str | None = "ACQUIRED") -> Reported:
    return Reported("1", at_ms * MS, (at_ms + 2) * MS, "Busy", outcome)


def policy(at_ms: int, duration_ms: int | None, ttl_ms: int = 300_000) -> PolicySet:
    duration_ns = None if duration_ms is None else duration_ms * MS
    return PolicySet(at_ms * MS, (at_ms + 2) * MS, duration_ns, ttl_ms * MS)


def release(at_ms: int, *campaign_ids: str, reservations: bool = False) -> ReleaseMade:
    return ReleaseMade(at_ms * MS, (at_ms + 2) * MS, list(campaign_ids) or None, reservations)


def attempt(at_ms: int, outcome: str | None = "ACQUIRED") -> list[Entry]:
    """A granted claim, a dial of 10 ms and its report, which is answered after 20 ms."""
    return [claim(at_ms), dial(at_ms + 3, at_ms + 13), report(at_ms + 15, outcome)]


def verdict_on(a: list[Entry], b: list[Entry], *admin: Entry) -> Verdict:
    return check({"a": a, "b": b}, [POLICY, *admin])


def faults(verdict: Verdict) -> set[Fault]:
    return {violation.fault for violation in verdict.violations}


# Logs of an honest server


def test_r4_a_denied_campaign_that_does_not_dial_is_clean() -> None:
    verdict = verdict_on(attempt(0), [claim(5, "DENIED", "a"), claim(50, "DENIED", "a")])
    assert verdict.exclusive
    assert (verdict.claim_count, verdict.grant_count, verdict.denial_count) == (3, 1, 2)
    assert (verdict.dial_count, verdict.dialed_record_count) == (1, 1)
    assert (verdict.contended_record_count, verdict.handed_over_count) == (1, 0)


def test_r8_a_record_that_nobody_owns_may_be_dialed_by_the_next() -> None:
    verdict = verdict_on(attempt(0, "RESERVATION_CLEARED"), attempt(30))
    assert verdict.exclusive
    assert verdict.handed_over_count == 1


def test_what_happens_within_one_answer_is_not_judged() -> None:
    a = [claim(0), dial(3, 13), report(15, "RESERVATION_CLEARED")]
    b = [Claimed("1", 16 * MS, 17 * MS, "GRANTED")]  # while a's report was under way
    assert verdict_on(a, b).exclusive


def test_r2_a_grant_after_the_ownership_expired_is_clean() -> None:
    assert verdict_on(attempt(0), attempt(HOUR_MS + 20)).exclusive


def test_r5_a_grant_after_the_reservation_expired_is_clean() -> None:
    assert verdict_on([claim(0)], attempt(300_010)).exclusive


def test_r15_a_grant_after_a_release_is_clean() -> None:
    assert verdict_on(attempt(0), attempt(110), release(100, "a")).exclusive
    assert verdict_on(attempt(0), attempt(110), release(100)).exclusive


def test_r15_a_release_of_reservations_ends_a_dial_in_progress() -> None:
    a = [claim(0), dial(3, 500)]
    assert verdict_on(a, attempt(110), release(100, "a", reservations=True)).exclusive


def test_r12_a_grant_after_the_shortened_duration_is_clean() -> None:
    assert verdict_on(attempt(0), attempt(2_005), policy(1_000, 1_000)).exclusive


def test_r12_saving_the_same_duration_moves_no_expiration() -> None:
    ends_ms = 15 + HOUR_MS
    assert verdict_on(attempt(0), attempt(ends_ms + 5), policy(60_000, HOUR_MS)).exclusive


def test_a_claim_without_an_answer_may_have_been_granted() -> None:
    assert verdict_on([claim(0, None)], [claim(50, "DENIED", "a")]).exclusive
    assert verdict_on([claim(0, None)], attempt(50)).exclusive


def test_an_owner_may_dial_again_and_again() -> None:
    a = [*attempt(0), *attempt(100, "KEPT"), *attempt(200, "RESERVATION_CLEARED")]
    assert verdict_on(a, [claim(150, "DENIED", "a")]).exclusive


# Doctored logs


def test_a_double_grant_is_caught() -> None:
    verdict = verdict_on(attempt(0), [claim(5)])
    assert faults(verdict) == {Fault.GRANTED_WHILE_HELD, Fault.HELD_TWICE}
    assert not verdict.exclusive


def test_two_grants_that_were_under_way_together_are_caught() -> None:
    assert faults(verdict_on([claim(0)], [claim(1)])) == {Fault.HELD_TWICE}


def test_overlapping_dials_are_caught() -> None:
    assert Fault.DIALED_TWICE in faults(verdict_on(attempt(0), attempt(5)))


def test_a_grant_within_an_ownership_is_caught() -> None:
    found = faults(verdict_on(attempt(0), attempt(HOUR_MS // 2)))
    assert found >= {Fault.GRANTED_WHILE_HELD, Fault.DIALED_WHILE_HELD, Fault.HELD_TWICE}


def test_a_grant_while_the_report_is_under_way_is_caught() -> None:
    a = [claim(0), dial(3, 13), report(15)]
    b = [Claimed("1", 15 * MS + 1, 17 * MS - 1, "GRANTED")]  # the reservation still held
    assert Fault.GRANTED_WHILE_HELD in faults(verdict_on(a, b))


def test_an_uncontrolled_dial_of_a_held_record_is_caught() -> None:
    assert Fault.GRANTED_WHILE_HELD in faults(verdict_on(attempt(0), [claim(50, "UNCONTROLLED")]))


@pytest.mark.parametrize("before", [[], [claim(5, "DENIED", "a")], [claim(5, None)]])
def test_a_dial_without_a_grant_is_caught(before: list[Entry]) -> None:
    assert Fault.DIALED_UNASKED in faults(verdict_on([], [*before, dial(10, 20)]))


def test_a_dial_after_a_denial_overlaps_the_holders() -> None:
    verdict = verdict_on(attempt(0), [claim(3, "DENIED", "a"), dial(6, 10)])
    assert faults(verdict) == {Fault.DIALED_UNASKED, Fault.DIALED_TWICE}


def test_r15_a_grant_before_the_release_is_caught() -> None:
    verdict = verdict_on(attempt(0), attempt(50), release(100, "a"))
    assert Fault.GRANTED_WHILE_HELD in faults(verdict)


def test_r15_the_release_of_another_campaign_excuses_nothing() -> None:
    verdict = verdict_on(attempt(0), attempt(110), release(100, "b"))
    assert Fault.GRANTED_WHILE_HELD in faults(verdict)


def test_r15_a_release_of_ownership_leaves_a_dial_in_progress_protected() -> None:
    verdict = verdict_on([claim(0), dial(3, 500)], attempt(110), release(100, "a"))
    assert Fault.DIALED_TWICE in faults(verdict)


def test_r5_a_release_leaves_the_owners_dial_in_progress_protected() -> None:
    a = [*attempt(0), claim(50), dial(53, 500)]
    assert Fault.DIALED_TWICE in faults(verdict_on(a, attempt(110), release(100, "a")))


def test_r5_a_shortened_duration_leaves_it_protected_too() -> None:
    a = [*attempt(0), claim(50), dial(53, 5_000)]
    assert Fault.DIALED_TWICE in faults(verdict_on(a, attempt(1_200), policy(100, 1_000)))


def test_r24_a_report_that_comes_again_excuses_nothing() -> None:
    again = replace(report(100, "RESERVATION_CLEARED"), again=True)
    a = [*attempt(0, "RESERVATION_CLEARED"), claim(50), dial(53, 500), again]
    assert Fault.DIALED_TWICE in faults(verdict_on(a, attempt(110)))


def of(dialer_id: str, *entries: Entry) -> list[Entry]:
    """The entries as those of one dialer of a campaign."""
    return [replace(entry, dialer_id=dialer_id) for entry in entries]


def test_r22_two_dialers_of_a_campaign_that_dial_at_once_are_caught() -> None:
    a = [*of("one", claim(0), dial(3, 50)), *of("two", claim(10), dial(13, 40))]
    assert faults(verdict_on(a, [])) == {Fault.RESERVED_TWICE}


def test_r22_one_after_the_other_is_clean() -> None:
    one = of("one", claim(0), dial(3, 13), report(15, "RESERVATION_CLEARED"))
    two = of("two", claim(5, "DENIED", "a"), claim(30), dial(33, 40))
    assert verdict_on([*one, *two], []).exclusive


def test_r23_what_is_given_back_may_be_dialed_by_the_other_one() -> None:
    one = of("one", claim(0))
    two = of("two", claim(30), dial(33, 40))
    given = GaveBack(20 * MS, 22 * MS, "one")
    assert verdict_on([*one, given, *two], []).exclusive
    assert faults(verdict_on([*one, *two], [])) == {Fault.RESERVED_TWICE}


def test_r22_a_grant_of_another_dialer_allows_no_dial() -> None:
    a = [*of("one", claim(0)), *of("two", dial(3, 13))]
    assert faults(verdict_on(a, [])) == {Fault.DIALED_UNASKED}


def test_r12_a_grant_before_the_shortened_duration_is_over_is_caught() -> None:
    verdict = verdict_on(attempt(0), attempt(1_900), policy(1_000, 1_000))
    assert Fault.GRANTED_WHILE_HELD in faults(verdict)


@pytest.mark.parametrize("duration_ms", [2 * HOUR_MS, None])
def test_r12_a_grant_within_the_lengthened_duration_is_caught(duration_ms: int | None) -> None:
    verdict = verdict_on(attempt(0), attempt(HOUR_MS + 100), policy(1_000, duration_ms))
    assert Fault.GRANTED_WHILE_HELD in faults(verdict)


def test_r4_a_denial_for_a_campaign_that_never_had_the_record_is_caught() -> None:
    assert faults(verdict_on([], [claim(5, "DENIED", "a")])) == {Fault.DENIED_FOR_NOBODY}
    verdict = verdict_on(attempt(50), [claim(5, "DENIED", "a")])
    assert faults(verdict) == {Fault.DENIED_FOR_NOBODY}


def test_a_violation_says_who_and_what() -> None:
    verdict = verdict_on(attempt(0), [claim(5)])
    assert "record 1: b (held by a): granted while another campaign held the record" in map(
        str, verdict.violations
    )


# Logs on disk


def write_logs(directory: Path, logs: dict[str, list[Entry]]) -> None:
    for number, (campaign_id, entries) in enumerate(logs.items()):
        with Logbook(directory / f"{number}{SUFFIX}", campaign_id) as log:
            for entry in entries:
                log.write(entry)


@pytest.mark.parametrize(("b_at_ms", "exclusive"), [(50, False), (110, True)])
def test_the_logs_of_a_directory_are_read_back_and_checked(
    tmp_path: Path, b_at_ms: int, exclusive: bool
) -> None:
    admin = [POLICY, release(100, "a")]
    write_logs(tmp_path, {"a": attempt(0), "": admin, "b": attempt(b_at_ms)})
    assert check_directory(tmp_path).exclusive is exclusive

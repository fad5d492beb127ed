"""Which code a dialer means (R26): spellings, categories, the store's setting, unknown codes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model import BLANKS, DASHES, code_meant, folded
from subject import DAY, Code, Policy, Refusal
from subject_engine import EngineSubject

from ownerd.rules.testing import code_category, code_fold

# Letters that fold and that do not, a sharp s, blanks, dashes and what looks like them.
ALPHABET = f"abAB{BLANKS}{DASHES}\u2016\u2212\u00e4\u00c4\u3000_"
texts = st.text(ALPHABET, max_size=12).filter(lambda text: len(text.encode()) <= 64)
VENDORS = {
    "Ambiguous - Agent Logout": "Ambiguous",
    "Busy - Busy Signal": "Busy",
    "Busy \u2013 Not Reached": "Busy",
    "failure\t\u2212 Timeout": "Failure",
    "Fax - System Hang Up on Fax": "Fax",
    "Machine - Failed to play recording.": "Machine",
    "  NO ANSWER\u00a0": "No Answer",
    "Non\u2010Dialer Call": "Non-Dialer Call",
    "navigate": "Navigate",
}


@given(text=texts)
def test_r26_a_spelling_is_folded_as_the_model_folds_it(text: str) -> None:
    assert code_fold(text) == folded(text)


@given(text=texts, known=st.lists(texts.filter(folded), max_size=6, unique_by=folded))
@settings(deadline=None)
def test_r26_the_code_that_is_meant_is_the_one_that_the_model_finds(
    text: str, known: list[str]
) -> None:
    """The three looks, with folding and category as the native core does them."""
    by_form = {code_fold(each): each for each in known}
    found = None
    for part in (text, code_category(text)):
        if part and found is None:
            found = part if part in known else by_form.get(code_fold(part))
    assert found == code_meant(text, known)


@pytest.mark.parametrize(("text", "meant"), VENDORS.items())
def test_r26_what_the_vendors_dialer_writes_is_known(
    engine: EngineSubject, text: str, meant: str
) -> None:
    engine.create_list("L", Policy(True, DAY))
    expected = engine.attempt("L", "1", "A", meant).what
    assert engine.attempt("L", "2", "A", text).what == expected
    assert engine.engine.unknown_codes() == []


def test_r26_an_exact_code_is_meant_before_its_spelling_and_that_before_its_category(
    engine: EngineSubject,
) -> None:
    engine.create_list("L", Policy(True, DAY))
    engine.upsert_code("Busy - Fast", Code("Busy", False, False))
    assert engine.attempt("L", "1", "A", "Busy - Slow").what == "OWNERSHIP_ACQUIRED"
    assert engine.attempt("L", "2", "A", "BUSY \u2014 fast ").what == "RESERVATION_CLEARED"
    engine.delete_code("Busy - Fast")
    assert engine.attempt("L", "3", "A", "BUSY \u2014 fast ").what == "OWNERSHIP_ACQUIRED"


def test_r26_another_spelling_of_a_code_is_no_new_code(engine: EngineSubject) -> None:
    for spelling in ("busy", " Busy", "Non\u2013Dialer Call"):
        with pytest.raises(Refusal) as refusal:
            engine.upsert_code(spelling, Code("Busy", True, False))
        assert refusal.value.code == "ALREADY_EXISTS"
    engine.upsert_code("Busy", Code("Busy", False, False))
    engine.delete_code("Busy")
    engine.upsert_code("busy", Code("Busy", True, False))
    engine.reopen()
    assert "busy" in engine.codes()


@pytest.mark.parametrize(
    ("setting", "outcome"), [(2, "OWNERSHIP_ACQUIRED"), (3, "RESERVATION_CLEARED")]
)
def test_r26_the_stores_setting_says_what_an_unknown_code_is(
    engine: EngineSubject, setting: int, outcome: str
) -> None:
    engine.create_list("L", Policy(True, DAY))
    engine.claim("L", "1", "A")
    with pytest.raises(Refusal) as refusal:
        engine.attempt("L", "1", "A", "Sold")
    assert refusal.value.code == "INVALID_ARGUMENT"
    assert engine.engine.settings() == 1
    engine.engine.update_settings(setting, note=b"test")
    engine.reopen()
    assert engine.engine.settings() == setting
    assert engine.attempt("L", "1", "A", "Sold").what == outcome
    for nothing in ("", " ", "\t\u00a0"):
        with pytest.raises(Refusal) as refusal:
            engine.attempt("L", "2", "A", nothing)
        assert refusal.value.code == "INVALID_ARGUMENT"


def test_r26_an_unknown_success_never_succeeds(engine: EngineSubject) -> None:
    """Under `attempt` it renews like `Busy`, which a success would not."""
    engine.create_list("L", Policy(True, DAY, DAY))
    engine.engine.update_settings(2, note=b"test")
    engine.attempt("L", "1", "A", "Sold")
    engine.advance_ns(1)
    assert engine.attempt("L", "1", "A", "Sold").what == "OWNERSHIP_RENEWED"


def test_r26_unknown_codes_are_counted_by_name_until_they_are_known(engine: EngineSubject) -> None:
    engine.create_list("L", Policy(True, DAY))
    for code in ("Sold", "Sold", "DNC"):
        with pytest.raises(Refusal):
            engine.attempt("L", "1", "A", code)
    engine.engine.update_settings(2, note=b"test")
    engine.attempt_batch("L", "A", [("1", "Sold"), ("2", "Busy"), ("3", "sold"), ("4", "Sold")])
    now_ns = engine.now_ns()
    assert engine.engine.unknown_codes() == [
        ("Sold", 4, now_ns),
        ("DNC", 1, now_ns),
        ("sold", 1, now_ns),
    ]
    engine.upsert_code("Sold", Code("Success", True, True))
    assert [row[0] for row in engine.engine.unknown_codes()] == ["DNC"]


def test_r26_no_more_than_a_thousand_unknown_codes_are_kept(engine: EngineSubject) -> None:
    engine.create_list("L", Policy(True, DAY))
    engine.engine.update_settings(3, note=b"test")
    for start in range(0, 3_000, 500):
        attempts = [(str(i), f"code {i}") for i in range(start, start + 500)]
        engine.attempt_batch("L", "A", [*attempts, ("0", "often")])
    kept = {row[0]: row[1] for row in engine.engine.unknown_codes()}
    assert 500 <= len(kept) <= 1_000
    assert kept["often"] == 6
    assert "code 2999" in kept and "code 0" not in kept

"""`ownerd.access.table`: patterns, the table of principals, rate limits, who was refused."""

import fnmatch
import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known import DIGEST, Known

from ownerd.access.table import PERMISSION, RIGHTS, UNAUTHENTICATED, Access, peer_host
from ownerd.access.testing import matches

OTHER = hashlib.sha256(b"two").digest()
DIAL, VIEW = RIGHTS["dial"], RIGHTS["view"]


def table(*principals: Known) -> Access:
    access = Access()
    access.replace(principals)
    return access


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("a*c", "abbc", True),
        ("a*c", "abd", False),
        ("?", "é", True),
        ("??", "é", False),
        ("?", "", False),
        ("a?c", "a💡c", True),
        ("\\*", "*", True),
        ("\\*", "x", False),
        ("\\?", "?", True),
        ("\\\\", "\\", True),
        ("a\\", "a\\", True),
        ("*a*b", "xaxxb", True),
        ("*a*b", "xbxxa", False),
        ("abc", "ab", False),
        ("ab", "abc", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("**", "x", True),
        ("ABC", "abc", False),
    ],
)
def test_a_pattern_fits_whole_ids_byte_for_byte(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


@given(st.text("ab*?é", max_size=8), st.text("abé", max_size=10))
def test_patterns_mean_what_a_shell_means_by_them(pattern: str, text: str) -> None:
    assert matches(pattern, text) is fnmatch.fnmatchcase(text, pattern)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    for stars in (64, 127):
        assert not matches("*a" * stars + "b", "a" * 128)


def test_nobody_is_known_by_an_empty_table() -> None:
    access = Access()
    assert access.by_token(DIGEST, 0) is None and access.by_name("DNS:x") is None
    assert access.anybody() is None


def test_an_open_table_takes_everybody_for_somebody_with_every_right() -> None:
    anybody = Access(open=True).anybody()
    assert anybody.principal_id == "anonymous"
    assert all(anybody.allows(right, "", "") for right in RIGHTS.values())


def test_a_token_is_valid_until_the_instant_of_its_end() -> None:
    access = table(Known(tokens=((DIGEST, 1_000), (OTHER, None))))
    assert access.by_token(DIGEST, 999).principal_id == "p"
    assert access.by_token(DIGEST, 1_000) is None
    assert access.by_token(OTHER, 2**62).principal_id == "p"


def test_a_right_is_for_the_lists_and_campaigns_of_one_grant_not_of_two() -> None:
    access = table(Known(grants=((DIAL, ("a",), ("x",)), (DIAL, ("b",), ("y",)))))
    caller = access.by_token(DIGEST, 0)
    assert caller.allows(DIAL, "a", "x") and caller.allows(DIAL, "b", "y")
    assert not caller.allows(DIAL, "a", "y") and not caller.allows(DIAL, "b", "x")
    assert not caller.allows(VIEW, "a", "x")


def test_only_no_pattern_or_a_star_is_for_every_list() -> None:
    access = table(
        Known("none", tokens=((DIGEST, None),)),
        Known("some", tokens=((OTHER, None),), grants=((DIAL, ("?*",), ("*",)),)),
    )
    assert access.by_token(DIGEST, 0).allows(DIAL, "", "")
    some = access.by_token(OTHER, 0)
    assert some.allows(DIAL, "any", "") and not some.allows(DIAL, "", "")


def test_a_caller_keeps_the_rights_it_had_when_it_was_looked_up() -> None:
    access = table(Known())
    before = access.by_token(DIGEST, 0)
    access.replace([])
    assert access.by_token(DIGEST, 0) is None
    assert before.allows(DIAL, "a", "b") and before.principal_id == "p"


def test_a_certificate_name_stands_for_its_principal() -> None:
    access = table(Known("a", names=("DNS:a.example",)), Known("b", names=("URI:spiffe://b",)))
    assert access.by_name("DNS:a.example").principal_id == "a"
    assert access.by_name("URI:spiffe://b").principal_id == "b"
    assert access.by_name("DNS:b.example") is None


def test_as_many_calls_as_the_limit_says_are_let_in_at_once_and_no_more() -> None:
    caller = table(Known(calls_per_s=50)).by_token(DIGEST, 0)
    waits = [caller.wait_ms() for _ in range(60)]
    assert waits[:50] == [0] * 50
    # A slow machine may let some budget come back meanwhile, but not all ten calls' worth.
    assert any(waits[50:]) and max(waits) <= 1_000


def test_a_change_of_rights_gives_no_new_budget() -> None:
    access = table(Known(calls_per_s=1))
    assert access.by_token(DIGEST, 0).wait_ms() == 0
    access.replace([Known(calls_per_s=1, grants=())])
    assert 0 < access.by_token(DIGEST, 0).wait_ms() <= 1_000


def test_without_a_limit_nobody_waits() -> None:
    caller = table(Known()).by_token(DIGEST, 0)
    assert not any(caller.wait_ms() for _ in range(1_000))


def test_those_refused_are_added_up_by_what_they_did_and_told_once() -> None:
    access = Access()
    for _ in range(3):
        access.add_refusal(UNAUTHENTICATED, "", "ipv4:10.0.0.1", "Claim")
    access.add_refusal(PERMISSION, "p", "ipv4:10.0.0.1", "Claim")
    rows, beyond = access.take_refusals()
    assert sorted(rows) == [
        (PERMISSION, "p", "ipv4:10.0.0.1", "Claim", "", "", 1),
        (UNAUTHENTICATED, "", "ipv4:10.0.0.1", "Claim", "", "", 3),
    ]
    assert beyond == 0 and access.take_refusals() == ([], 0)


def test_a_flood_from_everywhere_is_counted_in_bounded_memory() -> None:
    access = Access()
    for number in range(1_000):
        access.add_refusal(
            UNAUTHENTICATED, "", f"ipv4:10.0.{number // 256}.{number % 256}", "Claim"
        )
    rows, beyond = access.take_refusals()
    assert len(rows) <= 64 and len(rows) + beyond == 1_000


def test_a_table_may_be_replaced_while_others_look_callers_up() -> None:
    access = table(Known())
    ended = threading.Event()
    wrong = []

    def look_up() -> None:
        while not ended.is_set():
            caller = access.by_token(DIGEST, 0)
            if caller is None or not caller.allows(DIAL, "l", "c"):
                wrong.append(caller)

    threads = [threading.Thread(target=look_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(500):
        access.replace([Known(tokens=((DIGEST, None), (OTHER, number)))])
    ended.set()
    for thread in threads:
        thread.join(10)
    assert not wrong


def test_a_peer_is_told_without_its_port() -> None:
    assert peer_host("ipv4:10.1.2.3:4444") == "ipv4:10.1.2.3"
    assert peer_host("ipv6:%5B::1%5D:4444") == "ipv6:[::1]" == peer_host("ipv6:[::1]:4444")
    assert peer_host("unix:/run/ownerd.sock") == "unix:"


@pytest.mark.parametrize("digest", [b"", b"x" * 31, b"x" * 33])
def test_what_is_no_digest_is_a_mistake_of_the_caller(digest: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Access().by_token(digest, 0)

"""A declared configuration: read, compared, written and read again; every fault with its place."""

import string
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ownerd.ctl.declared import form, live, plan, yamlfile
from ownerd.ctl.declared.form import Grant, Kind
from ownerd.ctl.declared.plan import Found
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.yamltext import yaml_text

NS = 1_000_000_000


def read(text):
    return yamlfile.read(text, "F")


def refused(text):
    with pytest.raises(CtlError) as found:
        read(text)
    assert found.value.exit_code is Exit.INPUT_FILE
    return list(found.value.more) or [str(found.value)]


def fields_of(text, section, thing_id):
    return read(text).sections[section][thing_id].fields


def test_what_a_file_declares():
    text = """
settings: {unknown_wrap_up_code: attempt}
wrapup_codes: {Gone: Busy, Odd: {counts_as_attempt: off}}
lists:
  007: {enabled: yes, duration: 2d3h, renewal_window: default, reservation_ttl: 90s}
  1e5: {duration: never}
  no:
  west: {shares_ownership_with: 007}
campaigns: {spring: "null", summer: {name: Sommer}}
principals:
  p:
    grants: [view, {right: dial, lists: [b, a], campaigns: ["*"]}, view]
    hide_holders: false
    certificate_names: ['DNS:a', 'DNS:a']
    calls_per_s: 1_000
"""
    declared = read(text)
    assert declared.sections["settings"][form.ONLY].fields == {"unknown_wrap_up_code": "attempt"}
    assert fields_of(text, "wrapup_codes", "Gone") == {"category": "Busy"}
    assert fields_of(text, "wrapup_codes", "Odd") == {"counts_as_attempt": False}
    assert fields_of(text, "lists", "007") == {
        "enabled": True,
        "duration": 51 * 3_600 * NS,
        "renewal_window": None,
        "reservation_ttl": 90 * NS,
    }
    assert fields_of(text, "lists", "1e5") == {"duration": None}
    assert fields_of(text, "lists", "no") == {}
    assert fields_of(text, "lists", "west") == {form.SHARES: "007"}
    assert fields_of(text, "campaigns", "spring") == {"name": "null"}
    assert fields_of(text, "principals", "p") == {
        "grants": (Grant("dial", ("a", "b"), ("*",)), Grant("view")),
        "hide_holders": False,
        "certificate_names": ("DNS:a",),
        "calls_per_s": 1_000,
    }
    assert declared.sections["lists"]["west"].place == "F:8:3"


@pytest.mark.parametrize("text", ["", "{}", "# nothing", "null", "lists:", "lists: {}"])
def test_a_file_may_declare_nothing(text):
    assert not any(read(text).sections.values())


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("lists: [a", "F:2:1", ""),
        ("lists: {a: {enabld: yes}}", "F:1:13", 'did you mean "enabled"'),
        ("lsts: {}", "F:1:1", 'did you mean "lists"'),
        ("lists:\n  a: {enabled: maybe}", "F:2:16", "true or false"),
        ("lists:\n  a: {duration: 2x}", "F:2:17", "never"),
        ("lists:\n  a: {reservation_ttl: never}", "F:2:24", "2d3h"),
        ("lists:\n  a:\n  a:", "F:3:3", "line 2"),
        ("lists: {a: {enabled: {}}}", "F:1:22", "true or false"),
        ("lists: {a: {enabled: }}", "F:1:22", "true or false"),
        ("lists: {'': {}}", "F:1:9", "1 to 128"),
        ("lists: {" + "x" * 129 + ": {}}", "F:1:9", "1 to 128"),
        ("lists: {a: {shares_ownership_with: b, enabled: no}}", "F:1:12", "leave enabled out"),
        ("lists: {? [a] : {}}", "F:1:11", "no text"),
        ("[]", "F:1:1", "no mapping"),
        ("principals: {p: {grants: dial}}", "F:1:26", "no list"),
        ("principals: {p: {grants: [fly]}}", "F:1:27", "ownership_control"),
        ("principals: {p: {grants: [{lists: [a]}]}}", "F:1:27", "a right"),
        ("principals: {p: {grants: [{right: admin, lists: [a]}]}}", "F:1:27", "name none"),
        ("principals: {p: {grants: [{right: dial, list: [a]}]}}", "F:1:41", '"lists"'),
        ("principals: {p: {certificate_names: [x]}}", "F:1:38", "DNS:"),
        ("principals: {p: {calls_per_s: -1}}", "F:1:31", "0 or more"),
        ("principals: {p: {calls_per_s: 1000000001}}", "F:1:31", "1,000,000,000"),
        ("settings: {unknown_wrap_up_code: no_attempt}", "F:1:34", "no-attempt"),
        ("campaigns: {c: {name: []}}", "F:1:23", "a text"),
        ("lists: {a: {}}\n---\nlists: {}", "F:2:1", ""),
        ("lists: {a: *b}", "F:1:12", "alias"),
        ("lists: \x01", "F", ""),
    ],
)
def test_a_fault_is_named_with_line_and_column(text, place, words):
    (fault,) = refused(text)
    assert fault.startswith(place) and words in fault, fault


def test_all_faults_are_told_at_once():
    assert len(refused("a: 1\nb: 2\nlists: {x: {enabled: 7}}")) == 3
    many = refused("".join(f"s{number}: 1\n" for number in range(50)))
    assert len(many) == yamlfile.MOST_FAULTS + 1 and many[-1] == "and 30 more"


def test_what_nests_deeply_or_expands_much_is_refused_at_once():
    refused("lists: " + "[" * 20_000)
    layers = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 30))
    assert len(refused("x0: &x0 a\n" + layers)) == yamlfile.MOST_FAULTS + 1


# ---- the plan

texts = st.text(string.printable + "äß\u202e\x1b\u2028\x85\U0001f600", min_size=1, max_size=12)
ids = texts.filter(lambda text: len(text.encode()) <= 60)
lengths = st.integers(NS, 10**18)


def value_of(field):
    if field.kind is Kind.FLAG:
        return st.booleans()
    if field.kind is Kind.LENGTH:
        return st.none() | lengths if field.word else lengths
    if field.kind is Kind.CHOICE:
        return st.sampled_from(field.choices)
    if field.kind is Kind.COUNT:
        return st.integers(0, field.most)
    if field.kind is Kind.GRANTS:
        patterns = st.lists(ids, max_size=2).map(lambda some: tuple(sorted(set(some))))
        limited = st.builds(Grant, st.sampled_from(form.RIGHTS[:-1]), patterns, patterns)
        return st.lists(limited, max_size=3).map(lambda some: tuple(sorted(set(some))))
    if field.kind is Kind.TEXTS:
        names = st.builds("{}{}".format, st.sampled_from(form.NAME_KINDS), ids)
        return st.lists(names, max_size=2).map(lambda some: tuple(sorted(set(some))))
    return ids


def founds(section):
    fields = {f.name: value_of(f) for f in section.fields if f.name != form.SHARES}
    found = st.builds(Found, st.fixed_dictionaries(fields))
    keys = ids if section.key_bytes else st.just(form.ONLY)
    return st.dictionaries(keys, found, min_size=0 if section.key_bytes else 1, max_size=3)


states = st.fixed_dictionaries({section.name: founds(section) for section in form.SECTIONS})


def carried_out(state, changes):
    """Return the state after changes, as a server would have it."""
    after = {name: dict(things) for name, things in state.items()}
    for change in changes:
        things = after[change.section.name]
        if change.action == "delete":
            del things[change.thing_id]
        else:
            before = things.get(change.thing_id, Found({}))
            things[change.thing_id] = replace(before, fields={**before.fields, **change.after})
    return after


@settings(max_examples=40)
@given(states)
def test_what_is_there_is_written_and_read_as_the_same(state):
    for text in (
        yaml_text(live.as_file(state), leaves_inline=True),
        yaml_text(live.as_file(state)),
    ):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert yaml.safe_load(text) == live.as_file(state)
        declared = read(text)
        assert plan.changes(declared, state, prune=True) == []
        assert {name: set(things) for name, things in declared.sections.items()} == {
            name: set(things) for name, things in state.items()
        }


@settings(max_examples=40)
@given(states, states)
def test_a_server_is_as_the_file_says_after_one_apply(wanted, state):
    declared = read(yaml_text(live.as_file(wanted)))
    after = carried_out(state, plan.changes(declared, state))
    assert plan.changes(declared, after) == []
    assert all(set(state[name]) <= set(after[name]) for name in state), "nothing is deleted"
    pruned = carried_out(after, plan.changes(declared, after, prune=True))
    assert {
        name: {key: each.fields for key, each in things.items()} for name, things in pruned.items()
    } == {
        name: {key: each.fields for key, each in things.items()} for name, things in wanted.items()
    }


def test_what_the_file_does_not_name_stays():
    state = {
        "lists": {"a": Found({"enabled": True, "duration": NS}), "b": Found({"enabled": True})}
    }
    (change,) = plan.changes(read("lists: {a: {enabled: no}}"), state)
    assert (change.action, change.before, change.after) == (
        "update",
        {"enabled": True},
        {"enabled": False},
    )
    (gone,) = plan.changes(read("lists: {a: {}}"), state, prune=True)
    assert (gone.action, gone.thing_id) == ("delete", "b")
    assert plan.changes(read("campaigns: {}"), {"campaigns": {}, **state}, prune=True) == []


def test_whoever_prunes_stays():
    state = {"principals": {"me": Found({}), "you": Found({})}}
    gone = plan.changes(read("principals: {}"), state, prune=True, spare=["me"])
    assert [change.thing_id for change in gone] == ["you"]


def test_r28_lists_are_made_before_those_that_share_them():
    text = (
        "lists: {c: {shares_ownership_with: b}, b: {shares_ownership_with: a}, a: {enabled: yes}}"
    )
    made = plan.changes(read(text), {"lists": {}})
    assert [change.thing_id for change in made] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lists: {x: {shares_ownership_with: y}, y: {shares_ownership_with: x}}", "each other"),
        ("lists: {x: {shares_ownership_with: x}}", "each other"),
        ("lists: {alone: {shares_ownership_with: a}}", "for good"),
        ("lists: {a: {enabled: yes}, b: {enabled: no}}", "one policy"),
    ],
)
def test_r28_what_lists_that_share_cannot_have_is_refused(text, words):
    group = Found({"enabled": True}, group=("a", "b"))
    state = {"lists": {"a": group, "b": group, "alone": Found({})}}
    with pytest.raises(CtlError, match=words) as found:
        plan.changes(read(text), state)
    assert found.value.exit_code is Exit.FAILED_PRECONDITION and str(found.value).startswith("F:1:")


def test_r28_of_lists_that_share_the_first_has_the_policy():
    group = Found({"enabled": True}, group=("a", "b"))
    state = {"lists": {"a": group, "b": group}}
    assert live.as_file(state)["lists"] == {"a": {"enabled": True}, "b": {form.SHARES: "a"}}
    assert plan.changes(read(yaml_text(live.as_file(state))), state, prune=True) == []

"""A list's configuration as a form, and what saving it would do, in sentences (R12, R13)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ownerd import durations
from ownerd.client import Policy
from ownerd.console.words import Say, say

LONGEST = timedelta(days=36_525)
DEFAULT_RESERVATION = timedelta(minutes=15)
_PARTS = (
    ("days", timedelta(days=1)),
    ("hours", timedelta(hours=1)),
    ("minutes", timedelta(minutes=1)),
    ("seconds", timedelta(seconds=1)),
)


class FormError(Exception):
    """What was typed cannot be: the field, and what to say of it."""

    def __init__(self, field: str, what: Say) -> None:
        super().__init__(field)
        self.field = field
        self.what = what


@dataclass(frozen=True, slots=True)
class PolicyForm:
    """What stands in the form's fields, as it was typed."""

    enabled: bool
    never: bool
    days: str
    hours: str
    minutes: str
    seconds: str
    renewal: str
    reservation: str
    # What no field shows, a fraction of a second: kept while the others stay as they were.
    rest: timedelta = timedelta(0)

    @property
    def has_odd_duration(self) -> bool:
        """Whether days and hours do not say it all, so that minutes and seconds are shown."""
        return any(text.strip() not in ("", "0") for text in (self.minutes, self.seconds))

    @property
    def is_advanced(self) -> bool:
        """Whether anything is set that is not shown at first."""
        return bool(self.renewal) or self.reservation not in ("", spelled(DEFAULT_RESERVATION))


def form_of(policy: Policy) -> PolicyForm:
    """Return the form of a policy that is in force."""
    left, texts = policy.duration or timedelta(0), []
    for _, unit in _PARTS:
        n, left = divmod(left, unit)
        texts.append(str(n) if policy.duration is not None else "")
    days, hours, minutes, seconds = texts
    return PolicyForm(
        enabled=policy.enabled,
        never=policy.duration is None,
        days=days,
        hours=hours,
        minutes=minutes,
        seconds=seconds,
        renewal="" if policy.renewal_window is None else spelled(policy.renewal_window),
        reservation=spelled(policy.reservation_ttl or DEFAULT_RESERVATION),
        rest=left,
    )


def spelled(length: timedelta) -> str:
    """Return a length of time as the form takes it, such as 2d3h."""
    return durations.format(length // timedelta(microseconds=1) * 1_000)


def read_form(given: Callable[[str, str], str]) -> PolicyForm:
    """Return what was typed."""
    return PolicyForm(
        enabled=given("enabled", "") == "1",
        never=given("expires", "after") == "never",
        days=given("days", "").strip(),
        hours=given("hours", "").strip(),
        minutes=given("minutes", "").strip(),
        seconds=given("seconds", "").strip(),
        renewal=given("renewal", "").strip(),
        reservation=given("reservation", "").strip(),
    )


def policy_of(form: PolicyForm, before: Policy) -> Policy:
    """Return the policy that a form asks for.

    Raises:
        FormError: what was typed is no number or no length, or is not allowed (R14).
    """
    typed = replace(form, rest=form_of(before).rest)
    duration = None if form.never else _duration(typed, before)
    renewal = _length("renewal", "policy.renewal", form.renewal)
    if renewal is not None and renewal > LONGEST:
        raise FormError("renewal", say("error.renewal"))
    reservation = _length("reservation", "policy.reservation", form.reservation)
    reservation = DEFAULT_RESERVATION if reservation is None else reservation
    if not timedelta(seconds=1) <= reservation <= LONGEST:
        raise FormError("reservation", say("error.reservation"))
    return Policy(form.enabled, duration, renewal, reservation)


def _duration(form: PolicyForm, before: Policy) -> timedelta:
    total = timedelta(0)
    for name, unit in _PARTS:
        text = getattr(form, name)
        if text and not (text.isascii() and text.isdecimal() and len(text) < 10):
            wrong = say("error.number", field=say(f"policy.{name}"), found=text)
            raise FormError(name, wrong)
        total += int(text or 0) * unit
    if before.duration is not None and total == before.duration - form.rest:
        total = before.duration
    if not timedelta(seconds=1) <= total <= LONGEST:
        raise FormError("days", say("error.duration"))
    return total


def _length(field: str, label: str, text: str) -> timedelta | None:
    if not text:
        return None
    try:
        return timedelta(microseconds=durations.parse(text) // 1_000)
    except (durations.DurationError, OverflowError):
        wrong = say("error.length", field=say(label), found=text)
        raise FormError(field, wrong) from None


def changes(before: Policy, after: Policy) -> dict[str, Any]:
    """Return what of a policy is to be changed, as the client's `set_policy` takes it."""
    found: dict[str, Any] = {}
    if before.enabled != after.enabled:
        found["enabled"] = after.enabled
    if before.duration != after.duration:
        found["duration"] = after.duration
    if before.renewal_window != after.renewal_window:
        found["renewal_window"] = after.renewal_window
    if (before.reservation_ttl or DEFAULT_RESERVATION) != after.reservation_ttl:
        found["reservation_ttl"] = after.reservation_ttl
    return found


def effects(
    before: Policy, after: Policy, owned: int | None, shortened: int | None, now: datetime
) -> tuple[Say, ...]:
    """Return what saving a policy will do, a sentence each.

    Args:
        before: the policy in force.
        after: the one to be saved.
        owned: how many records are owned; None: whoever asks may not know.
        shortened: how many of them would expire sooner than now; None: not counted.
        now: the server's time.
    """
    what = changes(before, after)
    said: list[Say] = []
    if what.get("enabled") is True:
        said.append(_lasting("effect.enable", after.duration))
    if what.get("enabled") is False and owned != 0:
        said.append(_counted("effect.disable", owned))
    if "duration" in what and "enabled" not in what and owned == 0:
        said.append(_lasting("effect.length", after.duration))
    if "duration" in what:
        said += _duration_effects(after.duration, owned, shortened, now)
    elif what and what.get("enabled") is not False:
        said.append(say("effect.nobody") if owned == 0 else _counted("effect.unmoved", owned))
    if "renewal_window" in what:
        said.append(say("effect.renewal"))
    if "reservation_ttl" in what:
        said.append(say("effect.reservation"))
    return tuple(said)


def _duration_effects(
    duration: timedelta | None, owned: int | None, shortened: int | None, now: datetime
) -> list[Say]:
    if owned == 0:
        return [say("effect.nobody")]
    if duration is None:
        return [_counted("effect.never", owned)]
    said = [_counted("effect.duration", owned, length=duration, time=now + duration)]
    if shortened:
        said.append(say("effect.shortened", n=shortened))
    elif shortened == 0:
        said.append(say("effect.none_shortened"))
    return said


def _lasting(key: str, duration: timedelta | None) -> Say:
    return say(f"{key}.never") if duration is None else say(key, length=duration)


def _counted(key: str, n: int | None, **more: Any) -> Say:
    return say(f"{key}.uncounted", **more) if n is None else say(key, n=n, **more)


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting of which two versions differ: its name, what is there, what was meant."""

    label: Say
    theirs: Say | timedelta | None
    ours: Say | timedelta | None


def differences(theirs: Policy, ours: Policy) -> tuple[Difference, ...]:
    """Return every setting, as somebody else saved it and as it was meant, those that differ."""
    rows = (
        ("policy.enable", _switch(theirs.enabled), _switch(ours.enabled)),
        ("policy.duration", _or_never(theirs.duration), _or_never(ours.duration)),
        ("policy.renewal", _renewal(theirs.renewal_window), _renewal(ours.renewal_window)),
        (
            "policy.reservation",
            theirs.reservation_ttl or DEFAULT_RESERVATION,
            ours.reservation_ttl or DEFAULT_RESERVATION,
        ),
    )
    return tuple(Difference(say(key), one, other) for key, one, other in rows if one != other)


def _switch(enabled: bool) -> Say:
    return say("on" if enabled else "off")


def _or_never(duration: timedelta | None) -> Say | timedelta:
    return say("never") if duration is None else duration


def _renewal(window: timedelta | None) -> Say | timedelta:
    return say("default.renewal") if window is None else window

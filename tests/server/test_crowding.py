"""Limits that are met are told of: a log line now and then, and an alarm that goes by itself."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from ownerd.server.alarms import AlarmBoard
from ownerd.server.crowding import CALM_S, TOLD_AGAIN_S, CrowdWatch


class Watched:
    """A watch over a dial and an admin listener that do not exist, on a clock that is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.board = AlarmBoard()
        self.stats: dict[str, dict[str, Any]] = {
            name: {
                "ended": {"crowded": 0, "stalled": 0},
                "calls_turned_out": 0,
                "accept_pauses": 0,
                "stalled": 0,
            }
            for name in ("dial", "admin")
        }
        sources = {name: (lambda name=name: self.stats[name]) for name in self.stats}
        self.watch = CrowdWatch(self.board, sources, lambda: self.now_s)

    def look(self, after_s: float = 1.0) -> list[Any]:
        self.now_s += after_s
        with capture_logs() as lines:
            self.watch.look()
        return [(line["event"], line["listener"], line["count"]) for line in lines]

    def alarms(self) -> dict[str, str]:
        return dict(self.board.up())


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_nothing_is_told_of_where_nothing_happens(watched: Watched) -> None:
    assert watched.look() == [] and watched.alarms() == {}


def test_a_flood_is_told_of_at_once_and_then_once_a_minute_with_its_size(watched: Watched) -> None:
    watched.stats["dial"]["ended"]["crowded"] = 5
    watched.stats["dial"]["calls_turned_out"] = 2
    assert watched.look() == [("strangers_crowding", "dial", 7)]
    told = []
    for _ in range(int(TOLD_AGAIN_S) * 2):
        watched.stats["dial"]["ended"]["crowded"] += 1_000
        told += watched.look()
    assert [line[:2] for line in told] == [("strangers_crowding", "dial")] * 2
    assert sum(line[2] for line in told) <= 1_000 * TOLD_AGAIN_S * 2


@pytest.mark.parametrize(
    ("count", "name"),
    [
        ("calls_turned_out", "strangers_crowding"),
        ("accept_pauses", "connections_full"),
        ("stalled", "calls_stalled"),
    ],
)
def test_an_alarm_names_the_listeners_and_goes_when_it_is_calm(
    watched: Watched, count: str, name: str
) -> None:
    watched.stats["admin"][count] += 1
    assert watched.look() == [(name, "admin", 1)]
    assert set(watched.alarms()) == {name}
    assert watched.alarms()[name].startswith("admin listener: ")
    watched.stats["dial"][count] += 1
    watched.look(CALM_S / 2)
    assert watched.alarms()[name].startswith("dial listener and admin listener: ")
    watched.look(CALM_S / 2)
    assert watched.alarms()[name].startswith("dial listener: ")
    watched.look(CALM_S / 2)
    assert watched.alarms() == {}

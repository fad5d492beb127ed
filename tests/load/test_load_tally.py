"""The histogram of a load against sorted samples."""

import random

import pytest

from ownerd.load.tally import Latencies


def recorded(values):
    latencies = Latencies()
    for value in values:
        latencies.record(value)
    return latencies


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_a_quantile_is_never_below_the_true_one_and_at_most_one_percent_above(share):
    chance = random.Random(7)
    values = sorted(int(chance.lognormvariate(12, 2)) for _ in range(20_000))
    true = values[min(len(values) - 1, int(share * len(values)))]
    assert true <= recorded(values).quantile_ns(share) <= true * 1.01


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 255, 256, 10**6, 2**41, 2**42 - 1])
def test_one_value_is_every_quantile_and_the_maximum(value):
    latencies = recorded([value])
    assert {latencies.quantile_ns(share) for share in (0.0, 0.5, 1.0)} == {value}
    assert (latencies.max_ns, latencies.mean_ns, latencies.count) == (value, value, 1)


def test_neighbouring_buckets_leave_no_gap():
    values = [2**shift + step for shift in range(7, 41) for step in (-1, 0, 1)]
    for value in values:
        latencies = recorded([value, 2**41])
        assert value <= latencies.quantile_ns(0.0) <= value * 129 / 128


def test_what_is_longer_than_the_histogram_reaches_keeps_its_maximum():
    latencies = recorded([2**50])
    assert latencies.max_ns == 2**50 and latencies.count == 1


def test_merged_histograms_are_one_of_all_values():
    chance = random.Random(8)
    values = [chance.randrange(10**9) for _ in range(2_000)]
    merged, whole = recorded(values[:500]), recorded(values)
    merged.merge(recorded(values[500:]))
    for share in (0.1, 0.5, 0.99, 1.0):
        assert merged.quantile_ns(share) == whole.quantile_ns(share)
    assert (merged.count, merged.max_ns, merged.mean_ns) == (2_000, whole.max_ns, whole.mean_ns)


def test_nothing_recorded_is_zero():
    empty = Latencies()
    assert (empty.count, empty.max_ns, empty.mean_ns, empty.quantile_ns(0.5)) == (0, 0, 0.0, 0)

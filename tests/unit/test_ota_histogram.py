"""Latency histograms: percentiles within the promised error, exact merging, and input that lies."""

import json

import numpy as np
import pytest

from edgelab.errors import BadInput
from edgelab.ota.histogram import BINS, CEILING_MS, FLOOR_MS, RELATIVE_ERROR, LogHistogram, bin_of, middle_ms


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("q", [0, 1, 50, 95, 99, 99.9, 100])
def test_a_percentile_is_within_the_promised_error(seed, q):
    rng = np.random.default_rng(seed)
    values = np.clip(np.exp(rng.normal(2, 1.2, 5001)), FLOOR_MS * 1.01, CEILING_MS * 0.99)
    true = np.percentile(values, q, method="inverted_cdf")
    assert abs(LogHistogram.of(values).percentile(q) / true - 1) <= RELATIVE_ERROR * (1 + 1e-9)
    assert RELATIVE_ERROR < 0.018


def test_merging_is_exact_and_hangs_on_no_order():
    rng = np.random.default_rng(1)
    parts = [np.exp(rng.normal(1, 1, 300)) for _ in range(3)]
    a, b, c = map(LogHistogram.of, parts)
    assert (a + b) + c == a + (b + c) == LogHistogram.merged([c, a, b]) == LogHistogram.of(np.concatenate(parts))
    assert a + b == b + a != a
    assert LogHistogram.merged([]).total == 0


def test_a_histogram_survives_json():
    found = LogHistogram.of([0.2, 3.5, 3.5, 900])
    assert LogHistogram.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_what_lies_beyond_the_ends_is_counted_there():
    found = LogHistogram.of([1e-6, 1e9])
    assert found.counts[0] == found.counts[-1] == 1
    assert LogHistogram.of(np.array([0.5], np.float32)).total == 1


@pytest.mark.parametrize("values", [[0.0], [-1.0], [np.nan], [np.inf], ["fast"], [[1], [2, 3]]])
def test_what_is_no_latency_is_refused(values):
    with pytest.raises(BadInput, match="Latencies"):
        LogHistogram.of(values)


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [1] * (BINS - 1)},
        {"counts": [-1] + [0] * (BINS - 1)},
        {"counts": [1.5] + [0] * (BINS - 1)},
        {"counts": [float("nan")] + [0] * (BINS - 1)},
        {"counts": [True] + [0] * (BINS - 1)},
        {"counts": [2**70] + [0] * (BINS - 1)},
        {"counts": "0" * BINS},
        {"counts": None},
        {"floor_ms": 1},
        {"more": 1},
    ],
)
def test_a_histogram_from_outside_that_is_none_is_refused_in_one_sentence(change):
    with pytest.raises(BadInput) as refused:
        LogHistogram.from_dict({**LogHistogram.of([1.0]).to_dict(), **change})
    assert str(refused.value).count(". ") == 0
    with pytest.raises(BadInput):
        LogHistogram.from_dict([1, 2])


@pytest.mark.parametrize("counts", [np.full(BINS, -1), np.zeros(3, int), np.zeros(BINS), "many"])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(BadInput, match="256 whole numbers"):
        LogHistogram(counts)


def test_nothing_has_no_percentile():
    with pytest.raises(BadInput, match="empty"):
        LogHistogram().percentile(50)
    with pytest.raises(BadInput, match="percentage"):
        LogHistogram.of([1.0]).percentile(101)


def test_a_reading_carries_the_width_of_its_bin():
    reading = LogHistogram.of([10.0] * 3).reading(95, "modelled", "a test")
    assert reading.low <= 10 <= reading.high
    assert reading.how == "modelled"


def test_bins_of_float32_and_of_their_own_middles():
    assert np.array_equal(bin_of(middle_ms(np.arange(BINS))), np.arange(BINS))
    assert np.array_equal(bin_of(middle_ms(np.arange(BINS)).astype(np.float32)), np.arange(BINS))

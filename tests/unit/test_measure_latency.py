"""Latency on engines whose times are known, so that what is computed from them can be checked."""

import itertools

import numpy as np
import pytest

from edgelab.engines.base import Timing
from edgelab.errors import BadInput
from edgelab.measure import latency
from edgelab.reading import Reading

X = np.zeros((2, 3), np.float32)


class Clockwork:
    """An engine that takes the times it is given."""

    name = "Clockwork 1.0"
    inputs = outputs = ()

    def __init__(self, seconds, log=None, label=""):
        self.series, self.log, self.label, self.load_seconds = itertools.cycle(seconds), log, label, 0.25
        self.calls = []

    def time(self, x, runs, warmup=0):
        self.calls.append((runs, warmup))
        if self.log is not None:
            self.log.append(self.label)
        for _ in range(warmup):
            next(self.series)
        return Timing(np.array([next(self.series) for _ in range(runs)]))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


def test_contenders_take_turns_and_every_block_drops_its_first_run():
    log = []
    a, b = Clockwork([0.001], log, "a"), Clockwork([0.002], log, "b")
    report = latency.measure_latency({"a": a, "b": b}, X, runs=80, warmup=5, block=10)
    rounds = log[2:]
    assert len(rounds) == 16
    assert all(set(pair) == {"a", "b"} for pair in zip(rounds[::2], rounds[1::2], strict=True))
    assert len({tuple(pair) for pair in zip(rounds[::2], rounds[1::2], strict=True)}) == 2, "the order never changes"
    assert a.calls[0] == (1, 4)
    assert set(a.calls[1:]) == {(10, 1)}
    assert report.seconds["a"].shape == (80,)


def test_figures_come_from_the_times():
    times = np.random.default_rng(0).gamma(9.0, 1e-3, 200)
    report = latency.measure_latency({"a": Clockwork(times), "b": Clockwork(times * 2)}, X, runs=200, warmup=0)
    p = report.readings["a"]
    assert p["p50"].value == pytest.approx(1e3 * np.median(report.seconds["a"]))
    assert p["p99"].value == pytest.approx(1e3 * np.percentile(report.seconds["a"], 99))
    assert p["throughput"].value == pytest.approx(2 / np.median(report.seconds["a"]))
    assert p["p50"].how == "measured"
    assert "Clockwork 1.0" in p["p50"].by
    assert report.speed_up("a", over="b").value == pytest.approx(2.0, rel=0.1)
    assert report.ratio("a", "b").value == pytest.approx(0.5, rel=0.1)
    assert report.verdict("b", "a").different
    assert report.verdict("b", "a").text.startswith("a is 2.")
    assert report.tail("a").value == pytest.approx(p["p99"].value / p["p50"].value)


def test_a_table_says_what_too_few_runs_cannot_tell():
    draw = np.random.default_rng(2)
    report = latency.measure_latency({"a": Clockwork(draw.gamma(9.0, 1e-3, 997))}, X, runs=100, warmup=0)
    p99 = report.readings["a"]["p99"]
    assert (p99.low, p99.high) == (None, None)
    assert p99.doubt == "The p99 of 100 runs cannot be told: it takes at least 368."
    (row,) = report.table().rows
    assert row[4].endswith("ms (cannot tell)")
    assert "to" in row[2], "p50 has its interval"
    assert p99.doubt in report.table().note
    assert report.tail("a").doubt == p99.doubt
    enough = latency.measure_latency({"a": Clockwork(draw.gamma(9.0, 1e-3, 997))}, X, runs=400, warmup=0)
    assert enough.tail("a").low > 1
    assert "cannot" not in str(enough)


def test_no_interval_of_a_time_reaches_below_zero():
    report = latency.measure_latency({"a": Clockwork([1e-3] * 29 + [0.4])}, X, runs=16, warmup=0)
    for reading in report.readings["a"].values():
        assert reading.low is None or reading.low > 0


def test_every_reading_of_a_busy_machine_says_so(monkeypatch):
    said = "Other programs kept 60 percent of the machine busy."
    monkeypatch.setattr(latency.Watch, "complaint", lambda _: said)
    pair = {"a": Clockwork([1e-3]), "b": Clockwork([2e-3])}
    report = latency.measure_latency(pair, X, runs=80)
    found = [report.readings["a"]["p50"], report.ratio("b", "a"), report.speed_up("a", over="b")]
    assert [r.doubt for r in found] == [said] * 3
    assert report.tail("a").doubt.endswith(said)
    assert found[0].low is not None, "what was measured stays"
    sweep = latency.sweep(lambda n: Clockwork([1e-3 * n]), lambda b: X[:b], threads=(1, 2), batches=(1,), runs=16)
    assert sweep.ratio(threads=(2, 1)).doubt == said
    first = latency.first_inference(lambda: Clockwork([9e-3, *[1e-3] * 30]), X, inferences=10, repeats=6)
    assert first.ratio.doubt == said


def test_few_fresh_starts_cannot_tell():
    few = latency.first_inference(lambda: Clockwork([9e-3, *[1e-3] * 30]), X, inferences=10, repeats=4)
    assert few.ratio.doubt == "4 fresh starts cannot tell: it takes 6."
    assert "cannot tell" in few.table().text()


def test_the_largest_over_the_smallest_is_judged_for_all_pairs():
    def ratio(value, low, high, doubt=""):
        return Reading(value, "x", "measured", "a race", low, high, doubt=doubt)

    same = [ratio(2.0, 1.8, 2.2), ratio(2.1, 1.9, 2.3), ratio(1.95, 1.75, 2.15)]
    spread = latency.largest_to_smallest(same)
    assert spread.value == pytest.approx(2.1 / 1.95)
    assert spread.low < 1 < spread.high, "picked as the farthest apart, yet no more than the noise"
    apart = latency.largest_to_smallest([ratio(4.0, 3.8, 4.2), ratio(2.0, 1.9, 2.1)])
    assert apart.low > 1.2
    assert apart.low == pytest.approx(2 * np.exp(-np.hypot(np.log(4 / 3.8), np.log(2.1 / 2))))
    assert latency.largest_to_smallest([ratio(2.0, None, None, "Few."), same[0]]).low is None
    assert latency.largest_to_smallest([ratio(2.0, 1.0, 3.0, "Busy."), same[0]]).doubt == "Busy."
    with pytest.raises(BadInput, match="At least two"):
        latency.largest_to_smallest(same[:1])


def test_noise_is_not_called_a_difference():
    draw = np.random.default_rng(4)
    a, b = Clockwork(draw.gamma(9.0, 1e-3, 997)), Clockwork(draw.gamma(9.0, 1e-3, 997))
    verdict = latency.measure_latency({"a": a, "b": b}, X, runs=200).verdict("a", "b")
    assert not verdict.different
    assert "noise" in verdict.text


def test_a_difference_too_small_to_matter_is_not_called_one():
    report = latency.measure_latency({"a": Clockwork([1e-3]), "b": Clockwork([1.01e-3])}, X, runs=40)
    assert not report.verdict("a", "b").different


def test_drift_does_not_make_a_winner():
    drift = np.linspace(1e-3, 9e-3, 110)  # 10 rounds of 11 calls: both get slower and slower
    report = latency.measure_latency({"a": Clockwork(drift), "b": Clockwork(drift)}, X, runs=100, warmup=0, block=10)
    assert not report.verdict("a", "b").different


def test_first_inference_starts_anew_each_time():
    made = []

    def make():
        made.append(Clockwork([9e-3, *[1e-3] * 30]))
        return made[-1]

    first = latency.first_inference(make, X, inferences=10, repeats=4)
    assert len(made) == 4
    assert first.ratio.value == pytest.approx(9.0)
    assert first.first.value == pytest.approx(9.0)
    assert first.load.value == pytest.approx(250.0)


def test_sweep_has_every_combination():
    report = latency.sweep(lambda n: Clockwork([1e-3 * n]), lambda b: X[:b], threads=(1, 2), batches=(1, 2), runs=16)
    assert report.ratio(threads=(2, 1)).value == pytest.approx(2.0)
    assert [(row["threads"], row["batch"]) for row in report.to_dict()["sweep"]] == [(1, 1), (2, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    "call",
    [
        lambda: latency.measure_latency({}, X),
        lambda: latency.measure_latency({"a": Clockwork([1.0])}),
        lambda: latency.measure_latency({"a": Clockwork([1.0])}, X, runs=1),
        lambda: latency.measure_latency({"a": Clockwork([1.0])}, X).ratio("a", "c"),
        lambda: latency.first_inference(lambda: Clockwork([1.0]), X, inferences=2),
    ],
)
def test_bad_input_is_one_sentence(call):
    with pytest.raises(BadInput) as caught:
        call()
    assert "\n" not in str(caught.value)

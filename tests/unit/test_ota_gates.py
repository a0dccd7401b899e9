"""Gates: the e-process held to theory, false alarms bounded, and the popular rules shown to break."""

import math

import numpy as np
import pytest
from scipy import stats

from edgelab.errors import BadInput
from edgelab.ota.gate_trial import Trial, exact_interval, rate_bound, try_gates
from edgelab.ota.gates import (
    SPRT,
    Bonferroni,
    EProcess,
    FixedThreshold,
    Looks,
    Monitor,
    PeekedExact,
    StageEnds,
    e_process,
    exact_p,
)

GATES = [FixedThreshold(0.01), PeekedExact(), Bonferroni(10), StageEnds((4, 9)), SPRT(), EProcess()]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("ratios", [(2.0,), (1.25, 3.0, 10.0)])
def test_the_mean_of_the_e_process_is_1_under_no_difference(share, ratios):
    """Exactly, summed over all outcomes of a look with seven events."""
    x = np.arange(8)
    money = np.array([e_process([k], [7 - k], [share], [1 - share], ratios)[-1] for k in x])
    assert stats.binom.pmf(x, 7, share) @ money == pytest.approx(1)
    better = stats.binom.pmf(x, 7, share * 0.7) @ money
    assert better < 1  # a release that is better only loses money
    hypergeometric = stats.hypergeom.pmf(x, 200, round(200 * share), 7) @ money
    assert hypergeometric <= 1 + 1e-12  # devices judged once


def test_the_e_process_is_the_product_over_looks():
    looks = [[3, 0, 2], [5, 4, 9], [10, 10, 40], [90, 90, 60]]
    by_hand = np.ones(1)
    paid = []
    for x, y, n, o in zip(*looks, strict=True):
        by_hand = by_hand * 2**x / (1 + n / (n + o)) ** (x + y)
        paid.append(by_hand[0])
    assert e_process(*looks, ratios=[2.0]) == pytest.approx(np.array(paid))


def test_a_release_without_a_control_is_no_evidence():
    assert e_process([5, 5], [0, 0], [10, 10], [0, 0]) == pytest.approx(np.ones(2))
    assert e_process([0], [0], [0], [0]) == pytest.approx(np.ones(1))


def test_the_exact_test_is_the_binomial_tail():
    looks = Looks([3, 1], [4, 8], [10, 10], [40, 40])
    assert exact_p(looks) == pytest.approx(stats.binom.sf([2, 3], [7, 16], 0.2))


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_look_by_look_a_gate_decides_as_over_all_looks_at_once(gate):
    setting = Trial(devices=400, rate=0.02, stages=((10, 5), (50, 5)))
    looks = setting.draw(2.0, 30, np.random.default_rng(0))
    together = gate.first_stop(looks)
    for row, first in enumerate(together):
        watch, found = gate.monitor(), -1
        for hour in range(10):
            each = (looks.new, looks.old, looks.new_exposure, looks.old_exposure)
            decision = watch.update(*(values[row, hour] for values in each))
            if decision.stop and found < 0:
                found = hour
        assert found == first
        assert decision.stop == (first >= 0)
        assert Monitor(gate, watch.seen).decide() == decision
        assert math.isfinite(decision.to_dict()["evidence"])
    assert (together >= 0).any() or isinstance(gate, Bonferroni | StageEnds)


def test_false_alarms_of_honest_gates_are_bounded_and_of_popular_ones_not():
    found = try_gates(replications=1000, ratios=(5.0,), seed=3)
    for name in ("e-process", "exact, Bonferroni", "exact, at stage ends", "SPRT"):
        assert found.alarms[name].low < 5, name  # an interval wholly above 5 percent would refute the promise
    assert found.alarms["e-process"].value <= 5
    for name in ("fixed threshold", "exact test, peeking"):
        assert found.alarms[name].low > 15, name
    hours = {name: when.value for (name, _), (_, when) in found.caught.items()}
    assert hours["e-process"] <= 6
    assert hours["exact, at stage ends"] == 48
    assert "e-process" in found._repr_markdown_()
    assert found.to_dict()["replications"] == 1000


@pytest.mark.thorough
@pytest.mark.parametrize("setting", [Trial(), Trial(lemons=20), Trial(devices=1000, rate=0.02, day=1.0)])
def test_the_e_process_raises_false_alarms_in_at_most_5_percent_of_4000(setting):
    assert try_gates(setting, ratios=(), gates=[EProcess()]).alarms["e-process"].value <= 5


def test_devices_that_crash_every_hour_break_a_gate_that_counts_crashes():
    gates = [EProcess()]
    once = try_gates(Trial(lemons=20), ratios=(), replications=400, gates=gates).alarms["e-process"]
    each = try_gates(Trial(lemons=20, once=False), ratios=(), replications=400, gates=gates).alarms["e-process"]
    assert once.low < 5
    assert each.low > 10


@pytest.mark.parametrize(
    "look",
    [(-1, 0, 1, 1), (math.nan, 0, 1, 1), (0, math.inf, 1, 1), (1, 0, 0, 1), (0, 1, 1, 0), ("x", 0, 1, 1)],
)
def test_a_look_that_cannot_be_is_refused_and_not_taken(look):
    watch = EProcess().monitor()
    with pytest.raises(BadInput):
        watch.update(*look)
    assert watch.seen == []
    assert not watch.decide().stop


@pytest.mark.parametrize(
    "make",
    [
        lambda: EProcess(alpha=0),
        lambda: EProcess(ratios=()),
        lambda: EProcess(ratios=(0.5,)),
        lambda: FixedThreshold(0),
        lambda: Bonferroni(0),
        lambda: StageEnds(()),
        lambda: SPRT(1.0),
        lambda: SPRT(beta=1),
        lambda: Trial(stages=()),
        lambda: Trial(stages=((100, 1),)),
        lambda: Trial(rate=0),
        lambda: try_gates(ratios=(1.0,)),
        lambda: try_gates(replications=0),
        lambda: exact_interval(2, 1),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput):
        make()


def test_zero_of_50000_bounds_the_rate_at_about_three_in_50000():
    assert rate_bound(0, 50_000) == pytest.approx(1 - 0.05 ** (1 / 50_000))
    assert rate_bound(0, 50_000) * 50_000 == pytest.approx(3, rel=0.01)
    low, high = exact_interval(3, 10)
    assert stats.binom.sf(2, 10, low) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 10, high) == pytest.approx(0.025)
    assert exact_interval(10, 10)[1] == 1

"""The decisions of the capstone against closed forms and kept libraries, and what its shipped file says."""

import math

import numpy as np
import pytest
import torch

from edgelab import nets
from edgelab.ahead import capstone, capstone_figures
from edgelab.errors import BadFile, BadInput
from edgelab.measure import stats
from edgelab.nets import ahead


@pytest.mark.parametrize(("right", "items"), [(0, 30), (17, 20), (20, 20), (850, 1000)])
def test_a_floor_is_judged_by_wilsons_interval(right, items):
    _, low, high = stats.wilson_interval(right, items)
    assert capstone.against_floor(right, items, low - 1e-4) == "reached"
    assert capstone.against_floor(right, items, high + 1e-4) == "missed"
    assert capstone.against_floor(right, items, (low + high) / 2) == "cannot tell"


def test_the_front_keeps_equal_rows_and_drops_beaten_ones():
    rows = {"a": (1, 5), "b": (1, 4), "c": (3, 3), "d": (3, 3), "e": (4, 4)}
    assert capstone.front(rows) == ["b", "c", "d"]


def test_an_order_is_told_from_the_best_seed_by_seed():
    noisy = [80.0, 85.0, 90.0]
    paired = {"best": noisy, "worse": [v - 1 - 0.01 * i for i, v in enumerate(noisy)], "open": [84.0, 80.0, 88.0]}
    assert capstone.best_orders(paired) == ["best", "open"]


def test_cosine_and_sqnr_see_different_faults():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 10))
    assert capstone.mean_cosine(a, 0.5 * a) == pytest.approx(1)
    assert capstone.sqnr_db(a, 0.5 * a) == pytest.approx(10 * math.log10(4))
    assert capstone.sqnr_db(a, a) == math.inf


def test_ready_asks_for_the_upper_end():
    y = np.zeros(1000, int)
    x = np.arange(1000, dtype=np.float32)[:, None]

    def wrong_on(count):
        return lambda x: np.stack([np.ones(len(x)), 2.0 * (x[:, 0] < count)], axis=1).astype(np.float32)

    assert capstone.ready(wrong_on(0), wrong_on(2), x, y, 1.0)
    assert not capstone.ready(wrong_on(0), wrong_on(8), x, y, 1.0)
    assert capstone.ready(wrong_on(300), wrong_on(0), x, y, 1.0)


def test_a_device_with_an_unknown_figure_is_not_chosen():
    row = {"device": "a", "fits": True, "slow_ms": 10.0, "energy_mj": 2.0}
    unknown = [row | {"device": "b", "energy_mj": None}, row | {"device": "c", "slow_ms": None}]
    assert capstone.choose_device([row, *unknown], 10.0) == "a"
    assert capstone.choose_device(unknown, 10.0) is None


@pytest.mark.parametrize(("devices", "rate", "hours", "confidence"), [(10_000, 0.001, 24, 0.95), (900, 0.01, 8, 0.9)])
def test_the_first_wave_is_the_smallest_that_shows_a_fault(devices, rate, hours, confidence):
    n = round(capstone.first_wave(devices, rate, hours, confidence) * devices / 100)
    assert (1 - rate) ** (n * hours) <= 1 - confidence < (1 - rate) ** ((n - 1) * hours)
    assert capstone.first_wave(3, rate, hours, confidence) == 100


@pytest.fixture(scope="module")
def made():
    return capstone.MadeAhead.load(capstone_figures.FILE)


def test_the_shipped_file_holds_every_planned_run_and_what_it_says_was_held(made):
    runs = made.content["runs"]
    keys = [(run["order"], run["seed"]) for run in runs]
    assert sorted(keys) == sorted((run["order"], run["seed"]) for run in capstone_figures.planned())
    assert made.content["held"] == capstone_figures.judge(runs)
    for run in runs:
        right = capstone_figures.unpacked(run["right"], run["items"])
        assert round(100 * float(right.mean()), 2) == run["test"]
        assert run["macs"] <= capstone_figures.FINAL_MACS
        assert run["date"]
        assert run["machine"]
    assert sum(run["cpu_seconds"] for run in runs) > 0


def test_readings_made_ahead_carry_date_and_interval(made):
    reading = made.accuracy("D P Q")
    assert reading.low < reading.value < reading.high
    assert reading.made_on == ahead.made_on(made.content["runs"])
    assert made.gain("D P Q", "D Q").value == pytest.approx(-made.gain("D Q", "D P Q").value)
    with pytest.raises(BadInput, match="no run of 'X'"):
        made.accuracy("X")


def test_one_seed_cannot_tell():
    runs = [{"order": "Q", "seed": 0, "test": 90.0, "date": "2026-11-29", "machine": "a board"}]
    assert capstone.MadeAhead({"runs": runs}).accuracy("Q").doubt == "1 seed cannot tell: it takes 3."


def test_a_file_of_something_else_is_one_sentence(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(BadFile, match="does not hold figures of the capstone"):
        capstone.MadeAhead.load(tmp_path / "x.json")


def test_the_kept_networks_have_the_size_that_the_runs_say(made):
    for order in capstone_figures.ORDERS:
        net = capstone_figures.kept(order)
        run = ahead.selected(made.content["runs"], order=order, seed=0)[0]
        assert nets.count_parameters(net) == run["parameters"]
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert nets.count_parameters(capstone_figures.kept("wide")) > 3 * run["parameters"]


def test_a_new_student_is_the_same_for_a_seed():
    one, two, other = (capstone_figures.new_student(4, seed) for seed in (0, 0, 1))
    assert torch.equal(one.stem.conv.weight, two.stem.conv.weight)
    assert not torch.equal(one.stem.conv.weight, other.stem.conv.weight)


def _same(images):
    return np.eye(2)[np.zeros(len(images), int)]


@pytest.mark.parametrize(
    "bad",
    [
        lambda: capstone.against_floor(0, 0, 0.5),
        lambda: capstone.against_floor(5, 4, 0.5),
        lambda: capstone.front({"a": (1, 2), "b": (1,)}),
        lambda: capstone.front({"a": (1, math.nan)}),
        lambda: capstone.best_orders({}),
        lambda: capstone.best_orders({"a": [1.0], "b": [2.0]}),
        lambda: capstone.best_orders({"a": [1.0, 2.0], "b": [2.0]}),
        lambda: capstone.best_orders({"a": [1.0, math.nan]}),
        lambda: capstone.mean_cosine([[1.0, 2.0]], [[1.0]]),
        lambda: capstone.mean_cosine([1.0, 2.0], [1.0, 2.0]),
        lambda: capstone.sqnr_db([[1.0]], [[math.nan]]),
        lambda: capstone.sqnr_db(np.zeros((0, 3)), np.zeros((0, 3))),
        lambda: capstone.ready(_same, _same, np.zeros((3, 1)), [0, 1], 1.0),
        lambda: capstone.ready(_same, _same, np.zeros((0, 1)), [], 1.0),
        lambda: capstone.first_wave(0, 0.1, 2),
        lambda: capstone.first_wave(10, 0.0, 2),
        lambda: capstone.first_wave(10, 1.0, 2),
        lambda: capstone.first_wave(10, 0.1, 0),
        lambda: capstone.first_wave(10, 0.1, 2, 1.0),
    ],
)
def test_bad_input_is_one_sentence(bad):
    with pytest.raises(BadInput) as said:
        bad()
    assert str(said.value).endswith(".")
    assert "\n" not in str(said.value)

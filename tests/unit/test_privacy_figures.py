"""The figures of privacy made ahead: complete, judged as they say, and made again by the same code."""

import json

import numpy as np
import pytest

from edgelab.errors import BadFile, BadInput
from edgelab.privacy import figures
from edgelab.privacy.figures import Ahead, chosen_setting, judged, make, planned, read


def same(wanted, run):
    return all(run.get(key) == value for key, value in wanted.items())


def test_the_file_holds_every_planned_run_and_no_other():
    held = read()["runs"]
    assert len(held) == len(planned())
    for wanted in planned():
        assert sum(same(wanted, run) for run in held) == 1, wanted


def test_what_it_says_was_held_follows_from_its_runs():
    content = read()
    assert content["judged"] == json.loads(json.dumps(judged(content["runs"])))
    assert {entry["claim"] for entry in content["judged"]} == {"F4"}
    assert content["recipe"]["levels"] == figures.LEVELS


def test_settings_were_chosen_on_validation_with_another_seed():
    held = read()["runs"]
    assert all(run["items"] == 180 for run in held if run["what"] == "choice")
    assert figures.CHOOSING_SEED not in figures.SEEDS
    for run in held:
        if run["what"] == "dial":
            assert run["items"] == 360
            assert run["setting"] == chosen_setting(held, run["level"], run["epsilon"])
    with pytest.raises(BadInput, match="No setting was tried"):
        chosen_setting(held, "example", 77.0)


def test_readings_carry_where_they_were_made():
    ahead = Ahead()
    for level in figures.LEVELS:
        loss = ahead.loss(level, 1.0)
        assert loss.low <= loss.value <= loss.high
        assert loss.made_on is not None
        difference = ahead.accuracy(level, None).value - ahead.accuracy(level, 1.0).value
        assert loss.value == pytest.approx(difference)
    assert ahead.run("client", 2.0, 3)["seed"] == 3


def test_every_item_was_in_half_of_the_attacked_networks():
    ahead = Ahead()
    for epsilon in figures.ATTACKED_EPSILONS:
        sure, inside = ahead.attacked(epsilon)
        assert sure.shape == inside.shape == (figures.MODELS, 2 * figures.MEMBERS)
        assert (inside.sum(axis=0) == figures.MODELS // 2).all()
        assert (inside.sum(axis=1) == figures.MEMBERS).all()
        assert np.isfinite(sure).all()


def test_a_run_is_made_again_as_it_was(tmp_path):
    wanted = {"what": "choice", "level": "client", "epsilon": 8.0, "seed": figures.CHOOSING_SEED, "setting": 0.5}
    (again,) = make(tmp_path / "again.json", runs=[wanted])
    (held,) = [run for run in read()["runs"] if same(wanted, run)]
    assert abs(again["right"] - held["right"]) <= 4  # of 180; another processor rounds otherwise
    assert list(make(tmp_path / "again.json", runs=[wanted])) == []


def test_a_file_of_something_else_is_refused(tmp_path):
    other = tmp_path / "other.json"
    other.write_text("[]")
    for path in (other, tmp_path / "none.json"):
        with pytest.raises(BadFile, match="does not hold figures of privacy"):
            read(path)

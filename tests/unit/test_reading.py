"""A reading says how it was obtained, when if that was ahead of time, and what speaks against it."""

import json

import pytest

from edgelab.errors import BadInput
from edgelab.reading import Reading

AHEAD = ("2026-10-01", "a laptop of 2021")


def reading(**more):
    return Reading(**{"value": 1.5, "unit": "ms", "how": "measured", "by": "a test", **more})


@pytest.mark.parametrize(
    "given", [reading(), reading(low=1.0, high=2.0, doubt="The machine was busy."), reading(made_on=AHEAD, name="x")]
)
def test_it_comes_back_from_json(given):
    assert Reading.from_dict(json.loads(json.dumps(given.to_dict()))) == given


def test_data_of_an_older_version_has_no_doubt_and_no_date():
    data = {k: v for k, v in reading().to_dict().items() if k not in ("doubt", "made_on")}
    assert Reading.from_dict(data) == reading()


def test_what_cannot_be_told_stands_in_the_place_of_the_interval():
    assert reading(doubt="The p99 of 10 runs cannot be told.").figure() == "1.50 ms (cannot tell)"
    busy = reading(low=1.0, high=2.0, doubt="Others were busy.")
    assert busy.figure() == "1.50 ms (1.00 to 2.00)"
    assert busy._repr_markdown_().endswith("by a test. Others were busy.")


def test_a_figure_made_ahead_says_when_and_on_what():
    ahead = reading(made_on=list(AHEAD))
    assert ahead.made_on == AHEAD
    assert ahead.how == "measured"
    assert str(ahead) == "1.50 ms, measured on 2026-10-01, a laptop of 2021"
    assert "*measured on 2026-10-01, a laptop of 2021* by a test" in ahead._repr_markdown_()
    assert ahead.to_dict()["made_on"] == {"date": "2026-10-01", "machine": "a laptop of 2021"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"made_on": ("yesterday", "a laptop")}, "is not a date and a machine"),
        ({"made_on": "2026-10-01"}, "is not a date and a machine"),
        ({"made_on": ("2026-10-01", "")}, "names no machine"),
        ({"made_on": AHEAD, "how": "quoted"}, "not what is quoted"),
        ({"made_on": AHEAD, "how": "modelled"}, "not what is modelled"),
    ],
)
def test_a_date_without_sense_is_refused(more, says):
    with pytest.raises(BadInput, match=says):
        reading(**more)

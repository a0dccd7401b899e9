"""Verdicts are computed: from the figure, from its interval, from how it was obtained."""

import json

import pytest

from edgelab.course import claim
from edgelab.course.claims import Quantity, all_claims, judge
from edgelab.errors import BadInput
from edgelab.reading import Reading

IDS = ["M1", "M2", "M3", "M4", "M5", "M6", "Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "Q8", "Q9", "Q12"]
IDS += ["U1", "U2", "U3", "U4", "U5", "U7", "U6", "U8"]
UNITS = {"x", "points", "bytes", "KB", "kinds", "operators", "%", "years"}


def reading(value, low=None, high=None, unit="x", how="measured"):
    return Reading(value, unit, how, "a test", low=low, high=high)


def test_every_claim_of_the_labs_is_there():
    assert list(all_claims()) == IDS
    for entry in all_claims().values():
        assert entry.kind in ("measured", "counted", "modelled", "arithmetic")
        for quantity in entry.quantities.values():
            assert quantity.unit in UNITS
            assert quantity.above > float("-inf") or quantity.below < float("inf")
            assert quantity.range_text()


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (2.0, None, None, "held"),
        (1.5, None, None, "held"),
        (3.0, None, None, "held"),
        (1.49, None, None, "partly"),
        (3.01, None, None, "partly"),
        (1.0, None, None, "not here"),
        (0.7, None, None, "not here"),
        (2.0, 1.1, 3.5, "held"),
        (1.2, 1.1, 1.6, "partly"),
        (1.2, 0.9, 1.6, "not here"),  # no more than the noise
        (0.9, 0.8, 1.1, "not here"),
        (1.6, 0.99, 2.5, "not here"),
    ],
)
def test_how_a_figure_and_its_interval_decide(value, low, high, verdict):
    found = claim("M4", reading(value, low, high))
    assert found.verdict == verdict
    assert found.why
    if verdict == "not here" and value > 1:
        assert "noise" in found.why
    if (value, low) == (1.2, 1.1):
        assert "which the interval reaches" in found.why


@pytest.mark.parametrize(
    ("identity", "value", "unit", "verdict"),
    [
        ("M1", 5.0, "x", "held"),
        ("M1", 1.5, "x", "partly"),
        ("M1", 0.9, "x", "not here"),
        ("M2", 1.2, "x", "held"),
        ("M3", 1.01, "x", "held"),
        ("M3", 0.8, "x", "not here"),
        ("M5", 1.1, "x", "partly"),
        ("M6", 8.5, "x", "held"),
        ("M6", 7.0, "x", "partly"),
        ("Q1", 3.9, "x", "held"),
        ("Q1", 3.0, "x", "partly"),
        ("Q2", 1.0, "points", "held"),
        ("Q2", 7.0, "points", "partly"),
        ("Q2", -0.1, "points", "not here"),
        ("Q3", 2.5, "x", "held"),
        ("Q5", -3.0, "points", "held"),
        ("Q5", 0.7, "points", "partly"),
        ("Q5", 1.5, "points", "not here"),
        ("Q12", 4.0, "points", "held"),
        ("Q12", -1.0, "points", "not here"),
    ],
)
def test_the_ranges_of_the_claims(identity, value, unit, verdict):
    assert claim(identity, reading(value, unit=unit)).verdict == verdict


def test_several_readings():
    good, weak, bad = reading(2.0), reading(1.2), reading(0.5)
    assert claim("M4", good, good).verdict == "held"
    assert claim("M4", bad, bad).verdict == "not here"
    mixed = claim("M4", good, bad)
    assert mixed.verdict == "partly"
    assert mixed.reading.value == 0.5
    assert claim("M4", good, weak).reading.value == 1.2
    assert len(mixed.readings) == 2


def test_several_quantities_by_name():
    found = claim("Q4", size=reading(3.0), speed=reading(1.1), because="Convolutions stay in float here.")
    assert found.verdict == "partly"
    assert found.reading.name == "speed"
    assert found.why.endswith("Convolutions stay in float here.")
    assert claim("Q4", size=reading(3.0), speed=reading(1.5)).verdict == "held"


def test_provenance_decides_too():
    assert claim("M4", reading(2.0, how="modelled")).verdict == "modelled"
    assert claim("M4", reading(2.0, how="emulated")).verdict == "held"
    assert claim("M6", reading(8.5, how="modelled")).verdict == "held"  # a count
    assert claim("M4", reading(2.0), reading(2.0, how="modelled")).verdict == "modelled"
    with pytest.raises(BadInput, match="quoted figure cannot test"):
        claim("M4", reading(2.0, how="quoted"))


def test_arithmetic_and_modelled_claims():
    stated = Quantity("sum", "the bill of five years", "dollars", above=0.0, low=1.8e6, high=1.9e6)
    assert judge("arithmetic", stated, reading(1.825e6, unit="dollars", how="modelled"))[0] == "held"
    assert judge("arithmetic", stated, reading(3.65e5, unit="dollars", how="modelled"))[0] == "arithmetic"
    assert judge("modelled", stated, reading(1.0, unit="dollars", how="modelled"))[0] == "modelled"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: claim("Z9", reading(1)), "There is no claim 'Z9'"),
        (lambda: claim("M4"), "needs readings for speed, and got none"),
        (lambda: claim("M4", reading(1, unit="ms")), "tested in 'x', and the reading for 'speed' is in 'ms'"),
        (lambda: claim("Q4", reading(1)), "takes its readings by name: size, speed"),
        (lambda: claim("Q4", size=reading(1)), "needs readings for size, speed, and got size"),
        (lambda: claim("M4", ratio=reading(1)), "needs readings for speed, and got ratio"),
        (lambda: claim("M4", 2.0), "is tested by readings"),
        (lambda: claim("M4", reading(1), speed=reading(1)), "by name"),
    ],
)
def test_a_wrong_call_is_one_sentence(call, says):
    with pytest.raises(BadInput, match=says):
        call()


def test_what_a_verdict_leaves_behind():
    found = claim("M4", reading(2.0, 1.9, 2.1))
    data = json.loads(json.dumps(found.to_dict()))
    assert data["reading"]["name"] == "speed"
    assert data["readings"] == [data["reading"]]
    assert set(data) == {"id", "claim", "verdict", "reading", "readings", "why"}
    assert "M4: held" in str(found)
    assert "measured" in str(found)

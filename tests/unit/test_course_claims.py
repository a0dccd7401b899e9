"""Verdicts are computed: from the figure, from its interval, from how it was obtained."""

import json

import pytest

from edgelab.course import claim
from edgelab.course.claims import Quantity, all_claims, judge
from edgelab.errors import BadInput
from edgelab.reading import Reading

IDS = ["M1", "M2", "M3", "M4", "M5", "M6", "Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "Q8", "Q9", "Q10", "Q11", "Q12"]
IDS += ["D1", "D2", "D3", "D4"]
IDS += ["L1"]
IDS += ["T3", "T4", "Q13", "Q16", "T1", "T2", "U1", "U2", "U3", "U4", "U5", "U7", "U6", "U8", "S1", "S2"]
IDS += ["S3", "S4", "S5", "S6", "A1", "A2"]
IDS += ["P1", "P2", "P3", "P4", "P5"]
IDS += ["F1", "F2"]
IDS += ["F3", "F4", "F5"]
IDS += ["O1", "O2", "O3", "O4"]
IDS += ["N1"]
IDS += ["X1", "Q15"]
UNITS = {
    "x",
    "points",
    "bytes",
    "KB",
    "MB",
    "kinds",
    "operators",
    "%",
    "years",
    "items/s",
    "TOPS/W",
    "ppm",
    "ways",
    "states",
}


def reading(value, low=None, high=None, unit="x", how="measured", **more):
    return Reading(value, unit, how, "a test", low=low, high=high, **more)


def test_every_claim_of_the_labs_is_there():
    assert list(all_claims()) == IDS
    for entry in all_claims().values():
        assert entry.kind in ("measured", "counted", "modelled", "arithmetic")
        for quantity in entry.quantities.values():
            assert quantity.unit in UNITS
            assert quantity.directed or quantity.low > float("-inf") or quantity.high < float("inf")
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
        (1.2, 0.9, 1.6, "cannot tell"),  # the interval spans the bound
        (0.9, 0.8, 1.1, "cannot tell"),
        (1.6, 0.99, 2.5, "cannot tell"),
        (2.0, 1.0, 2.5, "cannot tell"),  # the bound itself is not on the claimed side
        (0.9, 0.8, 1.0, "not here"),
        (0.8, 0.7, 0.9, "not here"),
    ],
)
def test_how_a_figure_and_its_interval_decide(value, low, high, verdict):
    found = claim("M4", reading(value, low, high))
    assert found.verdict == verdict
    assert found.why
    assert ("spans the bound" in found.why) == (verdict == "cannot tell")
    assert ("beyond which the interval reaches" in found.why) == ((value, low) == (2.0, 1.1))
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
        ("S1", 10.2, "MB", "arithmetic"),
        ("S1", 17.0, "MB", "held"),
        ("S2", 100.0, "MB", "arithmetic"),
        ("S3", 312.5, "items/s", "arithmetic"),
        ("S4", 1.13, "x", "arithmetic"),
        ("S5", 87.0, "KB", "arithmetic"),
        ("S6", 0.02, "TOPS/W", "arithmetic"),
    ],
)
def test_the_ranges_of_the_claims(identity, value, unit, verdict):
    assert claim(identity, reading(value, unit=unit)).verdict == verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (250.0, None, None, "held"),
        (298.0, None, None, "not here"),
        (250.0, 240.0, 275.0, "held"),
        (270.0, 260.0, 280.0, "cannot tell"),
        (290.0, 276.0, 300.0, "not here"),
    ],
)
def test_a_claim_of_a_size_alone_has_no_direction_to_hold(value, low, high, verdict):
    size = all_claims()["U4"].quantities["mobilenet"]
    assert not size.directed
    word, why = judge("counted", size, reading(value, low, high, unit="KB"))
    assert word == verdict
    assert "direction" not in why
    assert "275 KB or less" in why


def test_a_claimed_size_has_two_ends():
    size = Quantity("q", "what it takes", "KB", low=8.0, high=16.0)
    for low, high, verdict in [(9, 15, "held"), (7, 9, "cannot tell"), (15, 17, "cannot tell"), (7, 17, "cannot tell")]:
        assert judge("counted", size, reading((low + high) / 2, low, high, unit="KB"))[0] == verdict
    assert judge("counted", size, reading(7, 6, 7.9, unit="KB"))[0] == "not here"


@pytest.mark.parametrize("value", [0.5, 1.2, 2.0])
def test_a_reading_in_doubt_cannot_tell(value):
    few = claim("M2", reading(value, doubt="The p99 of 63 runs cannot be told: it takes at least 368."))
    assert few.verdict == "cannot tell"
    assert "it takes at least 368" in few.why
    busy = claim("M4", reading(value, value - 0.1, value + 0.1, doubt="Others kept the machine busy."))
    assert busy.verdict == "cannot tell"
    assert busy.why.endswith("Others kept the machine busy.")


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("held unsure", "cannot tell"),
        ("bad unsure", "cannot tell"),
        ("unsure unsure", "cannot tell"),
        ("held bad unsure", "partly"),  # whatever the third would have been
        ("weak unsure", "partly"),
    ],
)
def test_a_reading_that_cannot_tell_leaves_the_verdict_to_others_where_it_could_not_change_it(words, verdict):
    kinds = {"held": reading(2.0), "bad": reading(0.5), "weak": reading(1.2), "unsure": reading(2.0, 0.9, 3.0)}
    assert claim("M4", *(kinds[word] for word in words.split())).verdict == verdict


def test_a_reading_made_ahead_decides_and_says_when():
    found = claim("M4", reading(2.0, 1.9, 2.1, made_on=("2026-10-01", "a board")))
    assert found.verdict == "held"
    assert "measured on 2026-10-01, a board" in found.why
    assert found.to_dict()["reading"]["how"] == "measured"


def test_not_here_is_no_alarm():
    assert claim("M4", reading(0.5)).box().colour == "info"
    assert claim("M4", reading(2.0, 0.9, 3.0)).box().colour == "neutral"


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

"""Findings: a sentence made from readings, shown in a notebook and recorded with what it was made from."""

import json

import numpy as np
import pytest

from edgelab.course import findings
from edgelab.errors import BadInput
from edgelab.reading import Reading

RATIO = Reading(1.3, "x", "measured", "a race", low=1.2, high=1.4, name="speed")


def finding_speed(ratio, shares, names):
    assert isinstance(ratio, Reading)
    return f"`a_b` is {findings.side_of(ratio, 1)} at {shares['x_y'][0]:.1f} with {findings.listed(names)}."


@pytest.fixture
def shown(monkeypatch):
    kept = []
    monkeypatch.setattr(findings, "emit", lambda mime, payload, markdown: kept.append((mime, payload, markdown)))
    return kept


def test_the_sentence_and_its_arguments_are_recorded(shown):
    findings.finding(finding_speed, RATIO, {"x_y": np.array([0.5, 1.0])}, ("a", "b*"))
    ((mime, payload, markdown),) = shown
    assert mime == "application/vnd.edgelab.finding+json"
    assert payload["id"] == "speed"
    assert payload["text"] == "`a_b` is above at 0.5 with a and b*."
    assert markdown == "`a_b` is above at 0.5 with a and b\\*."
    again = [findings.from_data(data) for data in json.loads(json.dumps(payload["arguments"], sort_keys=True))]
    assert again == [RATIO, {"x_y": [0.5, 1.0]}, ["a", "b*"]]
    assert finding_speed(*again) == payload["text"]


def test_what_cannot_be_recorded_or_said_is_one_sentence(shown):
    with pytest.raises(BadInput, match="lists and dicts of them, not <object"):
        findings.finding(finding_speed, object())
    with pytest.raises(BadInput, match="called finding_ID"):
        findings.finding(lambda: "x")

    def finding_none():
        return None

    with pytest.raises(BadInput, match="must return the sentence"):
        findings.finding(finding_none)
    assert shown == []


def test_a_dict_keeps_its_order_and_its_keys_in_a_file_with_sorted_keys():
    data = json.loads(json.dumps(findings.to_data({"b": 1, "a": {8: None}}), sort_keys=True))
    assert list(findings.from_data(data).items()) == [("b", 1), ("a", {8: None})]


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [(1.1, 1.3, "above"), (0.7, 0.9, "below"), (0.9, 1.3, "cannot tell"), (1.0, 1.3, "cannot tell")],
)
def test_the_whole_interval_decides(low, high, side):
    assert findings.side_of(Reading((low + high) / 2, "x", "measured", "a race", low=low, high=high), 1) == side


def test_a_reading_without_an_interval_counts_as_exact():
    exact = Reading(2, "x", "modelled", "a sum")
    assert [findings.side_of(exact, bound) for bound in (1, 2, 3)] == ["above", "cannot tell", "below"]


def test_a_reading_in_doubt_tells_nothing():
    doubted = Reading(1.3, "x", "measured", "a race", low=1.2, high=1.4, doubt="Other programs kept the machine busy.")
    assert findings.side_of(doubted, 1) == "cannot tell"
    assert findings.from_data(findings.to_data(doubted)) == doubted
    said = findings.by_side(doubted, 1, above="Faster.", below="Slower.", unclear="It cannot be told: {}.")
    assert said == "It cannot be told: 1.30x (1.20 to 1.40), as other programs kept the machine busy."


def test_lists_in_words():
    assert [findings.listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]

"""Challenges: judged by what was measured, kept when better, and the package's own solution only once they are met."""

from types import SimpleNamespace

import pytest

from edgelab import Reading
from edgelab.course import challenges, progress, session
from edgelab.course.challenges import Target, judge
from edgelab.course.source import Cell
from edgelab.errors import BadInput

SIZE, LOSS = Target("file", at_most=70_000, unit="bytes"), Target("loss", at_most=1.0, unit="points")


def measured(attempt):
    size, loss = attempt
    return {
        "file": Reading(size, "bytes", "measured", "size"),
        "loss": Reading(loss, "points", "measured", "test", low=loss - 0.3, high=loss + 0.3),
    }


@pytest.fixture
def lab(monkeypatch, tmp_path):
    class Opened:
        class lab:  # noqa: N801
            slug = "example"

        text = "def reference():\n    return (60_000, 0.2)"

        def cells(self):
            return [Cell("code", self.text, ("challenge:small", "hidden")), Cell("code", "x = 1", ("challenge:small",))]

    opened = Opened()
    monkeypatch.setattr(session, "_current", [opened])
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path))
    monkeypatch.delenv("EDGELAB_PROGRESS", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return opened


def test_without_an_attempt_the_targets_are_shown(lab):
    found = judge("small", None, measured, (SIZE, LOSS))
    assert found.status == "open"
    assert "file at most 70,000 bytes" in found.message
    assert "loss at most 1 points" in found.message
    assert progress.load("example").challenges == {}


@pytest.mark.parametrize(("attempt", "met"), [((69_000, 0.4), True), ((71_000, 0.4), False), ((69_000, 1.2), False)])
def test_every_target_counts(lab, attempt, met):
    found = judge("small", attempt, measured, (SIZE, LOSS))
    assert found.met is met
    assert progress.load("example").challenges["small"].met is met
    own = [note for note in found.notes if "edgelab's own solution reaches" in note]
    assert bool(own) is met
    assert not met or "60,000 bytes" in own[0]


def test_the_own_attempt_is_not_measured_a_second_time(lab, monkeypatch):
    room = {}
    exec(lab.text, room)  # noqa: S102 - the solution's hidden cell has run
    monkeypatch.setattr(challenges, "kernel_shell", lambda: SimpleNamespace(user_ns=room))
    seen = []
    found = judge("small", (60_000, 0.2), lambda attempt: seen.append(attempt) or measured(attempt), (SIZE, LOSS))
    assert found.met
    assert seen == [(60_000, 0.2)]
    assert any("not measured a second time" in note for note in found.notes)


@pytest.mark.parametrize("mine", [[1, 2, 3], lambda: (69_000, 0.1), None])
def test_a_name_of_the_learners_is_not_taken_for_the_own_solution(lab, monkeypatch, mine):
    monkeypatch.setattr(challenges, "kernel_shell", lambda: SimpleNamespace(user_ns={"reference": mine}))
    found = judge("small", (69_000, 0.4), measured, (SIZE, LOSS))
    assert any("edgelab's own solution reaches, measured here: file 60,000 bytes" in note for note in found.notes)


def test_the_better_attempt_is_kept(lab):
    judge("small", (69_000, 0.4), measured, (SIZE, LOSS))
    found = judge("small", (90_000, 3.0), measured, (SIZE, LOSS))
    assert any("Your best so far: file 69,000 bytes" in note for note in found.notes)
    best = progress.load("example").challenges["small"]
    assert best.met
    assert best.figures["file"] == "69,000 bytes"


@pytest.mark.parametrize("order", [(60_000, 40_000, 50_000), (40_000, 60_000, 80_000)])
def test_where_further_is_better_the_furthest_of_those_that_meet_everything_is_kept(lab, order):
    smallest = Target("file", at_most=70_000, unit="bytes", further=True)
    for size in order:
        judge("small", (size, 0.4), measured, (smallest, LOSS))
    judge("small", (10_000, 3.0), measured, (smallest, LOSS))
    best = progress.load("example").challenges["small"]
    assert best.figures["file"] == "40,000 bytes"
    assert best.met


def test_an_attempt_that_fails_is_a_sentence(lab):
    found = judge("small", "nothing", lambda _: (_ for _ in ()).throw(OSError("no such file")), (SIZE, LOSS))
    assert found.status == "not met"
    assert "could not be measured: no such file" in found.message


def test_a_reading_in_another_unit_is_refused(lab):
    with pytest.raises(BadInput, match="needs a reading 'loss' in points"):
        judge("small", (1, 1), lambda a: {**measured(a), "loss": Reading(1, "%", "measured", "x")}, (SIZE, LOSS))


def test_a_target_has_one_bound():
    with pytest.raises(BadInput, match="either at_most or at_least"):
        Target("file", unit="bytes")


def test_at_least_is_a_bound_too():
    target = Target("accuracy", at_least=90, unit="%")
    assert str(target) == "accuracy at least 90 %"
    assert target.met(Reading(90.0, "%", "measured", "t"))
    assert target.excess(Reading(81.0, "%", "measured", "t")) == pytest.approx(0.1)


def test_the_result_as_data(lab):
    data = judge("small", (69_000, 0.4), measured, (SIZE, LOSS)).to_dict()
    assert data["met"] is True
    assert data["readings"]["file"]["value"] == 69_000
    assert challenges.CHALLENGE_MIME.endswith("challenge+json")


def test_the_face_gives_the_function_not_a_module(lab):
    from edgelab.course import Target as Shown
    from edgelab.course import challenge

    assert Shown is Target
    assert callable(challenge)


def test_the_progress_page_shows_the_best_attempt(lab):
    from edgelab.course.labs import find
    from edgelab.course.progress_page import LabProgress, page

    judge("small", (69_000, 0.4), measured, (SIZE, LOSS))
    text = page([LabProgress(find("quantization"), {}, progress.load("example"))])
    assert "Challenges" in text
    assert "<td>met</td><td>file 69,000 bytes, loss 0.400 points (0.100 to 0.700)" in text
    assert "Challenges" not in page([LabProgress(find("quantization"), {}, progress.Progress("example"))])

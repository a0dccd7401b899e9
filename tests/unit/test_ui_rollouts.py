"""Pictures of a rollout: they stop where it stopped, say it in words, and their axes stand still."""

import pytest

from edgelab import ui
from edgelab.ota.fleet import draw_devices
from edgelab.ota.fleet_rollout import GATES, roll_out, sketch
from edgelab.ota.hardware import Fault

BAD, GOOD = sketch(10_000, Fault(crashes=9)), sketch(10_000, Fault())


def test_the_evidence_ends_where_the_rollout_stopped():
    figure = ui.evidence_figure(BAD)
    line, stop = figure.data
    assert len(line.x) == BAD.stopped_h == stop.x[0]
    assert line.y[-1] >= 1 > max(line.y[:-1], default=0)
    assert f"Stopped after {BAD.stopped_h} h" in figure.layout.title.text.replace("<br>", " ")
    assert len(ui.evidence_figure(GOOD).data) == 1


@pytest.mark.parametrize("gate", GATES)
def test_the_axes_stand_still_and_the_words_say_what_is_there(gate):
    for run in (BAD, sketch(10_000, Fault(slowdown=1.4), gate), GOOD):
        figure = ui.evidence_figure(run)
        for axis in ("xaxis", "yaxis"):
            assert figure.layout[axis].range == ui.evidence_figure(BAD).layout[axis].range
        low, high = (10**end for end in figure.layout.yaxis.range)
        assert all(low <= level <= high for level in figure.data[0].y)
        assert str(run.fault) in ui.rollout_words(run)
        assert figure.layout.meta["alt"] == ui.rollout_words(run)


def test_the_waves_are_there_and_the_way_back():
    run = roll_out(draw_devices(5000), Fault(crashes=20), waves=(10, 100), hold_h=12, tick_s=3600)
    figure = ui.waves_figure(run)
    assert [note.text for note in figure.layout.annotations] == ["10%", "100%"]
    shares = [share for share in figure.data[0].y if share is not None]
    assert shares[0] == pytest.approx(10, abs=1.5)
    assert shares[-1] < 1
    assert len(figure.layout.shapes) == 2
    assert ui.waves_figure(GOOD, "A title").layout.title.text == "A title"

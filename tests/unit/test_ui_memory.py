"""The figure of a plan: a bar a buffer where it lies, words that say the same, a title that is the finding."""

import pytest

from edgelab import ui
from edgelab.errors import BadInput
from edgelab.mcu.plans import Buffer, Plan, plan_buffers
from edgelab.ui.theme import COLOURS


def buffers():
    return [
        Buffer("0 image<1>", 640, 0, 1),
        Buffer("1 conv", 320, 1, 2),
        Buffer("2 relu", 320, 2, 3, may_share_with=("1 conv",)),
        Buffer("scratch 0 of 0 CONV_2D", 100, 1, 1),
    ]


def bars(figure):
    return [
        (x - w / 2, x + w / 2, base, base + y)
        for trace in figure.data
        for x, w, base, y in zip(trace.x, trace.width, trace.base, trace.y, strict=True)
    ]


@pytest.mark.parametrize("heuristic", ["greedy", "best"])
def test_each_bar_stands_over_its_steps_and_addresses(heuristic):
    plan = plan_buffers(buffers(), heuristic)
    expected = sorted((b.first - 0.5, b.last + 0.5, b.offset, b.end) for b in plan.buffers)
    assert sorted(bars(ui.lifetime_figure(plan))) == expected


def test_kinds_are_told_by_pattern_and_neighbours_by_colour():
    large = Buffer("3 other", 500, 2, 3)  # which makes room scarce where the two may share
    figure = ui.lifetime_figure(plan_buffers([*buffers(), large], "best"))
    patterns = {trace.name: trace.marker.pattern.shape for trace in figure.data}
    assert set(patterns) == {"tensor", "scratch buffer", "written in place"}
    assert len(set(patterns.values())) == 3
    colours = [colour for trace in figure.data for colour in trace.marker.color]
    assert len(set(colours)) == 5
    assert set(colours) <= set(COLOURS)


def test_hovering_tells_the_tensor_with_its_name_escaped():
    hover = [text for trace in ui.lifetime_figure(plan_buffers(buffers())).data for text in trace.customdata]
    assert any("<b>0 image&lt;1&gt;</b>" in text and "640 bytes at 0 to 640" in text for text in hover)


def test_the_title_states_how_far_the_plan_is_from_the_bound():
    tight = plan_buffers(buffers())
    assert tight.size_bytes == tight.lower_bound == 1072
    assert "as few as the lower bound allows" in ui.lifetime_figure(tight).layout.title.text
    apart = Plan(tight.buffers, "by hand", 536)
    assert "100.0% above the lower bound" in ui.lifetime_figure(apart).layout.title.text.replace("<br>", " ")
    assert ui.lifetime_figure(tight, "Mine", height=333).layout.title.text == "Mine"


def test_the_words_say_what_there_is_to_see():
    plan = plan_buffers(buffers())
    words = ui.lifetime_words(plan)
    assert "4 buffers over 4 steps and 1,072 bytes" in words
    assert "0 image<1>, takes 640 bytes from address 0 in steps 0 to 1" in words
    assert ui.lifetime_figure(plan).layout.meta["alt"] == words


def test_no_buffer_is_refused():
    with pytest.raises(BadInput, match="no buffer"):
        ui.lifetime_figure(plan_buffers([]))


def test_the_whole_arena_has_its_tail_on_top_and_says_so():
    plan = plan_buffers(buffers())
    figure = ui.arena_figure(plan, {"records": 48, "buffers <x>": 32}, arena_bytes=1200)
    tail = [trace for trace in figure.data if trace.name == "tail"]
    assert [(trace.base[0], trace.y[0]) for trace in tail] == [(1152, 48), (1120, 32)]
    assert figure.layout.title.text == "Head 1,072 bytes, tail 80 bytes"
    assert "tail of 80 bytes: records 48, buffers <x> 32" in figure.layout.meta["alt"]
    assert "buffers &lt;x&gt;" in tail[1].customdata[0]
    with pytest.raises(BadInput, match="does not hold"):
        ui.arena_figure(plan, {"records": 48}, arena_bytes=1100)

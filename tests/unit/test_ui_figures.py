"""Figures: what tells series apart, what a reading brings along, and what cannot be drawn is refused in a sentence."""

import itertools
import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest

from edgelab import Reading, ui
from edgelab.errors import BadInput
from edgelab.ui.labels import spread
from edgelab.ui.palette import PAPER, ROLES

X = np.arange(1, 9)


def reading(value, how="measured", half=0.1):
    return Reading(value, "ms", how, "a stopwatch, 60 runs", low=value - half, high=value + half)


def six():
    return {f"series {i}": (X, X * (i + 1.0)) for i in range(6)}


EVERY = {
    "lines": lambda **k: ui.lines(six(), title="It rises", x="run", y="ms", **k),
    "stairs": lambda **k: ui.stairs(six(), title="It rises", x="run", y="ms", **k),
    "scatter": lambda **k: ui.scatter(six(), title="It rises", x="run", y="ms", **k),
    "bars": lambda **k: ui.bars(["a", "b"], [1, reading(2.0)], title="It rises", y="ms", **k),
    "grouped_bars": lambda **k: ui.grouped_bars(["a", "b"], {"p": [1, 2], "q": [3, 4]}, title="It rises", y="ms", **k),
    "histogram": lambda **k: ui.histogram({"a": X, "b": X * 2}, title="It rises", x="ms", **k),
    "heatmap": lambda **k: ui.heatmap([[1.0, 2.0], [3.0, np.nan]], title="It rises", x="to", y="from", **k),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_figure_is_in_the_house_look(name):
    figure = EVERY[name]()
    layout = json.loads(figure.to_json())["layout"]
    assert isinstance(figure, go.Figure)
    assert layout["title"]["text"] == "It rises"
    assert layout["template"]["layout"]["paper_bgcolor"] == PAPER
    assert layout["height"] >= 300


@pytest.mark.parametrize("name", EVERY)
def test_layout_settings_of_the_caller_win(name):
    assert EVERY[name](height=222).layout.height == 222


def test_a_long_title_wraps_and_the_figure_grows_by_its_lines():
    title = (
        "The slowest of the later runs took two times the median while the first took eighteen times as long as that"
    )
    short = ui.lines({"a": (X, X)}, title="short", x="x", y="y")
    long = ui.lines({"a": (X, X)}, title=title, x="x", y="y")
    parts = long.layout.title.text.split("<br>")
    assert " ".join(parts) == title
    assert max(map(len, parts)) <= 70
    assert long.layout.height - short.layout.height == long.layout.margin.t - short.layout.margin.t > 0


def test_no_two_series_share_colour_dash_or_marker():
    traces = ui.lines(six(), title="t", x="x", y="y").data
    for look in ("line.color", "line.dash", "marker.symbol"):
        assert len({trace[look] for trace in traces}) == len(traces), look


def test_series_differ_without_colour_in_bars_and_histograms():
    shapes = [t.marker.pattern.shape for t in EVERY["grouped_bars"]().data]
    dashes = [t.line.dash for t in EVERY["histogram"]().data]
    assert len(set(shapes)) == len(set(dashes)) == 2


def test_lines_carry_their_names_at_their_ends_and_no_legend():
    figure = ui.lines({"low": (X, X), "high": (X, 3.0 * X)}, title="t", x="x", y="y")
    assert [re.sub("<[^>]*>", "", a.text)[2:] for a in figure.layout.annotations] == ["low", "high"]
    assert [(a.x, a.y) for a in figure.layout.annotations] == [(8, 8), (8, 24)]
    assert not figure.layout.showlegend
    assert figure.layout.margin.r > 60


def test_names_of_lines_that_end_together_do_not_cover_each_other():
    ends = spread({"a": 100.0, "b": 101.0, "c": 99.5, "d": 150.0})
    heights = sorted(ends.values())
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 17 - 1e-9
    assert ends["d"] == 150.0
    assert ends["c"] < ends["a"] < ends["b"]


def sides(figure):
    return {trace.name: trace.textposition for trace in figure.data}


@pytest.mark.parametrize("log", [False, True])
def test_the_name_of_a_point_leaves_its_neighbours_free(log):
    low = 1.05 if log else 2.5  # just above the first point
    points = {"front": ([1, 1000], [1, 30]), "beaten": ([1, 400], [low, 20])}
    drawn = ui.scatter(points, "t", "x", "y", names={"front": ["wide", "small"]}, log_x=log, log_y=log)
    assert sides(drawn)["front"] == ("bottom center", "top center")
    assert sides(drawn)["beaten"] is None


def test_names_of_points_that_lie_close_do_not_cover_each_other():
    near = {"a": ([5.0, 5.3, 5.6, 0, 10], [5, 5, 5, 0, 10])}
    names = ["seventy letters or so", "of names that cannot", "stand side by side", "low", "high"]
    found = sides(ui.scatter(near, "t", "x", "y", names={"a": names}))["a"]
    assert len(set(found[:2])) == 2
    assert found[3:] == ("top center", "top center")


def test_a_name_at_the_edge_is_not_cut():
    corner = {"a": ([1, 5, 9, 9, 9, 9], [1, 5, 9, 9, 8.9, 9.1])}
    drawn = ui.scatter(corner, "t", "x", "y", names={"a": ["low", "mid", *(f"quantized {c}" for c in "ABCD")]})
    assert "right" not in " ".join(sides(drawn)["a"][2:])
    assert drawn.data[0].cliponaxis is False


def test_five_hundred_names_and_numbers_as_names_are_drawn():
    many = {"a": (np.arange(500), np.arange(500))}
    assert set(sides(ui.scatter(many, "t", "x", "y", names={"a": [str(n) for n in range(500)]}))["a"]) == {"top center"}
    assert ui.scatter({"a": ([1, 2], [1, 2])}, "t", "x", "y", names={"a": [4, 8]}).data[0].text == ("4", "8")


def test_a_gap_among_named_points_is_named_all_the_same():
    found = sides(ui.scatter({"a": ([1, 2], [np.nan, 3])}, "t", "x", "y", names={"a": ["gone", "there"]}))
    assert found["a"] == ("top center", "top center")


def test_one_series_needs_no_name_and_eight_get_a_legend():
    one = ui.lines({"a": (X, X)}, title="t", x="x", y="y")
    eight = ui.lines({str(i): (X, X + i) for i in range(8)}, title="t", x="x", y="y")
    assert not one.layout.annotations
    assert not one.layout.showlegend
    assert eight.layout.showlegend


@pytest.mark.parametrize("log", [False, True])
def test_the_axes_hold_all_points_and_whiskers(log):
    ys = [reading(v, half=0.9) for v in (1.0, 10.0, 400.0)]
    figure = ui.lines({"a": ([1, 2, 3], ys)}, title="t", x="x", y="y", log_y=log)
    low, high = figure.layout.yaxis.range
    low, high = (10**low, 10**high) if log else (low, high)
    assert low < 0.1
    assert high > 400.9
    assert list(figure.data[0].error_y.array) == pytest.approx([0.9] * 3)


def test_lines_with_many_points_have_no_markers():
    many = np.linspace(0, 1, 500)
    assert ui.lines({"a": (many, many)}, title="t", x="x", y="y").data[0].mode == "lines"
    assert ui.lines({"a": (X, X)}, title="t", x="x", y="y").data[0].mode == "lines+markers"
    assert ui.lines({"a": (X, X)}, title="t", x="x", y="y", markers=False).data[0].mode == "lines"


def test_stairs_hold_their_value():
    assert ui.stairs({"a": (X, X)}, title="t", x="x", y="y").data[0].line.shape == "hv"


def test_bars_show_interval_value_and_provenance():
    figure = ui.bars(["a", "b"], [reading(2.0, half=0.5), 3.0], title="t", y="ms")
    bar = figure.data[0]
    assert list(bar.error_y.array) == [0.5, 0.0]
    assert list(bar.error_y.arrayminus) == [0.5, 0.0]
    assert [a.text for a in figure.layout.annotations] == ["2.00", "3.00"]
    assert figure.layout.annotations[0].y == 2.5  # beyond the whisker
    assert "measured by a stopwatch, 60 runs" in bar.customdata[0]
    assert figure.layout.yaxis.range[0] == 0


@pytest.mark.parametrize("how", ["modelled", "emulated", "quoted"])
def test_what_was_not_measured_is_hatched_and_says_so(how):
    bar = ui.bars(["a", "b"], [reading(2.0), reading(3.0, how)], title="t", y="ms").data[0]
    assert bar.marker.pattern.shape[0] == ""
    assert bar.marker.pattern.shape[1] != ""
    assert how in bar.x[1]
    assert "(" not in bar.x[0]
    grouped = ui.grouped_bars(["a"], {"p": [reading(1.0)], "q": [reading(1.0, how)]}, title="t", y="ms")
    assert [trace.name for trace in grouped.data] == ["p", f"q ({how})"]


def test_long_labels_turn_bars_on_their_side():
    few = ui.bars(["a", "b"], [1, 2], title="t", y="ms")
    long = ui.bars([f"features.{i}.conv.weight" for i in range(5)], range(5), title="t", y="ms")
    assert few.data[0].orientation == "v"
    assert long.data[0].orientation == "h"
    assert long.layout.xaxis.title.text == "ms"
    assert long.layout.yaxis.autorange == "reversed"


def test_figures_beside_long_intervals_stay_clear_of_the_labels():
    wide = [Reading(-v, "points", "measured", "made up", -v - 2.1, 2.5 - v) for v in (1.5, 0.2, 0.3, 0.1)]
    figure = ui.bars([f"a long name of group {n}" for n in range(4)], wide, "Groups", "points")
    low = figure.layout.xaxis.range[0]
    assert -3.6 - low >= 0.1 * 4.5  # a tenth of what is drawn is the width of a figure


def test_negative_bars_have_room_below():
    figure = ui.bars(["a", "b"], [-3.0, 2.0], title="t", y="points")
    assert figure.layout.yaxis.range[0] < -3
    assert figure.layout.annotations[0].yanchor == "top"


def test_a_histogram_counts_every_value_once():
    values = np.random.default_rng(0).normal(size=1000)
    trace = ui.histogram({"a": values}, title="t", x="ms", bins=17).data[0]
    counts, edges = np.histogram(values, 17)
    assert trace.y[:-1] == pytest.approx(counts)
    assert trace.x == pytest.approx(edges)
    assert sum(trace.y[:-1]) == 1000
    share = ui.histogram({"a": values}, title="t", x="ms", bins=17, share=True).data[0]
    assert sum(share.y[:-1]) == pytest.approx(100)


def test_values_printed_in_a_heat_map_are_dark_on_bright_and_bright_on_dark():
    text = ui.heatmap([[0.0, 5000.0, np.nan]], title="t", x="x", y="y").data[1]
    assert text.text == ("0", "5,000")
    assert text.textfont.color == ("white", "black")


def test_a_gap_stays_a_gap():
    figure = ui.lines({"a": ([1, 2, 3], [1.0, np.nan, 3.0])}, title="t", x="x", y="y")
    assert np.isnan(figure.data[0].y[1])


def test_a_role_has_its_colour_whatever_the_order():
    series = {"needs": (X, X), "fits": (X, X), "does not fit": (X, X)}
    roles = {"fits": "right", "does not fit": "wrong"}
    for order in (series, dict(reversed(series.items()))):
        found = {t.name: t.marker for t in ui.scatter(order, title="t", x="x", y="y", roles=roles).data}
        assert found["fits"].color == ROLES["right"]
        assert found["does not fit"].color == ROLES["wrong"]
        assert found["needs"].color not in (ROLES["right"], ROLES["wrong"])
        assert len({marker.symbol for marker in found.values()}) == 3
    grouped = ui.grouped_bars(["a"], {"fits": [1], "other": [2]}, title="t", y="y", roles=roles).data
    assert grouped[0].marker.color == ROLES["right"]
    assert grouped[1].marker.color != ROLES["right"]


BAD = {
    "role": lambda: ui.scatter({"a": (X, X)}, title="t", x="x", y="y", roles={"a": "good"}),
    "no title": lambda: ui.lines({"a": (X, X)}, title=" ", x="x", y="y"),
    "no series": lambda: ui.lines({}, title="t", x="x", y="y"),
    "not a dictionary": lambda: ui.lines([(X, X)], title="t", x="x", y="y"),
    "not a pair": lambda: ui.lines({"a": X}, title="t", x="x", y="y"),
    "lengths differ": lambda: ui.lines({"a": (X, X[:-1])}, title="t", x="x", y="y"),
    "empty": lambda: ui.lines({"a": ([], [])}, title="t", x="x", y="y"),
    "text": lambda: ui.lines({"a": (["p", "q"], [1, 2])}, title="t", x="x", y="y"),
    "infinite": lambda: ui.lines({"a": ([1, 2], [1, np.inf])}, title="t", x="x", y="y"),
    "two dimensions": lambda: ui.lines({"a": (np.eye(2), np.eye(2))}, title="t", x="x", y="y"),
    "zero on a log axis": lambda: ui.lines({"a": ([0, 1], [1, 2])}, title="t", x="x", y="y", log_x=True),
    "labels": lambda: ui.bars(["a"], [1, 2], title="t", y="y"),
    "NaN bar": lambda: ui.bars(["a"], [np.nan], title="t", y="y"),
    "unknown highlight": lambda: ui.bars(["a"], [1], title="t", y="y", highlight="b"),
    "groups": lambda: ui.grouped_bars(["a"], {"p": [1, 2]}, title="t", y="y"),
    "bins": lambda: ui.histogram({"a": X}, title="t", x="x", bins=0),
    "falling bins": lambda: ui.histogram({"a": X}, title="t", x="x", bins=[3, 2, 1]),
    "names": lambda: ui.scatter({"a": (X, X)}, title="t", x="x", y="y", names={"a": ["one"]}),
    "heat map": lambda: ui.heatmap([1, 2], title="t", x="x", y="y"),
    "empty heat map": lambda: ui.heatmap([[np.nan]], title="t", x="x", y="y"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(name):
    with pytest.raises(BadInput) as error:
        BAD[name]()
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_a_torch_tensor_is_drawn():
    torch = pytest.importorskip("torch")
    figure = ui.lines({"a": (torch.arange(3), torch.tensor([1.0, 4.0, 9.0]))}, title="t", x="x", y="y")
    assert list(figure.data[0].y) == [1, 4, 9]


def test_names_stand_at_the_right_end_in_whatever_order_the_points_come():
    bits, right = [8, 6, 4, 3], [88.0, 15.0, 10.0, 9.0]
    for order in (1, -1):
        figure = ui.lines({"a": (bits[::order], right[::order]), "b": ([3, 8, 9], [1, 2, np.nan])}, "t", x="x", y="y")
        assert [(a.x, a.y) for a in figure.layout.annotations if a.name == "end"] == [(8, 88), (8, 2)]

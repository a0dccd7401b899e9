"""The staircase: it is the mapping, it says what it clips, and its axes stand still under the dials."""

import numpy as np
import pytest

from edgelab import ui
from edgelab.errors import BadInput
from edgelab.ui.palette import ROLES

VALUES = np.random.default_rng(3).gamma(2.0, 0.5, 4000)


def round_trip(x, scale, zero_point, low, high):
    return scale * (np.clip(np.rint(x / scale) + zero_point, low, high) - zero_point)


def named(figure):
    return {trace.name: trace for trace in figure.data}


@pytest.mark.parametrize(
    ("scale", "zero_point", "bits", "signed"),
    [(0.16, 0, 4, False), (0.02, 3, 8, False), (0.3, -1, 3, True), (0.5, 0, 1, False), (0.001, 0, 8, False)],
)
def test_the_stairs_are_the_mapping(scale, zero_point, bits, signed):
    after = named(ui.staircase(VALUES, scale, zero_point, bits, signed=signed))["after"]
    low = -(2 ** (bits - 1)) if signed else 0
    at, heights = np.asarray(after.x), np.asarray(after.y)
    middles = (at[:-1] + at[1:]) / 2
    expected = round_trip(middles, scale, zero_point, low, low + 2**bits - 1)
    assert heights[:-1] == pytest.approx(expected)


def test_what_is_clipped_is_told_by_words_hatching_and_colour():
    figure = ui.staircase(VALUES, 0.1, 0, 4)
    share = 100 * np.mean(np.rint(VALUES / 0.1) > 15)
    assert f"{share:.2g}% of the values are clipped" in figure.layout.title.text
    lost = named(figure)["values, clipped"]
    assert sum(lost.y) == pytest.approx(share)
    assert sum(lost.y) + sum(named(figure)["values, kept"].y) == pytest.approx(100)
    assert lost.marker.color == ROLES["wrong"]
    assert lost.marker.pattern.shape
    whole = ui.staircase(VALUES, VALUES.max() / 255, 0, 8)
    assert "values, clipped" not in named(whole)
    assert whole.layout.title.text.startswith("Nothing is clipped; SQNR ")


def test_the_title_gives_the_ratio_of_signal_to_noise():
    back = round_trip(VALUES, 0.1, 0, 0, 15)
    decibels = 10 * np.log10(np.mean(VALUES**2) / np.mean((VALUES - back) ** 2))
    assert f"SQNR {decibels:.1f} dB" in ui.staircase(VALUES, 0.1, 0, 4).layout.title.text


def test_the_axes_stand_still():
    first, second = ui.staircase(VALUES, 0.1, 0, 4), ui.staircase(VALUES, 0.002, 5, 8)
    for axis in ("xaxis", "yaxis", "yaxis2"):
        assert first.layout[axis].range == second.layout[axis].range


@pytest.mark.parametrize(
    "settings",
    [
        {"values": []},
        {"values": [np.nan]},
        {"scale": 0.0},
        {"scale": np.inf},
        {"bits": 0},
        {"bits": 17},
    ],
)
def test_what_is_no_mapping_is_refused(settings):
    with pytest.raises(BadInput):
        ui.staircase(**{"values": VALUES, "scale": 0.1, "zero_point": 0, "bits": 4, **settings})

"""Contrast by formula (WCAG 2.2, 1.4.3 and 1.4.11) of every pair that is drawn, in the light theme and in the dark."""

import re
from itertools import product
from pathlib import Path

import pytest

from edgelab import Reading
from edgelab.course import boxes
from edgelab.course.claims import claim
from edgelab.ui import palette
from edgelab.ui.palette import COLOURS, INK, PAPERS, QUIET, ROLES, TOKENS
from edgelab.ui.pictures.picture import STYLE

TEXT, GRAPHICS = 4.5, 3.0
HUES = ("blue", "orange", "green", "pink")


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_the_formula():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(
    ("colour", "paper"), [*product(sorted({*COLOURS, *ROLES.values()}), [*PAPERS["light"], *PAPERS["dark"]])]
)
def test_series_stand_out_in_both_themes(colour, paper):
    assert contrast(colour, paper) >= GRAPHICS


@pytest.mark.parametrize("theme", TOKENS)
def test_text_is_legible_on_everything_it_is_written_on(theme):
    tokens = TOKENS[theme]
    grounds = [*PAPERS[theme], tokens["paper"], tokens["soft"]]
    for name, ground in product(("ink", "quiet", *HUES), grounds):
        assert contrast(tokens[name], ground) >= TEXT, (name, ground)
    for hue in HUES:
        for name in ("ink", hue):
            assert contrast(tokens[name], tokens[f"{hue}-soft"]) >= TEXT, (name, hue)


@pytest.mark.parametrize("theme", TOKENS)
def test_shapes_stand_out(theme):
    tokens = TOKENS[theme]
    for hue in HUES:
        for ground in (*PAPERS[theme], tokens["soft"], tokens[f"{hue}-soft"]):
            assert contrast(tokens[hue], ground) >= GRAPHICS, hue
    assert contrast(tokens["line"], tokens["paper"]) >= GRAPHICS


def test_the_inks_of_a_figure_are_legible_without_any_style_sheet():
    for ink in (INK, QUIET):
        assert contrast(ink, "#ffffff") >= TEXT
        assert contrast(ink, PAPERS["dark"][0]) >= GRAPHICS


def test_the_inks_are_found_by_both_style_sheets():
    page = (Path(boxes.__file__).parent / "page" / "page.css").read_text(encoding="utf-8")
    for ink in (INK, QUIET):
        wanted = f'text[style*="fill: {palette.rgb(ink)}"]'
        assert wanted in palette.plotly_css()
        assert wanted in page
    assert INK != QUIET


def test_pictures_follow_the_exported_page_into_the_dark():
    page = (Path(boxes.__file__).parent / "page" / "page.html").read_text(encoding="utf-8")
    assert '<body class="edgelab-page">' in page
    assert "@media screen and (prefers-color-scheme: dark){.edgelab-page .edgelab-picture{--el-ink:" in STYLE
    assert STYLE.index(".edgelab-page") > STYLE.index("--el-ink")  # the later of two that match wins


def test_no_figure_is_a_white_slab():
    for path in Path(palette.__file__).parent.rglob("*.*"):
        if path.suffix in (".py", ".css", ".js") and path.name != "palette.py":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"background: *white|bgcolor\": *\"(white|#fff|rgba\(255)", text), path


@pytest.mark.parametrize("colour", boxes.EDGES)
def test_boxes_write_in_the_theme_s_ink_and_have_a_visible_edge(colour):
    text = boxes.Box(colour, "Passed", ("One line.",)).markdown()
    assert "color:var(--jp-content-font-color1,inherit)" in text
    assert "background:var(--jp-layout-color1,transparent)" in text
    assert f"border-left:6px solid {boxes.EDGES[colour]}" in text
    for paper in (*PAPERS["light"], *PAPERS["dark"]):
        assert contrast(boxes.EDGES[colour], paper) >= GRAPHICS


def test_a_colour_means_the_same_in_figures_and_boxes():
    edges = boxes.EDGES
    assert (edges["success"], edges["danger"], edges["neutral"]) == (ROLES["right"], ROLES["wrong"], ROLES["neutral"])
    assert set(edges.values()) <= {*COLOURS, *ROLES.values()}


def test_a_claim_that_does_not_hold_here_is_no_failure():
    slow = Reading(0.9, "x", "measured", "a stopwatch", low=0.8, high=0.95)
    verdict = claim("M4", slow)
    assert verdict.verdict == "not here"
    assert verdict.box().colour == "info"

"""The exported page: one file, nothing loaded, every figure with its words."""

import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from bs4 import BeautifulSoup

from edgelab.course.export import PLOTLY_MIME, WIDGET_MIME, figure_html, to_html
from edgelab.errors import BadFile

LOADS = ("src", "href", "data", "poster", "action", "srcset", "xlink:href")


def figure(alt="Two bars.", **meta):
    return {
        "data": [{"type": "bar", "x": ["a", "b"], "y": [1, 2], "name": "</script><b>"}],
        "layout": {
            "title": {"text": "One is higher<br>than the other"},
            "height": 424,
            "margin": {"t": 76},
            "meta": {"alt": alt, **meta},
        },
    }


def shown(data):
    return nbformat.v4.new_output("display_data", data=data)


def alternative(words):
    return shown(
        {"text/html": f'<details class="edgelab-alt"><summary>Text alternative</summary><p>{words}</p></details>'}
    )


def code(*outputs, source="1 + 1", tags=()):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def prose(text):
    return nbformat.v4.new_markdown_cell(text)


@pytest.fixture
def export(tmp_path):
    """Write cells as a notebook, export it, and parse the page without its library."""

    def run(*cells, widgets=None):
        notebook = nbformat.v4.new_notebook(cells=list(cells))
        notebook.metadata["language_info"] = {"name": "python"}
        if widgets:
            notebook.metadata["widgets"] = widgets
        nbformat.write(notebook, tmp_path / "lab.ipynb")
        page = to_html(tmp_path / "lab.ipynb", tmp_path / "lab.html")
        assert page == tmp_path / "lab.html"
        return page.read_text(encoding="utf-8")

    return run


class Loads(HTMLParser):
    """Every address that the page would fetch by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in LOADS and tag != "a" and not (value or "").startswith("data:"):
                self.found.append((tag, name, value))


def loads_of(text):
    reader = Loads()
    reader.feed(text)
    return reader.found


def test_a_figure_keeps_its_data_title_and_words(export):
    text = export(
        prose("# My lab"), code(shown({PLOTLY_MIME: figure(), "image/png": "AAAA"}), alternative("Two bars."))
    )
    soup = BeautifulSoup(text, "html.parser")
    assert soup.title.string == "My lab"
    assert len(soup.select("figure")) == len(soup.select("details.edgelab-alt")) == 1
    assert soup.select_one(".edgelab-plot[role=img]")["aria-label"] == "Two bars."
    assert soup.select_one(".edgelab-title").string == "One is higher than the other"
    data = json.loads(soup.select_one("figure script[type='application/json']").string)
    assert data["data"][0]["name"] == "</script><b>"
    assert "title" not in data["layout"]
    assert data["layout"]["margin"]["t"] == 28
    assert data["layout"]["height"] == 376
    assert not soup.select("figure img")


def test_plotly_stands_in_the_page_once_and_only_if_needed(export):
    from plotly.offline import get_plotlyjs

    many = export(code(shown({PLOTLY_MIME: figure()}), shown({PLOTLY_MIME: figure()})))
    assert many.count(get_plotlyjs()) == 1
    assert len(export(prose("# Nothing to draw"))) < 50_000


def test_the_page_loads_nothing(export):
    remote = "https://cdn.example.org/x"
    text = export(
        prose(f"![a picture]({remote}.png)\n\n[a link]({remote}) <script src='{remote}.js'></script>"),
        code(
            shown({PLOTLY_MIME: figure(), "text/html": f"<script src='{remote}.js'></script>"}),
            shown(
                {"text/html": f"<link rel='stylesheet' href='{remote}.css'><iframe src='{remote}'></iframe><p>kept</p>"}
            ),
            shown({"application/javascript": "fetch('/')", "text/plain": "script"}),
            shown({"text/html": "<img src='//example.org/y.png' alt='the other'>"}),
        ),
    )
    assert loads_of(text) == []
    page = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r"https?://[^\s\"'<)]*", page) == [remote]  # the link
    assert "default-src 'none'" in page
    assert "kept" in page
    assert "[picture that is not in this page: a picture]" in page
    assert "[picture that is not in this page: the other]" in page


def test_no_trace_of_the_usual_networked_helpers(export):
    from plotly.offline import get_plotlyjs

    page = export(prose("$x^2$"), code(shown({PLOTLY_MIME: figure()}))).replace(get_plotlyjs(), "")
    for word in ("require.js", "cdnjs", "mathjax.js", "unpkg", "googleapis", "cdn.plot.ly"):
        assert word not in page


def test_a_panel_is_shown_by_its_first_figure(export):
    bundle = {
        WIDGET_MIME: {"model_id": "m", "version_major": 2, "version_minor": 0},
        PLOTLY_MIME: figure("A staircase.", live=True, title="How many <levels>?"),
        "text/html": "<p>this panel is live</p>",
    }
    soup = BeautifulSoup(export(code(shown(bundle)), widgets={"application/x": {"state": {}}}), "html.parser")
    assert "live in JupyterLab" in soup.select_one(".edgelab-live").text
    assert soup.select_one(".edgelab-live strong").string == "How many <levels>?"
    assert soup.select_one("details.edgelab-alt p").string == "A staircase."
    assert "this panel is live" not in soup.text
    assert not soup.select("script[type*=widget]")


def test_controls_without_a_picture_and_progress_bars(export):
    view = {"model_id": "m", "version_major": 2, "version_minor": 0}
    soup = BeautifulSoup(
        export(
            code(shown({WIDGET_MIME: view, "text/plain": "100%|##| 3/3 [00:00<00:00, 9.9it/s]"})),
            code(shown({WIDGET_MIME: view, "text/plain": "IntSlider(value=0)"})),
            code(shown({WIDGET_MIME: view, "text/html": "<p>Predict: how many?</p>"})),
        ),
        "html.parser",
    )
    assert [p.get_text(strip=True) for p in soup.select(".output_area")] == [
        "A control stands here in JupyterLab.",
        "Predict: how many?",
    ]


def test_two_figures_with_the_same_words_keep_both(export):
    soup = BeautifulSoup(
        export(code(*[shown({PLOTLY_MIME: figure()}), alternative("Two bars.")] * 2), code(alternative("alone"))),
        "html.parser",
    )
    assert [d.p.string for d in soup.select("details.edgelab-alt")] == ["Two bars.", "Two bars.", "alone"]


def test_tables_scroll_hidden_checks_fold_and_readings_show(export):
    soup = BeautifulSoup(
        export(
            prose(f"| a | b |\n|---|---:|\n| x | {'long ' * 9} |"),
            code(source="secret = 1", tags=("hidden", "check:affine")),
            code(shown({"text/markdown": "It is faster."}), source="def finding_speed(): ...", tags=("finding:speed",)),
            code(shown({"application/vnd.edgelab.reading+json": {"value": 1}, "text/markdown": "**latency**: 1.2 ms"})),
        ),
        "html.parser",
    )
    assert soup.select_one("div.scroll[tabindex='0'] > table")
    assert [cell.string for cell in soup.select(".short")] == ["a", "b", "x"]
    folded = [fold for fold in soup.select("details") if "def finding_speed" in fold.get_text()]
    assert [fold.summary.string for fold in folded] == ["Code of the sentence"]
    assert "It is faster." not in folded[0].get_text()
    assert "It is faster." in soup.get_text()
    assert soup.select_one("details > summary").string == "Code of the check"
    assert soup.select_one(".output_markdown strong").string == "latency"


def test_a_figure_without_words_is_named_by_its_title():
    soup = BeautifulSoup(figure_html({"data": [], "layout": {"title": "Plain & <b>bold</b>"}}), "html.parser")
    assert soup.select_one("[role=img]")["aria-label"] == "Plain & bold"


def test_figure_html_leaves_its_argument_alone():
    given = figure()
    figure_html(given)
    assert given == figure()


def test_a_picture_beside_the_notebook_is_embedded(export, tmp_path):
    from PIL import Image

    Image.new("RGB", (2, 2)).save(tmp_path / "dot.png")
    text = export(
        prose("![a dot](dot.png) <img src='dot.png' alt='again'> ![gone](gone.png) ![out](../dot.png) ![odd](%00.png)")
    )
    images = BeautifulSoup(text, "html.parser").find_all("img")
    assert [image["alt"] for image in images] == ["a dot", "again"]
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert "not in this page: gone" in text
    assert "not in this page: out" in text
    assert "not in this page: odd" in text
    assert loads_of(text) == []


def test_boxes_hold_their_text(export):
    """As checks and claims write them: markdown between the tags of a box, and a fold in it."""
    fold = "<details><summary>More</summary>\n\nmore\n\n</details>"
    box = f'<div class="alert alert-success">\n\n**Q1: held**\n\nWhy.\n\n{fold}\n\n</div>'
    soup = BeautifulSoup(export(code(shown({"text/markdown": box})), prose(box)), "html.parser")
    assert [alert.strong.string for alert in soup.select(".alert")] == ["Q1: held"] * 2
    assert [fold.p.string for fold in soup.select(".alert details")] == ["more"] * 2


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "does not exist"),
        ("{", "not a notebook"),
        ("[]", "not a notebook"),
        ('{"cells": [], "nbformat": 4', "not a notebook"),
        ('{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "not a notebook"),
        (b"\xff\xfe\x00", "not a notebook"),
    ],
)
def test_what_is_no_notebook_gives_one_sentence_and_no_page(tmp_path, content, word):
    source, target = tmp_path / "lab.ipynb", tmp_path / "lab.html"
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        source.write_text(content)
    with pytest.raises(BadFile, match=word) as caught:
        to_html(source, target)
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_a_page_that_cannot_be_written_leaves_the_old_one(export, tmp_path, monkeypatch):
    export(prose("# Old"))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadFile, match="No space left"):
        to_html(tmp_path / "lab.ipynb", tmp_path / "lab.html")
    monkeypatch.undo()
    assert "Old" in (tmp_path / "lab.html").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lab.html", "lab.ipynb"]


def test_formulas_read_without_a_network(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell(
            "A step $s = \\frac{a_1}{b}$ is small; `$x$` is code.\n\n$$ \\sum_i x_i^2 \\approx 1 $$"
        ),
        nbformat.v4.new_markdown_cell("<details><summary>More</summary>\n\n$e^{-s/2}$ and \\$3\n\n</details>"),
        nbformat.v4.new_markdown_cell("Broken: $\\frac{$"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    page = to_html(tmp_path / "a.ipynb", tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("<math") == 3
    assert len(re.findall(r'<math[^>]*display="block"', page)) == 1
    assert "<code>$x$</code>" in page
    assert "edgelabformula" not in page
    assert "\\sum" not in page.replace("<annotation", "")

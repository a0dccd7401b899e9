"""A plot that is repainted in place, and the one copy of plotly.js that all plots of a kernel share.

`plotly.graph_objects.FigureWidget` sends five megabytes of JavaScript for every figure. Here the library is sent
once, compressed, in a widget of its own; a plot sends its data and layout.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs, get_plotlyjs_version

from edgelab.errors import BadInput
from edgelab.ui.palette import plotly_css
from edgelab.ui.words import PLOTLY_MIME, mime_of, need_alt, text_alternative

_HERE = Path(__file__).parent
STYLE = (_HERE / "box.css").read_text(encoding="utf-8") + plotly_css()
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


class Data(ipywidgets.Widget):
    """State that travels to the page: a model of ipywidgets itself, without a script and without a view."""

    _model_name = traitlets.Unicode("WidgetModel").tag(sync=True)
    _model_module = traitlets.Unicode("@jupyter-widgets/base").tag(sync=True)
    _model_module_version = traitlets.Unicode("2.0.0").tag(sync=True)


class Library(Data):
    """plotly.js as data, one for each kernel."""

    code = traitlets.Bytes().tag(sync=True)


class Drawing(Data):
    """What a plot shows now.

    It is not part of the `LivePlot`, because anywidget drops every message to a widget whose script did not load
    within two seconds: on a slow machine a plot would be painted once and never again.
    """

    figure = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)


_library: Library | None = None


def library() -> Library:
    """The library of this kernel; the first call sends it."""
    global _library  # noqa: PLW0603  one for each process is the point
    if _library is None or _library.comm is None:
        _library = Library(code=gzip.compress(get_plotlyjs().encode("utf-8"), compresslevel=6))
    return _library


class LivePlot(anywidget.AnyWidget):
    """A figure that `update` repaints in place.

    Parameters
    ----------
    figure
        Any plotly figure.
    alt
        Its text alternative; the title of the figure if empty.

    Raises
    ------
    BadInput
        If ``figure`` is no plotly figure.
    """

    _esm = _HERE / "live.js"
    _css = STYLE
    library = traitlets.Instance(Library).tag(sync=True, **ipywidgets.widget_serialization)
    version = traitlets.Unicode(get_plotlyjs_version()).tag(sync=True)
    drawing = traitlets.Instance(Drawing).tag(sync=True, **ipywidgets.widget_serialization)

    def __init__(self, figure: go.Figure, alt: str = "") -> None:
        self.current = _checked(figure)
        words = alt or (figure.layout.title.text or "A figure").replace("<br>", " ")
        super().__init__(library=library(), drawing=Drawing(figure=figure.to_json(), alt=words))

    def update(self, figure: go.Figure) -> None:
        """Repaint with another figure; only its data and layout travel."""
        self.current = _checked(figure)
        self.drawing.figure = figure.to_json()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return live_bundle(self, self.current, self.drawing.alt), {}


class Names(anywidget.AnyWidget):
    """Gives the slider handles of the box it stands in the names of their labels, and the box its style."""

    _esm = _HERE / "names.js"
    _css = STYLE


def live_bundle(widget: ipywidgets.DOMWidget, figure: go.Figure, alt: str, title: str = "") -> dict[str, Any]:
    """One output with the live widget, and what stands in its place where no kernel runs."""
    words = need_alt(alt)
    still = mime_of(figure, words)
    still["layout"]["meta"] |= {"live": True, "title": title}
    heading = f"{title}: " if title else ""
    return {
        WIDGET_MIME: {"version_major": 2, "version_minor": 1, "model_id": widget.model_id},
        PLOTLY_MIME: still,
        "text/html": f"<p>{heading}this panel is live in JupyterLab.</p>{text_alternative(words)}",
        "text/plain": f"{heading}{words} Live in JupyterLab.",
    }


def _checked(figure: Any) -> go.Figure:
    if not isinstance(figure, go.Figure):
        raise BadInput(f"A live plot shows a plotly figure, not {type(figure).__name__}.")
    return figure

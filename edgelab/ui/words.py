"""No figure without words: `show` displays one with its text alternative, which panels carry as well."""

from __future__ import annotations

import html
import json
from typing import Any

import plotly.graph_objects as go

from edgelab.errors import BadInput
from edgelab.ui.palette import plotly_css
from edgelab.ui.theme import CONFIG, plain_title

PLOTLY_MIME = "application/vnd.plotly.v1+json"


def show(figure: go.Figure, alt: str) -> None:
    """Display a figure in the notebook with its text alternative under it.

    Parameters
    ----------
    figure
        Any plotly figure.
    alt
        What there is to see, in a sentence, for who does not see it.

    Raises
    ------
    BadInput
        If ``figure`` is no plotly figure or ``alt`` is empty.
    """
    words = need_alt(alt)
    data = mime_of(figure, words)
    from IPython.display import display

    title = plain_title(data)
    display({PLOTLY_MIME: data, "text/plain": f"{title}. {words}" if title else words}, raw=True)
    below = f"<style>{plotly_css()}</style>{text_alternative(words)}"
    display({"text/html": below, "text/plain": f"Text alternative: {words}"}, raw=True)


def need_alt(alt: str) -> str:
    """``alt`` on one line, if it says something; a figure's title, wrapped for the figure, is unwrapped.

    Raises
    ------
    BadInput
        If it is empty.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise BadInput("A figure needs a text alternative: alt='...' says in a sentence what there is to see.")
    return " ".join(alt.replace("<br>", " ").split())


def mime_of(figure: go.Figure, alt: str) -> dict[str, Any]:
    """The figure as data for ``PLOTLY_MIME``, with its alternative in ``layout.meta``.

    Raises
    ------
    BadInput
        If ``figure`` is no plotly figure.
    """
    if not isinstance(figure, go.Figure):
        raise BadInput(f"A plotly figure is shown here, not {type(figure).__name__}.")
    content: dict[str, Any] = json.loads(figure.to_json())
    meta = content["layout"].get("meta")
    content["layout"]["meta"] = {**(meta if isinstance(meta, dict) else {}), "alt": alt}
    content["config"] = CONFIG
    return content


def text_alternative(alt: str) -> str:
    """The HTML under a figure: a disclosure that keyboards and screen readers reach.

    Examples
    --------
    >>> text_alternative("a < b")
    '<details class="edgelab-alt"><summary>Text alternative</summary><p>a &lt; b</p></details>'
    """
    words = html.escape(alt.strip())
    return f'<details class="edgelab-alt"><summary>Text alternative</summary><p>{words}</p></details>'

"""Coloured boxes in a notebook, for the results of checks and the verdicts on claims.

The colour only repeats what the first word says. Each box carries its content as data too, under a mime type of
its own, and as plain text for a terminal.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgelab.reading import announce, kernel_shell

Colour = Literal["success", "warning", "danger", "info", "neutral"]
EDGES: Mapping[Colour, str] = {
    "success": "#009E73",
    "warning": "#B07A00",
    "danger": "#D55E00",
    "info": "#0072B2",
    "neutral": "#7a828c",
}
"""The colour of a box is its edge. What it says is written in the theme's own ink on the theme's own paper: JupyterLab
writes in shades on shades, with a contrast of 2 to 3.5."""
_GROUND = "color:var(--jp-content-font-color1,inherit);background:var(--jp-layout-color1,transparent)"


@dataclass(frozen=True)
class Box:
    """A box: ``head`` says it in one or two words, ``folded`` holds titles and markdown that open on a click.

    ``head`` and ``lines`` are plain text in which backticks mark code: an answer's own text cannot change the page.
    """

    colour: Colour
    head: str
    lines: tuple[str, ...]
    folded: tuple[tuple[str, str], ...] = ()

    def markdown(self) -> str:
        """The box as markdown inside the alert that JupyterLab colours."""
        lines = [escape(line) for line in self.lines]
        known = "info" if self.colour == "neutral" else self.colour  # JupyterLab has no neutral alert
        edge = f"border:1px solid var(--jp-border-color1,#7a828c);border-left:6px solid {EDGES[self.colour]}"
        parts = [f'<div class="alert alert-{known}" style="{_GROUND};{edge}">', f"**{escape(self.head)}**", *lines]
        for title, body in self.folded:
            parts.append(f"<details><summary>{title}</summary>\n\n{body}\n\n</details>")
        return "\n\n".join([*parts, "</div>"])

    def text(self) -> str:
        """The box as plain text."""
        return "\n".join([self.head, *self.lines, *(f"{title}: {body}" for title, body in self.folded)])

    def bundle(self, mime: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The mime bundle of the box with ``payload`` attached under ``mime``."""
        return {mime: dict(payload), "text/markdown": self.markdown(), "text/plain": self.text()}


def escape(text: str) -> str:
    r"""Plain text as markdown that reads the same; what stands between two backticks stays code.

    Examples
    --------
    >>> print(escape("`a_b` is not a_b < 3"))
    `a_b` is not a\_b &lt; 3
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner
        return _escape(text)
    return "`".join(part if number % 2 else _escape(part) for number, part in enumerate(parts))


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]#$~|])", r"\\\1", html.escape(text, quote=False))


def show(box: Box, mime: str, payload: Mapping[str, Any]) -> None:
    """Display a box in a running notebook; elsewhere do nothing."""
    if kernel_shell() is None:
        return
    from IPython.display import display

    display(box.bundle(mime, payload), raw=True)
    announce(mime, payload)


def show_markdown(markdown: str, text: str) -> None:
    """Display plain markdown in a running notebook; elsewhere do nothing."""
    if kernel_shell() is None:
        return
    from IPython.display import display

    display({"text/markdown": markdown, "text/plain": text}, raw=True)

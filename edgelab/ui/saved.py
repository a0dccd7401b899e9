"""What a saved notebook shows of a widget when no kernel stands behind it: its last state, in place of an error.

A widget lives as long as its kernel. Under it stands a second output, which JupyterLab hides while the widget is there
and shows instead of "model not found" when it is not. The kernel brings it up to date when the widget has rested.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

REST_SECONDS = 0.5
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_CHILD = ".jp-OutputArea-child"
_LIVE = f".jp-OutputArea:has(.edgelab-box)>{_CHILD}"
_GONE = f".jp-OutputArea:not(:has(.edgelab-box))>{_CHILD}"
STYLE = (
    "<style>"
    # live: hides the saved state, and the figure just before its words
    f"{_LIVE}:has(.edgelab-saved),{_LIVE}:has(+{_CHILD} .edgelab-saved-figure),"
    # not live: hides what stands in the widget's place, the output before the saved state
    f"{_GONE}:has(+{_CHILD} .edgelab-saved:not(.edgelab-saved-figure)),"
    f"{_GONE}:has(+{_CHILD}+{_CHILD} .edgelab-saved-figure){{display:none}}"
    ".edgelab-saved p{margin:4px 0}</style>"
)
Bundle = dict[str, Any]


class Saved:
    """The outputs of a widget: the widget itself, and what stays of it.

    Parameters
    ----------
    state
        Gives the mime bundles of what stays, always as many.
    """

    def __init__(self, state: Callable[[], Sequence[Bundle]]) -> None:
        self._state = state
        self._names: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def show(self, widget: Any, words: str) -> None:
        """Display the widget, and under it what stays of it; ``words`` stand for it in plain text."""
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 1, "model_id": widget.model_id}
        display({WIDGET_MIME: view, "text/html": "", "text/plain": words}, raw=True)
        state = self._state()
        self._names = self._names or [uuid.uuid4().hex for _ in state]
        for name, bundle in zip(self._names, state, strict=True):
            display(bundle, raw=True, display_id=name)

    def update(self) -> None:
        """Bring what stays up to date, now."""
        from IPython.display import display

        self._timer = None
        if self._names:
            for name, bundle in zip(self._names, self._state(), strict=True):
                display(bundle, raw=True, display_id=name, update=True)

    def update_soon(self) -> None:
        """Bring it up to date once nothing has moved for half a second: a dial in motion sends its figure alone."""
        if not self._names:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: a test, a script
            self.update()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(REST_SECONDS, self.update)

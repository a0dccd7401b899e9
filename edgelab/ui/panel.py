"""A figure with dials: every move of a dial calls a function and repaints what it returns."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from edgelab.errors import BadInput, EdgelabError
from edgelab.ui.controls import Control
from edgelab.ui.live import LivePlot, Names, live_bundle
from edgelab.ui.words import need_alt, text_alternative


class Panel:
    """A live figure under its controls.

    Parameters
    ----------
    draw
        ``draw(**values)`` returns a plotly figure; it is called with the value of each control by name. It should
        answer in well under 100 ms; give a ``button`` to a draw that cannot.
    alt
        What there is to see, in a sentence.
    title
        One line over the controls.
    button
        The text of a button. With it, moving a control repaints nothing until the button is pressed.
    **controls
        ``name=slider(...)``, ``choice(...)`` or ``toggle(...)``.

    Raises
    ------
    BadInput
        If ``alt`` is empty, there are no controls, or ``draw`` returns no figure at the initial values. What ``draw``
        raises at the initial values comes through; later it becomes a sentence in the panel.

    Notes
    -----
    A slider that moves faster than ``draw`` answers skips values: the browser sends the next one when the kernel is
    ready for it, so the figure always ends at the slider's last value.
    """

    def __init__(
        self,
        draw: Callable[..., go.Figure],
        *,
        alt: str,
        title: str = "",
        button: str | None = None,
        **controls: Control,
    ) -> None:
        self.alt = need_alt(alt)
        self.title = title
        self._draw = draw
        for name, control in controls.items():
            if not isinstance(control, Control):
                raise BadInput(f"Panel(): '{name}' must be a slider(), a choice() or a toggle().")
        if not controls:
            raise BadInput("Panel() needs at least one control, for example bits=slider(2, 8, 1, label='bits').")
        first = self._figure({name: control.value for name, control in controls.items()})
        self.plot = LivePlot(first, self.alt)
        self.controls = {name: control.widget(name, live=True) for name, control in controls.items()}
        self._initial = first
        self._message = ipywidgets.HTML()
        row = ipywidgets.Box(list(self.controls.values()))
        row.add_class("edgelab-controls")
        heading = [ipywidgets.HTML(f'<p class="edgelab-title">{html.escape(title)}</p>')] if title else []
        self._button = self._make_button(button) if button else None
        press = [self._button] if self._button is not None else []
        about = ipywidgets.HTML(text_alternative(self.alt))
        self.widget = ipywidgets.VBox([*heading, row, *press, self._message, self.plot, about, Names()])
        self.widget.add_class("edgelab-box")
        self.widget.add_class("edgelab-panel")
        for control in self.controls.values():
            control.observe(self._moved, names="value")

    @property
    def values(self) -> dict[str, Any]:
        """The value of each control now."""
        return {name: control.value for name, control in self.controls.items()}

    def _make_button(self, text: str) -> Any:
        button = ipywidgets.Button(description=text, button_style="primary")
        button.on_click(lambda _: self._measure())
        return button

    def _moved(self, _: Any) -> None:
        if self._button is None:
            self._repaint()
            return
        self.widget.add_class("edgelab-stale")
        self._say(f"The figure shows the settings before; press {self._button.description}.", calm=True)

    def _measure(self) -> None:
        if self._button is None:
            return
        self._button.disabled = True
        self._message.value = '<p class="edgelab-note" role="status">At work <progress></progress></p>'
        try:
            self._repaint()
        except KeyboardInterrupt:
            self._say(f"Interrupted; the figure shows the settings before. Press {self._button.description} again.")
        finally:
            self._button.disabled = False

    def _repaint(self) -> None:
        try:
            figure = self._figure(self.values)
        except Exception as error:  # noqa: BLE001  whatever a learner's function does, the panel lives on
            self.widget.add_class("edgelab-stale")
            self._say(sentence(error))
            return
        self.plot.update(figure)
        self.widget.remove_class("edgelab-stale")
        self._say("")

    def _figure(self, values: dict[str, Any]) -> go.Figure:
        figure = self._draw(**values)
        if not isinstance(figure, go.Figure):
            raise BadInput(f"A panel's function must return a figure, but it returned {type(figure).__name__}.")
        return figure

    def _say(self, text: str, *, calm: bool = False) -> None:
        look = 'class="edgelab-note" role="status"' if calm else 'class="edgelab-message" role="alert"'
        self._message.value = f"<p {look}>{html.escape(text)}</p>" if text else ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return live_bundle(self.widget, self._initial, self.alt, self.title), {}


def sentence(error: Exception) -> str:
    """An error as one line for a person.

    Examples
    --------
    >>> sentence(ZeroDivisionError("division by zero"))
    'This setting does not work: division by zero (ZeroDivisionError).'
    """
    lines = str(error).strip().splitlines()
    if isinstance(error, EdgelabError) and lines:
        return lines[0]
    return f"This setting does not work: {lines[0] if lines else 'no message'} ({type(error).__name__})."

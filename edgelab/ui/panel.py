"""A figure with dials: every move of a dial calls a function and repaints what it returns."""

from __future__ import annotations

import functools
import html
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import ipywidgets
import plotly.graph_objects as go

from edgelab.errors import BadInput, EdgelabError
from edgelab.ui.axes import with_common_axes
from edgelab.ui.controls import Control
from edgelab.ui.live import LivePlot, Names
from edgelab.ui.palette import plotly_css
from edgelab.ui.pictures import Picture
from edgelab.ui.saved import STYLE, Saved
from edgelab.ui.words import PLOTLY_MIME, mime_of, need_alt, text_alternative

Shown: TypeAlias = "go.Figure | Picture"


class LivePicture(ipywidgets.HTML):
    """A picture that `update` replaces in place."""

    def __init__(self, picture: Picture) -> None:
        self.current = picture
        super().__init__(value=picture.html())

    def update(self, picture: Picture) -> None:
        """Show another picture."""
        self.current = picture
        self.value = picture.html()


class Panel:
    """A live figure or picture under its controls.

    Parameters
    ----------
    draw
        ``draw(**values)`` returns a plotly figure, or each time a `Picture`; it is called with the value of each
        control by name. It should answer in well under 100 ms; give a ``button`` to a draw that cannot.
    alt
        What there is to see, in a sentence; or a function that takes the same values and says it, so that it is true
        at every setting. A picture brings its own.
    title
        One line over the controls.
    button
        The text of a button. With it, moving a control repaints nothing until the button is pressed.
    reports
        Whether ``draw`` also takes ``report``, to be called with how much is done and how much there is: the bar under
        the button then shows it.
    same_axes
        The name of a toggle or a choice whose effect the axes should show: its figures at all its values share their
        axes, so that switching it rescales nothing. It draws once for each value.
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
        alt: str | Callable[..., str] = "",
        title: str = "",
        button: str | None = None,
        reports: bool = False,
        same_axes: str | None = None,
        **controls: Control,
    ) -> None:
        self.title = title
        self._message = ipywidgets.HTML()
        self._button: Any = None
        self._reported = 0.0
        self._draw = functools.partial(draw, report=self._report) if reports else draw
        self._alt = alt
        for name, control in controls.items():
            if not isinstance(control, Control):
                raise BadInput(f"Panel(): '{name}' must be a slider(), a choice() or a toggle().")
        if not controls:
            raise BadInput("Panel() needs at least one control, for example bits=slider(2, 8, 1, label='bits').")
        self.controls = {name: control.widget(name, live=True) for name, control in controls.items()}
        self._shared = None if same_axes is None else (same_axes, self._values_of(same_axes))
        first = self._figure(self.values)
        self.alt = self._words(first, self.values)
        self.plot = LivePicture(first) if isinstance(first, Picture) else LivePlot(first, self.alt)
        self._saved = Saved(self._state)
        row = ipywidgets.Box(list(self.controls.values()))
        row.add_class("edgelab-controls")
        heading = [ipywidgets.HTML(f'<p class="edgelab-title">{html.escape(title)}</p>')] if title else []
        self._button = self._make_button(button) if button else None
        press = [self._button] if self._button is not None else []
        self._about = ipywidgets.HTML("" if isinstance(first, Picture) else text_alternative(self.alt))
        self.widget = ipywidgets.VBox([*heading, row, *press, self._message, self.plot, self._about, Names()])
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

    def _report(self, done: int, total: int) -> None:
        """Move the bar, ten times a second at most."""
        now = time.monotonic()
        if self._button is None or (now - self._reported < 0.1 and done < total):
            return
        self._reported = now
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
        self._message.value = f'<p class="edgelab-note" role="status">{done:,} of {total:,} {bar}</p>'

    def _repaint(self) -> None:
        try:
            figure = self._figure(self.values)
            self.alt = self._words(figure, self.values)
        except Exception as error:  # noqa: BLE001  whatever a learner's function does, the panel lives on
            self.widget.add_class("edgelab-stale")
            self._say(sentence(error))
            return
        self.plot.update(figure)
        if isinstance(self.plot, LivePlot):
            self.plot.drawing.alt = self.alt
            self._about.value = text_alternative(self.alt)
        self.widget.remove_class("edgelab-stale")
        self._say("")
        self._saved.update_soon()

    def _figure(self, values: dict[str, Any]) -> Shown:
        figure = self._draw(**values)
        plot = getattr(self, "plot", None)  # what it showed first, it shows always
        kinds = (go.Figure, Picture) if plot is None else (Picture if isinstance(plot, LivePicture) else go.Figure,)
        if not isinstance(figure, kinds):
            raise BadInput(
                f"A panel's function must return a figure, or each time a picture; it returned {type(figure).__name__}."
            )
        if self._shared is None or isinstance(figure, Picture):
            return figure
        name, others = self._shared
        rest = [self._draw(**{**values, name: other}) for other in others if other != values[name]]
        return with_common_axes(figure, rest)

    def _words(self, shown: Shown, values: dict[str, Any]) -> str:
        if isinstance(shown, Picture):
            return shown.alt
        return need_alt(self._alt(**values) if callable(self._alt) else self._alt)

    def _values_of(self, name: str) -> Sequence[Any]:
        control = self.controls.get(name)
        if isinstance(control, ipywidgets.Checkbox):
            return (False, True)
        if isinstance(control, ipywidgets.Dropdown):
            return [value for _, value in control.options]
        raise BadInput(f"Panel(): same_axes='{name}' must name one of its toggles or choices.")

    def _state(self) -> list[dict[str, Any]]:
        """The panel as it stands, for the saved notebook: its figure, and under it its settings in words."""
        named = ", ".join(f"{control.description} {_told(control)}" for control in self.controls.values())
        shown = self.plot.current
        title = f"<strong>{html.escape(self.title)}</strong>: " if self.title else ""
        words = f"<p>{title}{html.escape(named)}. Run the cell to move the dials.</p>"
        plain = f"{f'{self.title}: ' if self.title else ''}{named}. {self.alt}"
        if isinstance(shown, Picture):
            return [
                {
                    "text/html": f'{STYLE}<div class="edgelab-saved">{words}{shown.html()}</div>',
                    "text/plain": plain,
                }
            ]
        still = mime_of(shown, self.alt)
        still["layout"]["meta"] |= {"live": True, "title": self.title}
        about = f'<div class="edgelab-saved edgelab-saved-figure">{words}{text_alternative(self.alt)}</div>'
        return [
            {PLOTLY_MIME: still, "text/plain": plain},
            {
                "text/html": f"{STYLE}<style>{plotly_css()}</style>{about}",
                "text/plain": f"Text alternative: {self.alt}",
            },
        ]

    def _say(self, text: str, *, calm: bool = False) -> None:
        look = 'class="edgelab-note" role="status"' if calm else 'class="edgelab-message" role="alert"'
        self._message.value = f"<p {look}>{html.escape(text)}</p>" if text else ""

    def _ipython_display_(self) -> None:
        self._saved.show(self.widget, f"{self.title or 'A panel'}, live in JupyterLab.")


def _told(control: Any) -> str:
    """The value of a control as a reader sees it."""
    if isinstance(control, ipywidgets.Checkbox):
        return "on" if control.value else "off"
    return str(control.label) if isinstance(control, ipywidgets.Dropdown) else str(control.value)


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

"""The dials of a panel: what may be chosen, checked when it is written and made into a widget when it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets

from edgelab.errors import BadInput

_STYLE = {"description_width": "initial"}


@dataclass(frozen=True)
class Control:
    """One dial: its widget class with its settings, the label aside."""

    kind: type[Any]
    settings: Mapping[str, Any]
    label: str

    @property
    def value(self) -> Any:
        """The initial value."""
        return self.settings["value"]

    def widget(self, name: str = "", *, live: bool = True) -> Any:
        """The widget, labelled; without a label, by the name of the argument it sets."""
        label = self.label or name.replace("_", " ")
        extra = {"continuous_update": live} if "readout" in self.settings else {}
        return self.kind(description=label, style=_STYLE, layout={"width": "auto"}, **self.settings, **extra)


def slider(low: float, high: float, step: float = 1, value: float | None = None, label: str = "") -> Control:
    """A slider from ``low`` to ``high``; it gives whole numbers if all its numbers are whole.

    Parameters
    ----------
    low, high, step
        Its ends and its step, in the unit that the label names.
    value
        Where it starts; ``low`` without it.
    label
        The name that stands beside it.

    Raises
    ------
    BadInput
        If the ends, the step or the value do not fit together.

    Examples
    --------
    >>> slider(2, 8, 1, value=4, label="bits").value
    4
    """
    start = low if value is None else value
    given = (low, high, step, start)
    if any(isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n) for n in given):
        raise BadInput(f"slider(): low, high, step and value must be finite numbers, not {given}.")
    if not (low < high and 0 < step <= high - low):
        raise BadInput(
            f"slider(): from {low} to {high} in steps of {step} does not work; it needs low < high and a step."
        )
    if not low <= start <= high:
        raise BadInput(f"slider(): the value {start} is not between {low} and {high}.")
    whole = all(isinstance(n, int) for n in given)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    shown = "d" if whole else f".{decimals}f" if decimals < 5 else ".2e"
    settings = {"min": low, "max": high, "step": step, "value": start, "readout": True, "readout_format": shown}
    return Control(ipywidgets.IntSlider if whole else ipywidgets.FloatSlider, settings, label)


def choice(options: Sequence[Any] | Mapping[str, Any], value: Any = None, label: str = "") -> Control:
    """One of several; ``options`` as a dictionary gives them other names than their values.

    Raises
    ------
    BadInput
        If there is no option, or ``value`` is none of them.
    """
    named = dict(options) if isinstance(options, Mapping) else {str(option): option for option in options}
    if not named:
        raise BadInput("choice() needs at least one option.")
    start = next(iter(named.values())) if value is None else value
    if not any(start is option or start == option for option in named.values()):
        raise BadInput(f"choice(): {start!r} is none of the options {', '.join(named)}.")
    return Control(ipywidgets.Dropdown, {"options": list(named.items()), "value": start}, label)


def toggle(value: bool = False, label: str = "") -> Control:
    """On or off."""
    if not isinstance(value, bool):
        raise BadInput(f"toggle() starts with True or False, not {value!r}.")
    return Control(ipywidgets.Checkbox, {"value": value, "indent": False}, label)

"""A guess before the figure: asked for, committed to, and held against what was then measured.

Nothing waits for a guess. A notebook that runs without a person says that no prediction was made.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets
import traitlets

from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded
from edgelab.reading import Reading, emit, format_numbers
from edgelab.ui.controls import choice, slider
from edgelab.ui.kept import keep, place, recall
from edgelab.ui.live import Names
from edgelab.ui.saved import STYLE, Saved

PREDICTION_MIME = "application/vnd.edgelab.prediction+json"
_CLOSE = 0.1  # of the measured value: nobody guesses better without measuring


@dataclass(frozen=True)
class Outcome:
    """A prediction beside what was found. ``predicted`` is None if none was made."""

    question: str
    predicted: float | str | None
    found: Reading | str

    def __str__(self) -> str:
        found = self.found if isinstance(self.found, str) else f"{self.found.figure()} ({self.found.provenance})"
        if self.predicted is None:
            return f"You made no prediction; it is {found}."
        if isinstance(self.found, str) or isinstance(self.predicted, str):
            right = str(self.predicted) == (self.found if isinstance(self.found, str) else self.found.figure())
            return f"You predicted {self.predicted}; it is {found}{', as you said' if right else ''}."
        guess = _with_unit(self.predicted, self.found.unit)
        return f"You predicted {guess}; it is {found}: {self._verdict(self.predicted, self.found)}."

    @staticmethod
    def _verdict(guess: float, found: Reading) -> str:
        value = float(found.value)
        if found.low is not None and found.high is not None and found.low <= guess <= found.high:
            return "within the interval of the measurement"
        if abs(guess - value) <= _CLOSE * abs(value):
            return "close, less than 10 percent off"
        side = "low" if guess < value else "high"
        ratio = guess / value if value else math.inf
        if ratio > 0 and math.isfinite(ratio) and max(ratio, 1 / ratio) >= 1.5:
            return f"{max(ratio, 1 / ratio):.1f} times too {side}"
        if found.unit == "x" and value:
            return f"{100 * abs(ratio - 1):.0f} percent too {side}"
        return f"too {side} by {_with_unit(abs(float(guess) - value), found.unit)}"

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON-ready data: question, predicted, found, sentence."""
        found = self.found.to_dict() if isinstance(self.found, Reading) else self.found
        return {"question": self.question, "predicted": self.predicted, "found": found, "sentence": str(self)}

    def _repr_markdown_(self) -> str:
        return str(self)


class Prediction:
    """A question with a dial and a Commit button; made by `predict`.

    The dial has no answer until it is moved: it shows a dash, and there is nothing to commit to.
    """

    def __init__(self, question: str, unit: str, control: Any, path: Path | None = None) -> None:
        self.question = question
        self.unit = unit
        self._path = path
        self.value: float | str | None = None
        self._control = control
        self._moved = False
        self._commit = ipywidgets.Button(description="Commit", button_style="primary", disabled=True)
        self._commit.on_click(lambda _: self.commit() if self.value is None else self._ask_again())
        self._note = ipywidgets.HTML()
        row = ipywidgets.Box([control, self._commit])
        row.add_class("edgelab-controls")
        asked = ipywidgets.HTML(f'<p class="edgelab-title">{html.escape(question)}</p>')
        self.widget = ipywidgets.VBox([asked, row, self._note, Names()])
        self.widget.add_class("edgelab-box")
        self.widget.add_class("edgelab-predict")
        self.widget.add_class("edgelab-untouched")
        self._saved = Saved(self._state)
        self._restore()
        control.observe(self._dialled, names="value")

    def _dialled(self, change: Any) -> None:
        """Take a new place of the dial as an answer, unless the browser has only rounded the one where it began."""
        step, before, after = getattr(self._control, "step", None), change["old"], change["new"]
        if self._moved or not step or abs(after - before) > step / 2:
            self._touch()

    def _touch(self) -> None:
        """The dial was moved: where it stands is an answer."""
        self._moved = True
        self.widget.remove_class("edgelab-untouched")
        self._commit.disabled = self.value is not None

    def commit(self, value: float | str | None = None) -> None:
        """Commit to ``value``, or to where the dial was moved; a commitment stays.

        Raises
        ------
        BadInput
            If ``value`` is no answer, or there is none and the dial was never moved.
        """
        if self.value is not None:
            return
        if value is not None:
            try:
                self._control.value = value
            except Exception as error:
                raise BadInput(f"{value!r} is no answer to '{self.question}'.") from error
            self._touch()
        if not self._moved:
            raise BadInput(f"There is no answer to '{self.question}' yet; move the dial first.")
        self.value = self._control.value
        self._control.disabled = self._commit.disabled = True
        self._say("You predict {}. Now find out.")
        try:
            keep(self._path, self.question, self.value)
        except BadFile as error:  # the prediction holds all the same, until the kernel ends
            self._say(f"You predict {{}}. Now find out. (Not kept for later: {error})")
        self._saved.update()

    def _restore(self) -> None:
        """Take over what was committed before the kernel or the notebook was started anew."""
        earlier = recall(self._path, self.question)
        if earlier is None:
            return
        first = self._control.value
        try:
            self._control.value = earlier
        except traitlets.TraitError:
            return
        if self._control.value != earlier:  # the dial has other ends than it had then
            self._control.value = first
            return
        self._touch()
        self.value = earlier
        self._control.disabled = True
        self._commit.description = "Predict again"
        self._say("You predicted {} before.")

    def _ask_again(self) -> None:
        self.value = None
        self._control.disabled = False
        self._commit.description = "Commit"
        self._note.value = ""
        self._saved.update()

    def _say(self, text: str) -> None:
        self._note.value = f'<p class="edgelab-note" role="status">{html.escape(text.format(self._answer()))}</p>'

    def _answer(self) -> str:
        return self.value if isinstance(self.value, str) else _with_unit(float(self.value or 0), self.unit)

    def compare(self, found: Reading | str) -> Outcome:
        """The prediction beside what was found."""
        if not isinstance(found, Reading | str):
            raise BadInput(f"A prediction is held against a Reading, not {type(found).__name__}.")
        return Outcome(self.question, self.value, found)

    def against(self, found: Reading | str) -> None:
        """Show in one sentence what was predicted and what was found, and leave both in the executed notebook.

        Parameters
        ----------
        found
            The reading, or for a question with options the right one.
        """
        outcome = self.compare(found)
        emit(PREDICTION_MIME, outcome.to_dict(), outcome._repr_markdown_())

    def _state(self) -> list[dict[str, Any]]:
        said = "No prediction was made" if self.value is None else f"You predicted {self._answer()}"
        words = f"{said}. Run the cell to predict{'' if self.value is None else ' again'}."
        return [
            {
                "text/html": f'{STYLE}<div class="edgelab-saved"><p><strong>Predict:</strong> '
                f"{html.escape(self.question)}</p><p>{html.escape(words)}</p></div>",
                "text/plain": f"Predict: {self.question} {said}.",
            }
        ]

    def _ipython_display_(self) -> None:
        self._saved.show(self.widget, f"Predict: {self.question}")


def predict(
    question: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    options: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Prediction:
    """Ask for a prediction: a number between ``low`` and ``high``, or one of ``options``; nothing is chosen beforehand.

    In a learner's notebook a commitment is kept for the next time, beside what the labs' runs leave behind.

    Parameters
    ----------
    question
        What to predict.
    unit
        The unit of the answer, as in `edgelab.reading.Reading`.
    low, high
        The ends of the dial.
    options
        Answers to choose from, in place of a dial.
    path
        The JSON file that keeps commitments, where the usual one (`edgelab.ui.kept.place`) is not wanted.

    Raises
    ------
    BadInput
        If there is no question, or neither a range nor options.

    Examples
    --------
    >>> guess = predict("How many times faster?", unit="x", low=0.5, high=10)
    >>> guess.commit(2)
    >>> print(guess.compare(Reading(4.0, "x", "measured", "a stopwatch")))
    You predicted 2.00x; it is 4.00x (measured): 2.0 times too low.
    """
    if not isinstance(question, str) or not question.strip():
        raise BadInput("predict() needs a question.")
    if options is not None:
        names = [str(option) for option in options]
        control = choice(names, label="your answer").widget()
        control.value = None
    elif low is None or high is None:
        raise BadInput("predict() needs low= and high=, or options=.")
    else:
        step = _round_step(float(high) - float(low))
        middle = round(float(low) + round((float(high) - float(low)) / 2 / step) * step, 12)
        label = f"your answer ({unit})" if unit else "your answer"
        control = slider(float(low), float(high), step, value=min(middle, float(high)), label=label).widget()
    return Prediction(question.strip(), unit, control, place() if path is None else expanded(path))


def _with_unit(value: float, unit: str) -> str:
    return f"{format_numbers([value])[0]}{'' if unit in ('', '%', 'x') else ' '}{unit}"


def _round_step(span: float) -> float:
    """About a hundredth of the span, as 1, 2 or 5 times a power of ten."""
    if not (span > 0 and math.isfinite(span)):
        raise BadInput("predict() needs low < high.")
    rough = span / 100
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)

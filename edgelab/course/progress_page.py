"""The learner's progress as one page: it needs no network, no script and no colour to be read."""

from __future__ import annotations

import contextlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.course import copies, paths, progress, results
from edgelab.course.labs import Lab, all_labs
from edgelab.course.results import PREDICTION_MIME
from edgelab.course.source import exercises, read_cells
from edgelab.errors import BadFile
from edgelab.files import write_text
from edgelab.reading import Reading

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #57606a; --paper: #ffffff; --line: #d0d7de;
  --done: #0072b2; --rest: #e6e9ed; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9aa4af; --paper: #12161b;
  --line: #30363d; --done: #56b4e9; --rest: #262c33; } }
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin: 0; font-size: 1.15rem; } p.sum, .dim { color: var(--dim); }
section { border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.25rem; margin: 1rem 0; }
progress { width: 100%; height: .7rem; accent-color: var(--done); }
table { border-collapse: collapse; width: 100%; margin-top: .6rem; }
caption { text-align: left; color: var(--dim); padding-bottom: .2rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-top: 1px solid var(--line); }
th { font-weight: 600; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
"""


@dataclass(frozen=True)
class LabProgress:
    """What the page shows of one lab. ``trouble`` says why its progress file could not be read, if so.

    ``exercises`` maps their IDs to their titles. ``predictions`` are question, guess and what was found.
    """

    lab: Lab
    exercises: Mapping[str, str]
    kept: progress.Progress
    trouble: str = ""
    predictions: tuple[tuple[str, str, str], ...] = ()

    @property
    def solved(self) -> int:
        """How many of the lab's exercises were ever solved."""
        return sum(self._effort(name).solved for name in self.exercises)

    def rows(self) -> list[tuple[str, str, int, int]]:
        """For each exercise: title, state in words, tries, hints seen."""
        efforts = [(title, self._effort(name)) for name, title in self.exercises.items()]
        return [(n, "solved" if e.solved else "tried" if e.tries else "to do", e.tries, e.hints) for n, e in efforts]

    def _effort(self, name: str) -> progress.Effort:
        return self.kept.exercises.get(name, progress.Effort())


def gather() -> list[LabProgress]:
    """The progress in every lab."""
    found = []
    for lab in all_labs():
        titles = {name: found.title.replace("`", "") for name, found in exercises(read_cells(lab.source)).items()}
        trouble, kept = "", progress.Progress(lab.slug)
        try:
            kept = progress.load(lab.slug)
        except BadFile as error:
            trouble = str(error)
        found.append(LabProgress(lab, titles, kept, trouble, predictions(lab)))
    return found


def predictions(lab: Lab) -> tuple[tuple[str, str, str], ...]:
    """What was predicted in a lab, and what was then found: as kept, else as the saved notebook holds it."""
    kept: dict[str, tuple[str, str, str]] = {}
    with contextlib.suppress(BadFile, KeyError, TypeError, ValueError):  # `edgelab claims` says what is wrong with it
        for entry in results.load()["predictions"]:
            if entry["lab"] == lab.slug:
                kept[entry["question"]] = _row(entry)
    return (*kept.values(), *(row for row in saved_predictions(copies.learners(lab)) if row[0] not in kept))


def saved_predictions(notebook: Path) -> tuple[tuple[str, str, str], ...]:
    """What was predicted in a saved notebook, and what was then found; nothing if there is no such notebook."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        payloads = [o.get("data", {}).get(PREDICTION_MIME) for cell in cells for o in cell.get("outputs", ())]
        made = [payload for payload in payloads if payload is not None and payload["predicted"] is not None]
        return tuple(_row(payload) for payload in made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()  # a notebook in the middle of its work; JupyterLab or `edgelab check` will say what is wrong with it


def _row(payload: Mapping[str, Any]) -> tuple[str, str, str]:
    """Question, guess and what was found, the figures with their unit."""
    guess, found = payload["predicted"], payload["found"]
    if not isinstance(found, dict):
        return str(payload["question"]), str(guess), str(found)
    reading = Reading.from_dict(found)
    if not isinstance(guess, str):
        guess = Reading(guess, reading.unit, "quoted", "the learner").figure()
    return str(payload["question"]), guess, reading.figure()


def write_page(path: Path | None = None) -> Path:
    """Write the page, to ``runs/progress.html`` unless told otherwise, and return where it is."""
    return write_text(path or paths.ready(paths.runs()) / "progress.html", page(gather()))


def page(labs: list[LabProgress]) -> str:
    """The page as HTML."""
    solved, total = sum(entry.solved for entry in labs), sum(len(entry.exercises) for entry in labs)
    body = "\n".join(_section(entry) for entry in labs)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>edgelab: {solved} of {total} exercises solved</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Your progress</h1>
<p class="sum">{solved} of {total} exercises solved in {len(labs)} lab{"s" * (len(labs) != 1)}</p>
{body}
</main>
</body>
</html>
"""


def _section(entry: LabProgress) -> str:
    lab, total = entry.lab, len(entry.exercises)
    title = html.escape(lab.title)
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{state}</td>'
        f'<td class="n">{tries}</td><td class="n">{hints}</td></tr>'
        for name, state, tries, hints in entry.rows()
    )
    trouble = f'<p role="alert">{html.escape(entry.trouble)}</p>' if entry.trouble else ""
    return f"""<section aria-labelledby="lab-{lab.slug}">
<h2 id="lab-{lab.slug}">{lab.id} {title}</h2>
<p class="dim">{entry.solved} of {total} solved · about {lab.minutes} minutes</p>
<progress max="{max(total, 1)}" value="{entry.solved}" aria-labelledby="lab-{lab.slug}"></progress>
{trouble}
<table>
<caption>Exercises</caption>
<thead><tr><th scope="col">exercise</th><th scope="col">state</th><th scope="col" class="n">tries</th>
<th scope="col" class="n">hints</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
{_challenges(entry)}{_predictions(entry)}</section>"""


def _challenges(entry: LabProgress) -> str:
    if not entry.kept.challenges:
        return ""
    rows = []
    for name, best in entry.kept.challenges.items():
        figures = ", ".join(f"{what} {figure}" for what, figure in best.figures.items())
        state = "met" if best.met else "not yet"
        title = html.escape(name.replace("_", " "))
        rows.append(f'<tr><th scope="row">{title}</th><td>{state}</td><td>{html.escape(figures)}</td></tr>')
    body = "\n".join(rows)
    return f"""<table>
<caption>Challenges</caption>
<thead><tr><th scope="col">challenge</th><th scope="col">state</th><th scope="col">your best</th></tr></thead>
<tbody>
{body}
</tbody>
</table>
"""


def _predictions(entry: LabProgress) -> str:
    if not entry.predictions:
        return ""
    rows = []
    for question, *answers in entry.predictions:
        cells = "".join(f"<td>{html.escape(answer)}</td>" for answer in answers)
        rows.append(f'<tr><th scope="row">{html.escape(question)}</th>{cells}</tr>')
    body = "\n".join(rows)
    return f"""<table>
<caption>Predictions</caption>
<thead><tr><th scope="col">question</th><th scope="col">your guess</th><th scope="col">here</th></tr></thead>
<tbody>
{body}
</tbody>
</table>
"""

"""One table of what the labs found on this machine: a figure or two of each, from the files of its last run.

`edgelab run` keeps all readings of a lab; a notebook keeps those of its claims. What neither holds is no figure here,
but the command that would make it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelab.course import paths, results
from edgelab.course.labs import Lab, all_labs
from edgelab.errors import EdgelabError
from edgelab.files import read_json
from edgelab.reading import Reading, Table

WANTED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "start": (("speed_up.batch_1", "ONNX Runtime against PyTorch, batch 1"),),
    "quantization": (("size.file", "float file over int8 file"), ("speed_up.int8", "int8 against float, time")),
    "qat": (("ahead.loss_qat_4", "points lost at 4 bits, trained"),),
    "pruning": (("loss.half_the_filters", "points lost, half the filters"), ("speed.half_macs", "half the MACs, time")),
    "distillation": (("size.signs", "teacher over student, parameters"), ("loss.signs", "points lost, student")),
    "lowrank": (
        ("times.within_a_point", "times fewer weights within a point"),
        ("gain.trained_on", "points that training on brings back"),
    ),
    "search": (
        ("gain.search", "points of searched networks over the hand-scaled"),
        ("time.winner", "winner against hand-scaled, time"),
    ),
    "onnx": (("agreement.optimised", "answers unchanged by optimisation"),),
    "tflite": (("size.int8", "float32 over int8 .tflite"), ("speed_up.int8*", "int8 against float32 on LiteRT")),
    "coreml": (("size.float16", "float32 over float16"),),
    "mcu": (("arena.cortex_m.*", "arena on a Cortex-M"),),
    "firmware": (("signs.*.instructions", "instructions of one inference"),),
    "federated": (("behind.iid", "points behind central training"),),
    "privacy": (("restored.single", "pixels restored from a gradient"),),
    "ota": (("delta.last_layer", "an update of one layer, of the file"),),
}
"""For each lab the names of readings (as a pattern of which the first match counts), and what they are, in words."""

_DAMAGED = (EdgelabError, AttributeError, KeyError, TypeError, ValueError, RecursionError)
"""What a file raises that does not hold readings."""


@dataclass(frozen=True)
class Score:
    """A figure of a lab, or None where it was not made here; ``where`` says how to get it, or where it is from."""

    lab: str
    what: str
    reading: Reading | None
    where: str


@dataclass(frozen=True)
class Scoreboard:
    """What the labs found here; ``trouble`` holds a sentence for each file that could not be read."""

    scores: tuple[Score, ...]
    trouble: tuple[str, ...] = ()

    @property
    def run(self) -> int:
        """How many labs left a figure."""
        return len({score.lab for score in self.scores if score.reading is not None})

    @property
    def labs(self) -> int:
        """How many labs are asked."""
        return len({score.lab for score in self.scores})

    def table(self) -> Table:
        """A row for each figure."""
        rows = [
            (score.lab, score.what, score.reading.figure() if score.reading else "not run yet", score.where)
            for score in self.scores
        ]
        note = " ".join([f"{self.run} of {self.labs} labs left figures on this machine.", *self.trouble])
        return Table("What the labs found here", ("lab", "what", "figure", "from"), rows, note)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "scores": [
                {"lab": s.lab, "what": s.what, "reading": s.reading and s.reading.to_dict(), "where": s.where}
                for s in self.scores
            ],
            "trouble": list(self.trouble),
        }

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def scoreboard(but: str = "", labs: Sequence[Lab] | None = None) -> Scoreboard:
    """The figures that the labs' last runs left here.

    Parameters
    ----------
    but
        A lab that is left out: the one that asks.
    labs
        Some labs; None takes all that exist here.
    """
    trouble: list[str] = []
    try:
        claims = results.load()["claims"]
    except (EdgelabError, OSError, RecursionError) as error:
        claims, trouble = [], [str(error)]
    scores: list[Score] = []
    for lab in all_labs() if labs is None else labs:
        if lab.slug == but:
            continue
        known, sentence = _readings(lab.slug)
        trouble += [sentence] if sentence else []
        try:
            verdicts = _of_claims(claims, lab.slug)
        except _DAMAGED:
            verdicts = []
            trouble.append(f"{paths.shown(results.location())} holds a verdict of {lab.slug} without its figures.")
        said = {reading.name: (reading, "a claim's verdict") for reading in verdicts}
        said |= {reading.name: (reading, "edgelab run") for reading in known}
        wanted = WANTED.get(lab.slug) or ((("*", "its first figure"),) if lab.claims else ())
        scores += [_score(lab.slug, pattern, what, said) for pattern, what in wanted]
    return Scoreboard(tuple(scores), tuple(trouble))


def _score(lab: str, pattern: str, what: str, said: Mapping[str, tuple[Reading, str]]) -> Score:
    for name, (reading, where) in said.items():
        if fnmatch.fnmatchcase(name, pattern):
            return Score(lab, f"{what}: {name}" if pattern == "*" else what, reading, where)
    return Score(lab, what, None, f"uv run edgelab run {lab}")


def _readings(slug: str) -> tuple[list[Reading], str]:
    path = paths.runs() / slug / f"{slug}.json"
    try:
        if not path.exists():
            return [], ""
        return [_reading(entry) for entry in read_json(path)["readings"]], ""
    except (*_DAMAGED, OSError):
        return [], f"{paths.shown(path)} does not hold the readings of a run; run the lab again."


def _of_claims(claims: Sequence[Mapping[str, Any]], slug: str) -> list[Reading]:
    entries = [entry for entry in claims if entry["lab"] == slug]
    return [_reading(data) for entry in entries for data in (entry.get("readings") or [entry["reading"]])]


def _reading(data: Any) -> Reading:
    """A reading whose figure can be shown; a ValueError, TypeError, KeyError or AttributeError otherwise."""
    reading = Reading.from_dict(data)
    texts = (reading.name, reading.unit, reading.how, reading.by, reading.figure())
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("name, unit and provenance are text")
    return reading

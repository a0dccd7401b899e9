"""What the last runs on this machine found about each claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelab.course import paths
from edgelab.course.claims import all_claims
from edgelab.errors import BadFile
from edgelab.files import read_json
from edgelab.reading import Reading, Table


@dataclass(frozen=True)
class Entry:
    """One claim in one lab; ``verdict``, ``reading`` and ``why`` are None until that lab has run here."""

    id: str
    claim: str
    lab: str
    verdict: str | None = None
    reading: Reading | None = None
    why: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON-ready data: id, claim, lab, verdict, reading, why."""
        reading = None if self.reading is None else self.reading.to_dict()
        return {**{key: getattr(self, key) for key in ("id", "claim", "lab", "verdict", "why")}, "reading": reading}


def last_claims() -> list[Entry]:
    """Every claim of every lab that exists here, with the verdict of its last run.

    Raises
    ------
    BadFile
        If a run's file is not one that a run wrote.
    """
    from edgelab.course.labs import all_labs

    entries = []
    for lab in all_labs():
        verdicts = _verdicts(lab.slug)
        for identity in lab.claims:
            found = verdicts.get(identity)
            text = all_claims()[identity].text if identity in all_claims() else ""
            if found is None:
                entries.append(Entry(identity, text, lab.slug))
            else:
                reading = Reading.from_dict(found["reading"])
                entries.append(Entry(identity, found["claim"], lab.slug, found["verdict"], reading, found["why"]))
    return entries


def claims_table(entries: list[Entry]) -> Table:
    """The entries as a table."""
    rows = [(e.id, e.claim, e.lab, e.verdict or "not run yet", e.reading and str(e.reading)) for e in entries]
    note = "" if all(e.verdict for e in entries) else "`edgelab run LAB` puts a lab's claims to the test."
    return Table("Claims on this machine", ("id", "claim", "lab", "verdict", "here"), rows, note)


def _verdicts(lab: str) -> dict[str, dict[str, Any]]:
    path = paths.runs() / lab / f"{lab}.json"
    if not path.exists():
        return {}
    run = read_json(path)
    try:
        found = {str(entry["id"]): entry for entry in run["claims"]}
        for entry in found.values():
            Reading.from_dict(entry["reading"])
            _ = entry["claim"], entry["verdict"], entry["why"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadFile(f"{paths.shown(path)} is not what a run leaves behind; run `edgelab run {lab}` again.") from error
    return found

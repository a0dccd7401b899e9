"""What was last found on this machine about each claim, in a notebook or by `edgelab run`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelab.course import results
from edgelab.course.claims import all_claims
from edgelab.reading import Reading, Table


@dataclass(frozen=True)
class Entry:
    """One claim and the labs that test it; the rest is None until one of them has run here.

    ``lab`` is the one whose verdict it is, ``where`` how it ran (``"notebook"``, ``"edgelab run"``), ``date`` when, as
    an ISO date and time.
    """

    id: str
    claim: str
    labs: tuple[str, ...]
    verdict: str | None = None
    reading: Reading | None = None
    why: str | None = None
    lab: str | None = None
    where: str | None = None
    date: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON-ready data: id, claim, labs, verdict, reading, why, lab, where, date."""
        reading = None if self.reading is None else self.reading.to_dict()
        keys = ("id", "claim", "verdict", "why", "lab", "where", "date")
        return {**{key: getattr(self, key) for key in keys}, "labs": list(self.labs), "reading": reading}


def last_claims() -> list[Entry]:
    """Every claim of the labs that exist here, once, with the last verdict on it.

    Raises
    ------
    BadFile
        If the file with the findings cannot be read.
    """
    from edgelab.course.labs import all_labs

    tested: dict[str, list[str]] = {}
    for lab in all_labs():
        for identity in lab.claims:
            tested.setdefault(identity, []).append(lab.slug)
    found = {entry["id"]: entry for entry in results.load()["claims"]}
    return [_entry(identity, tuple(labs), found.get(identity)) for identity, labs in tested.items()]


def _entry(identity: str, labs: tuple[str, ...], found: dict[str, Any] | None) -> Entry:
    known = all_claims()
    if found is None:
        return Entry(identity, known[identity].text if identity in known else "", labs)
    return Entry(
        id=identity,
        claim=found["claim"],
        labs=labs,
        verdict=found["verdict"],
        reading=Reading.from_dict(found["reading"]),
        why=found["why"],
        lab=found["lab"],
        where=found["where"],
        date=found["date"],
    )


def claims_table(entries: list[Entry]) -> Table:
    """The entries as a table."""
    rows = [
        (e.id, e.claim, ", ".join(e.labs), e.verdict or "not run yet", e.reading and str(e.reading), _where(e))
        for e in entries
    ]
    note = "" if all(e.verdict for e in entries) else "Run a lab, or `edgelab run LAB`, to put its claims to the test."
    return Table("Claims on this machine", ("id", "claim", "labs", "verdict", "here", "where and when"), rows, note)


def _where(entry: Entry) -> str | None:
    if entry.where is None or entry.date is None:
        return None
    return f"{entry.lab}, {entry.where}, {entry.date[:10]}"

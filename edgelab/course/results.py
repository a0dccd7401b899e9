"""What labs found on this machine, ``runs/claims.json``: of each claim the last verdict, and how predictions came out.

Notebooks and `edgelab run` write to it, perhaps at once: each change is made under a lock, and the later date wins.
A file that cannot be read is left as it is and reported.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgelab.course import boxes, paths, progress
from edgelab.errors import BadFile, EdgelabError
from edgelab.files import locked, read_json, write_json
from edgelab.reading import Reading, kernel_shell

CLAIM_MIME = "application/vnd.edgelab.claim+json"
PREDICTION_MIME = "application/vnd.edgelab.prediction+json"
_VERDICT = ("id", "claim", "verdict", "reading", "readings", "why", "lab", "where", "date")
_PREDICTION = ("question", "predicted", "found", "sentence", "lab", "where", "date")
_LISTS = {"claims": _VERDICT, "predictions": _PREDICTION}


def location() -> Path:
    """The file that holds the findings."""
    return paths.runs() / "claims.json"


def load() -> dict[str, list[dict[str, Any]]]:
    """The findings as the file holds them: lists ``claims`` and ``predictions``, empty ones without a file.

    Raises
    ------
    BadFile
        If there is a file that does not hold findings.
    """
    path = location()
    if not path.exists():
        return {kind: [] for kind in _LISTS}
    data = read_json(path)
    try:
        for kind, keys in _LISTS.items():
            for entry in data[kind]:
                _ = [entry[key] for key in keys], {_name(kind, entry)}
                _ = _date(entry) <= dt.datetime.now(dt.UTC)  # a date without a time zone cannot be compared
        for entry in data["claims"]:
            Reading.from_dict(entry["reading"])
    except (AttributeError, KeyError, TypeError, ValueError, EdgelabError) as error:
        raise BadFile(
            f"{paths.shown(path)} does not hold what labs found; move it away, and the next verdict starts a new one."
        ) from error
    return {kind: list(data[kind]) for kind in _LISTS}


def add(
    lab: str, where: str, *, claims: Iterable[Mapping[str, Any]] = (), predictions: Iterable[Mapping[str, Any]] = ()
) -> None:
    """Put verdicts and resolved predictions, as their ``to_dict`` gives them, in the place of earlier ones.

    Parameters
    ----------
    lab
        The lab that found them.
    where
        ``"notebook"``, ``"edgelab run"`` or ``"edgelab run --mine"``.
    claims, predictions
        What was found now.

    Raises
    ------
    BadFile
        If the file cannot be read, locked or written; it stays as it was.
    """
    facts = {"lab": lab, "where": where, "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}
    with locked(location()):
        kept = load()
        for kind, found in (("claims", claims), ("predictions", predictions)):
            by_key = {_name(kind, entry): entry for entry in kept[kind]}
            for new in found:
                entry = {name: {**new, **facts}.get(name) for name in _LISTS[kind]}
                before = by_key.get(_name(kind, entry))
                if before is None or _date(before) <= _date(entry):
                    by_key[_name(kind, entry)] = entry
            kept[kind] = list(by_key.values())
        write_json(location(), kept)


def note(lab: str, mime: str, payload: Mapping[str, Any]) -> None:
    """Keep what a cell of a learner's notebook just showed, if it is a verdict or a prediction that came out.

    Elsewhere, and where no score is kept, do nothing. What goes wrong is said under the cell.
    """
    if kernel_shell() is None or not progress.keeps_score():
        return
    try:
        if mime == CLAIM_MIME:
            add(lab, "notebook", claims=[payload])
        elif mime == PREDICTION_MIME and payload["predicted"] is not None:
            add(lab, "notebook", predictions=[payload])
    except (EdgelabError, OSError) as error:
        sentence = f"This was not kept for `edgelab claims`: {error}"
        boxes.show_markdown(f"*{boxes.escape(sentence)}*", sentence)


def _name(kind: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (entry["id"],) if kind == "claims" else (entry["lab"], entry["question"])


def _date(entry: Mapping[str, Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(entry["date"])

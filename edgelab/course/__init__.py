"""The course: labs, checks with hints, claims with verdicts, and what runs them.

What a lab imports from here: ``begin`` opens it, ``check`` holds an answer against its check, ``whose`` says under a
figure whose functions drew it, ``finding`` states in words what was found (``by_side``,
``side_of`` and ``listed`` help it), ``claim`` computes a verdict from readings,
``challenge`` measures an attempt at an open task, whose conditions are each a ``Target``. They are loaded when asked
for: listing labs needs none of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelab.course.challenges import Target, challenge
    from edgelab.course.checks import check
    from edgelab.course.claims import claim
    from edgelab.course.findings import by_side, finding, listed, side_of
    from edgelab.course.owners import whose
    from edgelab.course.session import begin

__all__ = ["Target", "begin", "by_side", "challenge", "check", "claim", "finding", "listed", "side_of", "whose"]

_ROOMS = {
    "Target": "challenges",
    "begin": "session",
    "by_side": "findings",
    "challenge": "challenges",
    "check": "checks",
    "claim": "claims",
    "finding": "findings",
    "listed": "findings",
    "side_of": "findings",
    "whose": "owners",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _ROOMS:
        return getattr(importlib.import_module(f"edgelab.course.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

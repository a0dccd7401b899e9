"""The course: labs, checks with hints, claims with verdicts, and what runs them.

A lab imports from here: ``begin`` opens it, ``check`` holds an answer against its check, ``claim`` computes a
verdict from readings, ``finding`` shows a sentence that a function made from them, with ``by_side``, ``side_of`` and
``listed`` to make it. They are loaded when asked for: listing labs needs none of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelab.course.checks import check
    from edgelab.course.claims import claim
    from edgelab.course.findings import by_side, finding, listed, side_of
    from edgelab.course.session import begin

__all__ = ["begin", "by_side", "check", "claim", "finding", "listed", "side_of"]

_ROOMS = {
    "begin": "session",
    "by_side": "findings",
    "check": "checks",
    "claim": "claims",
    "finding": "findings",
    "listed": "findings",
    "side_of": "findings",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _ROOMS:
        return getattr(importlib.import_module(f"edgelab.course.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

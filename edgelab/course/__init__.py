"""The course: labs, checks with hints, claims with verdicts, and what runs them.

A lab imports four names from here: ``begin`` opens it, ``check`` holds an answer against its check, ``whose`` says
under a figure whose functions drew it, ``claim`` computes a verdict from readings. They are loaded when asked for:
listing labs needs none of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelab.course.checks import check
    from edgelab.course.claims import claim
    from edgelab.course.owners import whose
    from edgelab.course.session import begin

__all__ = ["begin", "check", "claim", "whose"]

_ROOMS = {"begin": "session", "check": "checks", "claim": "claims", "whose": "owners"}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _ROOMS:
        return getattr(importlib.import_module(f"edgelab.course.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

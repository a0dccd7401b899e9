"""The ideas of safe updates as short functions: what to refuse, which slot to start, what a count bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.ota.deltas import sha256


def refusal(stated: dict[str, Any], content: bytes, committed: int, *, signed: bool) -> str | None:
    """Why a release is not taken: ``"signature"``, ``"size"``, ``"hash"`` or ``"older"``; None where all holds.

    Parameters
    ----------
    stated
        What the manifest states: ``bytes``, ``sha256``, ``release``.
    content
        The model that arrived.
    committed
        The release that runs.
    signed
        Whether the manifest's signature holds.

    Examples
    --------
    >>> stated = {"bytes": 3, "sha256": sha256(b"abc"), "release": 2}
    >>> refusal(stated, b"abc", 1, signed=True), refusal(stated, b"abc", 3, signed=True)
    (None, 'older')
    """
    if not signed:
        return "signature"
    if len(content) != stated["bytes"]:
        return "size"
    if sha256(content) != stated["sha256"]:
        return "hash"
    return "older" if stated["release"] < committed else None


def next_start(state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Which slot a restart runs, and the state that is written before it does.

    Parameters
    ----------
    state
        ``active``: the committed slot. ``trial``: the slot on trial, or None. ``starts_left``: how often that may still
        be started.

    Examples
    --------
    >>> next_start({"active": "a", "trial": "b", "starts_left": 1})
    ('b', {'active': 'a', 'trial': 'b', 'starts_left': 0})
    >>> next_start({"active": "a", "trial": "b", "starts_left": 0})
    ('a', {'active': 'a', 'trial': None, 'starts_left': 0})
    """
    if state["trial"] is None:
        return state["active"], dict(state)
    if state["starts_left"] < 1:
        return state["active"], {**state, "trial": None}
    return state["trial"], {**state, "starts_left": state["starts_left"] - 1}


def difference(old: NDArray[np.int8], new: NDArray[np.int8]) -> NDArray[np.int8]:
    """New weights less old ones, element by element, modulo 256, so that it fits into a byte again.

    Examples
    --------
    >>> difference(np.array([100, -3], np.int8), np.array([-100, -2], np.int8))
    array([56,  1], dtype=int8)
    """
    return (np.asarray(new, np.int8).view(np.uint8) - np.asarray(old, np.int8).view(np.uint8)).view(np.int8)


def restored(old: NDArray[np.int8], changed: NDArray[np.int8]) -> NDArray[np.int8]:
    """The new weights from the old ones and their `difference`."""
    return (np.asarray(changed, np.int8).view(np.uint8) + np.asarray(old, np.int8).view(np.uint8)).view(np.int8)


def rate_bound(trials: int, confidence: float = 0.95) -> float:
    """The highest rate of failures that is not unlikely after ``trials`` without one: ``(1 - p)^n = 1 - confidence``.

    Examples
    --------
    >>> round(rate_bound(300), 4)
    0.0099
    """
    return float(1 - (1 - confidence) ** (1 / trials))

"""The switches that say what is fed to a file, as `bench`, `inspect` and `compare` share them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgelab.errors import BadInput

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FeedOptions:
    """What the command line says of the inputs.

    Attributes
    ----------
    shapes
        (input, shape) in their order; "" for the only input of a file. The k-th shapes of several inputs belong
        together, and an input that is given once keeps it.
    dims
        Sizes of axes by the name that the file gives them.
    data
        An .npz file with the inputs by name, ``x`` for a single one.
    states
        For each input that is fed with an output of the run before, that output.
    batch
        Items of one run, for the axes that stand for items.

    Examples
    --------
    >>> FeedOptions.parse(["images:1x3x320x320"], ["batch=8"]).shapes
    (('images', (1, 3, 320, 320)),)
    """

    shapes: tuple[tuple[str, Shape], ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    data: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1

    @classmethod
    def parse(
        cls,
        shapes: Iterable[str] = (),
        dims: Iterable[str] = (),
        states: Iterable[str] = (),
        data: str | os.PathLike[str] | None = None,
        batch: int = 1,
    ) -> FeedOptions:
        """From the texts of the switches: ``NAME:1x3x320x320`` or ``1x3x320x320``, ``NAME=SIZE``, ``INPUT=OUTPUT``.

        Raises
        ------
        BadInput
            If one does not read like that.
        """
        return cls(
            tuple(map(_shape, shapes)),
            dict(map(_dim, dims)),
            None if data is None else str(data),
            dict(map(_state, states)),
            batch,
        )


def _shape(text: str) -> tuple[str, Shape]:
    place = max(text.rfind(":"), text.rfind("="))
    name, sizes = (text[:place], text[place + 1 :]) if place >= 0 else ("", text)
    if sizes == "scalar" or re.fullmatch(r"\d{1,9}([xX,*]\d{1,9})*", sizes):
        return name, () if sizes == "scalar" else tuple(map(int, re.split("[xX,*]", sizes)))
    raise BadInput(f"--shape {text} does not read like NAME:1x3x320x320, or 1x3x320x320 for a single input.")


def _dim(text: str) -> tuple[str, int]:
    name, equals, size = text.rpartition("=")
    if not equals or not name or not re.fullmatch(r"\d{1,9}", size):
        raise BadInput(f"--dim {text} does not read like NAME=SIZE, for example batch=8.")
    return name, int(size)


def _state(text: str) -> tuple[str, str]:
    name, equals, output = text.partition("=")
    if not equals or not name or not output:
        raise BadInput(f"--state {text} does not read like INPUT=OUTPUT, for example h=hn.")
    return name, output

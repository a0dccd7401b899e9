"""One network in two files: which input is which, in which order of axes and type, and what was done to match them.

Files of one network differ in the names of their inputs and outputs, in their layout (NCHW or NHWC) and in their
element types. Nothing is matched in silence: each `Match` says what was done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders
from edgelab.engines.base import Engine, TensorInfo
from edgelab.engines.feeds import plain_name
from edgelab.errors import BadInput

AxisOrder = Literal["as given", "first to last", "last to first"]
_IN_WORDS = {
    "first to last": "the channels moved from the first axis to the last",
    "last to first": "the channels moved from the last axis to the first",
}
_ALONE = "given one item at a time, for the input has no axis for them"
_WHITE = 255
# What converters call an output whose author gave it no name.
_MADE_UP = re.compile(r"(identity|statefulpartitionedcall|output|out|var)?[_:\d]*")
ITEMS_AT_ONCE = 256


@dataclass(frozen=True)
class Match:
    """An input or output of the data and the one of the file; ``did`` says in sentences what was done to match them."""

    kind: Literal["input", "output"]
    golden: str
    model: str | None
    did: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: kind, golden, model, did."""
        return {"kind": self.kind, "golden": self.golden, "model": self.model, "did": list(self.did)}


@dataclass(frozen=True)
class Fed:
    """How one input of the data goes into a file: the input's name there, the order of axes, the element type.

    ``alone``: the file's input has no axis for the items, which are given one at a time.
    """

    match: Match
    info: TensorInfo
    order: AxisOrder
    dtype: np.dtype[Any]
    alone: bool = False

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Items of the data as the file takes them; a single one where they are given one at a time."""
        moved = reorder(array, self.order)
        if self.alone:
            whole = borders.arrange(moved, (None, *self.info.shape), "channels_first")
            return np.ascontiguousarray(whole[0].astype(self.dtype, copy=False))
        if len(self.info.shape) > 1 and moved.ndim != len(self.info.shape):
            moved = borders.arrange(moved, self.info.shape, "channels_first")
        return np.ascontiguousarray(moved.astype(self.dtype, copy=False))


def match_inputs(
    arrays: Mapping[str, NDArray[Any]],
    infos: Sequence[TensorInfo],
    file: str,
    prefer: Mapping[str, AxisOrder] | AxisOrder = "as given",
) -> tuple[Fed, ...]:
    """How ``arrays`` go into a file whose inputs are ``infos``.

    Parameters
    ----------
    arrays
        Inputs (N, ...) by name.
    infos
        What the file states.
    file
        Its name, for messages.
    prefer
        Which order to take where several fit, for all inputs or by name.

    Raises
    ------
    BadInput
        If an input of the file finds no array, or one whose shape or values do not fit.
    """
    known = {info.name: info for info in infos}

    def suits(name: str, other: str) -> bool:
        fits = bool(_ways(arrays[name].shape, known[other].shape)[0])
        return fits and _cast(arrays[name], known[other]) is not None

    def of_a_kind(name: str, other: str) -> bool:
        info = known[other]
        floats = info.dtype.startswith("float") or bool(info.scale)
        return suits(name, other) and floats == (arrays[name].dtype.kind == "f")

    pairs = pair(list(arrays), list(known), of_a_kind, suits)
    found = {model: (golden, how) for golden, model, how in pairs}
    fed = []
    for info in infos:
        if info.name not in found:
            held = ", ".join(f"'{name}' of {a.dtype} {a.shape}" for name, a in arrays.items())
            wanted = f"'{info.name}' of {info.dtype} {borders.show_shape(info.shape)}"
            raise BadInput(f"The data has nothing for the input {wanted} of {file}; it holds {held}.")
        golden, how = found[info.name]
        array = arrays[golden]
        orders, alone = _ways(array.shape, info.shape)
        if not orders:
            wanted = borders.show_shape(info.shape)
            raise BadInput(f"The data's '{golden}' of shape {array.shape} does not fit {file}, which takes {wanted}.")
        first = prefer if isinstance(prefer, str) else prefer.get(golden, "as given")
        order = first if first in orders else orders[0]
        cast = _cast(array, info)
        if cast is None:
            low, high = (array.min(), array.max()) if array.dtype.kind in "fiub" else ("text", "text")
            raise BadInput(
                f"{file} takes {info.dtype} for '{info.name}', and the data's '{golden}' ({array.dtype}, {low} to "
                f"{high}) is not made of such values."
            )
        dtype, said = cast
        did = tuple(filter(None, (how, _IN_WORDS.get(order, ""), said, _ALONE if alone else "")))
        fed.append(Fed(Match("input", golden, info.name, did), info, order, dtype, alone))
    return tuple(fed)


def outputs_of(
    engine: Engine,
    fed: Sequence[Fed],
    arrays: Mapping[str, NDArray[Any]],
    file: str,
    *,
    progress: bool = False,
) -> dict[str, NDArray[Any]]:
    """Every output (N, ...) of an engine, in parts, so that its time limit holds for each part.

    Raises
    ------
    BadInput
        If an output has not one row for each item.
    """
    from tqdm.auto import tqdm

    count = len(next(iter(arrays.values())))
    alone = any(f.alone for f in fed)
    step = 1 if alone else ITEMS_AT_ONCE
    parts: list[dict[str, NDArray[Any]]] = []
    for start in tqdm(range(0, count, step), desc=engine.name, disable=not progress, leave=False):
        feed = {f.info.name: f.apply(arrays[f.match.golden][start : start + step]) for f in fed}
        rows = min(step, count - start)
        outputs = engine.run(feed)
        if alone:
            outputs = {name: np.asarray(y)[np.newaxis] for name, y in outputs.items()}
        for name, y in outputs.items():
            if y.ndim == 0 or len(y) != rows:
                raise BadInput(
                    f"The output '{name}' of {file} has the shape {y.shape} for {rows} items, not a row each."
                )
        parts.append(outputs)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def match_outputs(
    golden: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]], file: str
) -> tuple[tuple[Match, NDArray[Any] | None], ...]:
    """For each output of the reference what stands for it in ``found``, in the reference's order of axes.

    Raises
    ------
    BadInput
        If no output of the reference finds one.
    """

    def suits(name: str, other: str) -> bool:
        same = (golden[name].dtype.kind == "f") == (found[other].dtype.kind == "f")
        return same and bool(_alike(golden[name], found[other]))

    def distance(name: str, other: str) -> float:
        size = float(np.mean(np.abs(golden[name].astype(np.float64)))) if golden[name].dtype.kind in "fiub" else 0.0
        return min(_distance(golden[name], value) for _, value in _alike(golden[name], found[other])) / (size or 1.0)

    pairs = {g: (m, how) for g, m, how in pair(list(golden), list(found), suits, distance=distance)}
    rows: list[tuple[Match, NDArray[Any] | None]] = []
    for name, reference in golden.items():
        model, how = pairs.get(name, ("", ""))
        candidates = _alike(reference, found[model]) if model else []
        if not candidates:
            rows.append((Match("output", name, None, (f"{file} has no output like it; it was not compared",)), None))
            continue
        # where several orders give the shape, the values tell
        order, value = min(candidates, key=lambda c: _distance(reference, c[1])) if candidates[1:] else candidates[0]
        said = _cast_words(value.dtype, reference.dtype)
        rows.append((Match("output", name, model, tuple(filter(None, (how, _IN_WORDS.get(order, ""), said)))), value))
    if all(value is None for _, value in rows):
        held = ", ".join(f"'{name}' {y.shape}" for name, y in found.items())
        wanted = ", ".join(f"'{name}' {y.shape}" for name, y in golden.items())
        raise BadInput(f"{file} answers with {held}, and the reference with {wanted}; compare networks of one task.")
    return tuple(rows)


def first_logits(outputs: Mapping[str, NDArray[Any]], y: NDArray[np.int64] | None) -> str | None:
    """The first output of floats (N, classes) in which every label is a class."""
    least = 2 if y is None else max(2, int(y.max()) + 1)
    for name, value in outputs.items():
        flat = [n for n in value.shape[1:] if n != 1]
        if value.dtype.kind == "f" and len(flat) == 1 and flat[0] >= least:
            return name
    return None


def pair(
    golden: Sequence[str],
    model: Sequence[str],
    *tests: Callable[[str, str], bool],
    distance: Callable[[str, str], float] | None = None,
) -> list[tuple[str, str, str]]:
    """Pairs of names with how they were found: by name, by what alone fits, by their values, or by their order.

    ``tests`` say whether two names fit each other, the strictest first; ``distance`` how far the values of two are
    apart. Where it is given, names that converters make up (``Identity_1``) tell nothing.

    Examples
    --------
    >>> [found[:2] for found in pair(["ids", "x"], ["input_1", "serving_default_ids:0"], lambda a, b: True)]
    [('ids', 'serving_default_ids:0'), ('x', 'input_1')]
    """
    pairing = _Pairing(list(golden), list(model), [])
    telling = [name for name in golden if distance is None or not _MADE_UP.fullmatch(_bare(name))]
    pairing.take(lambda name, other: other == name and name in telling)
    pairing.take(lambda name, other: _bare(other) == _bare(name) and name in telling)
    if len(pairing.left) == len(pairing.free) == 1:
        pairing.take(lambda _, __: True)
    for fits in tests:
        pairing.take_alone(fits)
        if distance is not None:
            pairing.take_nearest(fits, distance)
        pairing.take(fits, ", as their order says, for several would fit", first=True)
    return pairing.found


@dataclass
class _Pairing:
    """Names that have no partner yet, and the pairs found so far."""

    left: list[str]
    free: list[str]
    found: list[tuple[str, str, str]]

    def take(self, fits: Callable[[str, str], bool], how: str = "", *, first: bool = False) -> None:
        """Pair each name with the only one that fits it, or with the first."""
        for name in list(self.left):
            others = [other for other in self.free if fits(name, other)]
            if len(others) == 1 or (first and others):
                self._pair(name, others[0], how)

    def take_alone(self, fits: Callable[[str, str], bool]) -> None:
        """Pair names that fit each other and nothing else; each pair may leave another one alone."""
        for _ in range(len(self.left)):
            fitting = {name: [other for other in self.free if fits(name, other)] for name in self.left}
            for name, others in fitting.items():
                if len(others) == 1 and sum(found == others for found in fitting.values()) == 1:
                    self._pair(name, others[0])

    def take_nearest(self, fits: Callable[[str, str], bool], distance: Callable[[str, str], float]) -> None:
        """Pair names that fit, those first whose values are nearest to each other."""
        fitting = [(name, other) for name in self.left for other in self.free if fits(name, other)]
        for name, other in sorted(fitting, key=lambda names: distance(*names)):
            if name in self.left and other in self.free:
                self._pair(name, other, ", as the values say, for several would fit")

    def _pair(self, name: str, other: str, how: str = "") -> None:
        self.left.remove(name)
        self.free.remove(other)
        self.found.append((name, other, "" if name == other else f"'{name}' is called '{other}' there{how}"))


def native_order(kind: str) -> AxisOrder:
    """What to do with data whose channels come first, where several orders of axes fit."""
    return "as given" if kind in ("onnx", "coreml") else "first to last"


def reorder(array: NDArray[Any], order: AxisOrder) -> NDArray[Any]:
    """``array`` (N, ...) with its channels moved."""
    if order == "first to last":
        return np.moveaxis(array, 1, -1)
    return np.moveaxis(array, -1, 1) if order == "last to first" else array


def _ways(shape: Sequence[int], wanted: Sequence[int | None]) -> tuple[list[AxisOrder], bool]:
    """The orders in which items of ``shape`` fit ``wanted``, and whether one at a time, for it has no axis for them."""
    orders = _orders(shape, wanted)
    if orders or len(shape) < 2 or not wanted:
        return orders, False
    return _orders(shape, (None, *wanted)), True


def _orders(shape: Sequence[int], wanted: Sequence[int | None]) -> list[AxisOrder]:
    """The orders of axes in which items of ``shape`` fit ``wanted``, the batch left out."""
    if not wanted:  # a rank that is left open
        return ["as given"]
    item = list(shape[1:])
    shapes: dict[AxisOrder, list[int]] = {"as given": item}
    if len(item) > 1:
        shapes |= {"first to last": [*item[1:], item[0]], "last to first": [item[-1], *item[:-1]]}
    return [order for order, moved in shapes.items() if borders.fits(moved, wanted[1:])]


def _cast(array: NDArray[Any], info: TensorInfo) -> tuple[np.dtype[Any], str] | None:
    """The element type in which ``array`` is given to an input, and what that did; None if its values do not fit."""
    kind = array.dtype.kind
    if info.dtype == "string" or kind in "US":
        return (np.dtype(str), "") if info.dtype == "string" and kind in "US" else None
    if info.dtype == "bfloat16" and kind == "f":  # the engine rounds: numpy has no such type
        return np.dtype(np.float32), "rounded to bfloat16"
    wanted = _dtype(info)
    if wanted is None or array.dtype == wanted:
        return None if wanted is None else (wanted, "")
    if info.image and info.scale:
        return _pixels(array)
    if info.scale:
        said = f"quantized to {wanted} with the file's own scale {info.scale:g} and zero point {info.zero_point or 0}"
        return np.dtype(np.float32), said
    said = f"converted from {array.dtype} to {wanted}"
    if wanted.kind == "f":
        return wanted, said
    limits = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted.name).min, np.iinfo(wanted.name).max)
    whole = kind != "f" or bool(np.array_equal(array, np.rint(array)))
    return (wanted, said) if whole and array.min() >= limits[0] and array.max() <= limits[1] else None


def _dtype(info: TensorInfo) -> np.dtype[Any] | None:
    try:
        return np.dtype(info.dtype)
    except TypeError:
        return None


def _pixels(array: NDArray[Any]) -> tuple[np.dtype[Any], str] | None:
    """How an image input, bytes that stand for 0 to 1, takes values: as they are from 0 to 1, else as pixels."""
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        return np.dtype(np.float32), "values from 0 to 1 made into pixels from 0 to 255 of an image"
    if array.min() >= 0 and array.max() <= _WHITE and np.array_equal(array, np.rint(array)):
        return np.dtype(np.uint8), "whole numbers taken as pixels from 0 to 255 of an image"
    return None


def _cast_words(found: np.dtype[Any], reference: np.dtype[Any]) -> str:
    return "" if found == reference else f"{found} compared with {reference}"


def _alike(reference: NDArray[Any], value: NDArray[Any]) -> list[tuple[AxisOrder, NDArray[Any]]]:
    """``value`` in the orders of axes that give the reference's shape."""
    if value.shape == reference.shape and value.ndim < 3:
        return [("as given", value)]
    found: list[tuple[AxisOrder, NDArray[Any]]] = []
    orders: tuple[AxisOrder, ...] = ("as given", "first to last", "last to first") if value.ndim > 2 else ("as given",)
    for order in orders:
        moved = reorder(value, order)
        if [n for n in moved.shape[1:] if n != 1] == [n for n in reference.shape[1:] if n != 1]:
            found.append((order, np.ascontiguousarray(moved).reshape(reference.shape)))
    if found and found[0][1].shape == value.shape and value.ndim == 3 and 1 in value.shape[1:]:
        return found[:1]
    return found


def _distance(reference: NDArray[Any], value: NDArray[Any]) -> float:
    with np.errstate(all="ignore"):
        return float(np.nan_to_num(np.mean(np.abs(reference.astype(np.float64) - value)), nan=np.inf))


def _bare(name: str) -> str:
    return plain_name(name).lower().replace(".", "_").replace("/", "_").strip("_")

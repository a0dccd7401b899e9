"""A file's answer to every item of the data, whatever axis the items stand on.

Most networks take a batch on the first axis, and each row of it is answered by itself. Recurrent networks that were
exported time first take it on the second, and where both axes are open nothing but their answers tells: fed with the
items on the axis of time, a network mixes them. So a few items are run alone and together, and the axis on which both
give the same is the items' axis, of the inputs and of each output. Where there is none, items run one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import model_format
from edgelab.engines.base import Engine, TensorInfo
from edgelab.engines.feeds import Named
from edgelab.errors import BadInput, EngineCrash
from edgelab.feeding.arrays import Arrays
from edgelab.feeding.matching import ITEMS_AT_ONCE, Fed, match_inputs, native_order

Outputs = dict[str, NDArray[Any]]
Fill = Callable[[int], Mapping[str, NDArray[Any]]]
"""The inputs that the data has nothing for, for so many items: states, rates, lengths."""
_PROBED = 3
_SAME = 0.05
"""Two answers to one item are the same within this share of what tells two items apart: a network that scales its
activations anew for each batch differs by less, one that mixes items by more."""
_MIXED = "the answer to an item depends on those beside it, so that the items were given one at a time"
_BYTES_AT_ONCE = 256 * 2**20


@dataclass(frozen=True)
class Layout:
    """How items go into a file and come out of it.

    ``axis``: on which axis of an input the items stand. ``alone``: they are given one at a time. ``outputs``: on which
    axis of each output they stand, None where it has none. ``said``: sentences for what is not plain.
    """

    fed: tuple[Fed, ...]
    axis: int
    alone: bool
    outputs: Mapping[str, int | None] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    copies: int = 1
    """How often a single item is given, where the file has more places for items and none of them open."""

    def feed(self, arrays: Mapping[str, NDArray[Any]]) -> Outputs:
        """Some items as the file takes them."""
        found = {}
        for one in self.fed:
            array = one.apply(arrays[one.match.golden])
            place = 0 if one.alone else _place(one.info, self.axis)
            if self.copies > 1 and not one.alone:
                array = np.repeat(array, self.copies, axis=0)
            found[one.info.name] = np.ascontiguousarray(np.moveaxis(array, 0, place)) if place else array
        return found

    def first(self, value: NDArray[Any]) -> NDArray[Any]:
        """The answer to a single item (1, ...), from an output of a run with it alone."""
        if not any(one.alone for one in self.fed):
            for axis in dict.fromkeys((self.axis, 0)) if self.copies == 1 else range(value.ndim):
                if axis < value.ndim and value.shape[axis] == self.copies:
                    moved = np.moveaxis(value, axis, 0)
                    if self.copies == 1 or all(_same([moved[0]], [row]) for row in moved[1:]):
                        return moved[:1]
        return value[np.newaxis]


def find_layout(engine: Engine, path: Path, arrays: Arrays, fill: Fill, given: Sequence[TensorInfo]) -> Layout:
    """How the items of the data go into a file, found by running a few of them alone and together.

    Parameters
    ----------
    engine
        The file, opened.
    path
        The file, for messages.
    arrays
        The data.
    fill
        The inputs that it has nothing for.
    given
        The inputs that it has something for.

    Raises
    ------
    BadInput
        If the data fits the file in no way, or the file runs with it in none.
    """
    first: BadInput | None = None
    mixing: Layout | None = None
    ranks = [len(info.shape) for info in given]
    for axis in range(max(2, *ranks) if ranks else 1):
        if axis and all(axis >= rank for rank in ranks):
            break
        try:
            moved = [_moved(info, axis) for info in given]
            fed = match_inputs(arrays.inputs, moved, path.name, native_order(model_format(path)))
            found = _probed(engine, Layout(fed, axis, alone=any(one.alone for one in fed)), arrays, fill, given)
        except BadInput as error:
            first = first or error
            continue
        if not found.alone or found.outputs or len(arrays) == 1:
            return found
        mixing = mixing or found
    if mixing is not None:
        return mixing
    raise first or BadInput(f"{path} takes no input that the data could be given to.")


def answers(
    engine: Engine, path: Path, arrays: Arrays, layout: Layout, fill: Fill, states: Mapping[str, str], progress: bool
) -> tuple[Outputs, tuple[str, ...]]:
    """Every output with a row for each item, and sentences about those that have none.

    With ``states`` (output by input) the items are a sequence: each run takes what the one before gave.
    """
    from tqdm.auto import tqdm

    count = len(arrays)
    alone = layout.alone or bool(states)
    step = 1 if alone else _at_once(arrays)
    parts: list[Outputs] = []
    kept: Outputs = {}
    for start in tqdm(range(0, count, step), desc=engine.name, disable=not progress, leave=False):
        rows = min(step, count - start)
        cut = {name: array[start : start + rows] for name, array in arrays.inputs.items()}
        outputs = engine.run({**fill(rows), **layout.feed(cut), **kept})
        kept = {name: outputs[output] for name, output in states.items()}
        parts.append(_rows(outputs, layout, alone=alone))
    found: Outputs = {}
    said = []
    for name in parts[0]:
        values = [part[name] for part in parts]
        if len({value.shape[1:] for value in values}) > 1 or sum(map(len, values)) != count:
            said.append(f"The output '{name}' of {path.name} has no row for each item of one size; it was left out.")
        else:
            found[name] = np.concatenate(values)
    if not found:
        raise BadInput(f"No output of {path} has a row for each item, all of one size.")
    return found, tuple(said)


def single(engine: Engine, arrays: Arrays, layout: Layout, fill: Fill, states: Mapping[str, str]) -> Any:
    """The first item as `Engine.time` takes it."""
    info = engine.inputs[0]
    plain = len(engine.inputs) == 1 and not states and arrays.x.dtype == np.float32 and arrays.x.ndim > 1
    plain = plain and len(info.shape) > 1 and bool(arrays.x.size) and None not in info.shape[1:]
    plain = plain and info.dtype in ("float32", "int8", "uint8")
    if plain and layout.axis == 0 and not any(one.alone for one in layout.fed):
        return arrays.x[:1]
    cut = {name: array[:1] for name, array in arrays.inputs.items()}
    return Named({**fill(1), **layout.feed(cut)}, dict(states), 1)


def holds_items(engine: Engine, inputs: Mapping[str, NDArray[Any]], count: int) -> bool:
    """Whether ``count`` rows along the first axis of a file's inputs are items: given in reverse, so are the answers.

    They are not in a time-major file of fixed size, whose first axis holds the steps of one sequence.
    """
    there = engine.run(inputs)
    back = engine.run({name: np.ascontiguousarray(array[::-1]) for name, array in inputs.items()})
    return all(y.ndim and len(y) == count and _same(list(back[name][::-1]), list(y)) for name, y in there.items())


def _place(info: TensorInfo, axis: int) -> int:
    """Where the items stand in an input: on ``axis``, or first in one that has fewer."""
    return axis if axis < len(info.shape) else 0


def _moved(info: TensorInfo, axis: int) -> TensorInfo:
    place = _place(info, axis)
    if not place:
        return info
    names = info.axes and (info.axes[place], *info.axes[:place], *info.axes[place + 1 :])
    return replace(info, shape=(info.shape[place], *info.shape[:place], *info.shape[place + 1 :]), axes=names or ())


def _probed(engine: Engine, layout: Layout, arrays: Arrays, fill: Fill, given: Sequence[TensorInfo]) -> Layout:
    """The layout with the axis of items of each output; ``alone`` where the answers to items depend on each other."""
    sizes = [info.shape[_place(info, layout.axis)] for info in given if info.shape]
    if layout.axis == 0 and sizes and all(sizes) and not layout.alone:
        return layout  # a fixed batch: the engine cuts the items into runs of it
    fixed = [size for size in sizes if size]
    if layout.axis and fixed and fixed[0] > 1:
        layout = replace(layout, copies=fixed[0])
    chosen = np.unique(np.linspace(0, len(arrays) - 1, _PROBED).astype(int))
    cuts = [{name: array[i : i + 1] for name, array in arrays.inputs.items()} for i in chosen]
    apart = [engine.run({**fill(1), **layout.feed(cut)}) for cut in cuts]
    by_itself = replace(layout, alone=True, said=(_MIXED, *_axis_said(layout.axis)))
    if layout.alone or any(sizes) or len(chosen) < 2:  # it takes one at a time, or there is but one
        return replace(layout, alone=True, outputs=dict.fromkeys(apart[0]), said=_axis_said(layout.axis))
    cut = {name: array[chosen] for name, array in arrays.inputs.items()}
    try:
        together = engine.run({**fill(len(chosen)), **layout.feed(cut)})
    except (BadInput, EngineCrash):
        return by_itself
    places = {name: _items_axis(whole, [one[name] for one in apart]) for name, whole in together.items()}
    if any(place is None for place in places.values()):
        return by_itself
    return replace(layout, outputs=places, said=_axis_said(layout.axis))


def _axis_said(axis: int) -> tuple[str, ...]:
    return (f"the items were given on axis {axis}, where the network takes its batch",) if axis else ()


def _items_axis(whole: NDArray[Any], apart: Sequence[NDArray[Any]]) -> int | None:
    """The axis of an output on which the answers to single items stand side by side."""
    for axis in range(whole.ndim):
        if whole.shape[axis] != len(apart):
            continue
        rows = [np.take(whole, i, axis=axis) for i in range(len(apart))]
        alone = [_without(one, axis, row.shape) for one, row in zip(apart, rows, strict=True)]
        if all(one is not None for one in alone) and _same(rows, [one for one in alone if one is not None]):
            return axis
    return None


def _without(one: NDArray[Any], axis: int, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if one.ndim == len(shape) + 1 and one.shape[axis] == 1 and np.take(one, 0, axis=axis).shape == shape:
        row: NDArray[Any] = np.take(one, 0, axis=axis)
        return row
    return one if one.shape == shape else None


def _same(rows: Sequence[NDArray[Any]], alone: Sequence[NDArray[Any]]) -> bool:
    """Whether answers given together are those given alone, but for rounding."""
    a, b = np.stack(rows), np.stack(alone)
    if a.dtype.kind not in "fc":
        return bool(np.mean(a == b) > 1 - _SAME)
    x, y = a.astype(np.float64), b.astype(np.float64)
    ends = np.isfinite(x) & np.isfinite(y)
    if not np.array_equal(x[~ends], y[~ends], equal_nan=True):
        return False
    x, y = np.where(ends, x, 0), np.where(ends, y, 0)
    off = float(np.sqrt(np.mean((x - y) ** 2)))
    spread = float(np.sqrt(np.mean((y - y.mean(axis=0)) ** 2)))
    size = float(np.sqrt(np.mean(y**2)))
    return off <= _SAME * spread + 1e-6 * size


def _rows(outputs: Mapping[str, NDArray[Any]], layout: Layout, *, alone: bool) -> Outputs:
    if alone:
        return {name: layout.first(value) for name, value in outputs.items()}
    places = {name: layout.outputs.get(name) or 0 for name in outputs}
    return {n: np.moveaxis(v, places[n], 0) if v.ndim else v[np.newaxis] for n, v in outputs.items()}


def _at_once(arrays: Arrays) -> int:
    each = sum(array.nbytes for array in arrays.inputs.values()) // max(1, len(arrays))
    return int(max(1, min(ITEMS_AT_ONCE, _BYTES_AT_ONCE // max(1, each))))

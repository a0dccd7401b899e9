"""What is fed to a model file: shapes for its open axes, values, recurrent states; by options, hints and other files.

`FeedOptions` are the switches ``--shape``, ``--dim``, ``--data``, ``--state`` and ``--batch`` that the commands share;
`plan_feeds` makes of them, and of what the files say, one `Feed` for each row of a report. Nothing is guessed in
silence: an axis that nothing gives a size is named together with the switch, and a feed says where all came from.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab import limits
from edgelab.engines.base import TensorInfo
from edgelab.engines.borders import show_shape
from edgelab.engines.feeds import Named, plain_name
from edgelab.errors import BadInput
from edgelab.feeding import values as feed_values
from edgelab.feeding.arrays import Arrays, read_inputs
from edgelab.feeding.facts import read_facts
from edgelab.feeding.matching import match_inputs
from edgelab.feeding.options import FeedOptions, Shape
from edgelab.files import expanded

_BATCH = re.compile(r"(batch|batch_?size|n|b|bs|num|count|unk__0|dim_0)", re.IGNORECASE)
_MOMENTS = re.compile(r"(t|l|time|seq|sequence|length|len|frames?|steps?|samples?)([_-].*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Feed:
    """What one row of a report feeds to a file: an array for each input, in the file's own order of axes.

    ``states`` holds for each input that is fed back its output, ``how`` where the values of each input came from,
    ``why`` where the sizes of its open axes did, ``label`` the shapes that tell this row from the file's others.
    """

    arrays: Mapping[str, NDArray[Any]]
    infos: tuple[TensorInfo, ...]
    states: Mapping[str, str]
    how: Mapping[str, str]
    why: Mapping[str, str]
    batch: int
    label: str = ""

    def given(self) -> NDArray[np.float32] | Named:
        """What `Engine.time` and `Engine.profile` take: the array of a plain single input, or all by name."""
        if len(self.infos) == 1 and not self.states:
            info, array = self.infos[0], self.arrays[self.infos[0].name]
            plain = array.dtype.kind in "fiu" and array.ndim > 1 and array.size and feed_values.numpy_type(info)
            if plain and None not in info.shape[1:] and len(info.shape) == array.ndim:
                values = array.astype(np.float32)
                if info.dtype not in ("int64", "uint64") or np.array_equal(values.astype(array.dtype), array):
                    return values
        return Named(self.arrays, self.states, self.batch)

    def sentences(self) -> list[str]:
        """What a reader must know: the shapes of inputs that leave something open, and what was not random."""
        said = []
        for info in self.infos:
            shape = "x".join(map(str, self.arrays[info.name].shape)) or "a scalar"
            parts = [self.how[info.name]] if self.how[info.name] != feed_values.RANDOM else []
            if self.why.get(info.name):
                parts.append(self.why[info.name])
            if parts:
                said.append(f"'{info.name}' was {shape}: {', '.join(parts)}.")
        return said

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: ``label``, ``batch``, ``inputs``, ``states`` {input: output}.

        Each input is {"name", "shape", "dtype", "values", "sizes"}, the last two in words: where its values came from,
        and where the sizes of its open axes did.
        """
        inputs = [
            {
                "name": info.name,
                "shape": list(self.arrays[info.name].shape),
                "dtype": info.dtype,
                "values": self.how[info.name],
                "sizes": self.why.get(info.name, ""),
            }
            for info in self.infos
        ]
        return {"label": self.label, "batch": self.batch, "inputs": inputs, "states": dict(self.states)}


@dataclass(frozen=True)
class ModelFile:
    """A file as feeding sees it: its inputs and outputs, and what it says of the sizes of open axes.

    ``hints`` are shapes by input, from metadata or from what the converter saw (`read_facts`).
    """

    path: Path
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...] = ()
    hints: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, path: str | os.PathLike[str], inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> ModelFile:
        """The file of an open engine; it is read for hints where it leaves more open than the first axis."""
        file = expanded(path)
        if any(not info.shape or None in info.shape for info in inputs):
            _, facts = read_facts(file)
            stated = {entry["name"]: entry for entry in facts["inputs"]}
            known = tuple(_with_axes(info, stated.get(info.name, {})) for info in inputs)
            return cls(file, known, tuple(outputs), {name: tuple(shape) for name, shape in facts["hints"].items()})
        return cls(file, tuple(inputs), tuple(outputs))


def plan_feeds(
    file: ModelFile,
    options: FeedOptions,
    draw: np.random.Generator,
    others: Sequence[ModelFile] = (),
) -> tuple[Feed, ...]:
    """The feeds of one file, one for each combination of shapes.

    Parameters
    ----------
    file
        The file.
    options
        What was asked for.
    draw
        Random values come from it.
    others
        The other files of the run; an input that is called alike, or the only one, lends its sizes.

    Raises
    ------
    BadInput
        If a shape, an axis, a state or the data does not fit the file, or an axis stays open.
    """
    named = _shapes_by_input(file, options, others)
    lent = {other.path: _shapes_by_input(other, options, (file,), lends=True) for other in others}
    borrowed = [len(found) for each in lent.values() for found in each.values()] if _opens(file) else []
    count = max([len(found) for found in named.values()] or borrowed, default=1)
    short = [name for name, found in named.items() if len(found) not in (1, count)]
    if short:
        raise BadInput(
            f"The input '{short[0]}' is given {len(named[short[0]])} shapes and another {count}; the k-th shapes of "
            "several inputs belong together: give each as many, or one."
        )
    _check_dims(file, options, others)
    states = _states(file, options, others)

    def others_with(k: int) -> list[ModelFile]:
        """The other files with the k-th shapes that they are given, as hints."""
        given = ({name: found[k % len(found)] for name, found in lent[other.path].items()} for other in others)
        return [replace(other, hints={**other.hints, **shapes}) for other, shapes in zip(others, given, strict=True)]

    feeds = [
        _feed(file, options, {n: found[k % len(found)] for n, found in named.items()}, states, draw, others_with(k))
        for k in range(count)
    ]
    return tuple({feed.label: feed for feed in feeds}.values())


def sizes_of(
    file: ModelFile, options: FeedOptions, given: Mapping[str, Shape], others: Sequence[ModelFile] = ()
) -> tuple[dict[str, tuple[int | None, ...]], dict[str, str]]:
    """The shape of every input, None where nothing gives a size, and for each input where its open sizes came from."""
    axes = dict(options.dims)
    for info in file.inputs:
        if info.name in given:
            named = zip(info.axes, given[info.name], strict=False)
            axes = {**{name: size for name, size in named if name}, **axes}
    shapes: dict[str, tuple[int | None, ...]] = {}
    why: dict[str, str] = {}
    for info in file.inputs:
        if info.name in given:
            shapes[info.name] = given[info.name]
            if None in info.shape or not info.ranked:
                why[info.name] = "as --shape says"
            continue
        if not info.ranked:
            shapes[info.name] = (None,)
            continue
        found = [_size(info, place, file, options, axes, _hint(info, file, others)) for place in range(len(info.shape))]
        shapes[info.name] = tuple(size for size, _ in found)
        why[info.name] = ", ".join(dict.fromkeys(source for _, source in found if source))
    return shapes, why


def _size(
    info: TensorInfo,
    place: int,
    file: ModelFile,
    options: FeedOptions,
    axes: Mapping[str, int],
    hint: tuple[tuple[int | None, ...], str],
) -> tuple[int | None, str]:
    """The size of one axis, None where nothing gives one, and where it came from if that needs to be said."""
    name, size = _name(info, place), info.shape[place]
    if size is not None:
        return size, ""
    if name in axes:
        return axes[name], "as --dim says" if name in options.dims else "as another input has it"
    if place == _items_axis(info, file):
        return options.batch, ""
    hinted, source = hint
    return (hinted[place], source) if place < len(hinted) and hinted[place] is not None else (None, "")


def planned_sizes(file: ModelFile, options: FeedOptions) -> dict[str, tuple[int | None, ...]]:
    """The shape of every input for one combination of shapes, None where nothing gives a size.

    Raises
    ------
    BadInput
        If an option does not fit the file, or several shapes are given for an input.
    """
    given = _shapes_by_input(file, options, ())
    several = next((name for name, found in given.items() if len(found) > 1), "")
    if several:
        raise BadInput(f"Give one shape for the input '{several}'; one file is counted at one size.")
    _check_dims(file, options, ())
    return sizes_of(file, options, {name: found[0] for name, found in given.items()})[0]


def _feed(
    file: ModelFile,
    options: FeedOptions,
    given: Mapping[str, Shape],
    states: Mapping[str, str],
    draw: np.random.Generator,
    others: Sequence[ModelFile],
) -> Feed:
    shapes, why = sizes_of(file, options, given, others)
    arrays: dict[str, NDArray[Any]] = {}
    how: dict[str, str] = {}
    if options.data is not None:
        arrays = _from_data(file, options)
        how = {name: f"from {Path(options.data).name}" for name in arrays}
        # what the data fixes holds for axes of the same name
        known = {
            n: s
            for i in file.inputs
            if i.name in arrays
            for n, s in zip(i.axes, arrays[i.name].shape, strict=False)
            if n
        }
        rest = FeedOptions((), {**known, **options.dims}, batch=options.batch)
        shapes, _ = sizes_of(file, rest, given, others)
        shapes.update({name: array.shape for name, array in arrays.items()})
    full = {name: _closed(file, name, shape) for name, shape in shapes.items()}
    if len(file.inputs) == 1 and not arrays and not given:
        (only,) = file.inputs
        if len(only.shape) > 1 and None not in only.shape:  # a fixed batch: the engine makes calls of its size
            full[only.name] = (options.batch, *full[only.name][1:])
    _check_size(file, full)
    longest = max((shape[-1] for shape in full.values() if shape), default=1)
    for info in file.inputs:
        if info.name not in arrays:
            recurrent = info.name in states or feed_values.is_state(info, file.inputs, file.outputs)
            made = feed_values.values(
                info, full[info.name], draw, longest=longest, recurrent=recurrent, file=str(file.path)
            )
            arrays[info.name], how[info.name] = made
        if info.name in states:
            how[info.name] += f" at first, then the output '{states[info.name]}' of the run before"
    told = given or {info.name: full[info.name] for info in file.inputs if why.get(info.name)}
    label = " ".join(
        ("" if len(file.inputs) == 1 else f"{plain_name(name)}:") + "x".join(map(str, shape))
        for name, shape in told.items()
    )
    items = next((arrays[i.name].shape[a] for i in file.inputs if (a := _items_axis(i, file)) is not None), 1)
    if len(file.inputs) == 1 and arrays[file.inputs[0].name].ndim > 1:
        items = len(arrays[file.inputs[0].name]) or 1
    ordered = {info.name: arrays[info.name] for info in file.inputs}
    return Feed(ordered, file.inputs, dict(states), how, {k: v for k, v in why.items() if v}, items, label)


def _from_data(file: ModelFile, options: FeedOptions) -> dict[str, NDArray[Any]]:
    """The arrays of the .npz for the inputs that it has: whole where they are of the input's size, else some items."""
    found = read_inputs(options.data or "", [info.name for info in file.inputs])
    by_name = {plain_name(info.name): info for info in file.inputs}
    single = len(file.inputs) == len(found) == 1
    whole: dict[str, NDArray[Any]] = {}
    items: dict[str, NDArray[Any]] = {}
    for name, array in found.items():
        info = file.inputs[0] if single else by_name.get(plain_name(name))
        exact = info is not None and (not info.shape or info.shape[0] is not None)
        if info is not None and exact and info.ranked and _fits(array.shape, info.shape):
            whole[info.name] = array.astype(feed_values.numpy_type(info) or array.dtype)
        else:
            items[name] = array[: options.batch] if array.ndim else array
    left = [info for info in file.inputs if info.name not in whole]
    if items:
        wanted = left if len(items) == len(left) else [i for i in left if plain_name(i.name) in map(plain_name, items)]
        fed = match_inputs(Arrays.by_name(items).inputs, wanted or left, file.path.name)
        whole |= {f.info.name: f.apply(items[f.match.golden]) for f in fed}
    return whole


def _closed(file: ModelFile, name: str, shape: Sequence[int | None]) -> Shape:
    info = next(info for info in file.inputs if info.name == name)
    if not info.ranked and None in shape:
        raise BadInput(
            f"{file.path} does not say how many axes its input '{name}' has; give its shape with --shape {name}:1x8."
        )
    left = [place for place, size in enumerate(shape) if size is None]
    if left:
        axes = [f"{place}" + (f" ('{info.axes[place]}')" if _name(info, place) else "") for place in left]
        example = "x".join("SIZE" if n is None else str(n) for n in shape)
        raise BadInput(
            f"{file.path} leaves axis {' and axis '.join(axes)} of its input '{name}' {show_shape(info.shape)} open; "
            f"give the size with --shape {plain_name(name)}:{example}."
        )
    return tuple(n for n in shape if n is not None)


def _check_size(file: ModelFile, shapes: Mapping[str, Shape]) -> None:
    """Refuse what the memory cannot hold before it is made."""
    for name, shape in shapes.items():
        size = 8 * math.prod(shape)
        if size > limits.memory_bytes() // 4:
            text = "x".join(map(str, shape))
            raise BadInput(f"The input '{name}' of {file.path} as {text} would take up to {size / 2**30:,.0f} GB here.")


def _shapes_by_input(
    file: ModelFile, options: FeedOptions, others: Sequence[ModelFile], *, lends: bool = False
) -> dict[str, list[Shape]]:
    """The shapes that are given for each input; of a file that only ``lends`` sizes, those that fit it.

    Such a file may have the same axes in another order (steps before items), and is held to a shape when it is fed.
    """
    found: dict[str, list[Shape]] = {}
    for name, shape in options.shapes:
        info = _input(file, name, "--shape")
        if info is None:
            if not any(_input(other, name, "--shape") for other in others):
                raise BadInput(f"{file.path} has no input '{name}' for --shape; {_held(file)}.")
            continue
        if info.ranked and not _fits(shape, info.shape):
            if lends:
                continue
            raise BadInput(
                f"--shape {'x'.join(map(str, shape)) or 'scalar'} does not fit the input '{info.name}' of {file.path}, "
                f"which takes {show_shape(info.shape)}."
            )
        found.setdefault(info.name, []).append(shape)
    return found


def _input(file: ModelFile, name: str, switch: str) -> TensorInfo | None:
    if not name:
        if len(file.inputs) == 1:
            return file.inputs[0]
        raise BadInput(f"{file.path} has several inputs; say which with {switch} NAME:SHAPE ({_held(file)}).")
    exact = next((info for info in file.inputs if info.name == name), None)
    return exact or next((info for info in file.inputs if plain_name(info.name) == plain_name(name)), None)


def _check_dims(file: ModelFile, options: FeedOptions, others: Sequence[ModelFile]) -> None:
    known = {name for each in (file, *others) for info in each.inputs for name in info.axes if name}
    for name in options.dims:
        if name not in known:
            names = ", ".join(f"'{axis}'" for axis in sorted(known)) or "none"
            raise BadInput(f"{file.path} has no axis called '{name}' for --dim; its named axes: {names}. Use --shape.")


def _states(file: ModelFile, options: FeedOptions, others: Sequence[ModelFile]) -> dict[str, str]:
    states = {}
    for name, output in options.states.items():
        info = _input(file, name, "--state")
        if info is None and any(_input(other, name, "--state") for other in others):
            continue
        out = next((o for o in file.outputs if output in (o.name, plain_name(o.name))), None)
        if info is None or out is None:
            outputs = ", ".join(f"'{o.name}'" for o in file.outputs)
            raise BadInput(
                f"--state {name}={output} does not fit {file.path}: {_held(file)}; its outputs are {outputs}."
            )
        if out.dtype != info.dtype:
            raise BadInput(f"--state {name}={output}: the output is {out.dtype} and the input {info.dtype}.")
        states[info.name] = out.name
    return states


def _held(file: ModelFile) -> str:
    return "its inputs are " + (", ".join(f"'{info.name}'" for info in file.inputs) or "none")


def _items_axis(info: TensorInfo, file: ModelFile) -> int | None:
    """The open axis that stands for items: the one named so, else the first; a state's only open one."""
    opened = [place for place, size in enumerate(info.shape) if size is None]
    if not opened:
        return None
    named = [place for place in opened if _BATCH.fullmatch(_name(info, place))]
    if named:
        return named[0]
    if feed_values.is_state(info, file.inputs, file.outputs):
        return opened[0] if len(opened) == 1 else None
    return 0 if opened[0] == 0 and not _MOMENTS.fullmatch(_name(info, 0)) and len(info.shape) > 1 else None


def _opens(file: ModelFile) -> bool:
    """Whether an input leaves more open than the axis of the items."""
    return any(
        size is None and place != _items_axis(info, file)
        for info in file.inputs
        for place, size in enumerate(info.shape)
    )


def _hint(info: TensorInfo, file: ModelFile, others: Sequence[ModelFile]) -> tuple[tuple[int | None, ...], str]:
    """Sizes that the file itself or another file of the run gives to an input, and what that is called."""
    if info.name in file.hints:
        return tuple(file.hints[info.name]), "as the file's own metadata says"
    for other in others:
        alike = [i for i in other.inputs if plain_name(i.name) == plain_name(info.name)]
        for found in alike or (other.inputs if len(other.inputs) == len(file.inputs) == 1 else ()):
            shape = other.hints.get(found.name, found.shape)
            fitting = [m for m in feed_values.orders(shape) if len(m) == len(info.shape) and _agree(m, info.shape)]
            if fitting:  # the order in which the sizes that both state are the same, such as that of the channels
                moved = max(
                    fitting, key=lambda sizes: sum(a == b for a, b in zip(sizes[1:], info.shape[1:], strict=True))
                )
                return moved, f"as {other.path.name} has it"
    return (), ""


def _agree(one: Sequence[int | None], other: Sequence[int | None]) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(one[1:], other[1:], strict=True))


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(w is None or w == n for n, w in zip(shape, wanted, strict=True))


def _name(info: TensorInfo, place: int) -> str:
    return info.axes[place] if place < len(info.axes) else ""


def _with_axes(info: TensorInfo, stated: Mapping[str, Any]) -> TensorInfo:
    return replace(info, axes=info.axes or tuple(stated.get("axes", ())), ranked=bool(stated.get("ranked", True)))

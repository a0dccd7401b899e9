"""What compared files are fed with: the items of a data set, or random draws, the same for each file."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import model_format
from edgelab.engines.base import Engine, TensorInfo
from edgelab.engines.feeds import Named, plain_name
from edgelab.errors import BadInput
from edgelab.feeding import values as feed_values
from edgelab.feeding.arrays import Arrays, load_arrays, read_inputs
from edgelab.feeding.matching import match_inputs, native_order
from edgelab.feeding.options import FeedOptions
from edgelab.feeding.plan import Feed, ModelFile, plan_feeds
from edgelab.measure.items import Layout, Outputs, answers, find_layout, holds_items, single

DRAWS = 64
"""Random inputs of a comparison without data."""
FEWEST_DRAWS = 8
DRAW_SECONDS = 10.0
"""No more are drawn once the reference has taken so long for them."""


@dataclass
class Source:
    """The inputs of a comparison; ``described`` as the result has it, ``notes`` what was done to feed each file."""

    paths: Sequence[Path]
    engines: Sequence[Engine]
    options: FeedOptions
    described: dict[str, Any]
    items: int
    y: NDArray[np.int64] | None = None
    group: NDArray[np.str_] | None = None
    notes: list[str] = field(default_factory=list)
    files: dict[int, ModelFile] = field(default_factory=dict)

    def file(self, number: int) -> ModelFile:
        """One of the files as feeding sees it, read once."""
        if number not in self.files:
            self.files[number] = _file_of(self.paths[number], self.engines[number])
        return self.files[number]

    def answers(self, number: int, *, progress: bool) -> Outputs:
        """Every output of a file, a row for each item."""
        raise NotImplementedError

    def singles(self) -> dict[int, Any]:
        """What each file is timed with, by its place; a file without one is not timed."""
        raise NotImplementedError

    def states(self, number: int) -> dict[str, str]:
        """The outputs that are fed back, by input, as this file calls them."""
        engine, found = self.engines[number], {}
        for name, output in self.options.states.items():
            ins = [i.name for i in engine.inputs if name in (i.name, plain_name(i.name))]
            outs = [o.name for o in engine.outputs if output in (o.name, plain_name(o.name))]
            if not ins or not outs:
                held = f"inputs {_names(engine.inputs)}, outputs {_names(engine.outputs)}"
                raise BadInput(f"--state {name}={output} does not fit {self.paths[number]}: it has the {held}.")
            found[ins[0]] = outs[0]
        return found


def source_of(
    paths: Sequence[Path],
    engines: Sequence[Engine],
    data: str | os.PathLike[str] | Arrays | None,
    options: FeedOptions,
    seed: int,
) -> Source:
    """The items of the data, or random inputs where there is none."""
    given = data if data is not None else options.data
    if given is not None:
        return _Items.of(paths, engines, given, options, seed)
    drawn = _Drawn.of(paths, engines, options, seed)
    arrays = drawn.as_items()
    if arrays is None:
        return drawn
    items = _Items.of(paths, engines, arrays, options, seed)
    items.described = {**items.described, "file": None, "random": True}
    items.notes += drawn.notes
    return items


@dataclass
class _Items(Source):
    """The items of a data set."""

    arrays: Arrays = field(default_factory=lambda: Arrays(np.zeros((1, 1), np.float32)))
    apart: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    seed: int = 0
    layouts: dict[int, Layout] = field(default_factory=dict)
    filled: dict[tuple[int, int], dict[str, NDArray[Any]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        paths: Sequence[Path],
        engines: Sequence[Engine],
        data: str | os.PathLike[str] | Arrays,
        options: FeedOptions,
        seed: int,
    ) -> _Items:
        names, apart = engines[0].input_names, {}
        if not isinstance(data, Arrays):
            apart = _apart(read_inputs(data, names), engines[0].inputs)
        arrays = data if isinstance(data, Arrays) else load_arrays(data, names, apart)
        described = {
            "file": "arrays given" if isinstance(data, Arrays) else str(data),
            "random": False,
            "items": len(arrays),
            "inputs": {name: str(array.dtype) for name, array in (*arrays.inputs.items(), *apart.items())},
            "classes": None if arrays.y is None else len(np.unique(arrays.y)),
            "groups": [] if arrays.group is None else sorted(map(str, np.unique(arrays.group))),
        }
        made = cls(paths, engines, options, described, len(arrays), arrays.y, arrays.group)
        made.arrays, made.apart, made.seed = arrays, apart, seed
        return made

    def answers(self, number: int, *, progress: bool) -> Outputs:
        engine, path = self.engines[number], self.paths[number]
        layout = find_layout(engine, path, self.arrays, lambda n: self._fill(number, n), self._given(number))
        self.layouts[number] = layout
        found, said = answers(
            engine, path, self.arrays, layout, lambda n: self._fill(number, n), self.states(number), progress
        )
        self.notes += [f"{path.name}: {text}." for text in layout.said]
        self.notes += said
        return found

    def singles(self) -> dict[int, Any]:
        found = {}
        for number, layout in self.layouts.items():
            fill = functools.partial(self._fill, number)
            found[number] = single(self.engines[number], self.arrays, layout, fill, self.states(number))
        return found

    def _given(self, number: int) -> list[TensorInfo]:
        """The inputs that the data's items go into: all but those of one array for all, and those that it lacks."""
        inputs = self.engines[number].inputs
        left = [info for info in inputs if plain_name(info.name) not in {plain_name(name) for name in self.apart}]
        if len(left) == len(self.arrays.inputs):
            return left
        held = {plain_name(name) for name in self.arrays.inputs}
        named = [info for info in left if plain_name(info.name) in held]
        if named:
            return named
        file = self.file(number)
        plain = [info for info in left if not feed_values.is_state(info, file.inputs, file.outputs)]
        floats = [info for info in plain if len(info.shape) > 1]
        return floats if len(floats) == len(self.arrays.inputs) else left

    def _fill(self, number: int, count: int) -> dict[str, NDArray[Any]]:
        """The inputs of a file that the items do not give, for so many items."""
        if (number, count) not in self.filled:
            self.filled[number, count] = self._made(number, count)
        return self.filled[number, count]

    def _made(self, number: int, count: int) -> dict[str, NDArray[Any]]:
        engine, path = self.engines[number], self.paths[number]
        given = {info.name for info in self._given(number)}
        missing = [info for info in engine.inputs if info.name not in given]
        if not missing:
            return {}
        known = {plain_name(name): array for name, array in self.apart.items()}
        found = {i.name: known[plain_name(i.name)].astype(i.dtype) for i in missing if plain_name(i.name) in known}
        left = tuple(info for info in missing if info.name not in found)
        if not left:
            return found
        file = self.file(number)
        sizes = {axis: n for i in file.inputs if i.name in given for axis, n in self._sizes(i) if axis}
        options = replace(self.options, data=None, states={}, batch=count, dims={**sizes, **self.options.dims})
        options = replace(options, shapes=tuple(s for s in options.shapes if any(s[0] == i.name for i in left)))
        rest = ModelFile(path, tuple(i for i in file.inputs if i.name not in given), file.outputs, file.hints)
        known_axes = {axis for i in rest.inputs for axis in i.axes if axis}
        options = replace(options, dims={a: n for a, n in options.dims.items() if a in known_axes})
        # states are told from other inputs by what stands beside them
        whole = replace(rest, inputs=file.inputs)
        feed = _planned(whole, rest, options, self.seed)
        for info in left:
            if feed.how[info.name] == feed_values.RANDOM:
                raise BadInput(
                    f"The data has nothing for the input '{info.name}' of {path.name}; it holds "
                    f"{', '.join(self.arrays.inputs)}."
                )
            found[info.name] = feed.arrays[info.name]
            said = f"{path.name}: the data has nothing for '{info.name}', which was {feed.how[info.name]}."
            if said not in self.notes:
                self.notes.append(said)
        return found

    def _sizes(self, info: TensorInfo) -> list[tuple[str, int]]:
        """Sizes of the named axes that the data fixes, but for that of the items."""
        array = next((a for n, a in self.arrays.inputs.items() if plain_name(n) == plain_name(info.name)), None)
        if array is None or array.ndim != len(info.shape):
            return []
        return list(zip(info.axes[1:], map(int, array.shape[1:]), strict=False))


def _planned(whole: ModelFile, rest: ModelFile, options: FeedOptions, seed: int) -> Feed:
    """Values for the inputs of ``rest``, as inputs of the ``whole`` file."""
    dummy = tuple((i.name, tuple(n or 1 for n in i.shape)) for i in whole.inputs if i not in rest.inputs and i.shape)
    return plan_feeds(whole, replace(options, shapes=(*options.shapes, *dummy)), np.random.default_rng(seed))[0]


@dataclass
class _Drawn(Source):
    """Random inputs, drawn for the reference and given to every file."""

    feeds: list[Feed] = field(default_factory=list)

    @classmethod
    def of(cls, paths: Sequence[Path], engines: Sequence[Engine], options: FeedOptions, seed: int) -> _Drawn:
        """Draw, fewer where the reference is slow."""
        files = [_file_of(path, engine) for path, engine in zip(paths, engines, strict=True)]
        draw = np.random.default_rng(seed)
        options = _with_steps(engines[0], files[0], options)
        first = _one(plan_feeds(files[0], options, draw, files[1:]))
        engines[0].run(first.arrays)
        started = time.perf_counter()
        engines[0].run(first.arrays)
        affordable = int(DRAW_SECONDS / max(time.perf_counter() - started, 1e-9))
        count = max(FEWEST_DRAWS, min(DRAWS, affordable))
        feeds = [first, *(_one(plan_feeds(files[0], options, draw, files[1:])) for _ in range(count - 1))]
        described: dict[str, Any] = {
            "file": None,
            "random": True,
            "items": count,
            "inputs": {name: str(array.dtype) for name, array in first.arrays.items()},
            "classes": None,
            "groups": [],
        }
        return cls(paths, engines, options, described, count, notes=first.sentences(), feeds=feeds)

    def as_items(self) -> Arrays | None:
        """The draws as items of a data set, from which each file takes its own order of axes; None where they are none.

        What is not random, such as states, each file gets for itself.
        """
        found = {}
        for name, array in self.feeds[0].arrays.items():
            if self.feeds[0].how[name] != feed_values.RANDOM:
                continue
            place = next((place for place in (0, 1) if place < array.ndim and array.shape[place] == 1), None)
            if place is None:
                return None
            found[name] = np.concatenate([np.moveaxis(feed.arrays[name], place, 0) for feed in self.feeds])
        try:
            return Arrays.by_name(found)
        except BadInput:
            return None

    def answers(self, number: int, *, progress: bool) -> Outputs:
        from tqdm.auto import tqdm

        engine, path = self.engines[number], self.paths[number]
        states, kept, parts = self.states(number), Outputs(), list[Outputs]()
        for feed in tqdm(self.feeds, desc=engine.name, disable=not progress, leave=False):
            outputs = engine.run({**_as_taken(feed, engine, path), **kept})
            kept = {name: outputs[output] for name, output in states.items()}
            parts.append(outputs)
        found = {n: [part[n] for part in parts] for n in parts[0]}
        alike = {n: values for n, values in found.items() if len({v.shape for v in values}) == 1}
        left = [name for name in found if name not in alike]
        self.notes += [f"The output '{name}' of {path.name} changes its size and was left out." for name in left]
        if not alike:
            raise BadInput(f"Every output of {path} changes its size with the values; there is nothing to compare.")
        return {name: np.stack(values) for name, values in alike.items()}

    def singles(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for number, (engine, path) in enumerate(zip(self.engines, self.paths, strict=True)):
            found[number] = Named(_as_taken(self.feeds[0], engine, path), self.states(number), 1)
        return found


def _with_steps(engine: Engine, file: ModelFile, options: FeedOptions) -> FeedOptions:
    """The options, with the whole shape of a single input of fixed size whose first axis holds no items but steps."""
    if len(file.inputs) != 1 or options.shapes or not file.inputs[0].shape or None in file.inputs[0].shape:
        return options
    (info,) = file.inputs
    whole = replace(options, shapes=((info.name, tuple(n for n in info.shape if n is not None)),))
    rows = info.shape[0] or 0
    if rows < 2 or holds_items(engine, plan_feeds(file, whole, np.random.default_rng(0))[0].arrays, rows):
        return options
    return whole


def _one(planned: Sequence[Feed]) -> Feed:
    if len(planned) > 1:
        raise BadInput("compare takes one shape of each input; give --shape once for an input.")
    return planned[0]


def _as_taken(feed: Feed, engine: Engine, path: Path) -> dict[str, NDArray[Any]]:
    """What was drawn for the reference as another file takes it."""
    by_name = {plain_name(name): array for name, array in feed.arrays.items()}
    alone = len(engine.inputs) == len(by_name) == 1
    found = {}
    for info in engine.inputs:
        array = next(iter(by_name.values())) if alone else by_name.get(plain_name(info.name))
        if array is None or not _fits(array, info):
            break
        wanted = feed_values.numpy_type(info)
        same = info.scale or wanted is None or array.dtype == wanted
        found[info.name] = array if same else array.astype(wanted)
    if len(found) == len(engine.inputs):
        return found
    items = {name: array for name, array in feed.arrays.items() if array.ndim}
    fed = match_inputs(items, engine.inputs, path.name, native_order(model_format(path)))
    return {one.info.name: one.apply(items[one.match.golden]) for one in fed}


def _fits(array: NDArray[Any], info: TensorInfo) -> bool:
    sizes = zip(info.shape, array.shape, strict=False)
    return not info.shape or (array.ndim == len(info.shape) and all(w in (None, n) for w, n in sizes))


def _apart(found: Mapping[str, NDArray[Any]], infos: Sequence[TensorInfo]) -> dict[str, NDArray[Any]]:
    """Entries of the data that are one array for all items: scalars, and what has an input's own size but no items."""
    counts = [len(array) for array in found.values() if array.ndim > 1] or [0]
    items = max(set(counts), key=counts.count)
    shapes = {plain_name(info.name): info.shape for info in infos}
    apart = {}
    for name, array in found.items():
        wanted = shapes.get(plain_name(name))
        if len(found) > 1 and (array.ndim == 0 or (len(array) != items and wanted and array.shape == wanted)):
            apart[name] = array
    return apart


def _file_of(path: Path, engine: Engine) -> ModelFile:
    with contextlib.suppress(Exception):
        return ModelFile.of(path, engine.inputs, engine.outputs)
    return ModelFile(path, tuple(engine.inputs), tuple(engine.outputs))


def _names(infos: Sequence[TensorInfo]) -> str:
    return ", ".join(f"'{info.name}'" for info in infos) or "none"

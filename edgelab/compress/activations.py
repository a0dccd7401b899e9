"""A float network run over a calibration set: the values of every tensor that a quantizer wants a range of."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import reason, running
from edgelab.compress.preparation import MASKED_BELOW
from edgelab.errors import BadInput

MEMORY_BYTES = 256 * 2**20
"""How many bytes of activations are held at a time; a network with more is run once for each part."""
BATCH = 16
"""Samples at a time; small enough that the allocator reuses what it has."""


def clipped(model: Any) -> dict[str, str]:
    """Tensors that go into a ReLU or Clip and nowhere else, each with the tensor that comes out.

    The quantizer merges the pair into one: the range that counts is the one behind the activation.
    """
    uses = Counter(name for node in model.graph.node for name in node.input)
    outputs = {node.name for node in model.graph.output}
    merged = [node for node in model.graph.node if node.op_type in ("Clip", "Relu")]
    return {n.input[0]: n.output[0] for n in merged if uses[n.input[0]] == 1 and n.input[0] not in outputs}


def activations(
    model: Any, x: NDArray[Any] | Mapping[str, NDArray[Any]], whole: bool = True
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run a float model over ``x`` and yield the name and the values of each float tensor that is quantized.

    ``x`` is the array of the one input, or an array for each input by name. ``whole`` yields every tensor once with all
    its values; otherwise once for each batch, which holds less memory.

    Raises
    ------
    BadInput
        If the network does not take ``x``.
    """
    import onnx

    constants = {constant.name for constant in model.graph.initializer}
    inputs = [node for node in model.graph.input if node.name not in constants]
    names_in, skipped = [node.name for node in inputs], clipped(model)
    info = {v.name: v for v in (*model.graph.value_info, *model.graph.output, *inputs)}
    order = [*names_in, *(name for node in model.graph.node for name in node.output if name in info)]
    floats = [name for name in order if info[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    names = [name for name in floats if name not in skipped]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    present = {node.name for node in probe.graph.output}
    probe.graph.output.extend(info[name] for name in names if name not in present)
    with contextlib.ExitStack() as stack:
        try:
            runtime = stack.enter_context(running(probe))
        except Exception as error:
            raise BadInput(f"ONNX Runtime does not run the network: {reason(error)}.") from error
        del probe
        feed = _Feed.of(runtime, x, names_in)

        def run(wanted: list[str], start: int) -> list[NDArray[np.float32]]:
            try:
                found: list[NDArray[np.float32]] = runtime.run(wanted, feed.batch(start))
            except Exception as error:
                raise BadInput(f"The network does not take the calibration set: {reason(error)}.") from error
            return found

        starts = range(0, feed.count, feed.step)
        if not whole:
            for start in starts:
                yield from zip(names, run(names, start), strict=True)
            return
        sizes = {name: value.nbytes * len(starts) for name, value in zip(names, run(names, 0), strict=True)}
        for part in _parts(sizes, MEMORY_BYTES):
            batches = [run(part, start) for start in starts]
            for i, name in enumerate(part):
                yield name, np.concatenate([batch[i].ravel() for batch in batches])


def mask_inputs(x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> set[str]:
    """Names of the inputs that are masks to be added to scores: zeros and minus infinity, or what stands for it."""
    found = set()
    for name, given in x.items() if isinstance(x, Mapping) else ():
        array = np.asarray(given)
        if array.dtype.kind == "f" and array.size and ((array == 0) | (array <= MASKED_BELOW)).all() and array.any():
            found.add(name)
    return found


@dataclass(frozen=True)
class _Feed:
    """A calibration set as the network takes it: what is cut into batches, and what goes whole into each."""

    items: Mapping[str, NDArray[Any]]
    whole: Mapping[str, NDArray[Any]]
    single: frozenset[str]
    """Inputs without an axis for the items, of which each gets a value of its own."""
    count: int
    step: int

    @classmethod
    def of(cls, runtime: Any, x: NDArray[Any] | Mapping[str, NDArray[Any]], names: Sequence[str]) -> _Feed:
        """The calibration set by the names of the inputs, each array in the element type that the network takes."""
        if not isinstance(x, Mapping):
            if len(names) != 1:
                held = ", ".join(names)
                raise BadInput(f"The network has the inputs {held}; give the calibration set by these names.")
            x = {names[0]: x}
        if set(x) != set(names):
            raise BadInput(f"The network has the inputs {', '.join(names)}, and the calibration set {', '.join(x)}.")
        infos = {node.name: node for node in runtime.get_inputs()}
        arrays = {name: _typed(infos[name], x[name], alone=len(names) == 1) for name in names}
        whole = {name for name in names if len(names) > 1 and arrays[name].ndim == 0}
        counts = {name: len(array) for name, array in arrays.items() if name not in whole}
        if len(set(counts.values())) > 1:  # a state or a table that goes whole into each run
            for name in list(counts):
                if list(arrays[name].shape) == list(infos[name].shape) and len(set(counts.values())) > 1:
                    whole.add(name)
                    del counts[name]
        if not counts or len(set(counts.values())) != 1:
            found = ", ".join(f"{count} of '{name}'" for name, count in counts.items()) or "nothing to take in turn"
            raise BadInput(f"The calibration set has unequal numbers of items: {found}.")
        count = next(iter(counts.values()))
        single = frozenset(name for name in counts if infos[name].shape == [] and arrays[name].ndim == 1)
        return cls(
            {name: arrays[name] for name in counts},
            {name: arrays[name] for name in whole},
            single,
            count,
            _step(infos, counts, single, count),
        )

    def batch(self, start: int) -> dict[str, NDArray[Any]]:
        """The arrays of one run."""
        cut = {name: array[start : start + self.step] for name, array in self.items.items()}
        return {**self.whole, **cut, **{name: cut[name][0] for name in self.single}}


def _step(infos: Mapping[str, Any], items: Iterable[str], single: Collection[str], count: int) -> int:
    if single:
        return 1
    fixed = {size for name in items for size in (infos[name].shape or ())[:1] if isinstance(size, int)}
    if len(fixed) > 1:
        sizes = " and ".join(map(str, sorted(fixed)))
        raise BadInput(f"The inputs of the network have batches of {sizes}; give one run of each, with its own shape.")
    step = next(iter(fixed), BATCH)
    if fixed and count % step:
        raise BadInput(f"The network takes batches of {step}, which {count} samples do not fill.")
    return step


def _typed(info: Any, x: NDArray[Any], *, alone: bool) -> NDArray[Any]:
    """An array of the calibration set in the element type that an input takes."""
    array = np.asarray(x)
    if array.size == 0 or (alone and array.ndim == 0):
        raise BadInput("The calibration set is empty.")
    if array.dtype.kind not in "fiub" or np.isnan(array).any() or (array == np.inf).any():
        raise BadInput("The calibration set holds values that are not finite numbers.")
    if np.isinf(array).any() and (alone or not mask_inputs({info.name: array})):
        raise BadInput("The calibration set holds values that are not finite numbers.")
    kind = _KINDS.get(info.type)
    if kind is None or (array.dtype.kind == "f") != (np.dtype(kind).kind == "f"):
        raise BadInput(f"The network takes {info.type} for '{info.name}', and the calibration set is {array.dtype}.")
    if np.dtype(kind).kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(kind)
        if array.min() < limits.min or array.max() > limits.max:
            raise BadInput(f"The calibration set has values for '{info.name}' that {np.dtype(kind)} cannot hold.")
    return array.astype(kind, copy=False)


_KINDS: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}


def _parts(sizes: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    """Names in groups whose sizes stay below the limit, but for a single one that is larger."""
    part: list[str] = []
    total = 0
    for name, size in sizes.items():
        if part and total + size > limit:
            yield part
            part, total = [], 0
        part.append(name)
        total += size
    if part:
        yield part

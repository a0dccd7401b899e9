"""The constants of a Core ML program: who computes with them, what they take, and how they are compressed.

A compressed constant is the result of ``constexpr_`` operators, whose parts (indices and a table, integers and scales,
a mask and the values that are not zero) are what the package stores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile
from edgelab.models import mlpackage

_SETTINGS = frozenset({"epsilon", "clip", "initial_h", "initial_c", "constant_val", "shape", "beta_min", "k"})
_SCALARS = frozenset({"x", "y"})
_FEW = 1 << 16  # values of a constant that are looked at: settings and labels, never weights
_PART_NAMES = {"quantized_data": "data", "indices_nonzero_data": "indices", "indices_mask": "mask", "data_mask": "mask"}


@dataclass(frozen=True)
class Constant:
    """A constant as operators see it, and as the package stores it.

    ``how`` names its compression for people, empty if there is none; ``kinds`` are the sorts (``"palette"``,
    ``"linear"``, ``"sparse"``), ``stored`` bytes by element type, ``sharing`` how its scales or tables are shared.
    """

    shape: tuple[int, ...]
    dtype: str
    stored: Mapping[str, int]
    values: tuple[Any, ...] = ()
    how: str = ""
    kinds: tuple[str, ...] = ()
    weights: str = ""
    sharing: str = ""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Constants:
    """Follows constants to the operators that compute with them; operators come in the order of the program."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._found: dict[str, Constant] = {}
        self._seen: set[str] = set()
        self._main: dict[str, Constant] = {}
        self._activations: set[str] = set()
        self.bytes_by_type: dict[str, int] = {}

    def enter(self, op: Any) -> None:
        """A ``const`` or ``constexpr_`` operator."""
        name = op.outputs[0].name if op.outputs else ""
        if op.type == "const":
            self._found[name] = self._plain(op.attributes["val"])
            return
        shape, dtype = _fixed(shape_of(op.outputs[-1].type)), type_of(op.outputs[-1].type)
        parts = {_PART_NAMES.get(key, key): self._given(value) for key, value in self._operands(op)}
        made = _compressed(op.type.removeprefix("constexpr_"), shape, dtype, {k: p for k, p in parts.items() if p})
        for out in op.outputs:  # two results of one operator: mask and values, told apart by their types
            own = type_of(out.type)
            self._found[out.name] = made if own == dtype else Constant(_fixed(shape_of(out.type)), own, {})

    def values(self, op: Any, name: str) -> tuple[Any, ...]:
        """The values of a small constant argument; empty if it is none."""
        if name in op.attributes:
            return self._plain(op.attributes[name]).values
        if name not in op.inputs or not op.inputs[name].arguments:
            return ()
        stated = op.inputs[name].arguments[0].value
        if stated.type.WhichOneof("type") == "listType":  # of class names, or of numbers
            entries = [entry.immediateValue.tensor for entry in stated.immediateValue.list.values[:_FEW]]
            return tuple(v for e in entries if (kind := e.WhichOneof("value")) for v in getattr(e, kind).values)
        found = self._argument(op.inputs[name].arguments[0])
        return found.values if found else ()

    def count(self, op: Any) -> int:
        """The parameters that an operator is the first to read."""
        if op.type in ("quantize", "dequantize"):
            self._activations.add(type_of(op.outputs[0].type) if op.type == "quantize" else "")
            return 0
        total = 0
        for key, argument in op.inputs.items():
            for given in argument.arguments:
                found = self._argument(given)
                own = given.name or f"{op.outputs[0].name}.{key}"
                if found is None or own in self._seen or key in _SETTINGS or not found.dtype.startswith("float"):
                    continue
                if not found.shape and key not in _SCALARS:
                    continue
                self._seen.add(own)
                total += found.elements
                for kind, size in found.stored.items():
                    self.bytes_by_type[kind] = self.bytes_by_type.get(kind, 0) + size
        return total

    def weight_of(self, op: Any, name: str) -> str | None:
        """How the weights of an operator are compressed; empty if they are not, None if it has none."""
        given = op.inputs[name].arguments if name in op.inputs else ()
        for argument in given:
            found = self._argument(argument)
            if found is not None:
                self._main[argument.name or op.outputs[0].name] = found
                return found.how
        return None

    def quantization(self, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """How the program is quantized, as `edgelab.measure.inspect.Quantization` states it."""
        packed = [c for c in self._main.values() if c.how]
        weighted = [layer["quantized"] for layer in layers if layer["quantized"] is not None]
        kinds = sorted({kind for c in packed for kind in c.kinds})
        sharing = {c.sharing for c in packed if c.sharing}
        static = bool(self._activations)
        return {
            "kind": "static" if static else ("weights_only" if packed else "none"),
            "scheme": " and ".join(kinds) or None,
            "granularity": None if not sharing else (sharing.pop() if len(sharing) == 1 else "mixed"),
            "weights": sorted({c.weights for c in packed if c.weights}),
            "activations": sorted(self._activations - {""}),
            "weighted_operators": len(weighted),
            "quantized_operators": sum(weighted),
        }

    def _operands(self, op: Any) -> list[tuple[str, Any]]:
        given = [(key, a.arguments[0]) for key, a in op.inputs.items() if a.arguments]
        return [*given, *((key, value) for key, value in op.attributes.items() if key != "name")]

    def _given(self, value: Any) -> Constant | None:
        """An argument (a name or a value) or an attribute (a value)."""
        return self._argument(value) if hasattr(value, "binding") or hasattr(value, "name") else self._plain(value)

    def _argument(self, argument: Any) -> Constant | None:
        if argument.WhichOneof("binding") == "value":
            return self._plain(argument.value)
        return self._found.get(argument.name)

    def _plain(self, value: Any) -> Constant:
        shape, dtype = _fixed(shape_of(value.type)), type_of(value.type)
        needed = -(-math.prod(shape) * bits_of(dtype) // 8)
        if value.WhichOneof("value") == "blobFileValue":
            blob = value.blobFileValue
            file = self._weights / Path(blob.fileName).name
            length = mlpackage.check_blob(file, int(blob.offset))
            if length < needed:
                raise BadFile(f"{file} is damaged: a constant needs {needed:,} bytes and {length:,} are stored.")
            return Constant(shape, dtype, {dtype: length})
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        held = getattr(tensor, kind).values if kind else ()
        few = tuple(held) if kind not in (None, "bytes") and len(held) <= _FEW else ()
        return Constant(shape, dtype, {dtype: needed}, few)


def shape_of(kind: Any) -> tuple[int | None, ...]:
    """The shape that a type states; None where a dimension is open."""
    dims = kind.tensorType.dimensions
    return tuple(int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None for d in dims)


def type_of(kind: Any) -> str:
    """The element type by numpy's name, ``"uint4"`` and the like for packed ones."""
    which = kind.WhichOneof("type")
    if which != "tensorType":
        return str(which).removesuffix("Type")
    tensor = kind.tensorType
    return str(type(kind).DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[tensor.dataType].name).lower()


def bits_of(dtype: str) -> int:
    """Bits of one element: ``float16`` 16, ``uint4`` 4, ``bool`` 8; 0 for text.

    Examples
    --------
    >>> bits_of("uint4"), bits_of("bool"), bits_of("string")
    (4, 8, 0)
    """
    digits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz").split("e")[0]
    return int(digits) if digits.isdecimal() else {"bool": 8}.get(dtype, 0)


def _fixed(shape: Sequence[int | None]) -> tuple[int, ...]:
    if any(n is None or n < 0 for n in shape):
        raise ValueError(f"a constant has the shape {tuple(shape)}")
    return tuple(n for n in shape if n is not None)


def _compressed(kind: str, shape: tuple[int, ...], dtype: str, parts: Mapping[str, Constant]) -> Constant:
    """What the operator ``constexpr_KIND`` makes of its parts."""
    stored: dict[str, int] = {}
    for part in parts.values():
        for name, size in part.stored.items():
            stored[name] = stored.get(name, 0) + size
    how, weights, sharing = "", "", ""
    kinds: tuple[str, ...] = ()
    if kind == "cast":
        return Constant(shape, dtype, stored)
    if "lut" in parts:
        how, weights, sharing = _palette(parts)
        kinds = ("palette",)
    elif "scale" in parts:
        how, weights, sharing = _linear(shape, parts)
        kinds = ("linear",)
    kept = parts.get("nonzero_data")
    if kind == "sparse_to_dense" and kept is not None:  # what is kept may be packed itself
        share = kept.elements / max(1, math.prod(shape))
        how = f"{kept.how}{' and ' if kept.how else ''}sparse, {share:.0%} stored"
        kinds, weights, sharing = (*kept.kinds, "sparse"), kept.weights or kept.dtype, kept.sharing
    return Constant(shape, dtype, stored, how=how, kinds=kinds, weights=weights, sharing=sharing)


def _palette(parts: Mapping[str, Constant]) -> tuple[str, str, str]:
    """The bits of an index and how tables are shared; a table is (groups ..., entries, vector), or (entries,)."""
    table = parts["lut"].shape
    entries, tables = (table[-2], math.prod(table[:-2])) if len(table) > 1 else (math.prod(table), 1)
    bits = max(1, math.ceil(math.log2(max(2, entries))))
    shared = f", {tables} tables" if tables > 1 else ""
    return f"palette of {bits} bits{shared}", f"uint{bits}", "per_group" if tables > 1 else "per_tensor"


def _linear(shape: tuple[int, ...], parts: Mapping[str, Constant]) -> tuple[str, str, str]:
    """The type of the integers and how scales are shared: per tensor, per channel, or in blocks along an axis."""
    data = parts.get("data") or parts.get("nonzero_data")
    dtype = data.dtype if data is not None else "int8"
    scale = parts["scale"]
    if scale.elements == 1:
        return f"{dtype} per tensor", dtype, "per_tensor"
    pairs = list(zip(shape, scale.shape, strict=False)) if len(scale.shape) == len(shape) else []
    blocks = [n // m for n, m in pairs if 1 < m < n]
    if blocks:
        return f"{dtype} in blocks of {' x '.join(map(str, blocks))}", dtype, "per_block"
    return f"{dtype} per channel", dtype, "per_channel"

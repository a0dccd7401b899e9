"""Values as JSON and back, between two processes that do not trust each other: nothing of it runs code.

What can be sent arrives equal and as a copy: numbers, texts, containers, arrays, tensors, dataclasses of edgelab or of
the lab. A function is sent as a handle. What else there is raises `Unsendable`.
"""

from __future__ import annotations

import base64
import builtins
import dataclasses
import functools
import importlib
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial, np.ufunc)
_PLAIN = (bool, int, float, str)


class Unsendable(BaseException):
    """A value cannot be sent. Not an `Exception`, so that neither an answer nor a check can swallow it."""


class Codec:
    """Encodes and decodes values.

    Parameters
    ----------
    room
        Where dataclasses that a lab's cells made are looked up.
    keep
        Takes a function that is sent, and gives the handle that stands for it.
    remote
        Takes the handle of a function of the other side and its name, and gives what calls it.
    """

    def __init__(
        self,
        room: Mapping[str, Any],
        keep: Callable[[Callable[..., Any]], int],
        remote: Callable[[int, str], Callable[..., Any]],
    ) -> None:
        self._room, self._keep, self._remote = room, keep, remote
        self._encoders: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
            ((np.ndarray, np.generic), self._array),
            (_PLAIN, lambda v: next(kind for kind in _PLAIN if isinstance(v, kind))(v)),  # of a class of its own
            (FUNCTIONS, self._function),
            (types.SimpleNamespace, lambda v: {"t": "object", "class": "", "v": self._encode(vars(v))}),
            (Mapping, lambda v: {"t": "dict", "v": [[self._encode(key), self._encode(v[key])] for key in v]}),
            ((list, tuple, set, frozenset), self._items),
            ((bytes, bytearray), lambda v: {"t": _base(v, bytes, bytearray), "v": base64.b64encode(v).decode()}),
            (complex, lambda v: {"t": "complex", "v": [v.real, v.imag]}),
            ((range, slice), lambda v: {"t": _base(v, range, slice), "v": [v.start, v.stop, v.step]}),
            (np.dtype, lambda v: {"t": "dtype", "v": v.str}),
            (PurePath, lambda v: {"t": "path", "v": str(v)}),
            (type, self._type),
        )
        self._decoders: Mapping[str, Callable[[Any], Any]] = {
            "dict": lambda d: {self._decode(key): self._decode(item) for key, item in d["v"]},
            **dict.fromkeys(("tuple", "set", "frozenset"), self._decode_items),
            **{name: lambda d: getattr(builtins, d["t"])(base64.b64decode(d["v"])) for name in ("bytes", "bytearray")},
            **{name: lambda d: getattr(builtins, d["t"])(*d["v"]) for name in ("complex", "range", "slice")},
            "array": _decode_array,
            "scalar": lambda d: _decode_array(d)[()],
            "objects": self._decode_objects,
            "tensor": lambda d: importlib.import_module("torch").from_numpy(self._decode(d["v"])),
            "dtype": lambda d: np.dtype(str(d["v"])),
            "type": _decode_type,
            "path": lambda d: Path(str(d["v"])),
            "object": self._decode_object,
            "function": lambda d: self._remote(int(d["handle"]), str(d["name"])),
        }

    def encode(self, value: Any) -> Any:
        """A value as JSON-ready data.

        Raises
        ------
        Unsendable
            If that is not possible.
        """
        try:
            return self._encode(value)
        except RecursionError:
            raise Unsendable("a value that holds itself") from None

    def decode(self, data: Any) -> Any:
        """The inverse of `encode`.

        Raises
        ------
        ValueError
            If the data are nothing that `encode` gives.
        """
        try:
            return self._decode(data)
        except (KeyError, TypeError, AttributeError, IndexError, ImportError, RecursionError, MemoryError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def _encode(self, value: Any) -> Any:
        if value is None or type(value) in _PLAIN:
            return value
        for kinds, encoder in self._encoders:
            if isinstance(value, kinds):
                return encoder(value)
        if dataclasses.is_dataclass(value):
            facts = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
            name = f"{type(value).__module__}:{type(value).__qualname__}"
            return {"t": "object", "class": name, "v": self._encode(facts)}
        if hasattr(value, "detach") and hasattr(value, "cpu") and not value.requires_grad:
            return self._tensor(value)
        raise Unsendable(f"a {type(value).__name__}")

    def _items(self, value: Any) -> Any:
        items = [self._encode(item) for item in value]
        name = _base(value, list, tuple, set, frozenset)
        return items if name == "list" else {"t": name, "v": items}

    def _function(self, value: Any) -> Any:
        return {"t": "function", "handle": self._keep(value), "name": str(getattr(value, "__name__", "function"))}

    def _array(self, value: Any) -> Any:
        array = np.asarray(value)
        if array.dtype.names:
            raise Unsendable("a structured array")
        if array.dtype.hasobject:
            return {"t": "objects", "shape": list(array.shape), "v": [self._encode(item) for item in array.flat]}
        content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        name = "scalar" if isinstance(value, np.generic) else "array"
        return {"t": name, "dtype": array.dtype.str, "shape": list(array.shape), "v": content}

    def _tensor(self, value: Any) -> Any:
        try:
            return {"t": "tensor", "v": self._array(value.cpu().numpy())}
        except TypeError as error:  # a type that numpy lacks
            raise Unsendable(str(error)) from None

    def _type(self, value: type) -> Any:
        for module in (builtins, np):
            if getattr(module, value.__name__, None) is value:
                return {"t": "type", "v": [module.__name__, value.__name__]}
        raise Unsendable(f"the class {value.__name__}")

    def _decode(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self._decode(item) for item in data]
        return self._decoders[data["t"]](data) if isinstance(data, dict) else data

    def _decode_items(self, data: Any) -> Any:
        return getattr(builtins, data["t"])(self._decode(item) for item in data["v"])

    def _decode_objects(self, data: Any) -> Any:
        array = np.empty([int(size) for size in data["shape"]], object)
        for place, item in zip(np.ndindex(array.shape), data["v"], strict=True):
            array[place] = self._decode(item)
        return array

    def _decode_object(self, data: Any) -> Any:
        """A dataclass of edgelab or of the lab with these values; of another class, just the values."""
        facts = dict(self._decode(data["v"]))
        module, _, path = str(data["class"]).partition(":")
        found: Any = None
        if module.split(".")[0] == "edgelab":
            found = getattr(sys.modules.get(module), path, None)
        elif module == self._room.get("__name__"):
            found = self._room.get(path)
        if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
            return types.SimpleNamespace(**facts)
        made = object.__new__(found)
        for field in dataclasses.fields(found):
            object.__setattr__(made, field.name, facts.get(field.name))
        return made


def _base(value: Any, *kinds: type) -> str:
    """The name of the first of these that the value is one of."""
    return next(kind.__name__ for kind in kinds if isinstance(value, kind))


def _decode_array(data: Any) -> Any:
    array = np.frombuffer(base64.b64decode(data["v"]), np.dtype(data["dtype"]))
    return array.reshape([int(size) for size in data["shape"]]).copy()


def _decode_type(data: Any) -> type:
    module, name = data["v"]
    found = getattr({"builtins": builtins, "numpy": np}[module], name)
    if not isinstance(found, type):
        raise ValueError(f"{name} is no class")  # noqa: TRY004  a hostile side's word, no caller's mistake
    return found

"""Whether an answer agrees with what a check expects, and how the two are put into a sentence.

Numbers agree to the precision of the answer's own type: an answer in float32 is not wrong in its eighth digit. What
converts without loss is accepted: a list for a tuple, numpy's scalars, texts and arrays without an axis for Python's.
numpy's functions are taken when this module is imported, so that a name replaced in a notebook decides nothing.
"""

from __future__ import annotations

import itertools
import math
import numbers
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import absolute, array_equal, asarray, errstate, isfinite, isnan, ndarray, unravel_index
from numpy import all as every

_RELATIVE = {"float16": 4e-3, "float32": 1e-5, "complex64": 1e-5}
_RELATIVE_DOUBLE = 1e-6
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_ORDINALS = {1: "st", 2: "nd", 3: "rd"}


def same(actual: Any, expected: Any, tolerance: float | None = None, *, extra_keys: bool = False) -> bool:
    """Whether two values agree.

    Parameters
    ----------
    actual
        The answer. Its type sets the precision: 1e-6 relative for float64, 1e-5 for float32, 4e-3 for float16.
    expected
        Whole numbers are met exactly, whatever the type of the answer.
    tolerance
        A distance that is allowed on top of the relative one; with 0 nothing is allowed.
    extra_keys
        Dictionaries may hold more than the expected keys.

    Examples
    --------
    >>> same((0.1 + 0.2, [1]), (0.3, [1])), same([1, 2], np.array([1, 2])), same("1", 1), same([1], [1, 1])
    (True, True, False, False)
    >>> same(2**31, 2**31 - 1), same(np.float32(0.1), 0.1), same(np.str_("a"), "a"), same(2.0**31, 2**31 - 1)
    (False, True, True, False)
    """
    actual, expected = plain(actual), plain(expected)
    if isinstance(actual, ndarray) or isinstance(expected, ndarray):
        return _same_arrays(actual, expected, tolerance)
    if isinstance(expected, Mapping):
        return (
            isinstance(actual, Mapping)
            and (actual.keys() >= expected.keys() if extra_keys else actual.keys() == expected.keys())
            and all(same(actual[key], expected[key], tolerance) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(actual, list | tuple)
            and len(actual) == len(expected)
            and all(same(a, e, tolerance) for a, e in zip(actual, expected, strict=True))
        )
    if isinstance(expected, str):
        return isinstance(actual, str) and str(actual) == str(expected)
    if is_number(expected):
        return is_number(actual) and _same_numbers(actual, expected, tolerance)
    return bool(type(actual) is type(expected) and actual == expected)


def is_number(value: Any) -> bool:
    """Whether a value is one number: Python's, numpy's, or a truth value."""
    return isinstance(value, numbers.Number | np.number | np.bool_)


def plain(value: Any) -> Any:
    """A framework's tensor as a numpy array, an array without an axis as its element, everything else as it is."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        value = asarray(
            value.float() if str(getattr(value, "dtype", "")) == "torch.bfloat16" else value
        )  # numpy has none
    if isinstance(value, ndarray) and value.ndim == 0:
        return value[()]
    return value


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of an array, the length of a sequence, () for a number, and None for anything else."""
    value = plain(value)
    if isinstance(value, ndarray):
        return tuple(value.shape)
    if isinstance(value, list | tuple):
        return (len(value),)
    return () if is_number(value) else None


def _relative(value: Any) -> float:
    return _RELATIVE.get(str(getattr(value, "dtype", "")), _RELATIVE_DOUBLE)


def _whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral | np.bool_)


def _same_numbers(actual: Any, expected: Any, tolerance: float | None) -> bool:
    if tolerance == 0 or (tolerance is None and _whole(expected)):
        return bool(actual == expected) or bool(actual != actual and expected != expected)  # noqa: PLR0124  not a number
    try:
        a, e = complex(actual), complex(expected)
    except (TypeError, ValueError, OverflowError):  # a symbolic number, or an integer beyond any float
        return bool(actual == expected)
    if a == e or (a != a and e != e):  # noqa: PLR0124  not a number, both
        return True
    if not (math.isfinite(abs(a)) and math.isfinite(abs(e))):
        return False
    return abs(a - e) <= _relative(actual) * abs(e) + (1e-12 if tolerance is None else tolerance)


def _same_arrays(actual: Any, expected: Any, tolerance: float | None) -> bool:
    try:
        a, e = asarray(actual), asarray(expected)
    except (TypeError, ValueError):  # a ragged list
        return False
    if a.shape != e.shape or _kind(a) != _kind(e):
        return False
    if _kind(a) == "other":
        return bool(array_equal(a, e))
    if tolerance == 0 or (tolerance is None and e.dtype.kind in "biu"):
        return bool(every((a == e) | ((a != a) & (e != e))))  # noqa: PLR0124  not a number, both
    return bool(every(_near(a, e, tolerance)))


def _near(a: Any, e: Any, tolerance: float | None) -> Any:
    """Elementwise; one unit in the last place of the largest element is forgiven everywhere, as sums leave it."""
    relative = _relative(a)
    wide_a, wide_e = (v.astype(complex if v.dtype.kind == "c" else float) for v in (a, e))
    with errstate(all="ignore"):
        size = absolute(wide_e)
        largest = size[isfinite(size)].max(initial=0.0)
        last_place = np.finfo(a.dtype).eps if a.dtype.kind == "f" else 0.0
        allowed = relative * size + 2 * last_place * largest + (1e-12 if tolerance is None else tolerance)
        distance = absolute(wide_a - wide_e)
        return (wide_a == wide_e) | (isnan(wide_a) & isnan(wide_e)) | (isfinite(wide_a) & (distance <= allowed))


def _kind(array: np.ndarray[Any, Any]) -> str:
    return "number" if array.dtype.kind in "biufc" else "other"


def contrast(actual: Any, expected: Any) -> str:
    """What was found and what was expected, in as many digits as it takes to tell them apart, and where they differ.

    Examples
    --------
    >>> contrast(3, 4)
    'Found 3, expected 4'
    >>> contrast(0.26491934, 0.26491904)
    'Found 0.26491934, expected 0.26491904; they differ in the 7th digit'
    >>> contrast(np.array([1.0, 2, 3, 4, 5, 6, 8]), np.array([1.0, 2, 3, 4, 5, 6, 7]))
    'Found an array that has 8 at the index 6, expected 7 there'
    """
    actual, expected = plain(actual), plain(expected)
    found, wanted = describe(actual), describe(expected)
    if isinstance(actual, ndarray) and isinstance(expected, ndarray) and found.startswith("an array"):
        place = _first_difference(actual, expected)
        if place is not None:
            index = str(place[0]) if len(place) == 1 else str(place)
            left, right, digit = _apart(actual[place], expected[place])
            return f"Found an array that has {left} at the index {index}, expected {right} there{digit}"
    if found != wanted:
        return f"Found {found}, expected {wanted}"
    if is_number(actual) and is_number(expected):
        left, right, digit = _apart(actual, expected)
        return f"Found {left}, expected {right}{digit}"
    pairs = _pairs(actual, expected)
    for name, one, other in pairs:
        if not same(one, other):
            inner = contrast(one, other)
            return f"{inner}, at {name}"
    return f"Found {found} of the type {type(actual).__name__}, expected {wanted}, a {type(expected).__name__}"


def _pairs(actual: Any, expected: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        return [(f"the key {key!r}", actual[key], expected[key]) for key in expected if key in actual]
    if isinstance(actual, list | tuple | ndarray) and isinstance(expected, list | tuple | ndarray):
        return [(f"the index {i}", a, e) for i, (a, e) in enumerate(zip(actual, expected, strict=False))]
    return []


def _first_difference(actual: Any, expected: Any) -> tuple[int, ...] | None:
    if actual.shape != expected.shape or {_kind(actual), _kind(expected)} != {"number"}:
        return None
    whole = expected.dtype.kind in "biu"
    wrong = actual != expected if whole else ~_near(actual, expected, None)
    if not wrong.any():
        wrong = actual != expected
    return tuple(int(i) for i in unravel_index(int(wrong.argmax()), wrong.shape)) if wrong.any() else None


def _apart(actual: Any, expected: Any) -> tuple[str, str, str]:
    """Two numbers with as many digits as tell them apart, and the digit if it is not among those usually shown."""
    left, right = describe(actual), describe(expected)
    if left != right:
        return left, right, ""
    with errstate(all="ignore"):
        for digits in range(7, 18):
            one, two = f"{float(actual):.{digits}g}", f"{float(expected):.{digits}g}"
            if one != two:
                one, two = f"{float(actual):.{digits + 1}g}", f"{float(expected):.{digits + 1}g}"
                return one, two, f"; they differ in the {_ordinal(_differing_digit(one, two))} digit"
    return left, right, f" (a {type(actual).__name__} for a {type(expected).__name__})"


def _differing_digit(one: str, two: str) -> int:
    significant = [text.lstrip("-0.").replace(".", "") for text in (one, two)]
    return 1 + next((i for i, (a, b) in enumerate(itertools.zip_longest(*significant)) if a != b), 0)


def _ordinal(number: int) -> str:
    return f"{number}{_ORDINALS.get(number, 'th') if number < 10 or number > 20 else 'th'}"


def describe(value: Any, length: int = 90) -> str:
    """A value in few characters, for a sentence.

    Examples
    --------
    >>> describe((np.float32(0.1), 3)), describe(np.zeros((2, 3)))
    ('(0.1, 3)', 'an array of shape (2, 3) that starts 0, 0, 0, 0')
    """
    value = plain(value)
    if isinstance(value, bool | np.bool_):
        text = str(bool(value))
    elif isinstance(value, numbers.Integral):
        text = str(int(value))
    elif isinstance(value, numbers.Real):
        text = f"{float(value):.6g}" if math.isfinite(value) else str(float(value))
    elif isinstance(value, str):
        text = repr(str(value))
    elif isinstance(value, ndarray) and value.ndim == 1 and value.size <= 6:
        text = "[" + ", ".join(describe(item, length) for item in value) + "]"
    elif isinstance(value, ndarray):
        text = f"an array of shape {value.shape} that starts " + ", ".join(describe(item) for item in value.flat[:4])
    elif isinstance(value, list | tuple):
        inside = ", ".join(describe(item, length) for item in value[:8]) + (", ..." if len(value) > 8 else "")
        text = f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    elif isinstance(value, dict):
        shown = [f"{describe(key)}: {describe(item, length)}" for key, item in itertools.islice(value.items(), 8)]
        text = "{" + ", ".join(shown) + (", ...}" if len(value) > 8 else "}")
    elif callable(value) and hasattr(value, "__name__"):
        text = str(value.__name__)  # its address would help nobody
    else:
        text = _ADDRESS.sub("", " ".join(repr(value).split()))
    return text if len(text) <= length else text[: length - 3] + "..."

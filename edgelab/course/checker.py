"""What the body of a check has to work with: comparisons that say what was tested and name plausible mistakes.

An answer is hostile until it passed. It may raise, return nothing, return another type or shape, change its
arguments or never end; each of these becomes one clear sentence and none of them stops a notebook.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import numbers
import signal
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np

Status = Literal["passed", "failed", "open"]
OPEN = "Not solved yet: your function still raises NotImplementedError."


@dataclass(frozen=True)
class Outcome:
    """What a check found: ``"passed"``, ``"failed"`` or ``"open"`` (the stub is untouched), and a sentence."""

    status: Status
    message: str


class Failed(BaseException):
    """Ends a check's body at its first failure. Not an `Exception`, so that an answer cannot swallow it."""


class TimedOut(BaseException):
    """Ends a block that took longer than its `time_limit`; carries the seconds."""


@dataclass
class Checker:
    """The first argument of a check's body.

    Every method takes ``tested``: what is looked at, as a phrase that can start a sentence ("the scale of a symmetric
    range"). ``mistakes`` maps a sentence that names a plausible mistake to the value that this mistake would give.
    """

    passed: list[str] = field(default_factory=list)
    last_call: str = ""
    last_result: Any = None
    last_error: BaseException | None = None

    def equal(self, actual: Any, expected: Any, *, tested: str, mistakes: Mapping[str, Any] | None = None) -> None:
        """Whole numbers agree exactly, others to six digits, arrays and sequences also in shape, the rest by ``==``."""
        self._compare(actual, expected, same, tested, mistakes or {})

    def close(
        self, actual: Any, expected: Any, tolerance: float, *, tested: str, mistakes: Mapping[str, Any] | None = None
    ) -> None:
        """Like `equal`, but numbers may differ by ``tolerance`` (absolute)."""
        within = functools.partial(same, tolerance=tolerance)
        self._compare(actual, expected, within, tested, mistakes or {}, tolerance=f", give or take {tolerance:g}")

    def that(self, condition: Any, *, tested: str, found: Any, mistake: str = "") -> None:
        """A condition holds. ``found`` says what was found; ``mistake`` names what a failure most likely comes from."""
        if not bool(np.all(_plain(condition))):
            self._fail(tested, f"Found {found if isinstance(found, str) else describe(found)}", mistake)
        self.passed.append(tested)

    def raises(
        self, error: type[Exception], function: Callable[..., Any], *arguments: Any, tested: str, mistake: str = ""
    ) -> None:
        """``function(*arguments)`` raises ``error``."""
        try:
            result = function(*arguments)
        except NotImplementedError:
            raise
        except error:
            self.last_error = None
        except Exception as other:  # noqa: BLE001  an answer may raise anything
            self._fail(tested, f"Found {type(other).__name__}, expected {error.__name__}", mistake)
        else:
            self._fail(tested, f"Found the result {describe(result)}, expected a {error.__name__}", mistake)
        self.passed.append(tested)

    def _compare(
        self,
        actual: Any,
        expected: Any,
        agrees: Callable[[Any, Any], bool],
        tested: str,
        mistakes: Mapping[str, Any],
        *,
        tolerance: str = "",
    ) -> None:
        if agrees(actual, expected):
            self.passed.append(tested)
            return
        mistake = next((name for name, wrong in mistakes.items() if agrees(actual, wrong)), "")
        shapes = _shape(actual), _shape(expected)
        if actual is None:
            found = f"Found None, expected {describe(expected)}; does every path of your function end in a return"
        elif shapes[0] != shapes[1] and None not in shapes:
            found = f"Found the shape {shapes[0]}, expected {shapes[1]}"
        else:
            found = f"Found {describe(actual)}, expected {describe(expected)}{tolerance}"
        self._fail(tested, found, mistake)

    def _fail(self, tested: str, found: str, mistake: str) -> NoReturn:
        parts = [f"Tested: {tested}.", f"{found}{'?' if found.endswith('end in a return') else '.'}"]
        if self.last_call:
            parts.append(f"The last call was {self.last_call}.")
        if mistake:
            parts.append(f"Likely mistake: {mistake.rstrip('.')}.")
        raise Failed(" ".join(parts))

    def watch(self, answer: Any, *, mutates: bool = False) -> Any:
        """The answer, if a function, wrapped so that its calls are remembered and changed arguments are noticed."""
        if not isinstance(answer, types.FunctionType | types.MethodType | functools.partial):
            return answer
        name = getattr(answer, "__name__", "your_function")

        def watched(*positional: Any, **named: Any) -> Any:
            self.last_call = _call(name, positional, named)
            self.last_result, self.last_error = None, None
            before = [(str(key), value, _snapshot(value)) for key, value in (*enumerate(positional, 1), *named.items())]
            try:
                self.last_result = answer(*positional, **named)
            except Exception as error:
                self.last_error = error
                raise
            if not mutates:
                for key, value, kept in before:
                    if kept is not None and not same(value, kept, tolerance=0):
                        raise Failed(
                            f"Tested: that the arguments stay as they are. {name} changed its argument {key} in place. "
                            "Likely mistake: an assignment such as `x[...] = ` or `x += ` on the caller's data."
                        )
            return self.last_result

        return functools.update_wrapper(watched, answer) if hasattr(answer, "__name__") else watched


def examine(body: Callable[..., Any], answer: Any, *, seconds: float, mutates: bool = False) -> Outcome:
    """Run a check's body on an answer and say in one sentence what came out. Raises nothing but what ends a process.

    Parameters
    ----------
    body
        ``body(c, answer)`` as a lab registers it.
    answer
        The learner's function or value.
    seconds
        After this time the answer counts as endless (where the system can interrupt: main thread, not Windows).
    mutates
        The exercise is about changing an argument in place.
    """
    c = Checker()
    try:
        with time_limit(seconds):
            body(c, c.watch(answer, mutates=mutates))
    except NotImplementedError:
        return Outcome("open", OPEN)
    except (Exception, Failed, TimedOut, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  an answer is hostile
        return Outcome("failed", _sentence(c, error))
    if not c.passed:
        return Outcome("failed", "This check tested nothing; that is a defect of the lab, please report it.")
    return Outcome("passed", f"Tested: {'; '.join(dict.fromkeys(c.passed))}.")


def _sentence(c: Checker, error: BaseException) -> str:
    match error:
        case Failed():
            text = str(error)
        case TimedOut():
            place = f" in {c.last_call}" if c.last_call else ""
            text = f"Stopped after {error.args[0]:.3g} s{place}. Likely mistake: a loop that never ends."
        case KeyboardInterrupt():
            text = "The check was interrupted."
        case RecursionError():
            text = f"Too deep a recursion in {c.last_call}. Likely mistake: a function that calls itself without end."
        case SystemExit():
            text = f"Your function ended the program in {c.last_call}; use return, not exit()."
        case _:
            text = _trouble(c, error)
    return text


def _trouble(c: Checker, error: BaseException) -> str:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(": ")
    if error is c.last_error:
        extra = ""
        if isinstance(error, NameError):
            extra = (
                " A solution may use the setup cells, earlier exercises and what its own cell defines, nothing else."
            )
        return f"Your function raised {reason}, in {c.last_call}.{extra}"
    if c.last_call and c.last_result is None:
        return f"Your function returned None for {c.last_call}; does every path end in a return?"
    if c.last_call:
        return f"The check could not use {describe(c.last_result)}, the result of {c.last_call} ({reason})."
    return f"The check could not use your answer ({reason})."


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after ``seconds``, where the system can do it: in the main thread, and not on Windows.

    A caller's alarm goes on; where it would ring earlier, the block is interrupted then.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    allowed = min(seconds, left) if left else seconds

    def ring(_signal: int, _frame: Any) -> None:
        raise TimedOut(allowed)

    before = signal.signal(signal.SIGALRM, ring)
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, allowed)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-3), interval)


def same(actual: Any, expected: Any, tolerance: float | None = None) -> bool:
    """Whether two values agree: whole numbers exactly, others to six digits, or all within ``tolerance``.

    Examples
    --------
    >>> same((0.1 + 0.2, [1]), (0.3, [1])), same([1, 2], np.array([1, 2])), same("1", 1), same([1], [1, 1])
    (True, True, False, False)
    >>> same(2**31, 2**31 - 1)
    False
    """
    actual, expected = _plain(actual), _plain(expected)
    if isinstance(actual, np.ndarray) or isinstance(expected, np.ndarray):
        return _same_arrays(actual, expected, tolerance)
    if isinstance(expected, Mapping):
        return (
            isinstance(actual, Mapping)
            and actual.keys() == expected.keys()
            and all(same(actual[key], expected[key], tolerance) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(actual, list | tuple)
            and len(actual) == len(expected)
            and all(same(a, e, tolerance) for a, e in zip(actual, expected, strict=True))
        )
    if isinstance(expected, numbers.Number):
        return isinstance(actual, numbers.Number) and _same_arrays(np.asarray(actual), np.asarray(expected), tolerance)
    return bool(type(actual) is type(expected) and actual == expected)


def _same_arrays(actual: Any, expected: Any, tolerance: float | None) -> bool:
    try:
        a, e = np.asarray(actual), np.asarray(expected)
    except ValueError:  # a ragged list
        return False
    if a.shape != e.shape or _kind(a) != _kind(e):
        return False
    if _kind(a) == "other":
        return bool(np.array_equal(a, e))
    if tolerance is None and a.dtype.kind in "biu" and e.dtype.kind in "biu":
        return bool(np.array_equal(a, e))
    rtol, atol = (1e-6, 1e-12) if tolerance is None else (0.0, tolerance)
    return bool(np.allclose(a, e, rtol=rtol, atol=atol, equal_nan=True))


def _kind(array: np.ndarray[Any, Any]) -> str:
    return "number" if array.dtype.kind in "biufc" else "other"


def _plain(value: Any) -> Any:
    """A framework's tensor as a numpy array; everything else as it is."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        return np.asarray(value.detach().cpu())
    return value


def _shape(value: Any) -> tuple[int, ...] | None:
    value = _plain(value)
    if isinstance(value, np.ndarray | np.generic):
        return tuple(value.shape)
    if isinstance(value, list | tuple):
        return (len(value),)
    return () if isinstance(value, numbers.Number) else None


def _snapshot(value: Any) -> Any:
    """A copy of an argument that a function could change in place, or None if it is of another kind."""
    if isinstance(value, np.ndarray | list | dict | set):
        with contextlib.suppress(Exception):
            return copy.deepcopy(value)
    if hasattr(value, "detach") and hasattr(value, "clone"):
        return value.detach().clone()
    return None


def describe(value: Any, length: int = 90) -> str:
    """A value in few characters, for a sentence.

    Examples
    --------
    >>> describe((np.float32(0.1), 3)), describe(np.zeros((2, 3)))
    ('(0.1, 3)', 'an array of shape (2, 3) that starts 0, 0, 0, 0')
    """
    value = _plain(value)
    if isinstance(value, bool | np.bool_):
        text = str(bool(value))
    elif isinstance(value, numbers.Integral):
        text = str(int(value))
    elif isinstance(value, numbers.Real):
        text = f"{float(value):.6g}" if math.isfinite(value) else str(float(value))
    elif isinstance(value, np.ndarray) and value.ndim == 0:
        text = describe(value.item(), length)
    elif isinstance(value, np.ndarray) and value.ndim == 1 and value.size <= 6:
        text = "[" + ", ".join(describe(item, length) for item in value) + "]"
    elif isinstance(value, np.ndarray):
        text = f"an array of shape {value.shape} that starts " + ", ".join(describe(item) for item in value.flat[:4])
    elif isinstance(value, list | tuple):
        inside = ", ".join(describe(item, length) for item in value[:8]) + (", ..." if len(value) > 8 else "")
        text = f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    else:
        text = " ".join(repr(value).split())
    return text if len(text) <= length else text[: length - 3] + "..."


def _call(name: str, positional: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    arguments = [describe(value, 40) for value in positional] + [f"{k}={describe(v, 40)}" for k, v in named.items()]
    return f"`{name}({', '.join(arguments)})`"

"""What the body of a check has to work with: comparisons that say what was tested and name plausible mistakes.

An answer is hostile until it passed. It may raise, return nothing, return another type or shape, change its
arguments or never end; each of these becomes one clear sentence and none of them stops a notebook.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np
from numpy import all as every

from edgelab.course.agreement import contrast, describe, is_number, plain, same, shape_of

Status = Literal["passed", "failed", "open"]
OPEN = "Not solved yet: your function still raises NotImplementedError."
_NO_RETURN = "; does every path of your function end in a return?"
_generator = np.random.default_rng  # as imported: a name replaced in a notebook decides nothing


@dataclass(frozen=True)
class Outcome:
    """What a check found: ``"passed"``, ``"failed"`` or ``"open"`` (the stub is untouched), and a sentence."""

    status: Status
    message: str


class Failed(BaseException):
    """Ends a check's body at its first failure. Not an `Exception`, so that an answer cannot swallow it."""


class TimedOut(BaseException):
    """Ends a block that took longer than its `time_limit`; carries the seconds."""


@functools.cache
def process_seed() -> int:
    """The seed of every check's random inputs in this process: ``EDGELAB_CHECK_SEED``, else drawn once."""
    wanted = os.environ.get("EDGELAB_CHECK_SEED", "")
    return int(wanted) if wanted.isdecimal() else secrets.randbelow(9000) + 1000


@dataclass
class Checker:
    """The first argument of a check's body.

    Every method takes ``tested``: what is looked at, as a phrase that can start a sentence ("the scale of a symmetric
    range"). ``mistakes`` maps a sentence that names what was done wrong to the value that this mistake would give, and
    ``remember`` does the same with a sentence that states what is true ("points are percent").

    Attributes
    ----------
    seed
        Where `rng` starts. A failure names it, if the body drew from `rng`.
    """

    seed: int = field(default_factory=process_seed)
    passed: list[str] = field(default_factory=list)
    last_call: str = ""
    last_result: Any = None
    last_error: BaseException | None = None
    given: Any = None
    drawn: bool = False

    @functools.cached_property
    def rng(self) -> np.random.Generator:
        """Random numbers for the inputs: other ones in each process, the same ones at each try in it."""
        self.drawn = True
        return _generator(self.seed)

    def equal(
        self,
        actual: Any,
        expected: Any,
        *,
        tested: str,
        mistakes: Mapping[str, Any] | None = None,
        remember: Mapping[str, Any] | None = None,
        extra_keys: bool = False,
    ) -> None:
        """Whole numbers agree exactly, others to the precision of the answer's type, arrays also in shape.

        ``extra_keys`` allows a dictionary to hold more than was asked for. See `edgelab.course.agreement.same`.
        """
        agrees = functools.partial(same, extra_keys=extra_keys)
        self._compare(actual, expected, agrees, tested, mistakes or {}, remember or {})

    def each(
        self,
        answer: Callable[..., Any],
        cases: Iterable[tuple[Any, ...]],
        right: Callable[..., Any],
        *,
        tested: Callable[..., str],
        mistakes: Mapping[str, Callable[..., Any]] | None = None,
        remember: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """``answer(*case)`` equals ``right(*case)`` in every case.

        ``tested`` and the values of ``mistakes`` and ``remember`` are functions of a case, too. Of those that explain
        the first case that is wrong, the one is named that explains the most cases.
        """
        cases = list(cases)
        found, calls = [], []
        for case in cases:
            found.append(answer(*case))
            calls.append((self.last_call, self.last_result))
        first = next((i for i, case in enumerate(cases) if not same(found[i], right(*case))), None)
        if first is None:
            self.passed += [tested(*case) for case in cases]
            return
        self.last_call, self.last_result = calls[first]
        case, value = cases[first], found[first]
        explained = {
            name: sum(map(same, found, (wrong(*c) for c in cases)))
            for name, wrong in {**(mistakes or {}), **(remember or {})}.items()
            if same(value, wrong(*case))
        }
        named = dict.fromkeys(sorted(explained, key=lambda name: -explained[name])[:1], value)
        true = named if set(named) <= set(remember or {}) else {}
        self.equal(value, right(*case), tested=tested(*case), mistakes={} if true else named, remember=true)

    def close(
        self,
        actual: Any,
        expected: Any,
        tolerance: float,
        *,
        tested: str,
        mistakes: Mapping[str, Any] | None = None,
        remember: Mapping[str, Any] | None = None,
    ) -> None:
        """Like `equal`, but numbers may differ by ``tolerance`` on top of what their type's precision allows."""
        within = functools.partial(same, tolerance=tolerance)
        self._compare(actual, expected, within, tested, mistakes or {}, remember or {})

    def that(self, condition: Any, *, tested: str, found: Any, mistake: str = "", remember: str = "") -> None:
        """A condition holds. ``found`` says what was found; ``mistake`` names what a failure most likely comes from."""
        if not bool(every(plain(condition))):
            self._fail(tested, f"Found {found if isinstance(found, str) else describe(found)}", mistake, remember)
        self.passed.append(tested)

    def raises(
        self,
        error: type[Exception],
        function: Callable[..., Any],
        *arguments: Any,
        tested: str,
        mistake: str = "",
        remember: str = "",
    ) -> None:
        """``function(*arguments)`` raises ``error``."""
        try:
            result = function(*arguments)
        except NotImplementedError:
            raise
        except error:
            self.last_error = None
        except Exception as other:  # noqa: BLE001  an answer may raise anything
            self._fail(tested, f"Found {type(other).__name__}, expected {error.__name__}", mistake, remember)
        else:
            found = f"Found the result {describe(result)}, expected a {error.__name__}"
            self._fail(tested, found, mistake, remember)
        self.passed.append(tested)

    def parts(self, value: Any, count: int, *, wanted: str) -> list[Any]:
        """The ``count`` parts of an answer that is a tuple, a list or an array. ``wanted`` says which they are."""
        value = plain(value)
        if value is None:
            self._fail("the answer", f"Found None, expected {wanted}{_NO_RETURN}", "", "")
        if not isinstance(value, list | tuple | np.ndarray) or len(value) != count:
            kind = f", which is a {type(value).__name__}" if isinstance(value, Mapping | set | str) else ""
            self._fail("the answer", f"Found {describe(value)}{kind}; return {wanted} as a tuple", "", "")
        return list(value)

    def whole(self, value: Any, *, tested: str, mistake: str = "", remember: str = "") -> int:
        """A number that is an integer, whatever its type, as Python's int."""
        value = plain(value)
        if not is_number(value) or isinstance(value, complex | np.complexfloating) or not float(value).is_integer():
            self._fail(tested, f"Found {describe(value)}, expected an integer", mistake, remember)
        self.passed.append(tested)
        return int(value)

    def _compare(
        self,
        actual: Any,
        expected: Any,
        agrees: Callable[[Any, Any], bool],
        tested: str,
        mistakes: Mapping[str, Any],
        remember: Mapping[str, Any],
    ) -> None:
        if agrees(actual, expected):
            self.passed.append(tested)
            return
        mistake = next((name for name, wrong in mistakes.items() if agrees(actual, wrong)), "")
        truth = next((name for name, wrong in remember.items() if agrees(actual, wrong)), "")
        shapes = shape_of(actual), shape_of(expected)
        if actual is None:
            found = f"Found None, expected {describe(expected)}{_NO_RETURN}"
        elif shapes[0] != shapes[1] and None not in shapes:
            found = f"Found the shape {shapes[0]}, expected {shapes[1]}"
            if len(shapes[0] or ()) <= 1 and not isinstance(plain(actual), np.ndarray):
                found = contrast(actual, expected)
        else:
            found = contrast(actual, expected)
        self._fail(tested, found, mistake, "" if mistake else truth)

    def _fail(self, tested: str, found: str, mistake: str, remember: str) -> NoReturn:
        parts = [f"Tested: {tested}.", found if found.endswith("?") else f"{found}."]
        if self.last_call:
            parts.append(f"The last call was {self.last_call}.")
        if mistake:
            parts.append(f"Likely mistake: {mistake.rstrip('.')}.")
        if remember:
            parts.append(f"Remember: {remember.rstrip('.')}.")
        raise Failed(" ".join(parts))

    def watch(self, answer: Any, *, mutates: bool = False) -> Any:
        """The answer, if it can be called, wrapped so that calls are remembered and changed arguments are noticed."""
        if isinstance(answer, type) or not callable(answer):
            return answer
        return _Watched(self, answer, mutates=mutates)


class _Watched:
    """Calls the answer for a check's body. Every attribute but the call is the answer's own."""

    def __init__(self, checker: Checker, answer: Callable[..., Any], *, mutates: bool) -> None:
        self._checker, self._answer, self._mutates = checker, answer, mutates
        self._name = str(getattr(answer, "__name__", "your_function"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        checker = self._checker
        checker.last_call = _call(self._name, positional, named)
        checker.last_result, checker.last_error = None, None
        before = [(str(key), value, _snapshot(value)) for key, value in (*enumerate(positional, 1), *named.items())]
        try:
            checker.last_result = self._answer(*positional, **named)
        except Exception as error:
            checker.last_error = error
            raise
        for key, value, kept in [] if self._mutates else before:
            if kept is not None and not same(value, kept, tolerance=0):
                raise Failed(
                    f"Tested: that the arguments stay as they are. {self._name} changed its argument {key} in place. "
                    "Likely mistake: an assignment such as `x[...] = ` or `x += ` on the caller's data."
                )
        return checker.last_result


def examine(
    body: Callable[..., Any], answer: Any, *, seconds: float, mutates: bool = False, seed: int | None = None
) -> Outcome:
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
    seed
        Of the random inputs; without it, the one of this process, `process_seed`.
    """
    c = Checker() if seed is None else Checker(seed)
    c.given = answer
    try:
        with time_limit(seconds):
            body(c, c.watch(answer, mutates=mutates))
    except NotImplementedError:
        return Outcome("open", OPEN)
    except (Exception, Failed, TimedOut, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  an answer is hostile
        return Outcome("failed", _sentence(c, error) + (f" (Inputs of seed {c.seed}.)" if c.drawn else ""))
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
    if error is c.last_error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(": ")
        extra = ""
        if isinstance(error, NameError):
            extra = (
                " A solution may use the setup cells, earlier exercises and what its own cell defines, nothing else."
            )
        return f"Your function raised {reason}, in {c.last_call}.{extra}"
    # What follows was raised by the check's own line that took the answer apart: its words would not help.
    if isinstance(error, NameError) and error.name:
        return f"The check needs `{error.name}`, which the setup cells make: run them first."
    if c.last_call and c.last_result is None:
        return f"Your function returned None for {c.last_call}; does every path end in a return?"
    if c.last_call:
        return (
            f"The check could not use {describe(c.last_result)}, the result of {c.last_call}: compare it "
            f"({type(c.last_result).__name__}) with what the description of the function asks for."
        )
    return f"The check could not use your answer, {describe(c.given)}: it must be what the exercise's cell defines."


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


def _snapshot(value: Any) -> Any:
    """A copy of an argument that a function could change in place, or None if it is of another kind."""
    if isinstance(value, np.ndarray | list | dict | set | bytearray):
        with contextlib.suppress(Exception):
            return copy.deepcopy(value)
    if hasattr(value, "detach") and hasattr(value, "clone"):
        return value.detach().clone()
    return None


def _call(name: str, positional: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    arguments = [_argument(value) for value in positional] + [f"{k}={_argument(v)}" for k, v in named.items()]
    return f"`{name}({', '.join(arguments)})`"


def _argument(value: Any) -> str:
    value = plain(value)
    if isinstance(value, np.ndarray) and (value.ndim > 1 or value.size > 6):
        return f"an array of shape {value.shape}"
    return describe(value, 40)

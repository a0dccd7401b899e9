"""What a check says of good, wrong and hostile answers."""

import signal
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgelab.course.checker import Outcome, describe, examine, same, time_limit


def body(c, double):
    c.equal(
        double(np.array([1.0, 2.0])),
        np.array([2.0, 4.0]),
        tested="two numbers",
        mistakes={"it was squared": np.array([1.0, 4.0])},
    )
    c.close(double(np.array([0.1])), [0.2], 1e-3, tested="a small number")


def found(answer, check=body, **settings) -> Outcome:
    return examine(check, answer, seconds=settings.pop("seconds", 5.0), **settings)


def test_a_right_answer_passes_and_hears_what_was_tested():
    assert found(lambda x: 2 * x) == Outcome("passed", "Tested: two numbers; a small number.")


def test_the_stub_is_open_and_not_failed():
    def double(x):
        raise NotImplementedError

    assert found(double).status == "open"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda x: x * x, "Likely mistake: it was squared."),
        (lambda x: x, "Found [1, 2], expected [2, 4]"),
        (lambda x: None, "Found None"),
        (lambda x: "four", "Found 'four'"),
        (lambda x: (2 * x)[:1], "Found the shape (1,), expected (2,)"),
        (lambda x: 2 * x[:, None], "Found the shape (2, 1)"),
        (lambda x: 1 / 0, "Your function raised ZeroDivisionError: division by zero, in `<lambda>([1, 2])`."),
        (lambda x: undefined, "A solution may use the setup cells"),  # noqa: F821
        (lambda x: sys.exit(3), "ended the program"),
        (lambda x: 2 * x + np.array([0.0, 1e-3]), "Found [2, 4.001], expected [2, 4]"),
        (lambda x: 2 * x * np.nan, "Found [nan, nan]"),
        (3, "could not use your answer"),
        (None, "could not use your answer"),
    ],
)
def test_a_wrong_answer_hears_what_was_found(answer, says):
    outcome = found(answer)
    assert outcome.status == "failed"
    assert says in outcome.message
    assert "\n" not in outcome.message


def test_a_changed_argument_is_noticed_also_when_the_result_is_right():
    def double(x):
        x *= 2
        return x

    outcome = found(double)
    assert outcome.status == "failed"
    assert "double changed its argument 1 in place" in outcome.message
    assert found(double, mutates=True).status == "passed"


@pytest.mark.parametrize("value", [[3, 1], {"a": [1]}, {1, 2}, torch.ones(2)])
def test_changed_lists_dicts_and_tensors_are_noticed(value):
    def spoil(x):
        if isinstance(x, list | set):
            x.pop()
        elif isinstance(x, dict):
            x["a"].append(2)
        else:
            x.zero_()
        return 1

    assert "in place" in found(spoil, lambda c, f: c.equal(f(value), 1, tested="it")).message


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system cannot interrupt a thread")
def test_an_endless_answer_is_stopped_even_if_it_swallows_exceptions():
    def endless(x):
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # noqa: BLE001, S112
                continue

    before = signal.getitimer(signal.ITIMER_REAL)[0]
    outcome = found(endless, seconds=0.3)
    assert outcome.status == "failed"
    assert "a loop that never ends" in outcome.message
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    assert 0 < left < before, "pytest's own alarm goes on"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system cannot interrupt a thread")
def test_a_shorter_outer_limit_wins():
    from edgelab.course.checker import TimedOut

    with pytest.raises(TimedOut), time_limit(0.2), time_limit(30):
        time.sleep(10)


def test_recursion_interrupts_and_generators():
    def forever(x):
        return forever(x)

    def interrupted(x):
        raise KeyboardInterrupt

    assert "recursion" in found(forever).message
    assert "interrupted" in found(interrupted).message
    assert found(lambda x: (y for y in x)).status == "failed"


def test_none_where_the_check_takes_it_apart():
    def unpacks(c, f):
        scale, _zero_point = f(1)
        c.equal(scale, 1, tested="the scale")

    outcome = found(lambda x: None, unpacks)
    assert outcome.message == "Your function returned None for `<lambda>(1)`; does every path end in a return?"
    assert "could not use 5, the result of" in found(lambda x: 5, unpacks).message


def test_raises_and_that():
    def check(c, f):
        c.raises(ValueError, f, -1, tested="a negative number is refused", mistake="no test of the sign")
        c.that(f(1) > 0, tested="the sign", found=f(1), mistake="the sign is lost")

    def good(x):
        if x < 0:
            raise ValueError
        return x

    assert found(good, check).status == "passed"
    assert "Found the result 1, expected a ValueError" in found(lambda x: 1, check).message
    assert "Likely mistake: no test of the sign." in found(lambda x: 1, check).message
    assert "Found ZeroDivisionError, expected ValueError" in found(lambda x: 1 / 0, check).message

    def negative(x):
        good(x)
        return -x

    assert (
        "Found -1. The last call was `negative(1)`. Likely mistake: the sign is lost." in found(negative, check).message
    )

    def open_answer(x):
        raise NotImplementedError

    assert found(open_answer, check).status == "open"


def test_a_check_that_tests_nothing_does_not_pass():
    assert found(lambda x: x, lambda c, f: None).status == "failed"


def test_classes_and_values_can_be_answers():
    class Layer:
        width = 3

    assert found(Layer, lambda c, cls: c.equal(cls().width, 3, tested="the width")).status == "passed"
    assert found(0.5, lambda c, value: c.close(value, 0.5, 0.1, tested="the value")).status == "passed"


@pytest.mark.parametrize(
    ("actual", "expected", "agree"),
    [
        (1, 1.0, True),
        (np.int8(3), 3, True),
        (np.float32(0.1), 0.1, True),
        (0.1, 0.1001, False),
        (True, 1, True),
        ("1", 1, False),
        (1, "1", False),
        ([1, 2], (1, 2), True),
        ([1, [2, 3]], [1, (2, 3)], True),
        ([1, 2], [1, 2, 3], False),
        ([[1], [2, 3]], np.array([1, 2]), False),
        (torch.tensor([1.0]), [1.0], True),
        ({"a": 1.0}, {"a": 1}, True),
        ({"a": 1.0}, {"b": 1}, False),
        (["a"], np.array(["a"]), True),
        (None, None, True),
        (None, 0, False),
        (float("nan"), float("nan"), True),
        (float("inf"), 1.0, False),
        (object(), object(), False),
    ],
)
def test_what_counts_as_the_same(actual, expected, agree):
    if isinstance(actual, torch.Tensor):
        expected = np.asarray(expected)
    assert same(actual, expected) is agree


scalars = st.one_of(st.integers(-100, 100), st.floats(allow_nan=False, width=32), st.text(max_size=3), st.booleans())
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner))


@given(values)
def test_everything_is_the_same_as_itself_and_can_be_described(value):
    assert same(value, value)
    assert len(describe(value)) <= 90


@given(values, values)
def test_same_never_raises(left, right):
    assert same(left, right) in (True, False)
    assert same(np.zeros(2), right) in (True, False)

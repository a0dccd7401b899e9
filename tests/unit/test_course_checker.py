"""What a check says of good, wrong and hostile answers."""

import functools
import os
import signal
import subprocess
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


def test_a_truth_is_introduced_by_remember_and_a_deed_by_likely_mistake():
    def check(c, f):
        c.equal(f(1), 2, tested="it", mistakes={"it was halved": 0.5}, remember={"two is more": 1})
        c.that(f(1) > 0, tested="the sign", found="a sign", remember="twice is never less")

    assert "Likely mistake: it was halved." in found(lambda x: x / 2, check).message
    assert "Remember: two is more." in found(lambda x: x, check).message
    assert "Likely mistake" not in found(lambda x: x, check).message
    assert "Remember" not in found(lambda x: 7, check).message


def drawn(c, double):
    x = c.rng.normal(size=3)
    c.equal(double(x), 2 * x, tested="three numbers")


def test_inputs_come_from_a_seed_that_a_failure_names():
    outcome = found(lambda x: x, drawn, seed=4711)
    assert "(Inputs of seed 4711.)" in outcome.message
    assert found(lambda x: x, drawn, seed=4711) == outcome
    assert found(lambda x: x, drawn, seed=4712).message != outcome.message
    assert found(lambda x: 2 * x, drawn, seed=4711).message == "Tested: three numbers."
    assert "seed" not in found(lambda x: x).message  # no random inputs, so no seed
    crash = found(lambda x: x.nothing, drawn, seed=4711)
    assert "AttributeError" in crash.message
    assert "seed 4711" in crash.message


def test_a_process_draws_its_seed_once_and_takes_it_from_the_environment():
    code = "from edgelab.course.checker import Checker; print(Checker().seed, Checker().seed)"

    def seeds(**environment):
        clean = {key: value for key, value in os.environ.items() if key != "EDGELAB_CHECK_SEED"}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**clean, **environment}, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert seeds(EDGELAB_CHECK_SEED="4711") == ["4711", "4711"]
    first, second = seeds(), seeds(EDGELAB_CHECK_SEED="no number")
    assert first[0] == first[1]
    assert second[0] == second[1]
    assert first[0] != second[0] or first[0] != seeds()[0]  # one in 81 million


def test_parts_are_taken_from_whatever_has_them():
    def check(c, f):
        mantissa, shift = c.parts(f(1), 2, wanted="the mantissa and the shift")
        c.equal([c.whole(mantissa, tested="the mantissa"), c.whole(shift, tested="the shift")], [3, 4], tested="both")

    for right in ((3, 4), [3.0, np.int8(4)], np.array([3, 4]), torch.tensor([3, 4]), (np.array(3), np.float32(4))):
        assert found(lambda x, right=right: right, check).status == "passed"
    for wrong, says in [
        ({"mantissa": 3, "shift": 4}, "which is a dict; return the mantissa and the shift as a tuple"),
        ("34", "which is a str; return the mantissa"),
        (3, "Found 3; return the mantissa"),
        ((3, 4, 5), "Found (3, 4, 5); return"),
        (None, "Found None"),
        ((3.5, 4), "Tested: the mantissa. Found 3.5, expected an integer"),
        (("3", 4), "Found '3', expected an integer"),
        ((np.nan, 4), "Found nan, expected an integer"),
        ((3 + 4j, 4), "expected an integer"),
    ]:
        assert says in found(lambda x, wrong=wrong: wrong, check).message


@pytest.mark.parametrize("given", [{"flash": 1}, "flash", 5, object(), [[1], [2, 3]], np.zeros((2, 2)), lambda: 1])
def test_no_error_of_the_checks_own_line_reaches_a_learner(given):
    def check(c, f):
        flash, ram = map(int, f(1))
        c.equal(flash + ram, 3, tested="the sum")

    message = found(lambda x: given, check).message
    assert "The check could not use" in message
    for raw in ("Error", "invalid literal", "unpack", "not iterable", "0x"):
        assert raw not in message


def test_each_names_the_mistake_that_explains_most():
    def check(c, f):
        c.each(
            f,
            [(1,), (2,), (3,), (-4,)],
            lambda x: x * x,
            tested=lambda x: f"the square of {x}",
            mistakes={"it was doubled": lambda x: 2 * x, "it was tripled": lambda x: 3 * x},
            remember={"a square has no sign": lambda x: x * abs(x)},
        )

    assert found(lambda x: x * x, check).status == "passed"
    assert "Tested: the square of 1. Found 2" in found(lambda x: 2 * x, check).message
    assert "Likely mistake: it was doubled" in found(lambda x: 2 * x, check).message
    assert "`<lambda>(-4)`. Remember: a square has no sign" in found(lambda x: x * abs(x), check).message
    assert "mistake" not in found(lambda x: -x, check).message


def test_whatever_can_be_called_is_an_answer():
    class Doubler:
        factor = 2

        def __call__(self, x):
            return self.factor * x

    def check(c, f):
        c.equal(f(np.array([1.0, 2.0])), [2.0, 4.0], tested="a call")

    answers = [Doubler(), np.vectorize(lambda x: 2 * x), functools.partial(np.multiply, 2), functools.cache(abs)]
    assert [
        found(answer, lambda c, f: c.equal(f(np.float64(3)), 6.0, tested="a call")).status for answer in answers
    ] == [
        *["passed"] * 3,
        "failed",
    ]
    assert "your_function" in found(lambda x: x, check).message or "<lambda>" in found(lambda x: x, check).message
    assert found(Doubler(), lambda c, f: c.equal(f.factor, 2, tested="an attribute")).status == "passed"


def test_a_notebooks_own_numpy_decides_nothing(monkeypatch):
    for name in ("allclose", "array_equal", "isclose", "all", "equal"):
        monkeypatch.setattr(np, name, lambda *a, **k: True)
    assert found(lambda x: x).status == "failed"
    assert found(lambda x: x, lambda c, f: c.that(np.array([True, False]), tested="it", found="no")).status == "failed"

"""What a check accepts as the same, to which digit, and how it says what differs."""

import fractions

import numpy as np
import pytest
import torch

from edgelab.course.agreement import contrast, describe, same

ROOT = np.sqrt(2.0)


@pytest.mark.parametrize(
    ("actual", "expected", "agree"),
    [
        (np.float32(ROOT), ROOT, True),
        (float(np.float32(ROOT)), ROOT, True),
        (np.float16(ROOT), ROOT, True),
        (np.float16(ROOT) * np.float16(1.01), ROOT, False),
        (np.float32(ROOT) * np.float32(1 + 1e-4), ROOT, False),
        (ROOT * (1 + 3e-6), ROOT, False),
        (ROOT * 1e-15, 2 * ROOT * 1e-15, True),  # below what counts at all
        (np.str_("fog"), "fog", True),
        ("fog", np.str_("fog"), True),
        (np.array("fog"), "fog", True),
        (["a", np.str_("b")], ("a", "b"), True),
        (np.array(["a", "b"]), ["a", "b"], True),
        (b"fog", "fog", False),
        (np.array(2.5), 2.5, True),
        (torch.tensor(2.5), 2.5, True),
        (torch.tensor([1.5, 2.5], dtype=torch.bfloat16), np.array([1.5, 2.5]), True),
        (np.bool_(True), True, True),
        (np.float64(7.0), 7, True),
        (7.0000001, 7, False),  # whole numbers are met exactly
        (2.0**53, 2**53 + 1, False),
        (np.array([7.0, 8.0]), np.array([7, 8]), True),
        (np.array([7.0, 8.0000001]), np.array([7, 8]), False),
        (fractions.Fraction(1, 4), 0.25, True),
        (2**80, 2**80, True),
        (2**80, 2**80 + 1, False),
        (1j, 1j, True),
        ({np.str_("p"): np.float32(ROOT)}, {"p": ROOT}, True),
        (np.array([np.nan, 1.0]), np.array([np.nan, 1.0]), True),
        (np.array([np.inf, 1.0]), np.array([1e300, 1.0]), False),
        (-np.inf, np.inf, False),
    ],
)
def test_to_the_precision_of_the_answers_type(actual, expected, agree):
    assert same(actual, expected) is agree


def test_float32_arrays_are_held_to_float32_and_float64_to_more():
    exact = np.random.default_rng(0).normal(size=(40, 7))
    assert same(exact.astype(np.float32), exact)
    assert not same(exact + 3e-6, exact)
    assert not same(exact.astype(np.float32) * np.float32(1 + 1e-4), exact)


def test_a_tolerance_comes_on_top_and_zero_means_none():
    assert same(1.5, 1.0, tolerance=0.5)
    assert not same(1.51, 1.0, tolerance=0.5)
    assert not same(np.float32(ROOT), ROOT, tolerance=0)
    assert same(np.array([np.nan, 2]), np.array([np.nan, 2]), tolerance=0)


def test_more_keys_are_a_matter_of_the_check():
    more = {"p50": 1.0, "mean": 2.0}
    assert not same(more, {"p50": 1.0})
    assert same(more, {"p50": 1.0}, extra_keys=True)
    assert not same({"mean": 2.0}, {"p50": 1.0}, extra_keys=True)


def test_equal_looking_numbers_are_told_apart_by_the_digit():
    said = contrast(0.26491934, 0.26491904)
    assert said == "Found 0.26491934, expected 0.26491904; they differ in the 7th digit"
    assert "12.345679, expected 12.345678" in contrast(12.345679, 12.345678)
    assert "8th digit" in contrast(12.345679, 12.345678)
    assert "at the index 1" in contrast((1, 0.26491934), (1, 0.26491904))
    assert "at the key 'b'" in contrast({"b": 0.26491934}, {"b": 0.26491904})
    assert contrast(3, 4) == "Found 3, expected 4"


def test_an_array_says_where_it_differs():
    right = np.zeros((3, 4))
    wrong = right.copy()
    wrong[2, 1] = 0.5
    assert contrast(wrong, right) == "Found an array that has 0.5 at the index (2, 1), expected 0 there"


def test_no_address_is_shown():
    assert describe(test_no_address_is_shown) == "test_no_address_is_shown"
    assert describe(np.str_("fog")) == "'fog'"
    assert describe({"a": np.float32(0.5)}) == "{'a': 0.5}"


def test_names_replaced_in_a_notebook_decide_nothing(monkeypatch):
    def yes(*_arguments, **_settings):
        return True

    for name in ("allclose", "array_equal", "isclose", "all", "any", "isnan", "isfinite", "equal"):
        monkeypatch.setattr(np, name, yes)
    assert not same(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    assert not same(["a"], np.array(["b"]))
    assert not same(np.array([1, 2]), np.array([1, 3]))

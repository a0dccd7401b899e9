"""The plain functions of lab `tflite`, held against numpy, the schema's own reader and LiteRT."""

import struct

import numpy as np
import pytest

from edgelab.convert import by_hand
from edgelab.models.tflite_tables import schema
from edgelab.models.tflite_writer import TfliteWriter


def test_float16_is_numpys_on_all_sizes():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, 100_000) * 2.0 ** rng.integers(-30, 18, 100_000)
    with np.errstate(over="ignore"):
        assert np.array_equal(by_hand.to_float16(x), x.astype(np.float16).astype(np.float64))


def test_every_float16_is_its_own_neighbour():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].astype(np.float64)
    assert np.array_equal(by_hand.to_float16(every), every)


def test_fields_are_those_of_the_schemas_reader():
    writer = TfliteWriter("a description")
    given = writer.input("x", (1, 4), 0.1)
    writer.output(writer.operator("RESHAPE", [given], (4,), 0.1))
    content = writer.to_bytes()
    model = schema().Model.GetRootAs(content)
    root = by_hand.number(content, 0, "I")
    version = by_hand.field_position(content, root, 0)
    assert by_hand.number(content, version, "I") == model.Version() == 3
    text = by_hand.field_position(content, root, 3)
    text += by_hand.number(content, text, "I")
    length = by_hand.number(content, text, "I")
    assert content[text + 4 : text + 4 + length] == model.Description() == b"a description"
    assert by_hand.field_position(content, root, 40) is None


def test_a_field_of_zero_was_left_out():
    content = struct.pack("<4H", 8, 8, 0, 4) + struct.pack("<iI", 8, 3)
    assert by_hand.field_position(content, 8, 0) is None
    assert by_hand.field_position(content, 8, 1) == 12


@pytest.mark.parametrize("values", [[-1.0, 3.0], [0.2, 0.9], [-5.0, -1.0], [0.0]])
def test_zero_has_an_integer_and_the_ends_fit(values):
    scale, zero_point = by_hand.int8_mapping([values])
    assert -128 <= zero_point <= 127
    steps = np.rint(np.array([*values, 0.0]) / scale) + zero_point
    assert steps.min() >= -129
    assert steps.max() <= 128
    assert scale > 0

"""The operators of a file against Coral's published list."""

import numpy as np

from edgelab.measure.edge_tpu import SOURCE, SUPPORTED, edge_tpu_coverage
from edgelab.models.tflite_tables import schema
from edgelab.models.tflite_writer import TfliteWriter


def test_the_list_has_the_schemas_names():
    known = {name for name in dir(schema().BuiltinOperator) if name.isupper()}
    assert not SUPPORTED - known


def test_a_float_operator_is_on_the_list_and_still_not_taken(tmp_path):
    writer = TfliteWriter("float")
    given = writer.input("x", (1, 8), dtype="float32")
    kernel = writer.constant(np.ones((4, 8), np.float32), name="kernel")
    writer.output(writer.operator("FULLY_CONNECTED", [given, kernel, None], (1, 4), dtype="float32"))
    table = edge_tpu_coverage(writer.write(tmp_path / "float.tflite"))
    assert table.rows == (("FULLY_CONNECTED", 1, "yes", "no"),)
    assert table.title.startswith("0 of 1 operators")
    assert SOURCE in table.note
    assert table.note.startswith("Quoted")

"""The operators of a file against Coral's published list."""

import numpy as np

from edgelab.convert.tflite_writer import ModelWriter, schema
from edgelab.measure.edge_tpu import SOURCE, SUPPORTED, edge_tpu_coverage


def test_the_list_has_the_schemas_names():
    known = {name for name in dir(schema().BuiltinOperator) if name.isupper()}
    assert not SUPPORTED - known


def test_a_float_operator_is_on_the_list_and_still_not_taken(tmp_path):
    writer = ModelWriter("float")
    given = writer.input("x", (1, 8), "float32")
    out = writer.activation("y", (1, 4), "float32")
    kernel = writer.constant(np.ones((4, 8), np.float32), name="kernel")
    writer.operator("FULLY_CONNECTED", [given, kernel, -1], [out])
    writer.output(out)
    table = edge_tpu_coverage(writer.write(tmp_path / "float.tflite"))
    assert table.rows == [("FULLY_CONNECTED", 1, "yes", "no")]
    assert table.title.startswith("0 of 1 operators")
    assert SOURCE in table.note
    assert table.note.startswith("Quoted")

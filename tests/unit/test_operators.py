"""The operator check: the interpreter's table held against the interpreter itself, and what models are told."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab.errors import BadFile, BadInput
from edgelab.mcu import operators
from edgelab.mcu.cgen import generate
from edgelab.mcu.model import read_model
from edgelab.mcu.operators import check_operators, mend_for
from edgelab.models.tflite_writer import TfliteWriter
from tests.mcu_layers import Net
from tests.mcu_networks import NETWORKS
from tests.mcu_operators import OPERATORS

ORACLE = Path(__file__).parents[1] / "data" / "mcu_oracle"

# Asks the interpreter for each operator by a model of that operator and one that it lacks: operators are resolved in
# order before any is prepared, so the one that it complains about first tells.
ASK = r"""
import json, numpy, os, re, sys, tempfile
from ai_edge_litert import schema_py_generated as schema
from tflite_micro.python.tflite_micro import runtime
def model(code, custom, dtype=schema.TensorType.INT8, inputs=1, witness=True):
    tensors = []
    for i in range(inputs + 1):
        quantization = schema.QuantizationParametersT(scale=[0.05], zeroPoint=[0])
        tensors.append(schema.TensorT(shape=[1, 4], type=dtype, name=f"t{i}", quantization=quantization))
    codes = [schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), customCode=custom, version=1)]
    if witness:
        lacking = schema.BuiltinOperator.HASHTABLE_FIND
        codes.append(schema.OperatorCodeT(builtinCode=lacking, deprecatedBuiltinCode=127, version=1))
    named = list(range(inputs))
    operators = [schema.OperatorT(opcodeIndex=i, inputs=named, outputs=[inputs]) for i in range(len(codes))]
    if code == schema.BuiltinOperator.VAR_HANDLE:
        operators[0].builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
        operators[0].builtinOptions = schema.VarHandleOptionsT(container="", sharedName="v")
    graph = schema.SubGraphT(tensors=tensors, inputs=named, outputs=[inputs], operators=operators)
    buffers = [schema.BufferT()]
    built = schema.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=buffers, description="t")
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(built.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
def said(content, inputs=1):
    with tempfile.TemporaryFile() as log:
        own = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            interpreter = runtime.Interpreter.from_bytes(content, arena_size=65536)
            for i in range(inputs):
                interpreter.set_input(numpy.ones((1, 4), numpy.int8), i)
            interpreter.invoke()
        except Exception as error:
            os.write(2, str(error).encode())
        finally:
            os.dup2(own, 2)
            os.close(own)
        log.seek(0)
        return log.read().decode("utf-8", "replace")
found = {}
unasked = ("CUSTOM", "HASHTABLE_FIND", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")
for name, code in vars(schema.BuiltinOperator).items():
    if isinstance(code, int) and name not in unasked and not name.startswith("_"):  # Python 3.13 notes the line, too
        first = re.search(r"opcode '(\w+)'", said(model(code, None)))
        found[name] = first.group(1) != name if first else None
custom = {name: "HASHTABLE_FIND" in said(model(32, name)) for name in json.loads(sys.argv[1])}
binary = ("FLOOR_DIV", "FLOOR_MOD")
refused = {
    name: said(model(getattr(schema.BuiltinOperator, name), None, inputs=n, witness=False), n)
    for name in json.loads(sys.argv[2])
    for n in [1 + (name in binary)]
}
print(json.dumps([found, custom, refused]))
"""


@pytest.fixture(scope="module")
def asked():
    if importlib.util.find_spec("tflite_micro") is None:
        pytest.skip("tflite-micro is not installed here: it has wheels for Linux on x86-64 alone")
    customs = [*sorted(operators.TFLM_CUSTOM_OPERATORS), "FlexErf", "NoSuchOperator"]
    names = [*sorted(operators.FLOAT_ONLY), "ABS", "RSQRT", "RELU"]
    run = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(customs), json.dumps(names)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(run.stdout.splitlines()[-1])


def test_the_table_is_the_interpreters_own(asked):
    found, custom, _ = asked
    assert len(found) > 190
    assert [name for name, has in found.items() if has is None] == []
    assert {name for name, has in found.items() if has} == operators.TFLM_OPERATORS
    assert {name for name, has in custom.items() if has} == operators.TFLM_CUSTOM_OPERATORS


def test_the_kernels_that_know_float_alone_refuse_int8(asked):
    for name, said in asked[2].items():
        refused = "INT8" in said or "int8" in said
        assert refused == (name in operators.FLOAT_ONLY), (name, said)


def test_the_table_names_the_installed_version(asked):
    from importlib.metadata import version

    assert f"tflite-micro {version('tflite-micro')}" == operators.TABLE_VERSION


def test_every_mend_uses_operators_that_exist(asked):
    lacking = [name for name, has in asked[0].items() if not has]
    for name in [*lacking, "FlexErf", "FlexGelu"]:
        mend = mend_for(name)
        assert len(mend) > 10
        for word in re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b", mend):
            known = word in operators.TFLM_OPERATORS or word in {"LSTM", "SELECT_TF_OPS"}
            assert known, f"{name}: {mend}"


@pytest.mark.parametrize("path", sorted(ORACLE.glob("*.tflite")), ids=lambda p: p.stem)
def test_the_oracle_models_are_supported(path):
    report = check_operators(path)
    assert report.supported
    assert sum(check.count for check in report.checks) > 0
    assert {check.type for check in report.checks} == {"int8"}


def network(*, code="RELU", dtype="int8", weights="int8", shape=(1, 4), options=None):
    writer = TfliteWriter()
    scale = None if dtype == "float32" else 0.1
    x = writer.input("x", shape, scale, dtype=dtype)
    kernel = writer.constant(np.ones((4, shape[-1]), weights), None if weights == "float32" else 0.5)
    y = writer.operator("FULLY_CONNECTED", [x, kernel], (1, 4), scale, dtype=dtype)
    z = writer.operator(code, [y], (1, 4), scale, dtype=dtype, options=options)
    writer.output(z)
    return writer


def test_an_unsupported_operator_is_named_with_a_mend(tmp_path):
    report = check_operators(network(code="GELU").write(tmp_path / "gelu.tflite"))
    (check,) = report.unsupported
    assert check.operator == "GELU"
    assert "no kernel for GELU" in check.reason
    assert "HARD_SWISH" in check.mend
    assert not report.supported
    assert not report.generated
    assert "GELU" in str(report)
    assert report.to_dict()["operators"][1]["mend"] == check.mend


def test_an_operator_whose_kernel_knows_float_alone_is_named(tmp_path):
    (check,) = check_operators(network(code="SQUARE").write(tmp_path / "m.tflite")).unsupported
    assert "float32 alone, not int8" in check.reason


def test_a_float_model_runs_but_is_told_to_quantize(tmp_path):
    path = network(dtype="float32", weights="float32").write(tmp_path / "m.tflite")
    report = check_operators(path)
    assert report.supported
    assert not report.generated
    assert "float32" in report.remarks[0]
    assert "full-integer" in report.remarks[0]


def test_dynamic_range_quantization_is_refused_with_a_mend(tmp_path):
    report = check_operators(network(dtype="float32", weights="int8").write(tmp_path / "m.tflite"))
    check = report.unsupported[0]
    assert check.operator == "FULLY_CONNECTED"
    assert "dynamic-range" in check.reason
    assert "full-integer" in check.mend


def test_strings_are_refused(tmp_path):
    writer = TfliteWriter()
    x = writer.input("words", (1, 4), dtype="string")
    writer.output(writer.operator("RESHAPE", [x], (4,), dtype="string"))
    (check,) = check_operators(writer.write(tmp_path / "m.tflite")).unsupported
    assert "strings" in check.reason
    assert "numbers" in check.mend


def test_padding_with_memory_that_is_never_set_is_told(tmp_path):
    for edges, taken in (((0, 0), True), ((4, 0), False)):
        net = Net("padded")
        parts = net.space_to_batch(net.input(1, 8, 3), (4,), (edges,))
        (tmp_path / "net.tflite").write_bytes(net.done(parts))
        (check,) = check_operators(tmp_path / "net.tflite").checks
        assert (check.tflm, check.generator) == (taken, taken)
        assert ("never sets" in check.reason) == ("fixed batch" in check.mend) == (not taken)


def test_an_open_input_is_remarked(tmp_path):
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(network().to_bytes(), 0))
    model.subgraphs[0].tensors[0].shapeSignature = [-1, 4]
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    (tmp_path / "m.tflite").write_bytes(bytes(builder.Output()))
    report = check_operators(tmp_path / "m.tflite")
    assert report.supported
    assert "'x' is left open" in report.remarks[0]


def test_a_file_that_is_none_is_a_sentence(tmp_path):
    with pytest.raises(BadFile):
        check_operators(tmp_path / "none.tflite")


def test_the_generator_is_asked_operator_by_operator(tmp_path):
    """What the report says of the C generator is what the generator does with the same file."""
    for name in ("keyword_dscnn", "batch_of_any_size", "float_border_classifier", "lstm_plain", "div"):
        file = tmp_path / f"{name}.tflite"
        file.write_bytes((OPERATORS if name == "div" else NETWORKS)[name]())
        try:
            generate(read_model(file))
            taken = True
        except BadInput:
            taken = False
        report = check_operators(file)
        assert report.generated == taken
        assert [check.operator for check in report.checks if not check.generator] == ([] if taken else ["DIV"])

"""`edgelab operators` with the real runtimes: LiteRT's profiler, vela, the generator, ONNX Runtime, Core ML's rules."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgelab import cli, data, nets
from edgelab.convert import to_coreml, to_onnx
from edgelab.errors import BadFile, BadInput
from edgelab.mcu.cgen import generate
from edgelab.mcu.model import read_model
from edgelab.toolbox.operator_matrix import operators

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "data" / "cases"


def documented():
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    return json.loads(text.partition("```json operators\n")[2].partition("```")[0])


def verdicts(matrix, operator):
    (kind,) = (kind for kind in matrix.kinds if kind.operator == operator)
    return kind.verdicts


def test_a_tflite_file_with_a_float_island(capfd):
    path = CASES / "mcu" / "hard_swish_gelu.tflite"
    assert cli.main(["operators", str(path), "--json"]) == 0
    told, stated = json.loads(capfd.readouterr().out), documented()
    assert set(told) == set(stated)
    assert [runtime["name"] for runtime in told["runtimes"]] == [
        *("LiteRT", "TFLM", "C generator", "Ethos-U55", "Edge TPU")
    ]
    for entry in told["operators"]:
        assert set(entry) == set(stated["operators"][0])
        assert all(set(v) == {"takes", "where", "reason", "mend"} for v in entry["runtimes"].values())
    matrix = operators(path)
    assert {name: v.takes for name, v in verdicts(matrix, "CONV_2D").items()} == dict.fromkeys(
        ("LiteRT", "TFLM", "C generator", "Ethos-U55", "Edge TPU"), True
    )
    assert verdicts(matrix, "CONV_2D")["LiteRT"].where == "XNNPACK"
    assert verdicts(matrix, "HARD_SWISH")["LiteRT"].where == "built-in"
    island = verdicts(matrix, "ELU")
    assert (island["TFLM"].takes, island["C generator"].takes, island["Edge TPU"].takes) == (True, False, False)
    assert "the converter left it in float32" in island["C generator"].reason
    assert "Float32" in island["Ethos-U55"].reason
    assert "- C generator, ELU: the converter left it in float32; use one there that it quantizes" in str(matrix)


def test_what_no_accelerator_takes_is_not_said_to_be_taken():
    """Of a file with several graphs vela lists one operator in five."""
    matrix = operators(CASES / "mcu" / "if_two_subgraphs.tflite")
    assert {kind.verdicts["Ethos-U55"].takes for kind in matrix.kinds} == {False}


def test_nothing_is_sent_to_the_interpreter_that_lacks_it():
    matrix = operators(CASES / "mcu" / "gelu_int8.tflite")
    gelu = verdicts(matrix, "GELU")
    assert (gelu["TFLM"].takes, gelu["C generator"].takes) == (False, False)
    assert gelu["C generator"].mend == "replace it"
    with pytest.raises(BadInput) as caught:
        generate(read_model(CASES / "mcu" / "gelu_int8.tflite"))
    assert "take a runtime that has it (edgelab operators)" in str(caught.value)
    assert "TFLM" not in str(caught.value)


def test_what_microcontrollers_lack_comes_with_its_mend():
    matrix = operators(CASES / "mcu" / "tflm2319_dilated_depthwise.tflite")
    refused = verdicts(matrix, "SPACE_TO_BATCH_ND")["TFLM"]
    assert refused.takes is False
    assert "fixed batch" in refused.mend


def test_an_onnx_file_and_the_way_to_others(tmp_path, capfd):
    path = to_onnx(nets.load("digits_mlp"), data.load("digits").test.x[:1], tmp_path / "digits.onnx").path
    matrix = operators(path)
    assert {kind.operator for kind in matrix.kinds} >= {"Gemm", "Relu"}
    assert all(v.takes for kind in matrix.kinds for v in kind.verdicts.values())
    if find_spec("litert_torch"):
        converted = operators(path, convert_to="tflite")
        assert verdicts(converted, "FULLY_CONNECTED")["LiteRT"].takes is True
        assert "digits.onnx, converted to tflite in float32" in str(converted)
    assert cli.main(["operators", str(CASES / "custom.onnx")]) == 0
    text = capfd.readouterr().out
    assert "MyOp: it is what the runtime refuses the file for" in text
    assert "MyOp: onnx2torch has no module for it" in text


def test_a_core_ml_package_is_held_against_the_rules(tmp_path):
    pytest.importorskip("coremltools")
    made = to_coreml(nets.load("digits_mlp"), data.load("digits").test.x[:1], tmp_path / "d.mlpackage")
    matrix = operators(made.path)
    assert all(v.takes is not True for v in verdicts(matrix, "linear").values())  # float32 leaves the engine
    assert matrix.runtimes[0].obtained == "modelled"


def test_other_files_are_refused(tmp_path):
    with pytest.raises(BadFile, match="none"):
        operators(tmp_path / "none.tflite")
    with pytest.raises(BadInput, match="not one of tflite, coreml"):
        operators(CASES / "ext_ok.onnx", convert_to="elf")
    with pytest.raises(BadFile, match="Git LFS"):
        operators(CASES / "13_git_lfs_pointer.onnx")

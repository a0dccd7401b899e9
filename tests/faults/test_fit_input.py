"""What `edgelab fit` says to files that are damaged, foreign or hostile: one sentence, status 2, and no crash."""

import copy
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab import cli
from edgelab.errors import EdgelabError
from edgelab.mcu.fit import fit
from edgelab.mcu.operators import check_operators
from edgelab.models.tflite_writer import TfliteWriter

ORACLE = Path(__file__).parents[1] / "data" / "mcu_oracle"
MODEL = ORACLE / "squeeze_excite.tflite"


def said(capfd, *words):
    """The one sentence of a command that could not do it."""
    assert cli.main(["fit", *map(str, words)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert "unexpected" not in err
    return err


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 64, b"not a model at all", b"\x18\0\0\0TFL3" + b"\xff" * 99])
def test_what_is_no_model(tmp_path, capfd, content):
    (tmp_path / "m.tflite").write_bytes(content)
    assert "m.tflite" in said(capfd, tmp_path / "m.tflite", "--json")


@pytest.mark.parametrize("path", [".", "no/such/file.tflite"])
def test_what_is_no_file(tmp_path, monkeypatch, capfd, path):
    monkeypatch.chdir(tmp_path)
    said(capfd, path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_truncated_model(tmp_path, capfd, share):
    content = MODEL.read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[: int(share * len(content))])
    assert "cut.tflite" in said(capfd, tmp_path / "cut.tflite")


def test_a_model_of_another_format(tmp_path, capfd):
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy")
    onnx.save(
        helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])),
        tmp_path / "m.onnx",
    )
    assert "convert it to .tflite" in said(capfd, tmp_path / "m.onnx")


@pytest.mark.parametrize(("graphs", "words"), [(2, "circle"), (41, "deeper"), (23, "more often")])
def test_graphs_that_never_come_to_an_end(tmp_path, capfd, graphs, words):
    """A circle; a chain of 40; and 22 of which each runs the next twice, which makes four million."""
    from ai_edge_litert import schema_py_generated as schema

    source = MODEL.parents[1] / "cases" / "mcu" / "if_two_subgraphs.tflite"
    template = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.read_bytes(), 0))
    made = [copy.deepcopy(template.subgraphs[0]) for _ in range(graphs)]
    for number, graph in enumerate(made):
        (decides,) = [op for op in graph.operators if hasattr(op.builtinOptions, "thenSubgraphIndex")]
        following = min(number + 1, graphs - 1)
        decides.builtinOptions.thenSubgraphIndex = following
        decides.builtinOptions.elseSubgraphIndex = following
        if number == graphs - 1 and words != "circle":
            graph.operators = [op for op in graph.operators if op is not decides]
    template.subgraphs = made
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(template.Pack(builder), file_identifier=b"TFL3")
    (tmp_path / "graphs.tflite").write_bytes(bytes(builder.Output()))
    assert words in said(capfd, tmp_path / "graphs.tflite")


def test_bytes_that_were_changed_never_crash(tmp_path):
    """A model with random bytes in its structure is refused in a sentence, or answered."""
    content = bytearray(MODEL.read_bytes())
    rng = random.Random(7)
    answers, sentences = [], []
    for number in range(60):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 2, 8])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(damaged)
        try:
            report = fit(path, "nrf52840", measured=False, accelerators=False)
        except EdgelabError as error:
            sentences.append(str(error))
        else:
            answers.append(report.devices[0].arena_bytes)
    assert answers
    assert sentences
    assert min(answers) > 0
    assert not any("\n" in sentence for sentence in sentences)


def test_the_accelerators_compiler_that_fails_leaves_an_answer(tmp_path, monkeypatch):
    run = subprocess.run
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]
    monkeypatch.setattr(subprocess, "run", lambda _command, **settings: run(killed, **settings))
    (entry,) = fit(MODEL, "alif-e7", measured=False).devices
    assert entry.fits
    assert entry.accelerator is None
    assert "died" in entry.notes[0]


def test_empty_and_odd_networks(tmp_path):
    writer = TfliteWriter()
    writer.output(writer.input("x", (1, 4), 0.1))
    report = fit(writer.write(tmp_path / "empty.tflite"), "nrf52840", measured=False)
    assert report.devices[0].fits
    assert report.macs == 0
    writer = TfliteWriter()
    x = writer.input("x", (), 0.1)
    writer.output(writer.operator("RELU", [x], (), 0.1))
    assert check_operators(writer.write(tmp_path / "scalar.tflite")).supported
    assert fit(tmp_path / "scalar.tflite", "nrf52840", measured=False).devices[0].fits


def test_operands_that_are_left_out_are_answered(tmp_path):
    writer = TfliteWriter()
    x = writer.input("x", (1, 4), 0.1)
    kernel = writer.constant(np.ones((2, 4), np.int8), 0.5)
    y = writer.operator("FULLY_CONNECTED", [x, kernel, None], (1, 2), 0.1)
    writer.add("CONV_2D", [None, None], [writer.activation((1, 2), 0.1)])
    writer.output(y)
    report = fit(writer.write(tmp_path / "odd.tflite"), "nrf52840", measured=False, accelerators=False)
    assert report.generated.reason


def test_a_name_with_odd_characters(tmp_path):
    path = tmp_path / "mödel no. 1; $(x) 'q'.tflite"
    shutil.copy(MODEL, path)
    report = fit(path, "alif-e7", measured=False)
    assert report.devices[0].accelerator is not None

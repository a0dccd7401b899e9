"""What a trained network becomes: an ONNX file of integers that says what the network said, a .tflite, and figures."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgelab import data, nets
from edgelab.errors import BadFile, BadInput
from edgelab.measure import quality
from edgelab.qat import ahead as qat_ahead
from edgelab.qat import rules as qat_rules
from edgelab.qat.onnx_file import write_onnx
from edgelab.qat.prepare import layers
from edgelab.qat.training import qat
from edgelab.toolbox.aware import quantize_aware


@pytest.fixture(scope="module")
def digits():
    return data.digits()


@pytest.fixture(scope="module")
def four(digits):
    return qat(nets.load("digits_mlp"), digits, 4, steps=5, progress=False)


def test_the_file_holds_the_integers_and_answers_like_the_network(four, digits, tmp_path):
    made = write_onnx(four.network, digits.test.x[:50], tmp_path / "four.onnx")
    assert made.mean_steps < 1
    assert made.bits == {"1": 8, "3": 4, "5": 8}
    assert made.path.stat().st_size == made.bytes
    held = {i.name: i for i in onnx.load(made.path).graph.initializer}
    assert held["3.weight_q"].data_type == onnx.TensorProto.INT4
    weight, bias, scale = layers(four.network)["3"].stored()
    integers, _ = qat_rules.to_integers(weight, bias, 1.0, scale, 4)
    assert np.array_equal(numpy_helper.to_array(held["3.weight_q"]).astype(int), integers.astype(int))
    assert not any(i.data_type == onnx.TensorProto.FLOAT and np.prod(i.dims) > 64 for i in held.values())


def test_one_in_a_byte_where_it_is_to_run_in_integers(four, digits, tmp_path):
    packed = write_onnx(four.network, digits.test.x[:4], tmp_path / "packed.onnx")
    loose = write_onnx(four.network, digits.test.x[:4], tmp_path / "loose.onnx", pack=False)
    assert loose.bytes > packed.bytes + 900


def test_integers_that_are_not_the_networks_leave_no_file(four, digits, tmp_path):
    def wrong(weight, bias, *_):
        return np.zeros_like(weight, np.int8), np.zeros_like(bias, np.int32)

    with pytest.raises(BadInput, match="nothing was kept"):
        write_onnx(four.network, digits.test.x[:20], tmp_path / "wrong.onnx", integers=wrong)
    assert not list(tmp_path.iterdir())


def test_from_a_teams_network_to_a_file_whose_operators_ran_in_integers(digits, tmp_path):
    small = replace(digits, test=digits.test.take(np.arange(120)))
    made = quantize_aware(nets.load("digits_mlp"), small, tmp_path / "own.onnx", steps=5, progress=False)
    assert made.ran_in_float == ()
    assert abs(made.on_runtime.loss.value - made.loss.loss.value) <= 0.9
    told = json.dumps(made.to_dict())
    assert "QGemm" in told
    assert "Layers that ran in float32 in ONNX Runtime: none." in made._repr_markdown_()


AHEAD = qat_ahead.read()


def test_every_planned_run_is_there_with_its_recipe_machine_and_date():
    for wanted in qat_ahead.planned():
        (run,) = [r for r in AHEAD["runs"] if all(r.get(k, "none") == v for k, v in wanted.items())]
        assert run["date"]
        assert run["machine"]
        assert run["recipe"]
        assert run["items"] == 2000
        before, after = qat_ahead.correct(run)
        assert quality.difference(before, after).loss.value == pytest.approx(qat_ahead.points_lost(run))
    assert len(AHEAD["runs"]) == len(qat_ahead.planned())


def test_what_is_said_to_hold_follows_from_the_runs():
    assert AHEAD["judged"] == qat_ahead.judge(AHEAD["runs"])
    assert all(isinstance(entry["held"], bool) for entry in AHEAD["judged"])
    worse = [{**r, "lost": r["lost"] + 60} if r["what"] == "qat" else r for r in AHEAD["runs"]]
    assert not any(entry["held"] for entry in qat_ahead.judge(worse) if "limit" in entry)


def test_the_control_takes_the_same_steps_and_rounds_nothing(digits):
    net, x = nets.load("digits_mlp"), digits.test.x[:100]
    alone, rounded = qat_ahead.trained_on(net, digits, 1, 4), qat(net, digits, 8, steps=4, seed=1, progress=False)
    assert alone.recipe == rounded.recipe
    np.testing.assert_allclose(alone.predict(x), nets.predict_logits(alone.plain()[0], x), atol=1e-4)
    assert not np.allclose(rounded.predict(x), nets.predict_logits(rounded.plain()[0], x), atol=1e-4)
    assert not np.allclose(alone.predict(x), nets.predict_logits(net, x), atol=1e-3)
    run = {"what": "control", "bits": 4, "seed": 1}
    made = qat_ahead._made(run, net, digits, None, steps=4, controls={1: alone})
    assert made["items"] == len(digits.test.y)
    assert made["recipe"] == alone.recipe


@pytest.mark.parametrize(("bits", "limit"), [(8, 0.5), (4, 1.5)])
def test_trained_per_channel_every_seed_keeps_to_the_goal(bits, limit):
    found = qat_ahead.selected(AHEAD["runs"], what="qat", bits=bits, per_channel=True, edge_bits=8)
    assert len(found) == 3
    assert max(map(qat_ahead.points_lost, found)) <= limit


@pytest.mark.parametrize("bits", [8, 4])
def test_a_network_made_ahead_comes_back(bits):
    network = qat_ahead.restored(bits)
    assert {layer.bits for layer in layers(network).values()} == {8, bits}
    signs = data.signs(seed=0)
    run = qat_ahead.selected(AHEAD["runs"], what="qat", bits=bits, per_channel=True, edge_bits=8, seed=0)[0]
    hits = nets.predict_logits(network, signs.test.x[:500]).argmax(axis=1) == signs.test.y[:500]
    assert abs(100 * hits.mean() - (100 * run["before"] / run["items"] - qat_ahead.points_lost(run))) < 4


def test_no_network_of_other_widths_was_kept_and_a_damaged_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="there are 8 and 4"):
        qat_ahead.restored(5)
    (tmp_path / "qat.json").write_text("{}")
    with pytest.raises(BadFile, match="make them again"):
        qat_ahead.read(tmp_path / "qat.json")

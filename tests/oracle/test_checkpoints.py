"""The trained networks that ship: their accuracy, their recipes, and what int8 leaves of them."""

import math
from importlib.util import find_spec

import pytest
import torch

import edgelab.data
from edgelab import nets
from edgelab.convert.tflite import export_int8
from edgelab.engines import open_engine
from edgelab.nets import checkpoints
from edgelab.nets.checkpoints import read_recipe

NAMES = sorted(path.stem for path in checkpoints.FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_has_the_accuracy_that_its_recipe_states(name):
    recipe = checkpoints.read_recipe(name)
    data = getattr(edgelab.data, recipe["data"])(**recipe.get("data_arguments", {}))
    net = nets.load(name)
    for split in ("validation", "test"):
        items = len(data.splits[split])
        # another processor may round a handful of near ties the other way
        allowed = 100 * max(2, math.ceil(0.002 * items)) / items
        assert checkpoints.accuracy(net, data, split) == pytest.approx(recipe["stated"][split], abs=allowed)
    assert nets.count_parameters(net) == recipe["stated"]["parameters"]


def test_a_recipe_really_makes_its_checkpoint(tmp_path, monkeypatch):
    recipe = (checkpoints.FOLDER / "digits_mlp.toml").read_text(encoding="utf-8")
    (tmp_path / "digits_mlp.toml").write_text(recipe, encoding="utf-8")
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    checkpoints.read_recipe.cache_clear()
    try:
        stated = checkpoints.read_recipe("digits_mlp")["stated"]
        nets.make("digits_mlp", progress=False)
        made = checkpoints.read_recipe("digits_mlp")["stated"]
        assert made["test"] == pytest.approx(stated["test"], abs=2.0)  # other processors round differently
        assert nets.load("digits_mlp")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    finally:
        checkpoints.read_recipe.cache_clear()


def data_of(name):
    recipe = read_recipe(name)
    return getattr(edgelab.data, recipe["data"])(**recipe.get("data_arguments", {}))


@pytest.mark.parametrize(
    ("name", "rows"), [("digits_mlp", 360), ("vibration_cnn1d", 1500), ("signs_resnet", 400), ("signs_dscnn", 400)]
)
def test_a_checkpoint_keeps_its_accuracy_in_int8(name, rows, tmp_path):
    data, net = data_of(name), nets.load(name)
    made = export_int8(net, data.train.x[:200], tmp_path / "net.tflite")
    assert made.path.stat().st_size == made.bytes
    assert made.agreement_percent >= 93
    assert made.sqnr_db > 25
    assert made.mean_steps < 1
    test = data.test.x[:rows], data.test.y[:rows]
    answers = {"float": nets.predict_logits(net, test[0])}
    with open_engine(made.path) as engine:
        answers["litert"] = engine.predict(test[0])
    if find_spec("tflite_micro"):
        from edgelab.engines.tflm import TFLMEngine

        with TFLMEngine(made.path) as engine:
            answers["tflm"] = engine.predict(test[0])
    right = {key: 100 * float((y.argmax(1) == test[1]).mean()) for key, y in answers.items()}
    for key, y in answers.items():
        assert abs(right[key] - right["float"]) <= 1.5, right
        assert (y.argmax(1) == answers["float"].argmax(1)).mean() >= 0.97


def test_one_scale_per_layer_costs_a_depthwise_network_accuracy(tmp_path):
    data, net = data_of("signs_dscnn"), nets.load("signs_dscnn")
    by_channel, by_layer = (
        export_int8(net, data.train.x[:100], tmp_path / f"{flag}.tflite", per_channel=flag) for flag in (True, False)
    )
    assert by_layer.bytes < by_channel.bytes
    assert by_layer.sqnr_db < by_channel.sqnr_db - 10

"""The small transformer, its heads, and the device logs that it sorts."""

import numpy as np
import pytest
import torch

from edgelab import data, nets
from edgelab.convert.onnx import export
from edgelab.data import logs
from edgelab.engines import open_engine
from edgelab.errors import BadInput
from edgelab.nets.text import TextClassifier, gate_importance, head_importance, prune_heads


@pytest.fixture(scope="module")
def small():
    return data.device_logs(train=120, validation=60, test=60)


def net():
    torch.manual_seed(0)
    return TextClassifier(len(logs.vocabulary()), 6, width=16, depth=2, heads=3).eval()


def test_the_logs_repeat_hold_every_class_and_can_be_read(small):
    again = data.load("device_logs", train=120, validation=60, test=60)
    np.testing.assert_array_equal(small.train.x, again.train.x)
    assert set(np.bincount(small.train.y)) == {20}
    text = logs.decode(small.train.x[0])
    np.testing.assert_array_equal(logs.encode(text), small.train.x[0])
    assert text.split()[0] == small.train.groups["device"][0]
    assert small.train.x.max() <= len(logs.vocabulary())
    assert set(small.test.groups["start"]) == {"late", "whole"}


def test_a_late_window_lacks_the_line_of_its_cause(small):
    first = {c: {line.split()[0] for line in logs._FIRST[c].split("/")} for c in logs.CAUSES}
    for x, y, start in zip(small.train.x, small.train.y, small.train.groups["start"], strict=True):
        errors = [part.split()[0] for part in logs.decode(x).split(" error ")[1:]]
        assert (errors[:1] != [] and errors[0] in first[logs.CAUSES[y]]) or start == "late"


def test_strange_words_and_small_splits_are_refused():
    with pytest.raises(BadInput, match="'dragon'"):
        logs.encode("info dragon seen")
    with pytest.raises(BadInput, match="at least 60"):
        data.device_logs(train=10)


def test_padding_changes_nothing(small):
    x = torch.from_numpy(small.test.x[:4])
    longest = int((x > 0).sum(dim=1).max())
    with torch.no_grad():
        torch.testing.assert_close(net()(x), net()(x[:, :longest]), atol=1e-5, rtol=1e-4)


def test_the_file_says_what_the_network_says(small, tmp_path):
    file = export(net(), small.test.x[:2], tmp_path / "text.onnx")
    assert file.exporter == "traced"  # the newer exporter takes seconds, and a file a quarter larger
    with open_engine(file.path) as engine:
        np.testing.assert_allclose(engine.predict(small.test.x), nets.predict_logits(net(), small.test.x), atol=1e-4)


def test_pruned_heads_are_the_masked_ones(small):
    whole, x = net(), small.test.x
    shut = net()
    shut.blocks[0].attention.gate[1] = 0
    shut.blocks[1].attention.gate[:2] = 0
    pruned = prune_heads(whole, {0: [0, 2], 1: [2]})
    np.testing.assert_allclose(nets.predict_logits(pruned, x), nets.predict_logits(shut, x), atol=1e-5)
    assert nets.count_parameters(pruned) < nets.count_parameters(whole)
    assert whole.blocks[0].attention.heads == 3


def test_importance_of_a_head_is_the_slope_at_its_gate(small):
    whole = net()
    x, y = torch.from_numpy(small.validation.x[:32]), torch.from_numpy(small.validation.y[:32])
    found = head_importance(whole, x, y)

    def loss(value):
        probe = net()
        probe.blocks[1].attention.gate[2] = value
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(probe(x), y).item()

    assert found[1][2] == pytest.approx(abs(loss(1.05) - loss(0.95)) / 0.1, rel=0.05, abs=1e-4)
    assert [len(block) for block in found] == [3, 3]


@pytest.mark.parametrize(
    ("keep", "words"),
    [({5: [0]}, "no layer 'blocks.5'"), ({0: []}, "'blocks.0.attention'"), ({1: [7]}, "'blocks.1.attention'")],
)
def test_heads_that_are_not_there_are_refused_by_name(keep, words):
    with pytest.raises(BadInput, match=words):
        prune_heads(net(), keep)


def test_importance_without_items_is_refused_in_a_sentence():
    with pytest.raises(BadInput, match="a label for each item, and got 2 and 3"):
        head_importance(net(), torch.ones(2, 128), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(BadInput, match="one batch or more"):
        gate_importance(lambda gates, batch: gates.sum(), [], 2)

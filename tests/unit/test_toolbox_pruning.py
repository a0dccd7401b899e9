"""`edgelab.toolbox.prune`: a team's own network in; network, report and a file that runs come out."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgelab import data, nets
from edgelab.errors import BadInput
from edgelab.toolbox import prune


@pytest.fixture(scope="module")
def digits():
    return data.digits(seed=0)


@pytest.fixture(scope="module")
def net():
    return nets.load("digits_mlp")


def test_filters_go_and_the_report_says_what_stayed_and_who_pays(net, digits, tmp_path):
    given = {key: value.clone() for key, value in net.state_dict().items()}
    found = prune(net, digits, tmp_path / "small.onnx", macs=0.5, steps=60, runs=8, progress=False)
    assert all(torch.equal(value, given[key]) for key, value in net.state_dict().items())
    report = found.report
    before, after = report.audit.macs
    assert after <= before / 2
    assert nets.count_macs(found.network, (1, 8, 8)).macs == after
    assert report.not_pruned == {"5": "it makes the outputs of the network"}
    assert report.accuracy[1].value > 80
    assert {group.grouping for group in report.losses.groups} == {"stroke", "slant"}
    assert report.file_bytes[1] < 0.7 * report.file_bytes[0]
    assert found.path.stat().st_size == report.file_bytes[1]
    assert any("Gemm" in operator.type or "MatMul" in operator.type for operator in report.operators)
    assert "Not pruned: `5` (it makes the outputs of the network)." in report._repr_markdown_()
    assert sum(row[2] for row in report.operators_table().rows) == len(report.operators)
    json.dumps(found.to_dict())


def test_zeros_take_as_many_bytes_as_other_weights_until_they_are_packed(net, digits, tmp_path):
    report = prune(net, digits, tmp_path / "zeros.onnx", sparsity=0.9, steps=40, runs=8, progress=False).report
    assert report.file_bytes[0] == pytest.approx(report.file_bytes[1], rel=0.01)
    assert report.gzip_bytes[1] < 0.4 * report.gzip_bytes[0]
    assert report.packed.bitmask < 0.2 * report.packed.dense
    assert report.audit.macs[0] == report.audit.macs[1]
    assert not report.not_pruned


def broken(layer):
    net = nets.load("digits_mlp")
    net.get_submodule(layer).weight.data[0, 0] = float("inf")
    return net


def one_class(digits):
    part = digits.train
    return replace(digits, train=type(part)(part.x[part.y == 3], part.y[part.y == 3]))


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (prune, "exactly one of macs, ratio and sparsity, not none"),
        (lambda n, d, f: prune(n, d, f, macs=0.5, ratio=0.5), "not macs and ratio"),
        (lambda n, d, f: prune(broken("3"), d, f, ratio=0.5), "Layer '3' holds NaN or infinity"),
        (lambda n, d, f: prune(n, one_class(d), f, ratio=0.5), "one class alone, 3"),
        (lambda n, d, f: prune(n, d, f, sparsity=0.9999), "leaves no weight in layer '1'"),
        (lambda n, d, f: prune(n, d, f, macs=50, steps=0, runs=8), "Not even"),
        (lambda n, d, f: prune(n, d, f, macs=float("nan")), "macs=nan is not above 0"),
        (lambda n, d, f: prune(n, d, f, macs=0.5, seed=-1), "seed=-1 is below 0"),
        (lambda n, d, f: prune(nets.mlp(64, 7), d, f, ratio=0.5), r"gives \(7,\) outputs for the 10 classes"),
        (lambda n, d, f: prune(nn.Flatten(), d, f, ratio=0.5), "no convolution and no linear layer"),
        (lambda n, d, f: prune(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), d, f, ratio=0.5), "'1' stays because"),
    ],
)
def test_bad_input_gets_one_sentence_that_names_the_layer(net, digits, tmp_path, do, says):
    with pytest.raises(BadInput, match=says):
        do(net, digits, tmp_path / "not.onnx")
    assert not (tmp_path / "not.onnx").exists()

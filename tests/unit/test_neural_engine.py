"""The published rules for the Neural Engine over made-up operators, and the ideas behind compressed constants."""

import numpy as np
import pytest
import torch

from edgelab.compress import palettes
from edgelab.engines.coreml_program import Port, Program, Step
from edgelab.measure import neural_engine


def step(kind, shape=(1, 8, 4, 32), dtype="fp16", **arguments):
    values = {name: torch.tensor(value) for name, value in arguments.items()}
    return Step(kind, f"the {kind}", values, (f"the {kind}",), (dtype,), (shape,))


def broken(*steps, shape=(1, 8, 4, 32)):
    port = Port("x", shape, "float16")
    return neural_engine.report(Program("net", (port,), (), steps, {}))


@pytest.mark.parametrize(
    ("one", "rule"),
    [
        (step("conv", dtype="fp32"), "float16"),
        (step("conv", (-1, 8, 4, 32)), "static shapes"),
        (step("conv", (4, 8, 4, 32)), "batch 1"),
        (step("conv", dilations=[2, 2]), "operators"),
        (step("lstm"), "operators"),
        (step("max_pool", kernel_sizes=[14, 14]), "operators"),
        (step("relu", (8, 128)), "rank 4"),
        (step("linear", (1, 128)), "linear"),
        (step("reduce_mean", (1, 128, 1, 1)), "last axis"),
        (step("reshape", (1, 128)), "copies"),
    ],
)
def test_each_rule_names_the_operator_that_breaks_it(one, rule):
    found = broken(step("relu"), one)
    assert [(b.rule.name, b.operator) for b in found.broken] == [(rule, one.name)]
    falls = neural_engine.RULES[rule].effect == "falls back"
    assert found.stays.value == (50 if falls else 100)
    assert found.stays.how == "modelled"
    text = found.table().text()
    assert one.name in text
    assert neural_engine.RULES[rule].mend in text


def test_a_network_that_keeps_the_rules_breaks_none():
    assert broken(step("conv", dilations=[1, 1]), step("relu")).to_dict()["broken"] == []


def test_an_open_input_is_named_and_is_no_operator():
    found = broken(step("conv", (-1, 8, 4, 32)), shape=(None, 8, 4, 32))
    assert [b.kind for b in found.broken] == ["input", "conv"]
    assert found.stays.value == 0


def test_lloyds_rounds_never_make_the_error_larger():
    values = np.random.default_rng(0).normal(size=400)
    centres, errors = np.linspace(-1, 1, 8), []
    for _ in range(20):
        centres, indices = palettes.lloyd_step(values, centres)
        errors.append(np.mean((values - centres[indices]) ** 2))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]


def test_palettes_and_blocks_in_bytes_and_scales():
    assert palettes.palette_bytes(7, 3, 2) == 3 + 2 * 8 * 2
    scales = palettes.block_scales(np.array([[1.0, -14.0, 7.0, 0.0]]), 4, 2)
    np.testing.assert_allclose(scales, [[2.0, 1.0]])

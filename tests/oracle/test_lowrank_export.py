"""Lab `lowrank`: the tracing exporter follows a network with corrections, however the learner wrote `lora`."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgelab.convert.onnx import export
from edgelab.course.source import exercises, read_cells
from tests.labs.conftest import all_cases
from tests.labs.test_mistakes import planted

CASE = next(case for case in all_cases() if case.lab.slug == "lowrank")
CELLS = read_cells(CASE.lab.source)


@pytest.mark.parametrize("code", [exercises(CELLS)["lora"].cell.text, *planted(CASE).VARIANTS["lora"]])
def test_it_is_traced(tmp_path, code):
    room = {"torch": torch, "nn": nn, "F": functional, "copy": copy, "warnings": warnings}
    exec(code, room)  # noqa: S102  an answer to the exercise
    room["lora"] = room["my_lora"]
    exec(next(cell.text for cell in CELLS if cell.text.startswith("class WithCorrection")), room)  # noqa: S102
    net = nn.Sequential(
        room["WithCorrection"](nn.Linear(6, 4), 2), nn.ReLU(), room["WithCorrection"](nn.Linear(4, 3), 2)
    )
    assert export(net, torch.randn(2, 6), tmp_path / "net.onnx").exporter == "traced"

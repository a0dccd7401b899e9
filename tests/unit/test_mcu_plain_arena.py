"""The plain functions of the arena give what the rest of the package gives in other ways."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgelab.mcu import plain_arena as plain
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.model import read_model
from edgelab.mcu.plans import Buffer, lower_bound

ORACLE = Path(__file__).parents[1] / "data" / "mcu_oracle"
FILES = sorted(ORACLE.glob("*.tflite"))


def up16(size):
    return -(-size // 16) * 16


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
@pytest.mark.parametrize("target", ["x86_64-wheel", "cortex-m-cmsis-nn"])
def test_lives_plan_and_tail_are_those_of_the_arena(path, target):
    model = read_model(path)
    arena = plan_arena(model, target)
    names = [f"{t.index} {t.name}" for t in model.tensors]

    def of(indices):
        return [names[i] for i in indices if i >= 0]

    operators = [(of(op.inputs), of(op.outputs)) for op in model.operators]
    lives = plain.lifetimes(operators, of(model.inputs), of(model.outputs))
    planned = {b.name: (b.first, b.last) for b in arena.plan.buffers if not b.name.startswith("scratch")}
    assert lives == planned
    buffers = [Buffer(b.name, up16(b.size_bytes), b.first, b.last) for b in arena.plan.buffers]
    assert plain.place(buffers) == arena.plan.offsets
    sums = plain.alive_bytes({b.name: (b.first, b.last) for b in buffers}, {b.name: b.size_bytes for b in buffers})
    assert max(sums) == lower_bound(buffers) == arena.plan.lower_bound
    records = [(item.size_bytes, item.align_bytes) for item in arena.items]
    assert plain.tail_bytes(records, 2**20) == arena.tail


def test_a_gap_starts_behind_the_largest_end_so_far():
    assert plain.first_gap(16, [(0, 256), (32, 64), (272, 300)]) == 256


def test_bisection_finds_each_size():
    for least in range(16, 512, 16):
        assert plain.smallest_arena(lambda size, least=least: size >= least, 512) == least


def test_what_is_broken_is_named():
    chip = SimpleNamespace(flash_bytes=1000, sram_bytes=1000)
    assert plain.broken(1000, 700, 100, chip) == []
    assert plain.broken(1001, 701, 100, chip) == ["flash", "SRAM"]
    assert plain.broken(1, 900, 100, chip, headroom=0.0) == []


class Board:
    """A board with 4,096 bytes on which nothing runs that is refused."""

    free_bytes = 4096

    def __init__(self, needs, refused=""):
        self.needs, self.refused = needs, refused

    def arena_for(self, model):
        return self.needs

    def interpreter(self, model, arena_bytes):
        assert arena_bytes == self.needs
        answers = {"allocate": "OK", "invoke": "OK", self.refused: "ERROR"}
        return SimpleNamespace(
            allocate_tensors=lambda: answers["allocate"],
            invoke=lambda x: answers["invoke"],
            output=lambda: np.eye(3)[[2, 0]],
        )


def test_a_board_answers_or_says_that_it_cannot():
    assert plain.classify(Board(2048), None, np.zeros((2, 4), np.float32)).tolist() == [2, 0]
    for board in (Board(8192), Board(2048, "allocate"), Board(2048, "invoke")):
        assert plain.classify(board, None, np.zeros((2, 4), np.float32)) is None

"""The frameworks in one process: which of them is loaded first must not matter."""

import itertools
import subprocess
import sys

import pytest

ORDERS = list(itertools.permutations(["tensorflow", "torchvision", "coremltools"]))
# TensorFlow before torch is what has aborted; an order takes 10 s or more, the rest are thorough.
SAMPLE = {("tensorflow", "torchvision", "coremltools")}


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, marks=() if order in SAMPLE else pytest.mark.thorough, id="-".join(order))
        for order in ORDERS
    ],
)
def test_frameworks_live_in_one_process_in_every_order(order):
    missing = [name for name in order if not _installed(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed here: the light environment")
    code = "\n".join(
        [
            "import onnxruntime",
            *(f"import {name}" for name in order),
            "import ai_edge_litert.interpreter, torch",
            "assert torch.ones(2).sum() == 2",
            "import tensorflow as tf",
            "assert float(tf.ones(2)[0]) == 1",
            "print('alive')",
        ]
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr[-500:]
    assert "alive" in run.stdout


def _installed(name):
    from importlib.util import find_spec

    return find_spec(name) is not None

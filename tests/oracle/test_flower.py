"""The learner's function, unchanged, as a Flower app: the weights are those of `edgelab.federated.simulate`.

Flower's environment is built by uv, once, and cached; where it cannot be had, these tests say so and are left out.
"""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from edgelab import federated as fed
from edgelab import nets
from edgelab.course.source import read_cells
from edgelab.data import Split
from edgelab.errors import EngineCrash, MissingFramework
from edgelab.federated import flower
from edgelab.federated.engines import flatten

FACTOR = 1.0
SOURCE = Path(__file__).parents[2] / "solutions" / "12_federated.py"


def task():
    rng = np.random.default_rng(0)
    y = np.arange(240) % 4
    x = (rng.standard_normal((4, 12))[y] + rng.standard_normal((240, 12))).astype(np.float32)
    torch.manual_seed(0)
    split = Split(x, y)
    return nets.mlp(12, 4, (8,)), split, fed.dirichlet_labels(split, 5, 0.5, min_items=3)


def learners(slope):
    """As a notebook has it: a function that uses names from around it."""

    def my_round(weights, state, data, config):
        began, total = weights, 0.0
        for x, y, mask in zip(data.x, data.y, data.mask, strict=True):
            gradient, loss = slope(weights, x, y, mask)
            weights = {
                k: w - FACTOR * config.learning_rate * (gradient[k] + config.proximal * (w - began[k]))
                for k, w in weights.items()
            }
            total = total + loss * mask.sum()
        return weights, state, {"loss": total / data.mask.sum()}

    return my_round


def in_flower(function, net, split, partition, **settings):
    try:
        return flower.run_apart(function, net, split, partition, **settings)
    except MissingFramework as error:
        pytest.skip(f"left out, because {error}")


def hold(ray):
    net, split, partition = task()
    function, config = learners(fed.slope_of(net)), fed.ClientConfig(epochs=2, batch_size=8, proximal=0.2)
    theirs = in_flower(function, net, split, partition, rounds=3, config=config, seed=4, ray=ray)
    ours = fed.simulate(net, split, partition, rounds=3, config=config, function=function, engine="vmap", seed=4)
    assert np.abs(flatten(ours.weights) - flatten(dict(net.named_parameters()))).max() > 1e-2
    np.testing.assert_allclose(flatten(theirs.weights), flatten(ours.weights), atol=1e-5)
    assert len(theirs.seconds_per_round) == 3
    assert theirs.version.startswith("1.42")


def test_flowers_messages_and_strategy_give_the_weights_of_ours():
    """Flower's ClientApp, records and FedAvg in one process; the thorough tests run them on Ray."""
    hold(ray=False)


@pytest.mark.thorough
def test_flowers_simulation_gives_the_weights_of_ours():
    hold(ray=True)


@pytest.mark.thorough
def test_the_labs_own_part_runs_where_it_is_asked_for(monkeypatch, tmp_path):
    """The cells of the lab that `flower = True` wakes, with the exercise's solution as the learner's function."""
    monkeypatch.setenv("EDGELAB_PROGRESS", "off")
    cells = [cell for cell in read_cells(SOURCE) if cell.kind == "code"]
    wanted = [cell.text for cell in cells if {"parameters", "setup"} & set(cell.tags)]
    wanted += [cell.text for cell in cells if cell.tagged("exercise") == "prox_round"]
    (last,) = [cell.text for cell in cells if cell.text.startswith("if flower:")]
    room = {"__name__": "__main__"}
    for text in [*wanted, "flower, prox_round = True, my_prox_round"]:
        exec(compile(text, "<cell>", "exec"), room)  # noqa: S102  the lab's own cells
    try:
        exec(compile(last, "<cell>", "exec"), room)  # noqa: S102  the lab's own cell
    except MissingFramework as error:
        pytest.skip(f"left out, because {error}")
    assert room["gap"] < 1e-5


@pytest.mark.thorough
def test_a_client_that_fails_in_flower_is_one_sentence():
    net, split, partition = task()

    def broken(weights, state, data, config):
        raise ValueError("a client of glass")

    with pytest.raises(EngineCrash, match="Flower's simulation failed"):
        in_flower(broken, net, split, partition, rounds=1, ray=False)


@pytest.mark.thorough
def test_nothing_is_left_when_the_kernel_is_killed(tmp_path):
    net, split, partition = task()
    in_flower(learners(fed.slope_of(net)), net, split, partition, rounds=1, ray=False)  # the environment is there
    code = """
        import sys, torch
        sys.path[:0] = [sys.argv[1]]
        import test_flower as here
        from edgelab import federated as fed
        from edgelab.federated import flower
        net, split, partition = here.task()
        function = here.learners(fed.slope_of(net))
        flower.run_apart(function, net, split, partition, rounds=100_000)
    """
    kernel = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parent)], start_new_session=True
    )
    try:
        family, folders = {}, set()
        limit = time.monotonic() + 120
        while time.monotonic() < limit and not any("raylet" in name for name in family.values()):
            for member in psutil.Process(kernel.pid).children(recursive=True):
                family[member.pid] = _name(member)
                folders |= _folders(member)
            time.sleep(0.5)
        assert any("raylet" in name for name in family.values()), family
        kernel.send_signal(signal.SIGKILL)
        kernel.wait()
        limit = time.monotonic() + 30
        while time.monotonic() < limit and (left := [pid for pid in family if _alive(pid)]):
            time.sleep(0.5)
        assert not left, [family[pid] for pid in left]
        assert len(folders) == 2, folders
        assert not [folder for folder in folders if folder.exists()]
    finally:
        if kernel.poll() is None:
            kernel.kill()


def _name(process):
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


def _folders(process):
    """The folder of the job, and the home of Flower's processes."""
    try:
        words, home = process.cmdline(), process.environ().get("FLWR_HOME")
    except psutil.Error:
        return set()
    job = [Path(words[-1])] if "edgelab.federated.flower" in words and Path(words[-1]).is_dir() else []
    return {*job, *([Path(home)] if home else [])}


def _alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

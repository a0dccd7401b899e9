"""The PyTorch engine: modes and threads put back, times of leaf modules, bad input."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from edgelab.engines import Engine
from edgelab.engines.torch import TorchEngine
from edgelab.errors import BadInput


class Residual(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(3)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(3, 4)

    def forward(self, x):
        x = x + self.norm(self.conv(x))
        return self.head(self.drop(x.mean((2, 3))))


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Residual()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)


def test_predicts_in_evaluation_mode_and_puts_the_training_mode_back(module, x):
    module.train()
    module.norm.eval()  # frozen, as in fine-tuning
    before = module.norm.running_mean.clone()
    engine = TorchEngine(module, batch=2)
    y = engine.predict(x)
    assert module.training
    assert module.drop.training
    assert not module.norm.training
    assert torch.equal(before, module.norm.running_mean)
    with torch.inference_mode():
        wanted = module.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(y, wanted, atol=1e-6)
    np.testing.assert_array_equal(y, engine.predict(x))


def test_threads_are_set_while_it_runs_and_put_back(x):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x.flatten(1)

    threads = torch.get_num_threads()
    with TorchEngine(Spy(), threads=2) as engine:
        engine.predict(x)
        engine.time(x, runs=1)
        engine.profile(x, runs=1)
    assert set(seen) == {2}
    assert torch.get_num_threads() == threads


def test_threads_are_put_back_after_an_error(module, x):
    threads = torch.get_num_threads()
    with pytest.raises(BadInput, match=r"does not take an input of shape \(5, 2, 8, 8\)"):
        TorchEngine(module, threads=2).predict(x[:, :2])
    assert torch.get_num_threads() == threads
    assert not torch.is_inference_mode_enabled()


def test_is_an_engine_with_name_and_times(module, x):
    engine = TorchEngine(module)
    assert isinstance(engine, Engine)
    assert engine.name == f"PyTorch {torch.__version__.split('+')[0]}"
    assert engine.raw is module
    seconds = engine.time(x, runs=4, warmup=1).seconds
    assert seconds.shape == (4,)
    assert (seconds > 0).all()
    assert engine.calls_per_run(x) == 1


def test_profile_names_modules_by_path_and_other_operators_by_place(module, x):
    operators = TorchEngine(module).profile(x, runs=3)
    types = {o.name: o.type for o in operators}
    assert types["conv"] == "Conv2d"
    assert types["norm"] == "BatchNorm2d"
    assert types["head"] == "Linear"
    assert [o.type for o in operators if o.type.startswith("aten::")] == ["aten::add", "aten::mean"]
    assert {o.ran_in for o in operators} == {"float32"}
    assert all(o.runs == 3 and o.median_ms >= 0 for o in operators)
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_profile_is_silent(tmp_path):
    script = tmp_path / "profile.py"
    script.write_text(
        "import numpy as np, torch\n"
        "from edgelab.engines.torch import TorchEngine\n"
        "TorchEngine(torch.nn.Sequential(torch.nn.Linear(3, 2))).profile(np.ones((1, 3), np.float32), 2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == ""
    assert "ERROR" not in done.stderr


def test_a_module_that_fails_inside_leaves_no_hooks(module, x):
    with pytest.raises(BadInput):
        TorchEngine(module).profile(x[:, :2], runs=1)
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_runs_an_exported_program(module, x):
    program = torch.export.export(module.eval(), (torch.from_numpy(x),))
    np.testing.assert_allclose(TorchEngine(program.module()).predict(x), TorchEngine(module).predict(x), atol=1e-6)


def test_what_is_no_module_or_answers_badly(module, x):
    with pytest.raises(BadInput, match=r"takes a torch.nn.Module, not function"):
        TorchEngine(lambda x: x)
    with pytest.raises(BadInput, match="one row each"):
        TorchEngine(torch.nn.Sequential(torch.nn.Flatten(0))).predict(x)
    with pytest.raises(BadInput, match="NaN"):
        TorchEngine(module).predict(x * np.float32("nan"))
    with pytest.raises(BadInput, match="float32, not float64"):
        TorchEngine(module).time(x.astype(float), 1)

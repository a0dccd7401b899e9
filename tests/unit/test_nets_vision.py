"""torchvision's networks without PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _said(lines: str) -> list[str]:
    run = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr[-800:]
    return run.stdout.split()


def test_a_network_of_torchvision_does_not_import_the_compiler() -> None:
    said = _said("""
import sys
from edgelab import nets
nets.mobilenet_v3_small()
print([name for name in sys.modules if name.startswith("torch._dynamo")] or "none")
""")
    assert said == ["none"]


def test_the_compiler_that_is_asked_for_afterwards_is_the_real_one() -> None:
    said = _said("""
import torch
from edgelab.nets import vision
seen = vision.torchvision()
import torchvision
from torchvision.ops.roi_align import is_compile_supported
print(seen is torchvision, is_compile_supported("cpu"))
import torch._dynamo
print(is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu"), torch._dynamo.is_compiling())
boxes = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
print(tuple(torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, (2, 2)).shape))
""")
    assert said == ["True", "True", "True", "False", "(1,", "1,", "2,", "2)"]


def test_a_compiler_that_is_there_stays_the_same() -> None:
    said = _said("""
import sys
import torch._dynamo
from edgelab.nets import vision
before = sys.modules["torch._dynamo"], sys.modules["torch._dynamo.utils"]
vision.torchvision()
print(before == (sys.modules["torch._dynamo"], sys.modules["torch._dynamo.utils"]))
""")
    assert said == ["True"]


@pytest.mark.parametrize(
    "asks", ["from torch._dynamo.utils import counters", "import torch._dynamo; torch._dynamo.reset"]
)
def test_a_torchvision_that_asks_the_compiler_for_more_gets_it(tmp_path, asks: str) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "part.py").write_text("")
    (package / "__init__.py").write_text(f"import torchvision.part\n{asks}\n")
    said = _said(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from edgelab.nets import vision
print(vision.torchvision().__file__ == {str(package / "__init__.py")!r}, hasattr(sys.modules["torch._dynamo"], "reset"))
""")
    assert said == ["True", "True"]


def test_torchvision_that_is_missing_leaves_nothing_behind() -> None:
    said = _said("""
import sys
sys.modules["torchvision"] = None
from edgelab.nets import vision
try:
    vision.torchvision()
except ImportError as error:
    print("torchvision" in str(error), "torch._dynamo" in sys.modules)
""")
    assert said == ["True", "False"]


def test_another_thread_that_asks_meanwhile_gets_the_compiler(tmp_path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    asks = "from torch._dynamo.utils import is_compile_supported"
    (package / "__init__.py").write_text(f"import time\n{asks}\ntime.sleep(2)\n")
    said = _said(f"""
import sys, threading, time, torch
sys.path.insert(0, {str(tmp_path)!r})
from edgelab.nets import vision
seen = []
def step():
    time.sleep(0.5)
    weight = torch.nn.Parameter(torch.ones(1))
    seen.append(torch.optim.SGD([weight], 0.1))
    import torch._dynamo.config as settings
    seen.append(settings)
thread = threading.Thread(target=step)
thread.start()
vision.torchvision()
thread.join()
print(len(seen), hasattr(sys.modules["torch._dynamo"], "reset"))
""")
    assert said == ["2", "True"]

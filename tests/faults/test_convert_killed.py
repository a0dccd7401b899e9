"""A conversion that is interrupted or killed in its middle: one sentence, the last file untouched, nothing left."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

torch = pytest.importorskip("torch")
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


class Converting:
    """A network of many layers on its way to ONNX, which takes some seconds, and where it works."""

    def __init__(self, folder):
        torch.manual_seed(0)
        x = torch.zeros(1, 8)
        net = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(60))).eval()
        torch.export.save(torch.export.export(net, (x,)), folder / "net.pt2")
        np.savez(folder / "items.npz", x=np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))
        self.place, self.temporary = folder / "out", folder / "tmp"
        self.place.mkdir()
        self.temporary.mkdir()
        self.target = self.place / "net.onnx"
        self.target.write_bytes(b"before")
        words = [folder / "net.pt2", "--to", "onnx", "--int8", "--data", folder / "items.npz", "-o", self.target]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgelab", "convert", *map(str, words), "--overwrite"],
            env={**os.environ, "TMPDIR": str(self.temporary), "TEMP": str(self.temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def working(self):
        """Wait until the child has opened the source; the child."""
        for _ in range(600):
            children = psutil.Process(self.process.pid).children()
            if children and list(self.temporary.glob("*/clean.pt2")):
                time.sleep(1.0)
                return children[0]
            time.sleep(0.05)
        pytest.fail("the conversion never began")


@posix
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_conversion_that_is_interrupted_leaves_nothing(tmp_path, how):
    converting = Converting(tmp_path)
    child = converting.working()
    converting.process.send_signal(how)
    said, complained = converting.process.communicate(timeout=60)
    assert converting.process.returncode == 2
    assert (said, complained.strip()) == ("", "Interrupted.")
    assert [file.name for file in converting.place.iterdir()] == ["net.onnx"]
    assert converting.target.read_bytes() == b"before"
    assert list(converting.temporary.iterdir()) == []
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@posix
def test_a_conversion_that_is_killed_leaves_nothing_beside_its_target(tmp_path):
    converting = Converting(tmp_path)
    child = converting.working()
    converting.process.kill()
    converting.process.communicate(timeout=60)
    assert [file.name for file in converting.place.iterdir()] == ["net.onnx"]
    assert converting.target.read_bytes() == b"before"
    psutil.wait_procs([child], timeout=20)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

"""A full disk or a killed process while a model is exported or quantized: the old file, or none, never half of one."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from torch import nn

from edgelab.compress.ptq import quantize_dynamic, quantize_static
from edgelab.compress.weight_only import quantize_weights
from edgelab.convert.onnx import export
from edgelab.errors import BadFile

X = np.random.default_rng(0).normal(size=(8, 24)).astype(np.float32)
MAKERS = {
    "export": lambda _, out: export(nn.Linear(24, 24), torch.from_numpy(X), out),
    "static": lambda model, out: quantize_static(model, out, X),
    "dynamic": quantize_dynamic,
    "weights": quantize_weights,
}


@pytest.fixture
def model(tmp_path):
    return export(nn.Linear(24, 24), torch.from_numpy(X), tmp_path / "float.onnx").path


@pytest.mark.parametrize("maker", MAKERS)
def test_a_full_disk_leaves_the_previous_file(model, tmp_path, monkeypatch, maker):
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "model.onnx"
    out.write_bytes(b"before")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadFile, match=r"could not be written \(No space left"):
        MAKERS[maker](model, out)
    assert out.read_bytes() == b"before"
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]


@pytest.mark.skipif(os.name != "posix", reason="kills by a POSIX signal")
def test_a_killed_process_leaves_whole_files(model, tmp_path):
    import onnx

    out = tmp_path / "out"
    code = textwrap.dedent("""
        import itertools, sys
        import numpy as np
        from edgelab.compress.ptq import quantize_static
        x = np.random.default_rng(0).normal(size=(8, 24)).astype("float32")
        for i in itertools.count():
            quantize_static(sys.argv[1], f"{sys.argv[2]}/{i % 3}.onnx", x)
            print(i, flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", code, str(model), str(out)], stdout=subprocess.PIPE)
    try:
        for _ in range(4):
            assert child.stdout.readline()
        time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    whole = sorted(out.glob("*.onnx"))
    assert len(whole) == 3
    for path in whole:
        onnx.checker.check_model(onnx.load(path))

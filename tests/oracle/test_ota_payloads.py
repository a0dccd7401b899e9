"""What a device downloads for a tuned network, beside what bsdiff makes of the same files."""

import copy

import pytest
import torch

from edgelab.compress import quantize_static
from edgelab.convert import export_int8, to_onnx
from edgelab.data.signs import signs
from edgelab.nets import load
from edgelab.ota import deltas

STEPS = {"head": 30, "all": 10}  # of 64 images each: one layer tuned well, all of them gently


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The network of signs as int8 .onnx and .tflite: as it is, with its last layer tuned, and with all of it tuned."""
    torch.set_num_threads(1)
    data = signs(train=1500, validation=500, test=500)
    x, y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.y)
    folder = tmp_path_factory.mktemp("files")

    def tuned(parameters, rate, steps):
        net = copy.deepcopy(load("signs_dscnn")).eval()  # batch norm keeps what it has learnt
        generator = torch.Generator().manual_seed(0)
        stepper = torch.optim.AdamW(parameters(net), lr=rate)
        for _ in range(steps):
            chosen = torch.randint(len(x), (64,), generator=generator)
            stepper.zero_grad()
            torch.nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            stepper.step()
        return net

    nets = {
        "base": load("signs_dscnn").eval(),
        "head": tuned(lambda net: list(net.parameters())[-2:], 1e-3, STEPS["head"]),
        "all": tuned(lambda net: net.parameters(), 1e-4, STEPS["all"]),
    }
    made = {}
    for name, net in nets.items():
        to_onnx(net, data.train.x[:1], folder / "float.onnx")
        quantize_static(folder / "float.onnx", folder / f"{name}.onnx", data.train.x[:200])
        export_int8(net, data.train.x[:200], folder / f"{name}.tflite")
        made |= {(name, kind): (folder / f"{name}.{kind}").read_bytes() for kind in ("onnx", "tflite")}
    return made


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize(("tuned", "most"), [("head", 1), ("all", 10)])
def test_a_tuned_network_is_a_small_payload(files, tuned, most, kind):
    old, new = files["base", kind], files[tuned, kind]
    best = deltas.best_delta(old, new, kind)
    assert deltas.apply_delta(best.method, best.content, old, len(new)) == new
    percent = 100 * len(best.content) / len(new)
    print(f"{tuned} {kind}: {percent:.2f} percent by {best.method}")
    assert best.method == "aligned"
    assert percent <= most


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_it_is_about_as_small_as_bsdiffs(files, kind):
    bsdiff4 = pytest.importorskip("bsdiff4")
    for tuned in ("head", "all"):
        old, new = files["base", kind], files[tuned, kind]
        patch = bsdiff4.diff(old, new)
        assert bsdiff4.patch(old, patch) == new
        best = deltas.best_delta(old, new, kind)
        print(f"{tuned} {kind}: {len(best.content) / len(patch):.2f} of bsdiff's")
        assert len(best.content) < 1.1 * len(patch)

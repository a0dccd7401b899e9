"""A network around a kernel written by hand: its bytes are the interpreter's, and what it has not is a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgelab.convert.tflite import export_int8
from edgelab.engines.tflm import TFLMEngine
from edgelab.errors import BadInput
from edgelab.mcu.emulator import run_firmware
from edgelab.mcu.handmade import build_handmade
from edgelab.mcu.model import read_model

KERNEL = r"""#include "layer.h"
static int8_t finish(int32_t sum, int32_t mantissa, int shift, const Layer *l)
{
    int32_t v = (int32_t)(((int64_t)sum * mantissa + (1 << 30)) >> 31);
    v = ((v + ((1 << shift) >> 1) - (v < 0 && shift > 0)) >> shift) + l->zero_out;
    return (int8_t)(v < l->low ? l->low : v > l->high ? l->high : v);
}
void conv(const Layer *l, const int8_t *x, int8_t *y)
{
    for (int oy = 0; oy < l->out_height; oy++)
        for (int ox = 0; ox < l->out_width; ox++)
            for (int o = 0; o < l->out_channels; o++) {
                int32_t sum = l->bias[o];
                for (int ky = 0; ky < l->kernel_height; ky++)
                    for (int kx = 0; kx < l->kernel_width; kx++) {
                        int iy = oy * l->stride - l->pad_top + ky, ix = ox * l->stride - l->pad_left + kx;
                        if (iy < 0 || iy >= l->height || ix < 0 || ix >= l->width)
                            continue;
                        const int8_t *p = x + (iy * l->width + ix) * l->channels + (l->seen < l->channels ? o : 0);
                        for (int i = 0; i < l->seen; i++)
                            sum += (p[i] - l->zero_in)
                                   * l->weights[((o * l->kernel_height + ky) * l->kernel_width + kx) * l->seen + i];
                    }
                y[(oy * l->out_width + ox) * l->out_channels + o] = finish(sum, l->mantissa[o], l->shift[o], l);
            }
}
"""


def export(net: nn.Module, shape: tuple[int, ...], folder: Path) -> tuple[Path, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(60, *shape)).astype(np.float32)
    export_int8(net.eval(), x, folder / "net.tflite")
    return folder / "net.tflite", np.random.default_rng(1).integers(-128, 128, (20, *np.roll(shape, -1)), np.int8)


def test_every_kind_of_layer_has_the_bytes_of_the_interpreter(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU6()),
        *(nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.ReLU()),
        *(nn.Conv2d(8, 12, 1), nn.ReLU6(), nn.Conv2d(12, 12, (5, 3), padding=(2, 1))),
        *(nn.AvgPool2d((5, 4)), nn.Flatten(), nn.Linear(12, 4)),
    )
    path, rows = export(net, (3, 10, 8), tmp_path)
    run = run_firmware(build_handmade(read_model(path), KERNEL, tmp_path / "net.elf"), [rows])
    with TFLMEngine(path) as engine:
        (right,) = engine.invoke_raw([rows])
    np.testing.assert_array_equal(run.outputs[0], right)
    counted = {layer.operator.split("_", 2)[2]: layer.macs for layer in run.trace.layers}
    assert counted["conv_2d"] == 5 * 4 * 12 * 12 * 15
    assert counted["fully_connected"] == 48
    assert run.trace.instructions > 5 * run.trace.macs


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)), "MAX_POOL_2D"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 2)), "part of the"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), nn.Flatten(), nn.Linear(64, 2)), "dilation"),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.Linear(216, 2)), "depth multiplier"),
    ],
)
def test_what_it_has_not_is_a_sentence(tmp_path, net, says):
    path, _ = export(net(), (3, 8, 8), tmp_path)
    with pytest.raises(BadInput, match=says):
        build_handmade(read_model(path), KERNEL, tmp_path / "net.elf")


def test_a_kernel_that_does_not_compile_is_a_sentence(tmp_path):
    path, _ = export(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (3, 8, 8), tmp_path)
    with pytest.raises(BadInput, match="do not compile"):
        build_handmade(read_model(path), "#include <stdio.h>\n", tmp_path / "net.elf")

"""A network around a convolution kernel written by hand: tables and calls from the model file, your C in the middle.

One function serves standard, depthwise and pointwise convolutions and dense layers, so that a kernel of twenty lines
runs a whole network on the emulated core, and can be held against generated code layer by layer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edgelab.emulator.machine import Core
from edgelab.errors import BadInput
from edgelab.mcu.cgen.fixed import quantize_multiplier, rounded
from edgelab.mcu.custom import Buffer, build_custom
from edgelab.mcu.model import Model, Operator, Tensor

HEADER = "layer.h"
LAYER_H = """/* A layer as a convolution: a dense layer is one with a picture of one pixel. */
#ifndef LAYER_H
#define LAYER_H

#include <stdint.h>

typedef struct {
    int height, width, channels;             /* of the input */
    int out_height, out_width, out_channels; /* of the output */
    int kernel_height, kernel_width, stride, pad_top, pad_left;
    int seen;                                /* input channels that one output channel sees: all, or 1 (depthwise) */
    int zero_in, zero_out, low, high;        /* zero points; the ends that the activation leaves */
    const int8_t *weights;                   /* (out_channels, kernel_height, kernel_width, seen) */
    const int32_t *bias, *mantissa;          /* of each output channel */
    const int8_t *shift;                     /* of each output channel, to the right */
} Layer;

/* Yours: x and y are (height, width, channels). */
void conv(const Layer *layer, const int8_t *x, int8_t *y);

#endif
"""
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_ALIASES = ("RESHAPE", "SQUEEZE")


def build_handmade(model: Model, kernel: str, output: str | os.PathLike[str], core: Core | str = "cortex-m4") -> Path:
    """Compile your kernel and the network around it into firmware.

    Parameters
    ----------
    model
        A sequence of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED, with PAD (of zeros, before a convolution), RESHAPE
        and global AVERAGE_POOL_2D between them.
    kernel
        C with ``#include "layer.h"`` that defines ``conv``; `LAYER_H` is that header.
    output
        The .elf file.
    core
        The core.

    Raises
    ------
    BadInput
        If the network is no such sequence, or the C does not compile.
    EngineCrash, MissingFramework
        As `edgelab.mcu.compiler.compile_firmware`.
    """
    parts, macs = _network(model)
    borders = [model.tensors[model.inputs[0]], model.tensors[model.outputs[0]]]
    given, made = (
        Buffer(name, t.shape, "int8", _single(t)[0], _single(t)[1])
        for name, t in zip(("network_input", "network_output"), borders, strict=True)
    )
    body = "\n\n".join([f'#include "app.h"\n#include "{HEADER}"', *parts])
    files = {
        HEADER: LAYER_H,
        "kernel.c": kernel,
        "network.c": f"{body}\n",
        "network.h": "".join(f"void {name}(void);\n" for name in macs),
    }
    calls = [f"{name}();" for name in macs]
    return build_custom(
        files, output, inputs=[given], outputs=[made], calls=calls, layers=macs, core=core, label="handmade"
    )


def _network(model: Model) -> tuple[list[str], dict[str, int]]:
    """C of the tensors and the layers, and the layers' functions with their multiply-accumulates."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BadInput(f"{model.path.name} has several inputs or outputs; a handmade network has one of each.")
    names = {model.inputs[0]: "network_input", model.outputs[0]: "network_output"}
    memory, parts, macs = [], [], {}
    padded: dict[int, tuple[Tensor, int, int]] = {}
    for op in model.operators:
        x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
        if op.code == "PAD":
            edges = model.tensors[op.inputs[1]].array().reshape(-1, 2)
            padded[y.index] = (x, int(edges[1, 0]), int(edges[2, 0]))
            continue
        if op.code in _ALIASES and y.index not in names:
            names[y.index] = names[x.index]
            continue
        source, *pads = padded.get(x.index, (x, 0, 0))
        if y.index not in names:
            names[y.index] = f"tensor_{y.index}"
            memory.append(f"static int8_t tensor_{y.index}[{y.elements}];")
        if source.index not in names:
            raise BadInput(f"{model.path.name} is not a sequence of layers; take one without branches.")
        made = _weighted if op.code in _WEIGHTED else _average if op.code == "AVERAGE_POOL_2D" else None
        if made is None:
            raise BadInput(f"{model.path.name} has the operator {op.code}, which a handmade network has not.")
        function = f"layer_{op.index:02d}_{op.code.lower()}"
        text, count = made(model, op, source, (pads[0], pads[1]), (names[source.index], names[y.index], function))
        parts.append(text)
        macs[function] = count
    return ["\n".join(memory), *parts], macs


def _weighted(
    model: Model, op: Operator, x: Tensor, pads: tuple[int, int], names: tuple[str, str, str]
) -> tuple[str, int]:
    w, y = model.tensors[op.inputs[1]], model.tensors[op.outputs[0]]
    dense, depthwise = op.code == "FULLY_CONNECTED", op.code == "DEPTHWISE_CONV_2D"
    options, (source, target, function) = op.options, names
    if dense:
        (out, channels), size, out_size = w.shape, (1, 1), (1, 1)
        weights = w.array().reshape(out, 1, 1, channels)
    else:
        size, channels = (x.shape[1], x.shape[2]), x.shape[3]
        out_size, out = (y.shape[1], y.shape[2]), y.shape[3]
        weights = w.array().transpose(3, 1, 2, 0) if depthwise else w.array()
        if options["stride_h"] != options["stride_w"] or options.get("dilation_h_factor", 1) != 1:
            raise BadInput(f"{model.path.name} has a dilation or two strides in {op.code}; a handmade network has not.")
        if depthwise and out != channels:
            raise BadInput(f"{model.path.name} has a depth multiplier; a handmade network has not.")
    kernel, stride = weights.shape[1:3], options.get("stride_h", 1)
    if options.get("padding") == "SAME":
        missing = [(o - 1) * stride + k - n for o, k, n in zip(out_size, kernel, size, strict=True)]
        pads = (max(missing[0], 0) // 2, max(missing[1], 0) // 2)
    zero_in, (scale_out, zero_out) = _single(x)[1], _single(y)
    low, high = _ends(str(options["fused_activation_function"]), scale_out, zero_out)
    pairs = [quantize_multiplier(factor) for factor in _factors(x, w, y, dense=dense)] * (
        out if len(_scales(w)) == 1 else 1
    )
    if max(pair.shift for pair in pairs) > 0:
        raise BadInput(f"{model.path.name} has a factor above 1 in {op.code}; a handmade network shifts to the right.")
    bias = model.tensors[op.inputs[2]].array() if len(op.inputs) > 2 and op.inputs[2] >= 0 else np.zeros(out, int)
    geometry = (*size, channels, *out_size, out, *kernel, stride, *pads, weights.shape[3], zero_in, zero_out, low, high)
    tables = [
        _table("int8_t", f"weights_{op.index}", weights.ravel().tolist()),
        _table("int32_t", f"bias_{op.index}", bias.tolist()),
        _table("int32_t", f"mantissa_{op.index}", [pair.value for pair in pairs]),
        _table("int8_t", f"shift_{op.index}", [-pair.shift for pair in pairs]),
    ]
    pointers = ", ".join(f"{name}_{op.index}" for name in ("weights", "bias", "mantissa", "shift"))
    struct = f"static const Layer geometry_{op.index} = {{{', '.join(map(str, geometry))}, {pointers}}};"
    call = f"LAYER void {function}(void) {{ conv(&geometry_{op.index}, {source}, {target}); }}"
    return "\n".join([*tables, struct, call]), math.prod(out_size) * weights.size


def _average(
    model: Model, op: Operator, x: Tensor, pads: tuple[int, int], names: tuple[str, str, str]
) -> tuple[str, int]:
    height, width, channels = x.shape[1:]
    source, target, function = names
    if (op.options["filter_height"], op.options["filter_width"], *pads) != (height, width, 0, 0):
        raise BadInput(f"{model.path.name} averages over a part of the picture; a handmade network over all of it.")
    count = height * width
    return (
        f"""LAYER void {function}(void)
{{
    for (int c = 0; c < {channels}; c++) {{
        int32_t sum = 0;
        for (int i = 0; i < {count}; i++)
            sum += {source}[i * {channels} + c];
        {target}[c] = (int8_t)((sum > 0 ? sum + {count // 2} : sum - {count // 2}) / {count});
    }}
}}""",
        0,
    )


def _factors(x: Tensor, w: Tensor, y: Tensor, *, dense: bool) -> list[float]:
    scale_in, scale_out = _single(x)[0], _single(y)[0]
    if dense and len(_scales(w)) == 1:  # the interpreter multiplies these two in float32
        return [float(np.float32(scale_in) * np.float32(_scales(w)[0])) / scale_out]
    return [scale_in * scale / scale_out for scale in _scales(w)]


def _ends(activation: str, scale: float, zero_point: int) -> tuple[int, int]:
    highest = {"RELU6": 6.0, "RELU": math.inf, "NONE": math.inf}.get(activation)
    if highest is None:
        raise BadInput(f"The activation {activation} is none that a handmade network has.")
    low = -128 if activation == "NONE" else max(-128, zero_point)
    return low, 127 if math.isinf(highest) else min(
        127, zero_point + rounded(float(np.float32(highest) / np.float32(scale)))
    )


def _scales(tensor: Tensor) -> tuple[float, ...]:
    if tensor.dtype != "int8" or tensor.quantization is None:
        raise BadInput(
            f"The tensor '{tensor.name}' is {tensor.dtype}, not int8 with a scale; quantize the model first."
        )
    return tensor.quantization.scales


def _single(tensor: Tensor) -> tuple[float, int]:
    scales, quantization = _scales(tensor), tensor.quantization
    return scales[0], 0 if quantization is None else quantization.zero_points[0]


def _table(kind: str, name: str, values: Iterable[Any]) -> str:
    numbers = [str(value) for value in values]
    lines = ",\n".join("    " + ", ".join(numbers[at : at + 24]) for at in range(0, len(numbers), 24))
    return f"static const {kind} {name}[{len(numbers)}] = {{\n{lines}\n}};"

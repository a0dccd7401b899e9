"""PyTorch's own flows of quantization-aware training, to hold beside the package's: eager mode, and torchao's pt2e.

Eager mode (`torch.ao.quantization`) is the older interface: fuse, prepare, train, convert. torchao's pt2e exports the
network first and is the current one. In both, the network that is trained holds fake quantizers: it is neither the
float network nor the integer one.
"""

from __future__ import annotations

import copy
import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab.compress.modelfile import PathLike, session
from edgelab.errors import BadInput
from edgelab.files import expanded, write_bytes
from edgelab.quiet import first_line, silenced

OPSET = 21


def relu_only(net: nn.Module) -> nn.Module:
    """A copy of ``net`` in evaluation mode in which each ReLU6 is a ReLU.

    It computes the same wherever no activation passes 6, and another number elsewhere: measure its accuracy.
    """
    changed = copy.deepcopy(net).eval()
    for name, module in list(changed.named_modules()):
        if isinstance(module, nn.ReLU6):
            changed.set_submodule(name, nn.ReLU())
    return changed


def fusable(net: nn.Module) -> list[list[str]]:
    """Names of what eager mode fuses: each convolution with the batch norm and the ReLU that follow it."""
    names = [(name, module) for name, module in net.named_modules() if not list(module.children())]
    groups = []
    for (a, conv), (b, norm), (c, activation) in zip(names, names[1:], names[2:], strict=False):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and isinstance(activation, nn.ReLU):
            groups.append([a, b, c])
    return groups


def prepare_eager(network: nn.Module, groups: Sequence[Sequence[str]], recipe: str = "fbgemm") -> nn.Module:
    """A copy of ``network`` in training mode, fused and with fake quantizers, ready to be trained in eager mode.

    Parameters
    ----------
    network
        The float network inside `torch.ao.quantization.QuantWrapper`, so that its input is quantized; it stays as it
        is.
    groups
        What is fused, as `fusable` gives it.
    recipe
        Whose settings are used: ``"fbgemm"``, ``"x86"``, ``"qnnpack"``.
    """
    quantization: Any = importlib.import_module("torch.ao.quantization")  # it has no types
    prepared = copy.deepcopy(network).train()
    with silenced():
        quantization.fuse_modules_qat(prepared, [list(group) for group in groups], inplace=True)
        prepared.qconfig = quantization.get_default_qat_qconfig(recipe)
        result: nn.Module = quantization.prepare_qat(prepared)
    return result


def convert_eager(prepared: nn.Module) -> nn.Module:
    """The integer network of one that was prepared, and trained, in eager mode; it runs with PyTorch's kernels."""
    quantization: Any = importlib.import_module("torch.ao.quantization")
    with silenced():
        result: nn.Module = quantization.convert(copy.deepcopy(prepared).eval())
    return result


@dataclass(frozen=True)
class Pt2eFile:
    """An ONNX file that torchao's pt2e flow made; ``trained_steps`` were made between prepare and convert."""

    path: Path
    bytes: int
    trained_steps: int
    seconds: float

    def _repr_markdown_(self) -> str:
        return f"`{self.path.name}`: {self.bytes:,} bytes, pt2e with {self.trained_steps} steps of training"


def pt2e_onnx(
    net: nn.Module,
    batches: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
    path: PathLike,
    *,
    quantizer_name: str = "xnnpack",
    learning_rate: float = 1e-4,
) -> Pt2eFile:
    """Take ``net`` through torchao's flow: export, prepare for training, train on the batches, convert, write ONNX.

    Parameters
    ----------
    net
        The float network; it stays as it is.
    batches
        Inputs (N, ...) and classes (N,); one step each.
    path
        The .onnx file with a batch of 1; it is whole or absent.
    quantizer_name
        Which pattern of layers is annotated: ``"xnnpack"``, the one of the tutorials, or ``"x86"``, which knows ReLU6.

    Raises
    ------
    BadInput
        If torchao is not installed, or the network cannot be taken through the flow.
    """
    try:
        from torchao.quantization.pt2e import allow_exported_model_train_eval, move_exported_model_to_eval
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
        from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
    except ImportError as error:
        raise BadInput(f"torchao is not installed ({first_line(error)}); the flow pt2e needs it.") from None
    started = time.perf_counter()
    x = torch.from_numpy(np.ascontiguousarray(batches[0][0]))
    quantizer: Any
    if quantizer_name == "x86":
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
    elif quantizer_name == "xnnpack":
        quantizer = XNNPACKQuantizer()
        quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True, is_qat=True))
    else:
        raise BadInput(f"quantizer_name={quantizer_name!r} is not 'xnnpack' or 'x86'.")
    try:
        with silenced():
            shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},)
            exported = torch.export.export(copy.deepcopy(net).train(), (x,), dynamic_shapes=shapes).module()
            prepared = prepare_qat_pt2e(exported, quantizer)
            allow_exported_model_train_eval(prepared)
            optimizer = torch.optim.AdamW(prepared.parameters(), lr=learning_rate, weight_decay=0.0)
            for inputs, classes in batches:
                optimizer.zero_grad(set_to_none=True)
                logits = prepared(torch.from_numpy(np.ascontiguousarray(inputs)))
                nn.functional.cross_entropy(logits, torch.from_numpy(classes)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            move_exported_model_to_eval(prepared)
            converted = convert_pt2e(prepared)
            content = _onnx(converted, x[:1])
            session(content)
    except Exception as error:
        raise BadInput(f"{type(net).__name__} does not go through pt2e: {first_line(error)}.") from error
    write_bytes(path, content)
    return Pt2eFile(expanded(path), len(content), len(batches), time.perf_counter() - started)


def _onnx(converted: Any, x: torch.Tensor) -> bytes:
    program = torch.onnx.export(converted, (x,), dynamo=True, opset_version=OPSET, external_data=False, verbose=False)
    if program is None:
        raise BadInput("the exporter gave nothing")
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    content: bytes = model.SerializeToString()
    return content

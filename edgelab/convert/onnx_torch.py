"""An ONNX file as a PyTorch network, from where PyTorch's exporters write the other formats.

onnx2torch maps each operator to a module; it knows operators up to opset 21 and those of quantized files not at all.
What it made is not believed: who converts holds the result against the answers of ONNX Runtime.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput, EdgelabError, MissingFramework
from edgelab.quiet import first_line, silenced

if TYPE_CHECKING:
    import torch

_OPSETS = (21, 17, 13)
"""Rewritten to these in turn where an operator is not known in the file's own opset."""
_UNKNOWN = re.compile(r"domain='(?P<domain>[^']*)', operation_type='(?P<operator>[^']*)', version=(?P<version>\d+)")
_INTEGERS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulNBits")


def network_of(model: Any, file: str) -> torch.nn.Module:
    """A float ONNX model as a PyTorch network that takes its inputs in their order.

    Parameters
    ----------
    model
        The ``onnx.ModelProto`` with all its weights; it is not changed.
    file
        How messages call it.

    Raises
    ------
    BadInput
        If it is quantized, or holds an operator that has no module.
    MissingFramework
        If onnx2torch is not installed.
    """
    import onnx

    refuse_quantized(model, file)
    onnx2torch = _onnx2torch()
    own = onnx.ModelProto()
    own.CopyFrom(model)
    _name_inputs(own)
    refusals = []
    opset = max((entry.version for entry in own.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    for version in (opset, *(v for v in _OPSETS if v != opset)):
        try:
            with silenced():
                ready = own if version == opset else onnx.version_converter.convert_version(own, version)
                return onnx2torch.convert(ready, save_input_names=True).eval()  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - whatever a foreign file does to it
            refusals.append(_reason(error))
    raise BadInput(f"{file} is not taken to PyTorch: {refusals[0]}.")


def refuse_quantized(model: Any, file: str) -> None:
    """Raise `BadInput` if a model is quantized: its rounding would be lost on the way."""
    found = sorted({node.op_type for node in model.graph.node} & set(_INTEGERS))
    if found:
        raise BadInput(f"{file} is quantized already ({found[0]}); start from the float file.")


def unknown_operators(names: Iterable[str], opset: int) -> set[str]:
    """Those operators of ONNX's own set that onnx2torch has no module for, in the opset of a file or a lower one.

    Raises
    ------
    MissingFramework
        If onnx2torch is not installed.
    """
    _onnx2torch()
    from onnx2torch.node_converters import get_converter  # type: ignore[import-untyped]

    unknown = set()
    for name in names:
        for version in (opset, *(v for v in _OPSETS if v < opset)):
            try:
                get_converter(operation_type=name, version=version)
                break
            except NotImplementedError:
                continue
        else:
            unknown.add(name)
    return unknown


def with_shapes(model: Any, shapes: Sequence[Sequence[int]], folder: Path) -> Any:
    """A copy of a model with the shapes of its inputs fixed, and what follows from them computed ahead.

    An exporter that leaves sizes open writes them as a chain of operators (Shape, Gather, Concat) before each Reshape;
    once the inputs are fixed, ONNX Runtime's basic optimisation leaves constants of it. ``folder`` holds the copies.
    """
    import onnx

    from edgelab.convert import ort_files

    own = onnx.ModelProto()
    own.CopyFrom(model)
    weights = {entry.name for entry in own.graph.initializer}
    inputs = [info for info in own.graph.input if info.name not in weights]
    for info, shape in zip(inputs, shapes, strict=True):
        tensor = info.type.tensor_type
        tensor.CopyFrom(onnx.helper.make_tensor_type_proto(tensor.elem_type, list(shape)).tensor_type)
    del own.graph.value_info[:]
    for info in own.graph.output:
        info.type.tensor_type.ClearField("shape")
    try:
        onnx.save(own, folder / "fixed.onnx")
        own = onnx.load(ort_files.optimized(folder / "fixed.onnx", "basic", folder / "folded.onnx"))
    except (EdgelabError, ValueError):  # then as it is: whoever converts it says what is wrong
        pass
    for node in own.graph.node:  # it says how a 0 in the shape is meant, and is asked for where there is none, too
        kept = [a for a in node.attribute if not (node.op_type == "Reshape" and a.name == "allowzero")]
        del node.attribute[:]
        node.attribute.extend(kept)
    return own


def as_it_runs(network: torch.nn.Module, example: Sequence[NDArray[Any]], file: str) -> torch.nn.Module:
    """The operators that one run of a network executes, with every shape that is computed as the constant that it is.

    Raises
    ------
    BadInput
        If the network does not run on the example.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, make_fx

    class Known(torch.Tensor):
        """Whole numbers of the file: what is computed from them alone is computed at once, and not recorded."""

        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            leaves = torch.utils._pytree.tree_leaves((args, kwargs or {}))  # noqa: SLF001
            if all(isinstance(x, Known) for x in leaves if isinstance(x, torch.Tensor)):
                with disable_proxy_modes_tracing():
                    return super().__torch_function__(function, types, args, kwargs or {})  # type: ignore[no-untyped-call]
            plain = torch.utils._pytree.tree_map_only(Known, _plain, (args, kwargs or {}))  # noqa: SLF001
            return function(*plain[0], **plain[1])

    def _plain(x: torch.Tensor) -> torch.Tensor:
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001
            return x.as_subclass(torch.Tensor)

    def once(*inputs: torch.Tensor) -> Any:
        return network(*inputs)  # a module itself would have its constants recorded, too

    for module in network.modules():
        for name, values in list(module._buffers.items()):  # noqa: SLF001
            if values is not None and not values.is_floating_point():
                del module._buffers[name]  # noqa: SLF001
                object.__setattr__(module, name, values.as_subclass(Known))
    try:
        with silenced(), torch.no_grad():
            return make_fx(once)(*(torch.from_numpy(np.ascontiguousarray(x)) for x in example))
    except Exception as error:
        raise BadInput(f"{file} does not run in PyTorch: {first_line(error)}.") from error


def _onnx2torch() -> Any:
    try:
        import onnx2torch  # type: ignore[import-untyped]
    except ImportError:
        raise MissingFramework(
            "onnx2torch, which takes ONNX files to PyTorch, is not installed; add it with: uv pip install onnx2torch"
        ) from None
    return onnx2torch


def _name_inputs(model: Any) -> None:
    """Give the inputs names that Python can have, and that no other tensor has."""
    weights = {entry.name for entry in model.graph.initializer}
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} | weights
    for info in model.graph.input:
        if info.name in weights or (info.name.isidentifier() and not keyword.iskeyword(info.name)):
            continue
        name = "input_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in info.name)
        while name in taken:
            name += "_"
        taken.add(name)
        for node in model.graph.node:
            for place, each in enumerate(node.input):
                if each == info.name:
                    node.input[place] = name
        info.name = name


def _reason(error: Exception) -> str:
    """What onnx2torch said, its description of an operator in words."""
    found = _UNKNOWN.search(str(error))
    if found is None:
        return first_line(error).rstrip(".")
    domain = f" of {found['domain']}" if found["domain"] else ""
    return f"onnx2torch has no {found['operator']}{domain} of opset {found['version']}"

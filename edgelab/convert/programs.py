"""A PyTorch network as `torch.export` sees it: its inputs, its shapes, and the place of an operator in it.

What converts to a file format starts from here. A program that comes from a file has inputs whose sizes may be open;
a file for a phone or a microcontroller fixes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.quiet import first_line, silenced

if TYPE_CHECKING:
    import torch

    Network: TypeAlias = "torch.nn.Module | torch.export.ExportedProgram"
    Example: TypeAlias = "torch.Tensor | NDArray[Any] | Sequence[torch.Tensor | NDArray[Any]]"

_MENDS = {
    "fft": "compute the spectrum before the network",
    "stft": "compute the spectrum before the network",
    "istft": "leave the inverse transform outside the network",
    "grid_sampler": "resample the image before the network, or use interpolate",
    "unique": "leave that step outside the network",
    "nonzero": "multiply by a mask instead of selecting by one",
    "masked_select": "multiply by a mask instead of selecting by one",
    "multinomial": "draw random numbers outside the network",
    "rand": "draw random numbers outside the network and give them as an input",
    "bernoulli": "draw random numbers outside the network and give them as an input",
    "linalg": "compute the decomposition ahead and keep its result as a constant",
    "svd": "compute the decomposition ahead and keep its result as a constant",
    "erfinv": "use a table or a polynomial",
    "special": "use a polynomial, or compute it outside the network",
    "lgamma": "use a polynomial, or compute it outside the network",
    "bessel": "use a polynomial, or compute it outside the network",
    "cdist": "write the distance as (a - b).square().sum(-1).sqrt()",
    "lstm": "write the cell out with linear layers, sigmoid and tanh",
    "gru": "write the cell out with linear layers, sigmoid and tanh",
    "kthvalue": "use topk",
    "median": "use topk, or compute it outside the network",
    "mode": "compute it outside the network",
    "histc": "compute it outside the network",
    "bincount": "compute it outside the network",
    "complex": "keep the real and the imaginary part in two tensors",
}


def tensors(example: Example) -> tuple[torch.Tensor, ...]:
    """The example as tensors of its own, one for each input.

    Raises
    ------
    BadInput
        If one is empty, or not finite.
    """
    import torch

    given = example if isinstance(example, tuple | list) else (example,)
    found = tuple(own_tensor(x) for x in given)
    if not found or any(x.ndim == 0 or x.numel() == 0 for x in found):
        raise BadInput("The example needs at least one element in each input, batch first.")
    if not all(torch.isfinite(x).all() for x in found):
        raise BadInput("The example holds NaN or infinity; no check could pass on it.")
    return found


def own_tensor(x: torch.Tensor | NDArray[Any]) -> torch.Tensor:
    """A copy as a tensor: networks may work in place, and the caller's array may be read-only or of another machine.

    Raises
    ------
    BadInput
        If it holds no numbers that PyTorch has.
    """
    import torch

    if isinstance(x, torch.Tensor):
        return x.detach().clone()
    try:
        array = np.array(x)
        return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (TypeError, ValueError) as error:
        raise BadInput(f"The example is no array of numbers ({first_line(error)}).") from None


def program(net: Network, example: Example, *, dynamic_batch: bool) -> torch.export.ExportedProgram:
    """``net`` as an exported program in evaluation mode; a program is given back as it is.

    Parameters
    ----------
    net
        A network, or a program.
    example
        One batch as the network takes it, batch first, or a sequence of several inputs.
    dynamic_batch
        Leave the batch open where the network allows it; otherwise the batch is the example's.

    Raises
    ------
    BadInput
        If the network does not take the example, or decides by the values of its tensors.
    """
    import torch

    if isinstance(net, torch.export.ExportedProgram):
        return net
    inputs = tensors(example)
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        _try(net, inputs)
        with silenced(), torch.no_grad():
            if dynamic_batch:
                doubled = tuple(torch.cat([x, x]) if len(x) == 1 else x for x in inputs)  # 1 counts as a constant
                shapes = tuple({0: torch.export.Dim.AUTO} for _ in inputs)
                try:
                    return torch.export.export(net, doubled, dynamic_shapes=shapes)
                except Exception:  # noqa: BLE001, S110 - then with a fixed batch, which says what is wrong
                    pass
            return torch.export.export(net, inputs)
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"{type(net).__name__} cannot be exported: {first_line(error)}.") from error
    finally:
        for module, mode in modes:
            module.training = mode


def _try(net: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Run the network on copies, its own buffers left as they are: export itself does not see a type that is wrong."""
    import torch

    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    try:
        with silenced(), torch.no_grad():
            torch.func.functional_call(net, buffers, tuple(x.clone() for x in inputs))
    except Exception as error:
        shapes = ", ".join(f"{tuple(x.shape)} of {str(x.dtype).removeprefix('torch.')}" for x in inputs)
        raise BadInput(
            f"{type(net).__name__} does not take an input of shape {shapes}: {first_line(error)}."
        ) from error


def input_values(exported: torch.export.ExportedProgram) -> list[tuple[str, torch.Tensor]]:
    """The inputs of a program, each with its name and the tensor that stands for it.

    Raises
    ------
    BadInput
        If an input is no tensor.
    """
    import torch

    names = [str(name) for name in exported.graph_signature.user_inputs]
    nodes = {node.name: node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"}
    found = []
    for name in names:
        value = nodes.get(name)
        if not isinstance(value, torch.Tensor):
            raise BadInput(f"The program's input '{name}' is no tensor; export a network that takes tensors alone.")
        found.append((name, value))
    if not found:
        raise BadInput("The program takes no input; export a network that takes tensors.")
    return found


def input_shapes(exported: torch.export.ExportedProgram) -> list[tuple[str, tuple[int | None, ...], str]]:
    """Name, shape (None where a size is open) and numpy's element type of each input."""
    return [
        (name, tuple(size if isinstance(size, int) else None for size in value.shape), str(value.dtype).split(".")[-1])
        for name, value in input_values(exported)
    ]


def output_dtypes(exported: torch.export.ExportedProgram) -> list[torch.dtype | None]:
    """The element type of each output of a program; None where it is no tensor."""
    nodes = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    found = [nodes.get(str(name)) for name in exported.graph_signature.user_outputs]
    return [getattr(value, "dtype", None) for value in found]


def fixed(exported: torch.export.ExportedProgram, example: Example) -> torch.export.ExportedProgram:
    """The program with every size fixed to the example's.

    Raises
    ------
    BadInput
        If the program does not take the example.
    """
    import torch

    inputs = tensors(example)
    shapes = input_shapes(exported)
    for (name, shape, _), x in zip(shapes, inputs, strict=True):
        fits = len(shape) == x.ndim and all(a in (None, b) for a, b in zip(shape, x.shape, strict=True))
        if not fits:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise BadInput(f"The program's input '{name}' has the shape ({wanted}), not {tuple(x.shape)}.")
    if all(None not in shape for _, shape, _ in shapes):
        return exported
    try:
        with silenced(), torch.no_grad():
            return torch.export.export(exported.module(check_guards=False), inputs)
    except Exception as error:
        sizes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise BadInput(f"The program cannot be fixed to inputs of {sizes}: {first_line(error)}.") from error


def single(net: Network, example: Example) -> torch.export.ExportedProgram:
    """The program with a batch of 1 where its batch is open, and every other size the example's."""
    inputs = tuple(x[:1] for x in tensors(example))
    exported = program(net, inputs, dynamic_batch=False)
    wide = any(isinstance(v.shape[0], int) and v.shape[0] != 1 for _, v in input_values(exported) if v.ndim)
    return fixed(exported, tensors(example) if wide else inputs)


def on_copies(net: Network) -> torch.nn.Module:
    """A network that does the same on copies of its inputs, for formats whose inputs cannot be written to."""
    import torch

    inner = net.module(check_guards=False) if isinstance(net, torch.export.ExportedProgram) else net

    class OnCopies(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.inner(*(x.clone() for x in inputs))

    return OnCopies()


def refuse_training(exported: torch.export.ExportedProgram, file: str) -> None:
    """Raise `BadInput` if a program was exported in training mode, where dropout and batch norm do other work."""
    for node in exported.graph.nodes:
        name = str(node.target)
        training = (name.startswith("aten.dropout") and len(node.args) > 2 and node.args[2] is True) or (
            name.startswith("aten.batch_norm") and len(node.args) > 5 and node.args[5] is True
        )
        if training:
            what = f"{name.removesuffix('.default')} {place(node)}"
            raise BadInput(f"{file} was exported in training mode ({what}); call net.eval() and export it again.")


def place(node: torch.fx.Node) -> str:
    """Where an operator comes from: the layer, and the line of the network's source where it is known.

    A layer is named as `named_modules` has it.
    """
    stack = node.meta.get("nn_module_stack") or {}
    layers = [str(path) for path, _ in stack.values() if path]
    where = f"in '{layers[-1]}'" if layers else f"at '{node.name}'"
    lines = re.findall(r'File "([^"]+)", line (\d+)', str(node.meta.get("stack_trace") or ""))
    own = [(file, line) for file, line in lines if f"torch{'/'}nn" not in file.replace("\\", "/")]
    return f"{where}, {Path(own[-1][0]).name} line {own[-1][1]}" if own else where


def refusal(exported: torch.export.ExportedProgram, error: BaseException, target: str) -> BadInput:
    """A converter's error as one sentence: the operator, its place in the network, and the nearest mend."""
    text = _whole(error)
    names = re.findall(r"(?:aten|prims)(?:::|\.)(\w+)", text)
    names += re.findall(r"(?:op|operator|node|function for op) '?\"?(\w+)'?\"?", text)
    node = _first_of(exported, names)
    if node is not None:
        operator = str(node.meta.get("original_aten") or node.target).removesuffix(".default")
        return BadInput(f"{target} has no counterpart of the operator {operator} {place(node)}; {mend_for(operator)}.")
    return BadInput(
        f"The network cannot be converted to {target}: {first_line(error)}. Replace that operation, or compute it "
        "outside the network."
    )


def _first_of(exported: torch.export.ExportedProgram, names: Sequence[str]) -> torch.fx.Node | None:
    """The first node whose operator has one of the names, in the program or in what it is decomposed into."""

    def search(graph: torch.fx.Graph) -> torch.fx.Node | None:
        node: torch.fx.Node
        for name in names:
            for node in graph.nodes:
                operator = str(node.target).split(".")
                if (
                    node.op == "call_function"
                    and operator[0] in ("aten", "prims")
                    and operator[1] in (name, f"{name}_")
                ):
                    return node
        return None

    found = search(exported.graph)
    if found is None and names:
        try:
            with silenced():
                import torch

                found = search(exported.run_decompositions(dict(torch._decomp.decomposition_table)).graph)  # noqa: SLF001
        except Exception:  # noqa: BLE001 - then the operator stays unnamed
            return None
    return found


def mend_for(operator: str) -> str:
    """The nearest mend for an operator that a format lacks.

    Examples
    --------
    >>> mend_for("fft_rfft")
    'compute the spectrum before the network'
    """
    known = [mend for name, mend in _MENDS.items() if name in operator]
    return known[0] if known else "replace it by simpler operators, or compute it outside the network"


def _whole(error: BaseException) -> str:
    """The text of an error and of those that it came from."""
    parts: list[str] = []
    here: BaseException | None = error
    while here is not None and len(parts) < 8:
        parts.append(f"{type(here).__name__}: {here}")
        here = here.__cause__ or here.__context__
    return "\n".join(parts)

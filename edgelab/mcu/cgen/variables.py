"""Resource variables: what a streaming model keeps from one inference to the next, as static memory.

Such a model reads a variable (READ_VARIABLE), joins new frames to it and stores the newest of them for the next
inference (ASSIGN_VARIABLE). Where that comes to the same, the joining operator reads the variable where it lies, and
the one that cuts off the newest frames writes them there; else bytes are copied, as the interpreter copies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgelab.errors import BadInput
from edgelab.mcu.cgen.lowering import Step, where
from edgelab.mcu.model import Model, Operator, Tensor

OPERATORS = frozenset({"CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"})
_READERS = frozenset({"CONCATENATION", "PAD", "PADV2", "SPLIT", "SPLIT_V", "STRIDED_SLICE", "TRANSPOSE"})
"""Operators that copy, and so may read a variable where it lies."""
_WRITERS = frozenset({"CONCATENATION", "STRIDED_SLICE"})
"""Operators that copy, and so may write a variable where it lies."""


@dataclass(frozen=True)
class Resolved:
    """A model without handles: a variable is a tensor, and ``initial`` holds its bytes before the first inference."""

    model: Model
    initial: Mapping[int, bytes]

    def apart(self, step: Step) -> Step:
        """A step whose inputs and outputs leave out the variables, which do not lie in the arena."""
        inputs, outputs = (tuple(i for i in places if i not in self.initial) for places in (step.inputs, step.outputs))
        return replace(step, inputs=inputs, outputs=outputs)


def resolved(model: Model) -> Resolved:
    """Put tensors in the place of resource variables.

    Parameters
    ----------
    model
        As `edgelab.mcu.model.read_model` gives it.

    Raises
    ------
    BadInput
        If a variable is read before CALL_ONCE gives it its value, gets one that is computed, or is used with different
        sizes.
    """
    names = model.variables
    if not any(op.code in OPERATORS for op in model.operators):
        return Resolved(model, {})
    _check_operands(model)
    _check_first_values(model)
    once = [k for k, op in enumerate(model.operators) if op.code == "CALL_ONCE"]
    early = [op for op in model.operators[: max(once, default=0)] if op.code in ("READ_VARIABLE", "ASSIGN_VARIABLE")]
    if early:
        raise BadInput(f"{where(model, early[0])} comes before the variables have values; convert the model anew.")
    initial = {}
    for name in dict.fromkeys(names.values()):
        handles = [index for index, own in names.items() if own == name]
        model, content = _resolve(model, handles)
        if content is not None:
            initial[handles[0]] = content
    kept = tuple(op for op in model.operators if op.code not in ("CALL_ONCE", "VAR_HANDLE"))
    return Resolved(replace(model, operators=kept, subgraphs=()), initial)


def _check_operands(model: Model) -> None:
    """Every operator on variables has the operands that it needs; a damaged file may lack them."""
    needed = {"VAR_HANDLE": (0, 1), "READ_VARIABLE": (1, 1), "ASSIGN_VARIABLE": (2, 0)}
    for op in model.all_operators:
        if op.code not in needed:
            continue
        inputs, outputs = needed[op.code]
        operands = (*op.inputs[:inputs], *op.outputs[:outputs])
        if len(operands) < inputs + outputs or min(operands) < 0:
            raise BadInput(f"{where(model, op)} lacks an operand; convert the model anew.")


def _check_first_values(model: Model) -> None:
    """The graph that CALL_ONCE runs may hand constants to variables, and nothing else."""
    for graph in model.subgraphs:
        for op in graph.operators if graph.once else ():
            constant = op.code == "ASSIGN_VARIABLE" and model.tensors[op.inputs[1]].data is not None
            if op.code != "VAR_HANDLE" and not constant:
                raise BadInput(
                    f"{where(model, op)} computes the first value of a variable; give the variables constant first "
                    "values and convert the model anew."
                )


def _resolve(model: Model, handles: list[int]) -> tuple[Model, bytes | None]:
    """One variable; with its bytes before the first inference, None where nothing uses it."""
    ops = list(model.operators)
    reads = [k for k, op in enumerate(ops) if op.code == "READ_VARIABLE" and op.inputs[0] in handles]
    assigns = [k for k, op in enumerate(ops) if op.code == "ASSIGN_VARIABLE" and op.inputs[0] in handles]
    values = [*(ops[k].outputs[0] for k in reads), *(ops[k].inputs[1] for k in assigns)]
    if not values:
        return model, None
    like = model.tensors[values[0]]
    for k in (*reads, *assigns):
        value = model.tensors[ops[k].outputs[0] if k in reads else ops[k].inputs[1]]
        if value.size_bytes != like.size_bytes or value.data is not None:
            raise BadInput(f"{where(model, ops[k])} does not take or give the variable whole; convert the model anew.")
    state = handles[0]
    tensors = list(model.tensors)
    tensors[state] = replace(like, index=state, name=tensors[state].name, data=None, variable=True)
    direct, last = _direct_reads(model, reads, assigns, like)
    for k in reads:
        ops[k] = replace(ops[k], inputs=(state,))
    for k, source in direct.items():
        ops = [replace(op, inputs=tuple(state if i == source else i for i in op.inputs)) for op in ops]
        ops[k] = replace(ops[k], code="VAR_HANDLE")
    for k in assigns:
        ops[k] = replace(ops[k], inputs=(state, ops[k].inputs[1]))
        maker = _maker(model, k, like)
        if maker is not None and max((last, *(a for a in assigns if a < k)), default=-1) < maker:
            ops[maker] = replace(ops[maker], outputs=(state,))
            ops[k] = replace(ops[k], code="VAR_HANDLE")
    return replace(model, tensors=tuple(tensors), operators=tuple(ops)), _initial(model, handles, like)


def _direct_reads(model: Model, reads: list[int], assigns: list[int], like: Tensor) -> tuple[dict[int, int], int]:
    """The reads that need no copy, each with its tensor; and the position of the last operator that reads at all."""
    direct, last = {}, -1
    for k in reads:
        index = model.operators[k].outputs[0]
        users = [n for n, op in enumerate(model.operators) if index in op.inputs]
        until = min((a for a in assigns if a > k), default=len(model.operators))
        if (
            _same(model.tensors[index], like)
            and index not in model.outputs
            and all(model.operators[n].code in _READERS and n < until for n in users)
        ):
            direct[k] = index
            last = max([last, k, *users])
        else:
            last = max(last, k)
    return direct, last


def _maker(model: Model, assign: int, like: Tensor) -> int | None:
    """The operator that can write what is assigned where the variable lies."""
    index = model.operators[assign].inputs[1]
    users = sum(index in op.inputs for op in model.operators)
    makers = [n for n, op in enumerate(model.operators[:assign]) if op.outputs == (index,) and op.code in _WRITERS]
    fits = users == 1 and index not in model.outputs and _same(model.tensors[index], like)
    return makers[0] if makers and fits else None


def _same(tensor: Tensor, like: Tensor) -> bool:
    return tensor.dtype == "int8" and (tensor.shape, tensor.quantization) == (like.shape, like.quantization)


def _initial(model: Model, handles: list[int], like: Tensor) -> bytes:
    """What CALL_ONCE assigns; else the zero point, with which the interpreter fills a variable byte by byte."""
    found: list[Operator] = [
        op
        for op in model.all_operators[len(model.operators) :]
        if op.code == "ASSIGN_VARIABLE" and op.inputs[0] in handles
    ]
    data = model.tensors[found[-1].inputs[1]].data if found else None
    if data is not None and len(data) >= like.size_bytes:
        return data[: like.size_bytes]
    zero = like.quantization.zero_points[0] if like.quantization and like.quantization.zero_points else 0
    return np.full(like.size_bytes, zero & 255, np.uint8).tobytes()

"""Functions that a converter leaves in float between DEQUANTIZE and QUANTIZE, as tables from int8 to int8.

The negated mean of a normalization is one: the interpreter has no int8 kernel for NEG, so the value is dequantized,
negated and quantized again. All three steps together are a function of one int8 value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from edgelab.errors import BadInput
from edgelab.mcu.cgen import fixed
from edgelab.mcu.cgen.lowering import Lower, Step, Table, agree, needed, quantization
from edgelab.mcu.model import Model, Operator

_PREFIX = "FLOAT_"
_FUNCTIONS: Mapping[str, Callable[[np.float64], np.float64]] = {
    "NEG": np.negative,
    "SQUARE": np.square,
    "SQRT": np.sqrt,
    "EXP": np.exp,
    "LOG": np.log,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "ROUND": np.rint,
    "SIN": np.sin,
    "COS": np.cos,
}


def joined(model: Model) -> Model:
    """The model with each such function as one operator; the same model where there is none.

    Tensors keep their indices, and what is quantized keeps its operator's.
    """
    operators = {op.index: op for op in model.operators}
    for op in model.operators:
        if op.custom or op.code not in _FUNCTIONS or len(op.inputs) != 1 or len(op.outputs) != 1:
            continue
        before = [other for other in operators.values() if op.inputs[0] in other.outputs]
        after = [other for other in operators.values() if op.outputs[0] in other.inputs]
        between = not {*op.inputs, *op.outputs} & {*model.inputs, *model.outputs}
        quantized = after and all(other.code == "QUANTIZE" for other in after)
        if not (between and quantized and [other.code for other in before] == ["DEQUANTIZE"]):
            continue
        for other in after:
            operators[other.index] = replace(other, code=_PREFIX + op.code, inputs=before[0].inputs, options={})
        del operators[op.index]
        if not any(op.inputs[0] in other.inputs for other in operators.values()):
            del operators[before[0].index]
    if len(operators) == len(model.operators):
        return model
    return replace(model, operators=tuple(operators.values()))


def _in_float(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    a, b = quantization(model, op, source), quantization(model, op, target)
    agree(source.elements == target.elements, "sizes")
    function, table = _FUNCTIONS[op.code.removeprefix(_PREFIX)], []
    for x in range(-128, 128):
        value = np.float32((x - a.zero_point) * np.float64(a.scale))
        with np.errstate(all="ignore"):
            steps = float(np.float32(function(np.float64(value))) / np.float32(b.scale))
        if not abs(steps) < 2.0**31:
            raise BadInput(
                f"Operator {op.index} of {model.path.name} quantizes {op.code.removeprefix(_PREFIX)} of values that it "
                "has no result for; compute it in the application, or keep its input away from them."
            )
        table.append(min(max(fixed.rounded(steps) + b.zero_point, -128), 127))
    return Table(op.index, op.code, (source.index,), (target.index,), np.array(table), source.elements)


JOINED: dict[str, Lower] = dict.fromkeys((_PREFIX + code for code in _FUNCTIONS), _in_float)

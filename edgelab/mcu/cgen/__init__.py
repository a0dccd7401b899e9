"""Int8 models as plain C99: static buffers at planned addresses, no heap, no library, bit-exact with TFLM."""

from edgelab.errors import BadInput
from edgelab.mcu.cgen.folding import folded
from edgelab.mcu.cgen.generate import Sources, generate
from edgelab.mcu.cgen.joining import joined
from edgelab.mcu.cgen.registry import known_operators, lower_operator
from edgelab.mcu.cgen.variables import OPERATORS, resolved
from edgelab.mcu.model import Model

SUPPORTED_OPERATORS = frozenset(known_operators()) | OPERATORS
"""Operators that `generate` has kernels for, by their names in the schema."""


def refused_operators(model: Model) -> dict[int, str]:
    """The indices of the operators that `generate` does not take as they stand in a model, each with the sentence."""
    refused = {}
    model = joined(folded(model))
    try:
        model = resolved(model).model
    except BadInput as error:
        refused = {op.index: str(error) for op in model.operators if op.code in OPERATORS}
    for op in model.operators:
        try:
            lower_operator(model, op)
        except BadInput as error:
            refused[op.index] = str(error)
    return refused


__all__ = ["SUPPORTED_OPERATORS", "Sources", "generate", "refused_operators"]

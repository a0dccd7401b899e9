"""Every operator's lowering by its name, and a whole model as steps: the one file that knows all lowerings."""

from __future__ import annotations

from collections.abc import Mapping

from edgelab.errors import BadInput
from edgelab.mcu import compiled
from edgelab.mcu.cgen.fixed import Multiplier
from edgelab.mcu.cgen.joining import JOINED
from edgelab.mcu.cgen.lower_functions import FUNCTIONS
from edgelab.mcu.cgen.lower_layers import LAYERS
from edgelab.mcu.cgen.lower_lstm import RECURRENT
from edgelab.mcu.cgen.lower_moves import MOVES
from edgelab.mcu.cgen.lower_pairs import PAIRS
from edgelab.mcu.cgen.lower_picks import PICKS
from edgelab.mcu.cgen.lower_products import PRODUCTS
from edgelab.mcu.cgen.lowering import Lower, Step, where
from edgelab.mcu.model import Model, Operator
from edgelab.mcu.shapes import contradiction

FAMILIES: tuple[Mapping[str, Lower], ...] = (LAYERS, RECURRENT, FUNCTIONS, MOVES, PICKS, PAIRS, PRODUCTS)
"""What each file of lowerings offers, by the operator's name in the schema; no name stands in two."""
_MOST_ELEMENTS = 2**25
_LARGEST_SHIFT = 30
_MENDS: Mapping[str, str] = {"DIV": "multiply by the reciprocal"}


def lower(model: Model) -> tuple[Step, ...]:
    """Every operator of a model as a step.

    Raises
    ------
    BadInput
        If an operator has no int8 kernel here, or computes in float or with 16-bit activations; the sentence names it
        and the mend.
    """
    used = {i for op in model.operators for i in (*op.inputs, *op.outputs)}
    for tensor in model.tensors:
        if tensor.elements == 0 and tensor.index in used:
            raise BadInput(f"The tensor '{tensor.name}' of {model.path.name} has no elements; convert the model anew.")
        if tensor.elements > _MOST_ELEMENTS:
            raise BadInput(
                f"The tensor '{tensor.name}' of {model.path.name} has {tensor.elements:,} elements, which no "
                "microcontroller holds; use a smaller network or a smaller input."
            )
    return tuple(lower_operator(model, op) for op in model.operators)


def known_operators() -> dict[str, Lower]:
    """What lowers each operator, by its name in the schema."""
    return {code: made for family in FAMILIES for code, made in family.items()}


def lower_operator(model: Model, op: Operator) -> Step:
    """One operator of a model as a step.

    Raises
    ------
    BadInput
        As `lower`.
    """
    known = known_operators() | JOINED
    if op.custom and op.code == compiled.OPERATOR:
        raise BadInput(
            f"{model.path.name} was compiled by vela for {compiled.compiled_for(model)} and holds its commands alone; "
            "give the .tflite file from which vela made it."
        )
    if op.custom or op.code not in known:
        raise BadInput(
            f"{where(model, op)} is not one the C generator knows; {_mend(op.code)} "
            f"(it knows {', '.join(sorted(known_operators()))})."
        )
    torn, mend = contradiction(model, op)
    if torn:
        raise BadInput(f"{where(model, op)} cannot be right, {torn}; {mend}.")
    try:
        return _sound(model, op, known[op.code](model, op))
    except BadInput:
        raise
    except (KeyError, IndexError, ValueError, AttributeError, TypeError, ArithmeticError) as error:
        raise BadInput(
            f"{where(model, op)} has operands or options that do not fit together ({error}); convert the model anew."
        ) from None


def _sound(model: Model, op: Operator, step: Step) -> Step:
    """The step, if its scales lie near enough together for 32 bits."""
    for value in vars(step).values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Multiplier) and item.shift > _LARGEST_SHIFT:
                raise BadInput(
                    f"{where(model, op)} has scales that lie further apart than 32-bit arithmetic reaches; "
                    "quantize the model anew, with a calibration set like its real inputs."
                )
    return step


def _mend(code: str) -> str:
    return _MENDS.get(code, "rebuild the model without it, or take a runtime that has it (edgelab operators)")

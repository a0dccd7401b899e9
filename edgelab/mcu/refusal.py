"""What the real interpreter said when it refused a model, as a clause for a person and a change that helps.

The table of operators (`edgelab.mcu.operators`) knows which operators the interpreter has; whether a kernel takes the
operands of this one file, the interpreter alone decides, and where it was asked its answer counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgelab.engines.tflm_arena import UNSTEADY
from edgelab.errors import EdgelabError, EngineDied
from edgelab.mcu.model import Model, Operator
from edgelab.mcu.operators import FIXED_SHAPE, FULL_INTEGER

_STOPPED = re.compile(r"^(?P<code>\S+) \(operator (?P<index>\d+)\): (?P<words>.*)$")
_NOT_CONSTANT = re.compile(r"Non-constant >(?P<operand>[^<]+)< tensor|IsConstantTensor|must be (a )?constant")
_OF_A_TYPE = re.compile(r"[Tt]ype\b|[Hh]ybrid|(?i:\b(kTfLite)?(u?int\d+|float\d*|bool|string)\b)")
_ANEW = "convert it again with a fixed batch and full-integer quantization, and ask again"
_OTHERWISE = "leave out or replace what it names there, convert again, and ask again"


@dataclass(frozen=True)
class Refusal:
    """Why the interpreter does not run a model: the ``operator`` where it stopped ("" if it named none), and a mend."""

    operator: str
    why: str
    mend: str


def refusal_of(model: Model, error: EdgelabError) -> Refusal:
    """A refusal in words.

    Parameters
    ----------
    model
        The model that was refused.
    error
        What `edgelab.engines.tflm` raised for it: `ModelRefused`, or `EngineDied`.
    """
    if UNSTEADY in str(error):
        why = f"the interpreter {UNSTEADY} from one arena to the next: a kernel reads memory that nothing has set"
        return Refusal("", why, _ANEW)
    said = str(error).partition(f"{model.path}: ")[2].rstrip(".") or str(error).partition(";")[0]
    if isinstance(error, EngineDied):
        return Refusal("", f"the interpreter does not survive this file: {said}", _OTHERWISE)
    stopped = _STOPPED.match(said)
    if stopped is None:
        return Refusal("", f"the interpreter refuses this file: {said}", _OTHERWISE)
    code, words = stopped["code"], stopped["words"]
    constant = _NOT_CONSTANT.search(words)
    if constant:
        operand = f"its operand '{constant['operand']}'" if constant["operand"] else "an operand"
        return Refusal(
            code,
            f"the interpreter refuses this file: {code} gets {operand} computed while the model runs, and its kernel "
            f"takes a constant alone ({words})",
            FIXED_SHAPE,
        )
    types = _types(model, code, int(stopped["index"]))
    if types and _OF_A_TYPE.search(words):
        why = f"the interpreter refuses this file: its kernel of {code} does not take {types} ({words})"
        return Refusal(code, why, FULL_INTEGER)
    return Refusal(code, f"the interpreter refuses this file: {code} does not take what it gets ({words})", _OTHERWISE)


def _types(model: Model, code: str, index: int) -> str:
    """The element types of an operator's inputs; nothing where the index does not belong to the main graph."""
    operators: dict[int, Operator] = {op.index: op for op in model.operators if op.code == code}
    if index not in operators:
        return ""
    return " with ".join(dict.fromkeys(model.tensors[i].dtype for i in operators[index].inputs if i >= 0))

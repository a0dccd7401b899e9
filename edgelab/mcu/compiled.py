"""Files that vela has compiled: which Ethos-U they are for, as their command stream says.

Such a file holds the custom operator ``ethos-u``, whose first operand is what the accelerator's driver reads: the mark
``COP1``, a tag, and the configuration word of the accelerator (its product and its multiply-accumulates a cycle).
"""

from __future__ import annotations

import struct

from edgelab.mcu.model import Model

OPERATOR = "ethos-u"
"""The custom operator's name."""
_MARK = b"COP1"
_HEADER_BYTES = 12
_PRODUCTS = {0: "ethos-u55", 1: "ethos-u65", 2: "ethos-u85"}
UNKNOWN = "an Ethos-U that the file does not name"


def compiled_for(model: Model) -> str:
    """The accelerator that vela compiled a model for, as vela names it; empty where it was not compiled.

    A file that names two, or none in a way that is known, gives `UNKNOWN`.
    """
    found = {
        _accelerator(model.tensors[op.inputs[0]].data if op.inputs and op.inputs[0] >= 0 else None)
        for op in model.running
        if op.custom and op.code == OPERATOR
    }
    return "" if not found else found.pop() if len(found) == 1 else UNKNOWN


def _accelerator(stream: bytes | None) -> str:
    if stream is None or len(stream) < _HEADER_BYTES or stream[:4] != _MARK:
        return UNKNOWN
    (word,) = struct.unpack_from("<I", stream, 8)
    product = _PRODUCTS.get(word >> 28)
    return f"{product}-{2 ** (word & 15)}" if product else UNKNOWN

"""Int8 models as plain C99: static buffers at planned addresses, no heap, no library, bit-exact with TFLM."""

from edgelab.mcu.cgen.generate import Sources, generate
from edgelab.mcu.cgen.lower_layers import LAYERS
from edgelab.mcu.cgen.lower_moves import MOVES

SUPPORTED_OPERATORS = frozenset({**LAYERS, **MOVES})
"""Operators that `generate` has kernels for, by their names in the schema."""

__all__ = ["SUPPORTED_OPERATORS", "Sources", "generate"]

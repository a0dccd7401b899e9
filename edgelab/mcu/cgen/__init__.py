"""Int8 models as plain C99: static buffers at planned addresses, no heap, no library, bit-exact with the interpreter."""

from edgelab.mcu.cgen.generate import Sources, generate

__all__ = ["Sources", "generate"]

"""The emulated Cortex-M: its machine, the counter of its blocks, Thumb instructions by cost, ELF files, a compiler.

`edgelab.engines.cortexm` puts it behind the engine protocol and into a child process.
"""

"""What TensorFlow Lite Micro keeps in its arena: the sizes of its structs, by build, and what each operator asks for.

A struct is written down by its fields, one letter each, from which its size on a 64-bit host and on a 32-bit core
follows: ``c`` 1 byte (also bool), ``h`` 2, ``i`` 4 (also float), ``d`` 8, ``p`` a pointer, ``e`` an enumeration
(4 bytes, or 1 where the compiler keeps enumerations short, as arm-none-eabi does), brackets for a struct within. So
what was measured on a host gives the core's figure too, and the table says where each entry was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgelab.errors import BadInput


@dataclass(frozen=True)
class Struct:
    """Bytes of a struct and the alignment that it asks for."""

    size: int
    align: int


@dataclass(frozen=True)
class Build:
    """One build of TFLM: how wide its types are and how large the structs that every model needs."""

    target: str
    version: str
    pointer: int
    enumeration: int
    cmsis_nn: bool
    compression: bool
    """Whether kernels were built with tensor compression, which adds indices to their data."""
    later: bool
    """Whether it is later than August 2026, when the options of a fully connected layer grew."""
    allocator: Struct
    planner: Struct
    micro_allocator: Struct
    builtin_allocator: Struct
    subgraph: Struct
    eval_tensor: Struct
    node: Struct
    tensor: Struct
    affine: Struct
    handle: Struct
    request: Struct
    allocation_info: Struct
    variables: Struct
    """What holds the resource variables of a model that has some."""
    variable: Struct
    planner_bytes_per_buffer: int = 40
    requests_in_reserve: int = 12
    """Scratch buffers that an operator may ask for; the room for them is held free while it prepares."""

    def struct(self, fields: str) -> Struct:
        """The size of a struct from its fields.

        Examples
        --------
        >>> build("cortex-m-reference").struct("cip").size, build("x86_64-wheel").struct("cip").size
        (12, 16)
        """
        widths = {"c": 1, "h": 2, "i": 4, "d": 8, "p": self.pointer, "e": self.enumeration}
        open_structs = [Struct(0, 1)]
        for letter in fields.replace(" ", ""):
            if letter == "(":
                open_structs.append(Struct(0, 1))
                continue
            part = _closed(open_structs.pop()) if letter == ")" else Struct(widths[letter], widths[letter])
            whole = open_structs[-1]
            open_structs[-1] = Struct(_up(whole.size, part.align) + part.size, max(whole.align, part.align))
        return _closed(open_structs[0])


@dataclass(frozen=True)
class Kernel:
    """What an operator keeps: the struct of its options, and the data that its kernel allocates when it is made.

    ``params`` and ``data`` are fields (empty: nothing is allocated); ``compressed`` are those that a build with tensor
    compression adds to the data, ``cmsis`` those of CMSIS-NN's kernel in place of ``data`` (None: the same).
    ``measured`` is ``"both"`` where the sizes were measured on the host's interpreter and on a Cortex-M4, ``"host"``
    where the core's are deduced from the fields.
    """

    params: str
    data: str
    temps: str
    """The tensors that are built up while the kernel prepares: ``"i0 i1 o0"`` are two inputs and an output."""
    compressed: str = ""
    cmsis: str | None = None
    cmsis_temps: str | None = None
    late: bool = False
    """Whether its data is allocated while it prepares, after the tensors that are built up for it."""
    buffers_last: bool = False
    """Whether its buffers that stay are allocated after the tensors that are built up while it prepares."""
    later_params: str | None = None
    """The fields of the options in the later version that the wheel holds, where they differ."""
    measured: str = "host"


_CORE_VERSION = "TFLM of August 2026 for Cortex-M4"
_CORE = Build(
    target="cortex-m-reference",
    version=f"{_CORE_VERSION}, reference kernels",
    pointer=4,
    enumeration=1,
    cmsis_nn=False,
    compression=False,
    later=False,
    allocator=Struct(36, 4),
    planner=Struct(44, 4),
    micro_allocator=Struct(36, 4),
    builtin_allocator=Struct(8, 4),
    subgraph=Struct(8, 4),
    eval_tensor=Struct(12, 4),
    node=Struct(32, 4),
    tensor=Struct(32, 4),
    affine=Struct(12, 4),
    handle=Struct(4, 4),
    request=Struct(12, 4),
    allocation_info=Struct(24, 4),
    variables=Struct(12, 4),
    variable=Struct(20, 4),
)
# The interpreter of the wheel records what it allocates: its two allocators are larger for it.
_WHEEL = Build(
    target="x86_64-wheel",
    version="tflite-micro 0.dev20261023182759 for x86-64",
    pointer=8,
    enumeration=4,
    cmsis_nn=False,
    compression=True,
    later=True,
    allocator=Struct(104, 8),
    planner=Struct(72, 8),
    micro_allocator=Struct(272, 8),
    builtin_allocator=Struct(16, 8),
    subgraph=Struct(24, 8),
    eval_tensor=Struct(24, 8),
    node=Struct(64, 8),
    tensor=Struct(64, 8),
    affine=Struct(24, 8),
    handle=Struct(8, 8),
    request=Struct(16, 8),
    allocation_info=Struct(32, 8),
    variables=Struct(16, 8),
    variable=Struct(40, 8),
)

BUILDS: tuple[Build, ...] = (
    _WHEEL,
    _CORE,
    replace(_CORE, target="cortex-m-cmsis-nn", version=f"{_CORE_VERSION}, CMSIS-NN", cmsis_nn=True),
)
TARGETS: tuple[str, ...] = tuple(b.target for b in BUILDS)

_CONV = "iiii iii ii pp iii"
_CONV_PARAMS = "(c hhhh hhhh iiiiiiiii)"
_POOL = Kernel("e iiii e iiii", "iiii ii ii", "i0 o0", measured="both", cmsis="iiii ii ii i")
_AVERAGE = replace(_POOL, cmsis_temps="i0 o0 i0 o0")
_REDUCE = Kernel("c", "iiiiiiiiiii", "i0 o0 i1 i0 o0 i1", measured="both")
_NOTHING = Kernel("", "", "i0 o0")
_COMPARISON = Kernel("", "iiiiiii c", "i0 i1")
_GATE = "(iiiiiiiii ccc)" * 2
_PRODUCT = "(c iiiiiiiiii iiii dd iiiii)"
_LSTM = f"(c iiii) (i h i) e {_GATE * 4} {_PRODUCT * 3} iiii"

KERNELS: Mapping[str, Kernel] = {
    "CONV_2D": Kernel(
        "e ii e ii e", _CONV, "o0 i0 i1 i0 i1 i2 o0", compressed="ii", cmsis=f"{_CONV} i", measured="both"
    ),
    "DEPTHWISE_CONV_2D": Kernel(
        "e iii e ii", _CONV, "o0 i0 i1 i0 i1 i2 o0", compressed="ii", cmsis=f"{_CONV} i", measured="both"
    ),
    "FULLY_CONNECTED": Kernel(
        "ee cc e",
        "iiiii pp c iii i",
        "i0 i1 i2 o0",
        compressed="ii",
        cmsis="iiiii pp c iii i pp iiii",
        later_params="ee cc e p i",
        buffers_last=True,
        measured="both",
    ),
    "ASSIGN_VARIABLE": Kernel("", "", "i1", compressed="i", buffers_last=True),
    "AVERAGE_POOL_2D": _AVERAGE,
    "MAX_POOL_2D": _POOL,
    "MEAN": _REDUCE,
    "ADD": Kernel("e c", "c iiiii iiiiiii ii", "i0 i1 o0", measured="both"),
    "SUB": Kernel("e c", "c iiii iiiiiiii", "i0 i1 o0"),
    "MUL": Kernel("e", "iiiiii i ii", "i0 i1 o0", measured="both"),
    "CONCATENATION": Kernel("i e", "c pp h i i", "i0 o0 i*", compressed="iiiiiiiiii", measured="both"),
    "PAD": Kernel("", "iiiiiiiiiiiiii", "i0 i1 o0", measured="both"),
    "RESHAPE": Kernel("iiiiiiii i", "", "i0 o0", measured="both"),
    "SQUEEZE": Kernel("iiiiiiii i", "", "i0 o0"),
    "SOFTMAX": Kernel("i", "d iiiiiii ppppp", "i0 o0", cmsis="d iiiiiii ppppp ii", measured="both"),
    "LOGISTIC": Kernel("", "iiii", "i0 o0", measured="both"),
    "TANH": Kernel("", "iiii", "i0 o0 i0", measured="both"),
    "HARD_SWISH": Kernel("", "hhh i h i", "i0 o0"),
    "READ_VARIABLE": Kernel("", "", "i0"),
    "RELU": Kernel("", "c ii iiii", "i0 o0"),
    "RELU6": Kernel("", "ii", "i0"),
    "LEAKY_RELU": Kernel("i", "iiiiii", "i0 o0", measured="both"),
    "QUANTIZE": Kernel("", "i d iii", "i0 o0"),
    "DEQUANTIZE": Kernel("", "d iiii", "i0 o0"),
    "TRANSPOSE": Kernel("", "", "i0 i1 o0"),
    "STRIDED_SLICE": Kernel("iiiii c", "c iiiii c iiiii c iiiii hhhhh", "i0 i1 i2 i3 o0"),
    "SPLIT": Kernel("i", "", "i0"),
    "SVDF": Kernel("i e c", "iiii iiiii", "i* o0", cmsis="iiii iiiii p"),
    "ABS": Kernel("", "iiii c ee", "i0 o0"),
    "ADD_N": Kernel("", "iiiiiiiiii", "i* o0", late=True),
    "ARG_MAX": Kernel("e", "", ""),
    "ARG_MIN": Kernel("e", "", ""),
    "BATCH_MATMUL": Kernel("ccc", "ppp ccc", "i0 i1 o0", cmsis="(ppp ccc) iiiii", buffers_last=True),
    "BATCH_TO_SPACE_ND": Kernel("", "", "i0 o0"),
    "BROADCAST_ARGS": Kernel("", "", "i0 i1 o0"),
    "BROADCAST_TO": Kernel("", "", "i0 i1 o0"),
    "CALL_ONCE": Kernel("i", "i c", ""),
    "CAST": Kernel("ee", "", "i0 o0"),
    "CEIL": _NOTHING,
    "COS": _NOTHING,
    "CUMSUM": Kernel("cc", "iiiiiiiii", "i0 i1 o0", late=True),
    "DEPTH_TO_SPACE": Kernel("i", "", "i0 o0", buffers_last=True),
    "DIV": Kernel("e", "iiiiiii", "i0 i1 o0"),
    "DYNAMIC_UPDATE_SLICE": Kernel("", "", "i0 i1 i2 o0"),
    "ELU": Kernel("", "d" * 32, "i0 o0"),
    "EQUAL": _COMPARISON,
    "EXP": _NOTHING,
    "EXPAND_DIMS": Kernel("", "", "i0 i1 o0"),
    "FILL": Kernel("", "", "i0 i1 o0"),
    "FLOOR": _NOTHING,
    "FLOOR_DIV": Kernel("", "", "i0 i1 o0"),
    "FLOOR_MOD": Kernel("", "", "i0 i1 o0"),
    "GATHER": Kernel("ii", "", "i0 i1 o0", buffers_last=True),
    "GATHER_ND": Kernel("", "", "i0 i1 o0", buffers_last=True),
    "GREATER": _COMPARISON,
    "IF": Kernel("ii", "ii", "i0"),
    "WHILE": Kernel("ii", "ii", ""),
    "GREATER_EQUAL": _COMPARISON,
    "L2_NORMALIZATION": Kernel("e", "i", "i0 o0"),
    "L2_POOL_2D": Kernel("e iiii e iiii", "", "i0 o0", buffers_last=True),
    "LESS": _COMPARISON,
    "LESS_EQUAL": _COMPARISON,
    "LOG": _NOTHING,
    "LOGICAL_AND": Kernel("", "", ""),
    "LOGICAL_NOT": _NOTHING,
    "LOGICAL_OR": Kernel("", "", ""),
    "LOG_SOFTMAX": Kernel("", "iiiii pp", "i0 o0", late=True),
    "MAXIMUM": Kernel("", "", ""),
    "MINIMUM": Kernel("", "", ""),
    "MIRROR_PAD": Kernel("e", "iiiii", "i0 i1 o0"),
    "NEG": _NOTHING,
    "NOT_EQUAL": _COMPARISON,
    "PACK": Kernel("ii", "", ""),
    "PADV2": Kernel("", "iiiiiiiiiiiiii", "i0 i1 i2 o0"),
    "PRELU": Kernel("", "iiiiiii", "i0 i1 o0"),
    "REDUCE_ALL": _REDUCE,
    "REDUCE_MAX": _REDUCE,
    "REDUCE_MIN": _REDUCE,
    "RESIZE_BILINEAR": Kernel("cc", "", "i0 i1 o0"),
    "RESIZE_NEAREST_NEIGHBOR": Kernel("cc", "", "i0 i1 o0"),
    "REVERSE_V2": Kernel("", "", "i0 i1 o0"),
    "ROUND": _NOTHING,
    "RSQRT": Kernel("", "iiii c ee", "i0 o0"),
    "SELECT_V2": Kernel("", "c", "i0 i1 i2 o0"),
    "SHAPE": Kernel("e", "", "i0 o0"),
    "SIN": _NOTHING,
    "SLICE": Kernel("", "", "i0 i1 i2 o0"),
    "SPACE_TO_BATCH_ND": Kernel("", "i", "i0 o0"),
    "SPACE_TO_DEPTH": Kernel("i", "", "i0 o0", buffers_last=True),
    "SPLIT_V": Kernel("i", "", "i0 i2"),
    "SQRT": _NOTHING,
    "SQUARE": _NOTHING,
    "SQUARED_DIFFERENCE": Kernel("", f"{_PRODUCT} c", "i0 i1 o0"),
    "SUM": _REDUCE,
    "TRANSPOSE_CONV": Kernel(
        "e ii e e",
        f"{_CONV_PARAMS} ii pp",
        "o0 i1 i2 i1 i2 i3 o0",
        compressed="ii",
        cmsis=f"{_CONV_PARAMS} iii pp",
    ),
    "UNPACK": Kernel("ii", "", ""),
    "VAR_HANDLE": Kernel("pp", "i", ""),
    "ZEROS_LIKE": _NOTHING,
    "ethos-u": Kernel("", "iii", "i0"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Kernel(
        "e ii ccc", _LSTM, "i* o0", cmsis=f"({_LSTM}) iiiii iiiiiiiiii {'(ii pp ii ppp e)' * 4}", buffers_last=True
    ),
}


def build(target: str) -> Build:
    """The build of that name.

    Raises
    ------
    BadInput
        If there is none.
    """
    for entry in BUILDS:
        if entry.target == target:
            return entry
    raise BadInput(f"target={target!r} is not one of {', '.join(TARGETS)}.")


def _closed(struct: Struct) -> Struct:
    return Struct(_up(struct.size, struct.align), struct.align)


def _up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment

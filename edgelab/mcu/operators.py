"""Which operators of a model the micro runtimes have, and what to put in place of those they lack.

The table of TensorFlow Lite for Microcontrollers is that of the interpreter in the pinned package tflite-micro, found
by asking it for every operator of the schema; a test asks again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgelab.mcu import compiled
from edgelab.mcu.model import Model, Operator, Tensor, read_model
from edgelab.mcu.shapes import FIXED_BATCH, contradiction
from edgelab.reading import Cell, Table


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TABLE_VERSION = "tflite-micro 0.dev20261023182759"
"""The interpreter that the table was read from."""

TFLM_OPERATORS = _names(
    """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV
    DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
    GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
    LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG
    NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE
    TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
    """
)
"""Built-in operators that the interpreter resolves."""

TFLM_CUSTOM_OPERATORS = _names(
    """
    BasicClassifier CIRCULAR_BUFFER SignalDelay SignalEnergy SignalFftAutoScale SignalFilterBank SignalFilterBankLog
    SignalFilterBankSpectralSubtraction SignalFilterBankSquareRoot SignalFramer SignalIrfft SignalOverlapAdd SignalPCAN
    SignalRfft SignalStacker SignalWindow TFLM_DECODE TFLite_Detection_PostProcess
    """
)
"""Custom operators that it resolves; ``ethos-u`` is resolved on a device that has one."""

FLOAT_ONLY = _names("CEIL COS EXP FLOOR FLOOR_DIV FLOOR_MOD LOG NEG ROUND SIN SQRT SQUARE")
"""Operators that it resolves but that refuse int8: their kernels know float32 alone."""

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "SVDF"})
_INTEGER_TYPES = frozenset({"int8", "int16"})
_AT_THE_BORDER = frozenset({"QUANTIZE", "DEQUANTIZE"})

_OUTSIDE = "take it out of the network and compute it in the application"
FULL_INTEGER = "convert again with full-integer quantization (a representative data set, int8 input and output)"
"""What to do about types that are not for microcontrollers."""
FIXED_SHAPE = "give the network a fixed input shape before converting, so that the converter computes it"
"""What to do about shapes that a model computes while it runs."""
_STRINGS = "look the text up in the application and feed the network numbers"
_BOXES = "end the network at boxes and scores and select in the application, or with TFLite_Detection_PostProcess"
_RECURRENT = "use LSTM layers of one direction (they become UNIDIRECTIONAL_SEQUENCE_LSTM), or convolutions over time"
_MENDS = {
    "GELU": "use RELU or HARD_SWISH in its place and train again",
    "RELU_N1_TO_1": "use TANH, or RELU6 with its input shifted, and train again",
    "RELU_0_TO_1": "use RELU6 and train again",
    "LOCAL_RESPONSE_NORMALIZATION": "use batch normalization, which the converter folds into the convolution",
    "CONV_3D": "stack the frames as channels and use CONV_2D",
    "CONV_3D_TRANSPOSE": "stack the frames as channels and use TRANSPOSE_CONV",
    "TILE": "use BROADCAST_TO or CONCATENATION",
    "POW": "use MUL of the tensor with itself",
    "SELECT": "convert again with a current converter, which writes SELECT_V2",
    "SIGN": "use GREATER and LESS, or compute it in the application",
    "REDUCE_PROD": "use MUL, or LOG, SUM and EXP in float",
    "REDUCE_ANY": "use REDUCE_MAX",
    "ONE_HOT": "use GATHER from a constant identity matrix, or feed the vector from the application",
    "TOPK_V2": "use ARG_MAX, or sort the scores in the application",
    "FAKE_QUANT": f"{FULL_INTEGER}: this one only simulates quantization",
    "DENSIFY": "store the weights dense: strip the pruning before converting",
    "RFFT2D": "use SignalRfft, or compute the spectrum in the application",
    "REVERSE_SEQUENCE": "use REVERSE_V2 with a fixed length",
    "DILATE": "use DEPTHWISE_CONV_2D or RESIZE_NEAREST_NEIGHBOR",
    "CALL": "convert again with the function inlined",
    "LSTM": "convert the layer again as one fused UNIDIRECTIONAL_SEQUENCE_LSTM",
    **dict.fromkeys(
        ("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM"), _RECURRENT
    ),
    **dict.fromkeys(("RANGE", "RANK", "WHERE", "UNIQUE"), FIXED_SHAPE),
    **dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"), _BOXES),
    **dict.fromkeys(("HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "SKIP_GRAM"), _STRINGS),
    **dict.fromkeys(("HASHTABLE_LOOKUP", "LSH_PROJECTION", "EMBEDDING_LOOKUP_SPARSE"), _STRINGS),
    **dict.fromkeys(
        ("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "MULTINOMIAL"), "draw the numbers in the application and feed them"
    ),
}


@dataclass(frozen=True)
class OperatorCheck:
    """One kind of operator in a model, on one element type.

    ``tflm`` and ``generator`` say whether TensorFlow Lite for Microcontrollers and edgelab's C generator take it.
    ``generator`` is False where it refuses one of them. ``reason`` and ``mend`` are empty where the interpreter takes
    it; else they say why not and what to change.
    """

    operator: str
    count: int
    type: str
    tflm: bool
    generator: bool
    reason: str = ""
    mend: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON-ready data, with the keys of this class."""
        return asdict(self)


@dataclass(frozen=True)
class OperatorReport:
    """The operators of a model by kind, in the order of their first use, and remarks that concern all of it."""

    file: str
    checks: tuple[OperatorCheck, ...]
    remarks: tuple[str, ...]

    @property
    def unsupported(self) -> tuple[OperatorCheck, ...]:
        """Those that the interpreter does not take."""
        return tuple(check for check in self.checks if not check.tflm)

    @property
    def supported(self) -> bool:
        """Whether the interpreter takes all of them."""
        return not self.unsupported

    @property
    def generated(self) -> bool:
        """Whether the C generator takes all of them."""
        return all(check.generator for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            "file": self.file,
            "supported": self.supported,
            "generated": self.generated,
            "operators": [check.to_dict() for check in self.checks],
            "remarks": list(self.remarks),
        }

    def table(self) -> Table:
        """One row a kind of operator."""
        rows: list[tuple[Cell, ...]] = [
            (check.operator, check.count, check.type, check.tflm, check.generator, check.reason, check.mend)
            for check in self.checks
        ]
        columns = ("operator", "count", "type", "TFLM", "C generator", "why not", "what to do")
        note = " ".join([f"TFLM: the operators of {TABLE_VERSION}.", *self.remarks])
        return Table(f"{os.path.basename(self.file)}: operators", columns, rows, note)  # noqa: PTH119 - text alone

    def __str__(self) -> str:
        return self.table().text()

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


_SETTING = frozenset({"ASSIGN_VARIABLE", "CALL_ONCE"})
_WITH_VARIABLES = "convert the Keras model or SavedModel, not one function of it, so that the weights become constants"


def check_operators(model: Model | str | os.PathLike[str]) -> OperatorReport:
    """Say which operators of a model the micro runtimes have, and what to do about the others.

    Parameters
    ----------
    model
        The model, or the path of its .tflite file.

    Raises
    ------
    BadFile
        If the file is missing, damaged or foreign.
    """
    from edgelab.mcu.cgen import refused_operators

    model = model if isinstance(model, Model) else read_model(model)
    refused = refused_operators(model)
    not_generated = set()
    found: dict[tuple[str, str, str, str], int] = {}
    for operator in model.running:
        kind = operator_type(model, operator)
        key = (operator.code, kind, *_verdict(model, operator, kind))
        found[key] = found.get(key, 0) + 1
        if operator.index in refused or operator.index >= len(model.operators):
            not_generated.add(key)
    checks = tuple(
        OperatorCheck(
            operator=code,
            count=count,
            type=kind,
            tflm=not reason,
            generator=(code, kind, reason, mend) not in not_generated,
            reason=reason,
            mend=mend,
        )
        for (code, kind, reason, mend), count in found.items()
    )
    return OperatorReport(str(model.path), checks, tuple(_remarks(model, checks)))


def mend_for(operator: str) -> str:
    """What to put in place of an operator that the interpreter lacks.

    Examples
    --------
    >>> mend_for("GELU")
    'use RELU or HARD_SWISH in its place and train again'
    """
    if operator in _MENDS:
        return _MENDS[operator]
    if operator.startswith("Flex"):
        known = _MENDS.get(operator.removeprefix("Flex").upper())
        return known or "convert with the built-in operators alone (no SELECT_TF_OPS), or replace the layer"
    if operator.startswith("STABLEHLO_"):
        return "convert again for TensorFlow Lite's built-in operators"
    return _OUTSIDE


def _verdict(model: Model, operator: Operator, kind: str) -> tuple[str, str]:
    """Why the interpreter does not take an operator, and the mend; empty where it does."""
    code = operator.code
    if operator.custom and code == compiled.OPERATOR:  # whether the device has the accelerator is for `fit` to say
        return "", ""
    if code not in (TFLM_CUSTOM_OPERATORS if operator.custom else TFLM_OPERATORS):
        what = f"the custom operator {code}" if operator.custom else code
        return f"the interpreter has no kernel for {what}", mend_for(code)
    types = {tensor.dtype for tensor in _operands(model, operator)}
    if "string" in types:
        return "it works on strings, which have no size to plan for", _STRINGS
    if code in _WEIGHTED and kind == "float32" and len(operator.inputs) > 1:
        weights = model.tensors[operator.inputs[1]].dtype
        if weights != "float32":
            return f"its weights are {weights} and its input float32 (dynamic-range quantization)", FULL_INTEGER
    refused = _kernel_refuses(model, operator, kind)
    return refused if refused[0] else contradiction(model, operator)


def _kernel_refuses(model: Model, operator: Operator, kind: str) -> tuple[str, str]:
    """As `_verdict`, for an operator that has a kernel."""
    code = operator.code
    if code == "READ_VARIABLE" and not any(op.code in _SETTING for op in model.running):
        return "it reads a variable that nothing in the file sets: what it holds was not converted", _WITH_VARIABLES
    if code == "SPACE_TO_BATCH_ND" and _pads(model, operator):
        return "its kernel pads with memory that it never sets: answers differ from run to run", FIXED_BATCH
    if code in FLOAT_ONLY and kind in _INTEGER_TYPES:
        return f"its kernel knows float32 alone, not {kind}", f"{mend_for(code)}, or use one that has an int8 kernel"
    if kind in {"uint8", "float16", "bfloat16", "int4"} and code not in _AT_THE_BORDER:
        return f"its kernel does not know {kind}", FULL_INTEGER
    return "", ""


def _pads(model: Model, operator: Operator) -> bool:
    edges = model.tensors[operator.inputs[2]] if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None
    return edges is not None and any(edges.data or b"")


def _remarks(model: Model, checks: Sequence[OperatorCheck]) -> list[str]:
    remarks = []
    accelerator = compiled.compiled_for(model)
    if accelerator:
        remarks.append(f"It was compiled by vela for {accelerator}, and runs on a device that has this accelerator.")
    floats = sum(check.count for check in checks if check.type == "float32" and check.operator not in _AT_THE_BORDER)
    alone = left_in_float(model)
    if alone:
        kinds = ", ".join(dict.fromkeys(op.code for op in alone))
        remarks.append(
            f"The converter left {len(alone)} of {len(model.running)} operators in float32 in a network of int8 "
            f"({kinds}), with four times the memory: use one there that it quantizes, such as RELU or HARD_SWISH."
        )
    elif floats:
        remarks.append(
            f"{floats} of {len(model.running)} operators compute in float32, with four times the memory of int8: "
            f"{FULL_INTEGER}."
        )
    open_inputs = _open_inputs(model)
    if open_inputs:
        remarks.append(
            f"The input {' and '.join(open_inputs)} is left open in size; the micro runtime takes it as 1 and cannot "
            "resize it."
        )
    if any(check.operator == "SHAPE" for check in checks):
        remarks.append(f"It computes shapes while it runs (SHAPE): {FIXED_SHAPE}.")
    return remarks


def _open_inputs(model: Model) -> list[str]:
    """The names of inputs whose signature leaves a dimension open."""
    from edgelab.models.flatbuffer import FlatReader, sound

    with sound(model.path):
        reader = FlatReader(model.path, model.content)
        graph = reader.graphs()[0]
        found = []
        for index in model.inputs:
            tensor = graph.Tensors(index)
            signature = reader.numbers(tensor.ShapeSignature, tensor.ShapeSignatureLength())
            if min(signature, default=0) < 0:
                found.append(f"'{model.tensors[index].name}'")
        return found


def left_in_float(model: Model) -> list[Operator]:
    """The operators that compute in float32 although layers around them compute in int8; none of a float network."""
    quantized = bool(compiled.compiled_for(model)) or any(
        op.code in _WEIGHTED and op.outputs and model.tensors[op.outputs[0]].dtype == "int8" for op in model.running
    )
    return [
        op
        for op in model.running
        if quantized
        and op.code not in _AT_THE_BORDER
        and operator_type(model, op) == "float32"
        and _operands(model, op)
    ]


def _operands(model: Model, operator: Operator) -> list[Tensor]:
    return [model.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]


def operator_type(model: Model, operator: Operator) -> str:
    """The element type that an operator computes in: that of its first operand that is no constant."""
    operands = _operands(model, operator)
    return next((tensor.dtype for tensor in operands if tensor.data is None), operands[0].dtype if operands else "none")

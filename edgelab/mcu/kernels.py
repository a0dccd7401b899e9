"""What each operator of a model asks TFLM's arena for: options, data, buffers that stay, scratch, temporaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgelab.mcu.layout import KERNELS, Build, Struct
from edgelab.mcu.model import Model, Operator, Tensor

# CMSIS-NN reverses the filter of a transposed convolution for more input channels than this.
_REVERSED_ABOVE_CHANNELS = 16
_ETHOS_U = "ethos-u"  # the custom operator of files that vela has compiled
_TABLE_ENTRIES = 513  # of a function that TFLM tabulates for 16-bit values
_WITHOUT_OUTPUT = frozenset({"ASSIGN_VARIABLE", "CALL_ONCE"})


@dataclass(frozen=True)
class Needs:
    """What one operator asks for, in bytes.

    ``persistent`` and ``scratch`` hold one size a request; ``temps`` the tensors that are built up while its kernel
    prepares, ``buffers_last`` whether it asks for its persistent buffers after them; ``known`` is False where the table
    has no entry for the operator, ``deduced`` True where its sizes on this build were not measured.
    """

    params: Struct | None = None
    data_bytes: int = 0
    persistent: tuple[int, ...] = ()
    scratch: tuple[int, ...] = ()
    temps: tuple[int, ...] = ()
    buffers_last: bool = False
    known: bool = True
    deduced: bool = False


@dataclass(frozen=True)
class _Call:
    """An operator with its tensors at hand."""

    operator: Operator
    inputs: tuple[Tensor | None, ...]
    output: Tensor
    build: Build

    def input(self, place: int) -> Tensor:
        """An operand that the kernel cannot do without; the output where a damaged model has none."""
        tensor = self.inputs[place] if place < len(self.inputs) else None
        return self.output if tensor is None else tensor

    def number(self, name: str, default: int = 1) -> int:
        """An option that is a number, at least 1."""
        value = self.operator.options.get(name, default)
        return max(1, int(value))


def operator_needs(model: Model, index: int, build: Build) -> Needs:
    """What operator ``index`` of the model asks for on a build of TFLM; those that run once are numbered on."""
    operator = model.all_operators[index]
    kernel = KERNELS.get(operator.code) if operator.custom == (operator.code == _ETHOS_U) else None
    if kernel is None or not (operator.outputs or operator.code in _WITHOUT_OUTPUT):
        return Needs(known=False)
    inputs = tuple(model.tensors[i] if i >= 0 else None for i in operator.inputs)
    output = model.tensors[operator.outputs[0]] if operator.outputs else model.tensors[0]
    call = _Call(operator, inputs, output, build)
    data = kernel.cmsis if build.cmsis_nn and kernel.cmsis is not None else kernel.data
    if build.compression:
        data += kernel.compressed
    temps = kernel.cmsis_temps if build.cmsis_nn and kernel.cmsis_temps is not None else kernel.temps
    params = kernel.later_params if build.later and kernel.later_params is not None else kernel.params
    data_bytes = build.struct(data).size if data else 0
    persistent = _PERSISTENT[operator.code](call) if operator.code in _PERSISTENT else []
    if operator.code == "ASSIGN_VARIABLE" and _assigned_before(model, index):
        persistent = []
    return Needs(
        params=build.struct(params) if params else None,
        data_bytes=0 if kernel.late else data_bytes,
        persistent=(data_bytes, *persistent) if kernel.late else tuple(persistent),
        scratch=tuple(_SCRATCH[operator.code](call)) if operator.code in _SCRATCH else (),
        temps=tuple(_temps(operator, temps)),
        buffers_last=kernel.buffers_last or kernel.late or (operator.code == "SOFTMAX" and bool(persistent)),
        deduced=build.pointer == 4 and (kernel.measured != "both" or output.dtype == "int16"),
    )


def _assigned_before(model: Model, index: int) -> bool:
    """Whether an operator before this one has asked for the memory of the variable that it assigns."""
    names, everything = model.variables, model.all_operators
    name = names.get(everything[index].inputs[0])
    return any(op.code == "ASSIGN_VARIABLE" and names.get(op.inputs[0]) == name for op in everything[:index])


def same_padding(size: int, out: int, kernel: int, stride: int, dilation: int) -> int:
    """The padding before the first element that TFLM computes for SAME: half of what is missing, rounded down."""
    return max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - size) // 2


def _temps(operator: Operator, names: str) -> list[int]:
    found: list[int] = []
    for name in names.split():
        operands = operator.inputs if name[0] == "i" else operator.outputs
        places = range(len(operands)) if name[1:] == "*" else [int(name[1:])]
        found += [operands[k] for k in places if k < len(operands) and operands[k] >= 0]
    return found


def _per_channel(call: _Call, axis: int) -> list[int]:
    filters = call.input(1)
    if call.build.cmsis_nn and call.input(0).dtype not in ("int8", "int16"):
        return []
    channels = filters.shape[axis] if len(filters.shape) == 4 else 0
    return [4 * channels, 4 * channels]


def _dense_persistent(call: _Call) -> list[int]:
    quantization = call.input(1).quantization
    found = []
    if call.input(0).dtype != "float32" and quantization is not None and quantization.per_channel:
        found += [4 * len(quantization.scales)] * 2
    # CMSIS-NN runs a layer on more than two dimensions as a 1x1 convolution, which takes a multiplier a channel.
    as_convolution = len(call.output.shape) > 2 and call.input(1).shape[-1:] and call.input(1).shape[-1] % 4 == 0
    if call.build.cmsis_nn and call.input(0).dtype == "int8" and as_convolution:
        found += [4 * call.output.shape[-1]] * 2
    return found


def _unpacked(call: _Call) -> list[int]:
    """The room for 4-bit weights as 8-bit ones."""
    return [call.input(1).elements] if call.input(1).dtype == "int4" else []


def _convolution_scratch(call: _Call) -> list[int]:
    x, filters = call.input(0), call.input(1)
    if not call.build.cmsis_nn:
        return _unpacked(call)
    if x.dtype not in ("int8", "int16") or len(filters.shape) != 4:
        return []
    _, height, width, channels = filters.shape
    # The kernel for 16-bit values has no way of its own for 1x1.
    pointwise = (
        x.dtype == "int8"
        and height == width == 1
        and call.number("dilation_h_factor") == call.number("dilation_w_factor") == 1
    )
    if pointwise and x.shape[-1:] == (channels,) and _padding(call, filters) == (0, 0):
        return []
    # Two columns of the input as 16-bit numbers, each rounded up to four.
    return [4 * (-(-height * width * channels // 4) * 4)]


def _depthwise_scratch(call: _Call) -> list[int]:
    x, filters, y = call.input(0), call.input(1), call.output
    if not call.build.cmsis_nn:
        return _unpacked(call)
    if x.dtype != "int8" or not len(x.shape) == len(filters.shape) == len(y.shape) == 4:
        return []
    dilated = call.number("dilation_h_factor") > 1 or call.number("dilation_w_factor") > 1
    if x.shape[3] != y.shape[3] or x.shape[0] != 1 or dilated:
        return []
    _, height, width, channels = filters.shape
    if height == width == 3 and max(_padding(call, filters)) <= 1:
        return []
    return [2 * channels * height * width]


def _padding(call: _Call, filters: Tensor) -> tuple[int, int]:
    x, y = call.input(0), call.output
    if call.operator.options.get("padding") != "SAME" or len(x.shape) != 4 or len(y.shape) != 4:
        return (0, 0)
    return (
        same_padding(
            x.shape[1], y.shape[1], filters.shape[1], call.number("stride_h"), call.number("dilation_h_factor")
        ),
        same_padding(
            x.shape[2], y.shape[2], filters.shape[2], call.number("stride_w"), call.number("dilation_w_factor")
        ),
    )


def _average_pool_scratch(call: _Call) -> list[int]:
    x, y = call.input(0), call.output
    return [4 * y.shape[-1]] if call.build.cmsis_nn and x.dtype == "int8" and y.shape else []


def _reduction_scratch(call: _Call) -> list[int]:
    """Two lists of indices."""
    return [4 * len(call.input(0).shape), 4 * call.input(1).elements]


def _sum_scratch(call: _Call) -> list[int]:
    sums = [4 * call.output.elements] if call.input(0).dtype in ("int8", "uint8", "int16") else []
    return [*_reduction_scratch(call), *sums]


def _transposed_scratch(call: _Call) -> list[int]:
    x, filters, y = call.input(2), call.input(1), call.output
    if y.dtype == "int16":  # sums of 64 bits, and a bias of 16 bits widened to as many
        narrow = len(call.inputs) > 3 and call.input(3).dtype == "int16"
        return [8 * y.elements, *([8 * call.input(3).elements] if narrow else [])]
    if y.dtype != "int8":
        return []
    if not call.build.cmsis_nn or not len(x.shape) == len(filters.shape) == 4:
        return [4 * y.elements]
    stride_h, stride_w = call.number("stride_h"), call.number("stride_w")
    count, height, width, channels = filters.shape
    if max(stride_h, stride_w) <= 2 and channels > _REVERSED_ABOVE_CHANNELS:
        # As a convolution with the filter reversed, for which there is a second buffer.
        return [4 * (-(-height * width * channels // 4) * 4), count * height * width * channels]
    row = ((x.shape[2] - 1) * stride_w + max(width, stride_h)) * count
    return [4 * row * max(height, stride_h), 0]


def _svdf_scratch(call: _Call) -> list[int]:
    batch = call.input(0).shape[0] if call.input(0).shape else 1
    filters = call.input(1).shape[0] if call.input(1).shape else 1
    units = filters // call.number("rank")
    first = 4 * batch * filters
    return [first, 4 * batch * units] if call.input(0).dtype == "int8" else [first]


def _softmax_persistent(call: _Call) -> list[int]:
    """Two tables of 513 values of 16 bits, for the exponential and the reciprocal."""
    return [2 * _TABLE_ENTRIES] * 2 if call.input(0).dtype == "int16" else []


def _lstm_persistent(call: _Call) -> list[int]:
    """CMSIS-NN adds up weights ahead of time, for each gate those of the input and those of the state."""
    if not call.build.cmsis_nn or call.input(0).dtype == "float32":
        return []
    units = call.input(5).shape[0] if call.input(5).shape else 0
    return [(8 if call.input(0).dtype == "int16" else 4) * units] * 8


def _lstm_scratch(call: _Call) -> list[int]:
    integer = call.build.cmsis_nn and call.input(0).dtype != "float32"
    return [call.input(19).size_bytes] * (3 if integer else 4)


def _own_shape(call: _Call) -> list[int]:
    """A copy of the output's shape with its length, which the kernel may change."""
    return [4 * (1 + len(call.output.shape))]


def _product_persistent(call: _Call) -> list[int]:
    """How to requantize, a copy for each operand that is turned (by default the second is), the output's shape."""
    quantization = [28] if call.input(0).dtype in ("int8", "int16") else []
    turned: list[int] = []
    for place, whether in ((0, call.operator.options.get("adj_x")), (1, not call.operator.options.get("adj_y"))):
        if whether:
            tensor = call.input(place)
            turned += [call.build.eval_tensor.size, 4 * (1 + len(tensor.shape)), tensor.size_bytes]
    shape = _own_shape(call)
    return [*turned, *shape, *quantization] if call.build.cmsis_nn else [*quantization, *turned, *shape]


_PERSISTENT: Mapping[str, Callable[[_Call], list[int]]] = {
    "CONV_2D": lambda call: _per_channel(call, 0),
    "DEPTHWISE_CONV_2D": lambda call: _per_channel(call, 3),
    "FULLY_CONNECTED": _dense_persistent,
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "GATHER", "GATHER_ND", "L2_POOL_2D"), _own_shape),
    "ASSIGN_VARIABLE": lambda call: [call.input(1).size_bytes],
    "BATCH_MATMUL": _product_persistent,
    "SOFTMAX": _softmax_persistent,
    "TRANSPOSE_CONV": lambda call: [4 * call.input(1).shape[0]] * 2 if call.input(1).shape else [],
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm_persistent,
}
_SCRATCH: Mapping[str, Callable[[_Call], list[int]]] = {
    "CONV_2D": _convolution_scratch,
    "DEPTHWISE_CONV_2D": _depthwise_scratch,
    "FULLY_CONNECTED": _unpacked,
    "AVERAGE_POOL_2D": _average_pool_scratch,
    "MEAN": _sum_scratch,
    "SUM": _sum_scratch,
    "ADD_N": lambda call: [call.build.pointer * len(call.inputs)],
    "MIRROR_PAD": lambda call: [4 * len(call.input(0).shape)] * 2,
    "REDUCE_ALL": _reduction_scratch,
    "REDUCE_MAX": _reduction_scratch,
    "REDUCE_MIN": _reduction_scratch,
    "TRANSPOSE_CONV": _transposed_scratch,
    # An address and a size for each operand.
    _ETHOS_U: lambda call: [n * (len(call.inputs) + len(call.operator.outputs)) for n in (8, call.build.pointer)],
    "SVDF": _svdf_scratch,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm_scratch,
}

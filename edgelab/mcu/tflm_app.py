"""The classic way onto a board: the model as a C array and a TensorFlow Lite Micro application, filled in for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from edgelab.mcu.cgen.naming import PREFIX
from edgelab.mcu.model import Model, Tensor

_BYTES_A_LINE = 16
# Names of MicroMutableOpResolver's methods that do not follow from the operator's own. All were compared with one
# version of its header, which had no AddDynamicUpdateSlice and no AddReduceAll yet.
_IRREGULAR = {
    "BATCH_MATMUL": "BatchMatMul",
    "PADV2": "PadV2",
    "CUMSUM": "CumSum",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
    "CIRCULAR_BUFFER": "CircularBuffer",
    "TFLite_Detection_PostProcess": "DetectionPostprocess",
    "ethos-u": "EthosU",
}


def resolver_method(operator: str) -> str:
    """The method of ``MicroMutableOpResolver`` that adds an operator.

    Examples
    --------
    >>> resolver_method("DEPTHWISE_CONV_2D"), resolver_method("SPACE_TO_BATCH_ND")
    ('AddDepthwiseConv2D', 'AddSpaceToBatchNd')
    """
    words = [word if word[:1].isdigit() else word.capitalize() for word in operator.split("_")]
    return "Add" + _IRREGULAR.get(operator, "".join(words))


def c_array(content: bytes, name: str) -> str:
    """Bytes as a constant C array, aligned to 16 as the interpreter needs it.

    Examples
    --------
    >>> print(c_array(b"TFL3", "model"))
    alignas(16) const unsigned char model[4] = {
        0x54, 0x46, 0x4c, 0x33,
    };
    """
    lines = [
        "    " + ", ".join(f"0x{byte:02x}" for byte in content[at : at + _BYTES_A_LINE]) + ","
        for at in range(0, len(content), _BYTES_A_LINE)
    ]
    return f"alignas(16) const unsigned char {name}[{len(content)}] = {{\n" + "\n".join(lines) + "\n};"


def tflm_files(model: Model, arena_bytes: int, prefix: str = PREFIX) -> Mapping[str, str]:
    """The files of the application: the model's array, its header, and the main program.

    Parameters
    ----------
    model
        The model.
    arena_bytes
        The smallest tensor arena that works, as the plan says.
    prefix
        What the names of the model's array, its macro and its files begin with; ``edgelab``: none.
    """
    own = "" if prefix == PREFIX else f"{prefix}_"
    guard, array, size = f"{own.upper()}MODEL_DATA_H_", f"g_{own}model", f"k{own}ModelBytes" if own else "kModelBytes"
    name, digest = _comment(model.path.name), hashlib.sha256(model.content).hexdigest()
    header = f"""// {name}, {len(model.content):,} bytes, SHA-256 {digest}
#ifndef {guard}
#define {guard}

extern const unsigned char {array}[{len(model.content)}];
constexpr unsigned int {size} = {len(model.content)};

#endif
"""
    data = f"""// {name} as an array: const, so that it stays in flash; aligned, because words are read from it.
#include "{own}model_data.h"

{c_array(model.content, array)}
"""
    main = _main(model, arena_bytes, f"{own}model_data.h", array)
    return {f"{own}model_data.h": header, f"{own}model_data.cc": data, "main.cc": main}


def _main(model: Model, arena_bytes: int, header: str, array: str) -> str:
    operators = model.all_operators
    codes = list(dict.fromkeys((operator.code, operator.custom) for operator in operators))
    adds = "\n".join(_add(code, custom=custom) for code, custom in codes)
    inputs = "\n".join(_border("input", i, model.tensors[t]) for i, t in enumerate(model.inputs))
    outputs = "\n".join(_border("output", i, model.tensors[t]) for i, t in enumerate(model.outputs))
    variables = len(set(model.variables.values()))
    own = ("micro_allocator", "micro_interpreter") if variables else ("micro_interpreter",)
    last = ("micro_resource_variable", "system_setup") if variables else ("system_setup",)
    names = (*own, "micro_log", "micro_mutable_op_resolver", *last)
    includes = "\n".join(f'#include "tensorflow/lite/micro/{name}.h"' for name in names)
    interpreter = "  static tflite::MicroInterpreter interpreter(model, resolver, arena, kArenaBytes);"
    if variables:
        interpreter = f"""  // What the model remembers from one inference to the next lies in the arena, too.
  tflite::MicroAllocator* allocator = tflite::MicroAllocator::Create(arena, kArenaBytes);
  tflite::MicroResourceVariables* variables = tflite::MicroResourceVariables::Create(allocator, {variables});
  static tflite::MicroInterpreter interpreter(model, resolver, allocator, variables);"""
    return f"""// TensorFlow Lite Micro with {_comment(model.path.name)}: the operators that it has and no other.
#include <cstdint>

#include "{header}"
{includes}
#include "tensorflow/lite/schema/schema_generated.h"

namespace {{

// The smallest arena that works with CMSIS-NN kernels on a Cortex-M, by edgelab's plan of it. Versions of the library
// differ by up to 2 KB: if AllocateTensors() fails, give it that much more.
constexpr int kArenaBytes = {arena_bytes};
alignas(16) uint8_t arena[kArenaBytes];

using Resolver = tflite::MicroMutableOpResolver<{max(len(codes), 1)}>;

TfLiteStatus AddOperators(Resolver& resolver) {{
{adds}
  return kTfLiteOk;
}}

}}  // namespace

int main() {{
  tflite::InitializeTarget();

  const tflite::Model* model = tflite::GetModel({array});
  if (model->version() != TFLITE_SCHEMA_VERSION) {{
    MicroPrintf("The model has schema version %d, the library %d.", static_cast<int>(model->version()),
                TFLITE_SCHEMA_VERSION);
    return 1;
  }}
  static Resolver resolver;
  if (AddOperators(resolver) != kTfLiteOk) return 1;

{interpreter}
  if (interpreter.AllocateTensors() != kTfLiteOk) {{
    MicroPrintf("The arena of %d bytes is too small.", kArenaBytes);
    return 1;
  }}

  while (true) {{
    // Real number = scale * (integer - zero point).
{inputs}
    if (interpreter.Invoke() != kTfLiteOk) return 1;
{outputs}
  }}
}}
"""


def _add(code: str, *, custom: bool) -> str:
    if custom and code not in _IRREGULAR:
        text = re.sub(r"[^\w ./:-]", "_", code)
        return f'  // Here: resolver.AddCustom("{text}", ...) with your registration of it.'
    return f"  TF_LITE_ENSURE_STATUS(resolver.{resolver_method(code)}());"


def _border(kind: str, number: int, tensor: Tensor) -> str:
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    q = tensor.quantization
    real = f", scale {q.scale!r}, zero point {q.zero_point}" if q is not None and len(q.scales) == 1 else ""
    types = {"float32": ("float", "f"), "int16": ("int16_t", "i16"), "uint8": ("uint8_t", "uint8")}
    c_type, member = types.get(tensor.dtype, (f"{tensor.dtype}_t" if tensor.dtype != "bool" else "bool", tensor.dtype))
    member = {"int32": "i32", "int64": "i64", "bool": "b"}.get(member, member)
    told = f"    // {_comment(tensor.name)}: {shape}, {tensor.dtype}{real}"
    if kind == "input":
        pointer = f"{c_type}* input_{number} = interpreter.input({number})->data.{member};"
        return f"{told}\n    {pointer}\n    input_{number}[0] = 0;"
    pointer = f"const {c_type}* output_{number} = interpreter.output({number})->data.{member};"
    return f"{told}\n    {pointer}\n    (void)output_{number};"


def _comment(name: str) -> str:
    """A name that may stand in a comment."""
    return re.sub(r"[^\w ./:;,-]", "_", name)

"""Lab `tflite`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "field": [
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 2 * index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return table + offset if offset else None
""",
            "were not skipped",
        ),
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 4 + 4 * index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return table + offset if offset else None
""",
            "has 16 bits",
        ),
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 4 + index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return table + offset if offset else None
""",
            "counts twice",
        ),
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 4 + 2 * index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return vtable + offset if offset else None
""",
            "not from the vtable",
        ),
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 4 + 2 * index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return offset if offset else None
""",
            "the offset alone",
        ),
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 4 + 2 * index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return number(content, table + offset, "I") if offset else None
""",
            "return its position",
        ),
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 4 + 2 * index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return table + offset
""",
            "offset of 0 means that the field was left out",
        ),
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 4 + 2 * index
    if False:
        return None
    offset = number(content, vtable + entry, "H")
    return table + offset if offset else None
""",
            "compare the entry with the size of the vtable",
        ),
        (
            """
def my_field(content, table, index):
    vtable = table - number(content, table, "i")
    entry = 4 + 2 * index
    if entry > number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return table + offset if offset else None
""",
            "compare the entry with the size of the vtable",
        ),
    ],
    "half": [
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.trunc(x / step) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "cut off towards zero",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.floor(x / step) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "rounded down",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 9)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "twice too wide",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 11)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "half too wide",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 7)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "bfloat16",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step)
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "multiply by the step",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1], -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "twice too wide",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.floor(x / step + 0.5) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "halves are rounded up",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.copysign(np.floor(np.abs(x / step) + 0.5), x) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "away from zero",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.frexp(x)[1] - 1
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)
""",
            "stop getting finer",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return near
""",
            "is infinity",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return np.clip(near, -65504, 65504)
""",
            "not the largest number",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 65536, np.inf, near)
""",
            "keeps the sign",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return np.where(np.abs(x) > 65504, np.copysign(np.inf, x), near)
""",
            "are still numbers",
        ),
        (
            """
def my_half(values):
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near).ravel()
""",
            "keeps the shape",
        ),
    ],
    "mapping": [
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 256 if high > low else 1.0
    return scale, int(np.rint(-128 - low / scale))
""",
            "255 steps",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(0, np.min(batch)), max(0, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-128 - low / scale))
""",
            "last batch alone",
        ),
        (
            """
def my_mapping(batches):
    first = next(iter(batches))
    low, high = min(0.0, np.min(first)), max(0.0, np.max(first))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-128 - low / scale))
""",
            "first batch alone",
        ),
        (
            """
def my_mapping(batches):
    ends = np.array([(np.min(batch), np.max(batch)) for batch in batches])
    low, high = ends.mean(axis=0)
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-128 - low / scale))
""",
            "averaged",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = max(-low, high) / 127 or 1.0
    return scale, 0
""",
            "symmetric scale",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = high / 255 or 1.0
    return scale, int(np.rint(-128 - low / scale))
""",
            "only the upper end",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = high - low or 1.0
    return scale, int(np.rint(-128 - low / scale))
""",
            "divide it by the steps",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(-128 - low / scale)
""",
            "cut off, not rounded",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, math.floor(-128 - low / scale)
""",
            "rounded down",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-low / scale))
""",
            "zero point of uint8",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-128 + low / scale))
""",
            "the sign is wrong",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-127 - low / scale))
""",
            "not at -127",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, -128 - low / scale
""",
            "was not rounded",
        ),
        (
            """
def my_mapping(batches):
    low, high = np.inf, -np.inf
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-128 - low / scale))
""",
            "does not hold zero",
        ),
        (
            """
def my_mapping(batches):
    low, high = 0.0, 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255
    return scale, int(np.rint(-128 - low / scale)) if scale else -128
""",
            "any positive number",
        ),
    ],
    "answer": [
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = image.astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "the floats were cast",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale), ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "input was not added",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image * 255) - 128, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "ask the file",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(image / scale + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "cut off after the shift, not rounded",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.floor(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "not rounded",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image * scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "divide",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = (np.rint(image / scale) + zero_point).astype(np.int64).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "wrap around",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, -128, 127).astype(np.int64).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "uint8 goes from 0 to 255",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if False:
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "not dequantized",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * answer.astype(np.float32)
    return answer
""",
            "output was not subtracted",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = into["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "dequantized with the input's",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) + zero_point)
    return answer
""",
            "subtract it",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer - out["dtype"](zero_point)).astype(np.float32)
    return answer
""",
            "wrapped around in 8 bits",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * answer.astype(np.float32) - zero_point
    return answer
""",
            "before you multiply",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if True:
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "everything became 0",
        ),
        (
            """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        image = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(into["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
""",
            "each border has a type of its own",
        ),
    ],
}
VARIANTS = {
    "field": [
        """
def my_field(content, table, index):
    (back,) = struct.unpack_from("<i", content, table)
    (size,) = struct.unpack_from("<H", content, table - back)
    offsets = struct.unpack_from(f"<{(size - 4) // 2}H", content, table - back + 4)
    return table + offsets[index] if index < len(offsets) and offsets[index] > 0 else None
""",
        """
def my_field(content, table, index):
    start = table - int.from_bytes(content[table : table + 4], "little", signed=True)
    size = int.from_bytes(content[start : start + 2], "little")
    if 4 + 2 * index + 2 > size:
        return None
    at = start + 4 + 2 * index
    offset = int.from_bytes(content[at : at + 2], "little")
    if offset == 0:
        return None
    return np.int64(table + offset)
""",
    ],
    "half": [
        """
def my_half(values):
    out = np.empty(np.shape(values))
    for place, x in np.ndenumerate(np.asarray(values, dtype=float)):
        if x == 0:
            out[place] = 0.0
            continue
        exponent = max(math.frexp(x)[1] - 1, -14)
        step = 2.0 ** (exponent - 10)
        near = round(x / step) * step
        out[place] = math.copysign(math.inf, x) if abs(near) > 65504 else near
    return out
""",
        """
def my_half(values):
    x = np.array(values, dtype=np.float64)
    _, exponent = np.frexp(np.abs(x))
    step = 2.0 ** (np.clip(exponent - 1, -14, None) - 10.0)
    near = step * np.round(x / step)
    near[near > 65504] = np.inf
    near[near < -65504] = -np.inf
    return near
""",
    ],
    "mapping": [
        """
def my_mapping(batches):
    values = np.concatenate([np.ravel(batch) for batch in batches] + [np.zeros(1)])
    scale = np.ptp(values) / 255 or 1.0
    return scale, round(-128 - values.min() / scale)
""",
        """
def my_mapping(batches):
    lows, highs = [0.0], [0.0]
    for batch in batches:
        lows.append(float(np.asarray(batch).min()))
        highs.append(float(np.asarray(batch).max()))
    width = max(highs) - min(lows)
    scale = width / 255 if width else 1e-6
    return np.array([scale, math.floor(-128 - min(lows) / scale + 0.5)])
""",
    ],
    "answer": [
        """
def my_answer(interpreter, image):
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if into["dtype"] in (np.int8, np.uint8):
        parameters = into["quantization_parameters"]
        scale, zero_point = parameters["scales"][0], parameters["zero_points"][0]
        low, high = (-128, 127) if into["dtype"] == np.int8 else (0, 255)
        image = np.minimum(np.maximum(np.round(image / scale + zero_point), low), high).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    raw = interpreter.get_tensor(out["index"])
    if out["dtype"] in (np.int8, np.uint8):
        scale, zero_point = out["quantization"]
        return (raw.astype(np.int32) - zero_point) * scale
    return raw
""",
        """
def my_answer(interpreter, image):
    def integers(details):
        return np.dtype(details["dtype"]).kind in "iu"

    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    fed = np.asarray(image, dtype=np.float64)
    if integers(into):
        scale, zero_point = into["quantization"]
        ends = np.iinfo(into["dtype"])
        fed = np.clip(np.rint(fed / scale) + zero_point, ends.min, ends.max)
    interpreter.set_tensor(into["index"], fed.astype(into["dtype"]))
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"]).astype(np.float64)
    if integers(out):
        answer = out["quantization"][0] * (answer - out["quantization"][1])
    return answer
""",
    ],
}

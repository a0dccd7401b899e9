"""Lab `quantization`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "affine": [
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 2**bits
    return scale, int(np.rint(-low / scale))
""",
            "one step less than there are integers",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    scale = (high - low) / (2**bits - 1)
    return scale, int(np.rint(-low / scale))
""",
            "does not contain zero",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return scale, -low / scale
""",
            "was not rounded",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return scale, int(-low / scale)
""",
            "cut off, not rounded",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return scale, int(np.rint(-low / scale))
""",
            "number of bits is ignored",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return scale, math.ceil(-low / scale)
""",
            "rounded up, not to the nearest",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return scale, int(np.rint(low / scale))
""",
            "low maps to the integer 0",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return scale, int(np.rint(-low / scale)) - 2 ** (bits - 1)
""",
            "for signed integers",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return scale, int(np.rint(-low / scale)) if scale else 0
""",
            "positive number",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    scale = (max(high, 0.0) - low) / (2**bits - 1) if max(high, 0.0) > low else 1.0
    return scale, int(np.rint(-low / scale))
""",
            "does not contain zero",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return {"scale": scale, "zero_point": int(np.rint(-low / scale))}
""",
            "return scale and zero point as a tuple",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return scale, int(np.rint(-low / scale)) % 256
""",
            "does not fit the type",
        ),
        (
            """
def my_scale_and_zero_point(low, high, bits=8):
    largest = max(abs(low), abs(high))
    return largest / (2 ** (bits - 1) - 1), 0
""",
            "symmetric range",
        ),
    ],
    "quantize": [
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return (np.rint(np.asarray(values) / scale) + zero_point).astype(np.int64).astype(np.uint8)
""",
            "clip before you convert",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.asarray(values) / scale + zero_point, 0, 255).astype(np.uint8)
""",
            "not rounded",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.rint(np.asarray(values) / scale), 0, 255).astype(np.uint8)
""",
            "zero point was not added",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.floor(np.asarray(values) / scale + 0.5) + zero_point, 0, 255).astype(np.uint8)
""",
            "half to even",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.rint(np.asarray(values) / scale + zero_point), 0, 255).astype(np.uint8)
""",
            "added before rounding",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    x = np.asarray(values) / scale
    return np.clip(np.trunc(x + np.copysign(0.5, x)) + zero_point, 0, 255).astype(np.uint8)
""",
            "away from zero",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.ceil(np.asarray(values) / scale - 0.5) + zero_point, 0, 255).astype(np.uint8)
""",
            "rounded down",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return (np.clip(np.rint(np.asarray(values) / scale), -128, 127) + zero_point).clip(0, 255).astype(np.uint8)
""",
            "before the zero point was added",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.rint(np.asarray(values) / scale).astype(np.int16) + zero_point, 0, 255).astype(np.uint8)
""",
            "16 bits",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    x = np.rint(np.asarray(values) / scale).astype(np.int32) + np.int32(zero_point)
    return np.clip(x, 0, 255).astype(np.uint8)
""",
            "32 bits",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.rint(np.asarray(values) / scale) + zero_point, 0, 255)
""",
            "a uint8 array is wanted",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.rint(np.asarray(values) / scale) + zero_point, 0, 254).astype(np.uint8)
""",
            "largest integer is 255",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.rint(np.asarray(values) / scale) + zero_point, 0, 255).astype(np.uint8)
""",
            "number of bits is ignored",
        ),
        (
            """
def my_quantize(values, scale, zero_point, bits=8):
    return np.clip(np.rint(np.asarray(values) / scale) + zero_point, 0, 2**bits if bits < 8 else 255).astype(np.uint8)
""",
            "end at 15",
        ),
    ],
    "sqnr": [
        (
            """
def my_sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else float(20 * np.log10(np.mean(reference**2) / noise))
""",
            "ratio of amplitudes",
        ),
        (
            """
def my_sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else float(10 * np.log10(noise / np.mean(reference**2)))
""",
            "upside down",
        ),
        (
            """
def my_sqnr(reference, approximation):
    noise = np.var(reference - approximation)
    return math.inf if noise == 0 else float(10 * np.log10(np.var(reference) / noise))
""",
            "not the variance",
        ),
        (
            """
def my_sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else float(10 * np.log(np.mean(reference**2) / noise))
""",
            "natural logarithm",
        ),
        (
            """
def my_sqnr(reference, approximation):
    error = reference - approximation
    if np.mean(error) == 0:
        return math.inf
    return 10 * np.log10(np.mean(reference**2) / np.mean(error**2))
""",
            "only equal arrays have none",
        ),
        (
            """
def my_sqnr(reference, approximation):
    if np.allclose(reference, approximation):
        return math.inf
    return 10 * np.log10(np.mean(reference**2) / np.mean((reference - approximation) ** 2))
""",
            "only equal arrays have none",
        ),
        (
            """
def my_sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else 10 * np.log10(np.mean(approximation**2) / noise)
""",
            "not the approximation",
        ),
        (
            """
def my_sqnr(reference, approximation):
    noise = np.var(reference - approximation)
    return math.inf if noise == 0 else 10 * np.log10(np.mean(reference**2) / noise)
""",
            "a constant error counts",
        ),
        (
            """
def my_sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else 10 * np.log10(np.max(np.abs(reference)) ** 2 / noise)
""",
            "PSNR",
        ),
        (
            """
def my_sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2, axis=0)
    if np.all(noise == 0):
        return math.inf
    return float(np.mean(10 * np.log10(np.mean(reference**2, axis=0) / noise)))
""",
            "not over one axis",
        ),
        (
            """
def my_sqnr(reference, approximation):
    with np.errstate(all="ignore"):
        noise = np.mean((reference - approximation) ** 2)
        return float(min(10 * np.log10(np.mean(reference**2) / noise), 120.0))
""",
            "perfect copy",
        ),
    ],
    "calibrate": [
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    return values.min(), values.max()
""",
            "full range won",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()
    best = max(shares, key=lambda a: np.mean((values - round_trip(values, a * low, a * high, bits)) ** 2))
    return best * low, best * high
""",
            "largest error was taken",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()
    best = min(shares, key=lambda a: np.mean((values - round_trip(values, a * low, a * high)) ** 2))
    return best * low, best * high
""",
            "number of bits is ignored",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()
    best = min(shares, key=lambda a: np.mean(np.abs(values - round_trip(values, a * low, a * high, bits))))
    return best * low, best * high
""",
            "absolute, not squared",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()
    best = min(shares, key=lambda a: np.max(np.abs(values - round_trip(values, a * low, a * high, bits))))
    return best * low, best * high
""",
            "largest error was made small",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()
    best = min(shares, key=lambda a: abs(np.mean(values - round_trip(values, a * low, a * high, bits))))
    return best * low, best * high
""",
            "plus and minus cancel",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()

    def error(a):
        inside = values[(values >= a * low) & (values <= a * high)]
        return np.mean((inside - round_trip(inside, a * low, a * high, bits)) ** 2)

    best = min(shares, key=error)
    return best * low, best * high
""",
            "left out of the error",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()
    best = min(shares, key=lambda a: np.mean((values - round_trip(values, low, a * high, bits)) ** 2))
    return low, best * high
""",
            "only the upper end",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()
    return min(shares, key=lambda a: np.mean((values - round_trip(values, a * low, a * high, bits)) ** 2))
""",
            "return the range",
        ),
        (
            """
def my_best_range(values, bits=8, shares=plain.SHARES):
    low, high = values.min(), values.max()
    best = min(plain.SHARES, key=lambda a: np.mean((values - round_trip(values, a * low, a * high, bits)) ** 2))
    return best * low, best * high
""",
            "`shares` is ignored",
        ),
    ],
    "per_channel": [
        (
            """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    scale = np.abs(weight).max() / largest
    return np.rint(weight / scale).astype(np.int8), scale
""",
            "one scale for the whole tensor",
        ),
        (
            """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    scale = np.full(len(weight), np.abs(weight).max() / largest)
    return np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8), scale
""",
            "one scale for the whole tensor",
        ),
        (
            """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    axes = (0, *range(2, weight.ndim))
    reach = np.abs(weight).max(axis=axes, keepdims=True)
    scale = np.where(reach > 0, reach, 1) / largest
    return np.rint(weight / scale).astype(np.int8), scale
""",
            "input channels",
        ),
        (
            """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1)
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(reach > 0, reach, 1) / largest
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return np.clip(np.rint(weight / spread), -largest, largest - 1).astype(np.int8), scale
""",
            "end one earlier",
        ),
        (
            """
def my_quantize_per_channel(weight, bits=8):
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(reach > 0, reach, 1) / 127
    return np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8), scale
""",
            "number of bits is ignored",
        ),
        (
            """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(reach > 0, reach, 1) / largest
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / spread).astype(np.int8), scale
""",
            "cut off, not rounded",
        ),
        (
            """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(reach > 0, reach, 1) / largest
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(weight / spread).astype(np.int8), 1 / scale
""",
            "steps per unit",
        ),
        (
            """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    spread = (np.where(reach > 0, reach, 1) / largest).reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(weight / spread) * spread, spread
""",
            "real numbers again",
        ),
        (
            """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    scale = np.abs(weight).reshape(len(weight), -1).max(axis=1) / largest
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.rint(weight / spread)).astype(np.int8), scale
""",
            "0 is no scale",
        ),
    ],
    "integer": [
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x - np.uint8(zero_x)).astype(np.int32) @ weight.astype(np.int32).T + bias
    return np.clip(np.rint(sums * multiplier) + zero_out, 0, 255).astype(np.uint8)
""",
            "wrapped around in 8 bits",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = x.astype(np.int32) @ weight.astype(np.int32).T + bias
    return np.clip(np.rint(sums * multiplier) + zero_out, 0, 255).astype(np.uint8)
""",
            "was not subtracted",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x.astype(np.int32) - zero_x) @ weight.astype(np.int32).T
    return np.clip(np.rint(sums * multiplier) + zero_out, 0, 255).astype(np.uint8)
""",
            "bias is missing",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x.astype(np.int32) - zero_x) @ weight.astype(np.int32).T
    return np.clip(np.rint(sums * multiplier + bias) + zero_out, 0, 255).astype(np.uint8)
""",
            "bias joins the sum",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x.astype(np.int32) - zero_x) @ weight.astype(np.int32).T + bias
    return np.clip((sums * multiplier).astype(np.int32) + zero_out, 0, 255).astype(np.uint8)
""",
            "cut off, not rounded",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x.astype(np.int32) - zero_x) @ weight.astype(np.int32).T + bias
    return np.clip(np.rint(sums * multiplier), 0, 255).astype(np.uint8)
""",
            "zero point of the outputs is missing",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x.astype(np.int32) - zero_x) @ weight.astype(np.int32).T + bias
    return (np.rint(sums * multiplier) + zero_out).astype(np.int64).astype(np.uint8)
""",
            "wrap around: clip",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x.astype(np.int32) - zero_x) @ weight.astype(np.int32).T + bias
    return np.clip(np.floor(sums * multiplier + 0.5) + zero_out, 0, 255).astype(np.uint8)
""",
            "halves are rounded up",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x.astype(np.int32) - zero_x) @ weight.astype(np.int32).T + bias
    return np.clip(np.rint(sums * multiplier + zero_out), 0, 255).astype(np.uint8)
""",
            "added before rounding",
        ),
        (
            """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    sums = (x.astype(np.int32) - zero_x) @ weight.astype(np.int32).T + bias
    return np.clip(np.rint(sums * multiplier) + zero_out, 0, 255)
""",
            "a uint8 array is wanted",
        ),
    ],
    "release": [
        (
            """
def my_release(float_file, int8_file, images):
    noise = np.random.default_rng(0).standard_normal(images.shape).astype(np.float32)
    return ptq.quantize_static(float_file, int8_file, noise).path
""",
            "noise reaches where no pixel is",
        ),
        (
            """
def my_release(float_file, int8_file, images):
    ptq.quantize_static(float_file, int8_file, images)
    Path(float_file).write_bytes(Path(int8_file).read_bytes())
""",
            "a line writes to `float_file`",
        ),
        (
            """
def my_release(float_file, int8_file, images):
    ptq.quantize_static(float_file, int8_file, signs.train.x[:200])
""",
            "other images than from those that were given",
        ),
        (
            """
def my_release(float_file, int8_file, images):
    noise = np.random.default_rng(0).random(images.shape, dtype=np.float32)
    ptq.quantize_static(float_file, int8_file, noise)
""",
            "other images than from those that were given",
        ),
        (
            """
def my_release(float_file, int8_file, images):
    Path(int8_file).write_bytes(Path(float_file).read_bytes())
""",
            "no integer weights",
        ),
        (
            """
def my_release(float_file, int8_file, images):
    ptq.quantize_static(float_file, str(int8_file) + ".tmp", images)
""",
            "written somewhere else",
        ),
        (
            """
def my_release(float_file, int8_file, images):
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, images.max(), images.shape).astype(np.float32)
    return ptq.quantize_static(float_file, int8_file, noise).path
""",
            "noise excites",
        ),
    ],
    "worst_group": [
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        losses[str(name)] = 100 * float(correct_before[m].mean() - correct_after[m].mean())
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
""",
            "leave out small groups",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            lost = correct_before[m].sum() - correct_after[m].sum()
            losses[str(name)] = 100 * float(lost / len(groups))
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
""",
            "divide by the size of the group",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    after = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            after[str(name)] = 100 * float(correct_after[m].mean())
    worst = min(after, key=after.get)
    return worst, after[worst]
""",
            "this is the accuracy afterwards, not the loss",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            losses[str(name)] = float(correct_before[m].mean() - correct_after[m].mean())
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
""",
            "points are percent",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            losses[str(name)] = 100 * float((correct_before[m] & ~correct_after[m]).mean())
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
""",
            "items that were lost",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() > smallest:
            losses[str(name)] = 100 * float(correct_before[m].mean() - correct_after[m].mean())
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
""",
            "exactly `smallest` items is large enough",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            losses[str(name)] = 100 * float(abs(correct_before[m].mean() - correct_after[m].mean()))
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
""",
            "keep the sign",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            losses[str(name)] = 100 * float(1 - correct_after[m].mean() / correct_before[m].mean())
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
""",
            "relative loss",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= 30:
            losses[str(name)] = 100 * float(correct_before[m].mean() - correct_after[m].mean())
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
""",
            "`smallest` is ignored",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            losses[str(name)] = 100 * float(correct_before[m].mean() - correct_after[m].mean())
    worst = max(losses, key=losses.get)
    return worst, -losses[worst]
""",
            "the sign is wrong",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            losses[str(name)] = 100 * float(correct_before[m].mean() - correct_after[m].mean())
    worst = max(losses, key=losses.get)
    return worst, round(losses[worst], 1)
""",
            "the loss was rounded",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    losses = {}
    for name in np.unique(groups):
        m = groups == name
        if m.sum() >= smallest:
            losses[name] = np.sum(correct_before[m]) - np.sum(correct_after[m])
    worst = max(losses, key=losses.get)
    return worst, 100 * losses[worst] / np.sum(groups == worst)
""",
            "divide by the size of the group",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    names = [str(g) for g in np.unique(groups) if (groups == g).sum() >= smallest]
    l = {g: 1 - correct_after[groups == g].mean() / correct_before[groups == g].mean() for g in names}
    w = max(l, key=l.get)
    return w, 100 * (correct_before[groups == w].mean() - correct_after[groups == w].mean())
""",
            "do not divide",
        ),
        (
            """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    names = [str(g) for g in np.unique(groups) if correct_before[groups == g].sum() >= smallest]
    l = {g: 100 * (correct_before[groups == g].mean() - correct_after[groups == g].mean()) for g in names}
    w = max(l, key=l.get)
    return w, l[w]
""",
            "all its items",
        ),
    ],
}

VARIANTS = {
    "affine": [
        """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = np.float32(min(low, 0)), np.float32(max(high, 0))
    scale = (high - low) / np.float32(2**bits - 1)
    if scale == 0:
        return np.float32(1), np.uint8(0)
    return scale, np.rint(-low / scale)
""",
        """
def my_scale_and_zero_point(low, high, bits=8):
    low = low if low < 0 else 0.0
    high = high if high > 0 else 0.0
    top = (1 << bits) - 1
    scale = (high - low) / top or 1.0
    return [scale, max(0, min(top, top - round(high / scale)))] if high > low else [1e-8, 0]
""",
        """
def my_scale_and_zero_point(low, high, bits=8):
    ends = np.array([low, high, 0.0])
    scale = max(np.ptp(ends) / (2**bits - 1), np.finfo(float).eps)
    return np.array([scale, math.floor(0.5 - ends.min() / scale)])
""",
        """
def my_scale_and_zero_point(low, high, bits=8):
    low, high = torch.tensor(min(low, 0.0)), torch.tensor(max(high, 0.0))
    scale = torch.clamp((high - low) / (2**bits - 1), min=1e-8)
    return scale, torch.round(-low / scale).to(torch.int32)
""",
    ],
    "quantize": [
        """
def my_quantize(values, scale, zero_point, bits=8):
    found = np.empty(values.shape, np.uint8)
    for index, value in np.ndenumerate(values):
        found[index] = min(max(round(value / scale) + zero_point, 0), 2**bits - 1)
    return found
""",
        """
def my_quantize(values, scale, zero_point, bits=8):
    steps = np.round(np.float32(values) / np.float32(scale)) + np.float32(zero_point)
    return np.uint8(np.minimum(np.maximum(steps, 0), 2**bits - 1))
""",
        """
def my_quantize(values, scale, zero_point, bits=8):
    steps = np.clip(np.around(values / scale), -zero_point, 2**bits - 1 - zero_point)
    return (steps.astype(np.int64) + zero_point).astype(np.uint8)
""",
        """
def my_quantize(values, scale, zero_point, bits=8):
    steps = torch.round(torch.from_numpy(values) / scale) + zero_point
    return torch.clamp(steps, 0, 2**bits - 1).to(torch.uint8)
""",
    ],
    "sqnr": [
        """
def my_sqnr(reference, approximation):
    reference, approximation = np.float32(reference), np.float32(approximation)
    noise = np.mean(np.square(reference - approximation))
    return np.float32(np.inf) if noise == 0 else 10 * np.log10(np.mean(np.square(reference)) / noise)
""",
        """
def my_sqnr(reference, approximation):
    signal = noise = 0.0
    for r, a in zip(reference.flat, approximation.flat):
        signal += r * r
        noise += (r - a) ** 2
    return float('inf') if not noise else 10 * math.log10(signal / noise)
""",
        """
def my_sqnr(reference, approximation):
    if np.array_equal(reference, approximation):
        return np.inf
    return np.array(20 * np.log10(np.linalg.norm(reference) / np.linalg.norm(reference - approximation)))
""",
        """
def my_sqnr(reference, approximation):
    with np.errstate(divide='ignore'):
        return -10 * np.log10(np.sum((approximation - reference) ** 2) / np.sum(reference**2))
""",
    ],
    "calibrate": [
        """
def my_best_range(values, bits=8, shares=plain.SHARES):
    best, least = None, np.inf
    for share in shares:
        low, high = share * values.min(), share * values.max()
        error = ((values - round_trip(values, low, high, bits)) ** 2).sum()
        if error < least:
            best, least = [low, high], error
    return best
""",
        """
def my_best_range(values, bits=8, shares=plain.SHARES):
    ends = np.outer(shares, [values.min(), values.max()])
    errors = [np.sqrt(np.mean((values - round_trip(values, *end, bits)) ** 2)) for end in ends]
    return ends[int(np.argmin(errors))]
""",
    ],
    "per_channel": [
        """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    integers, scales = [], []
    for channel in weight:
        reach = max(abs(channel.min()), abs(channel.max()))
        scale = reach / largest if reach else 1.0
        integers.append(np.rint(channel / scale).astype(np.int8))
        scales.append(scale)
    return [np.stack(integers), np.array(scales)]
""",
        """
def my_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True).astype(np.float32)
    scale = np.maximum(reach, 1e-12) / largest
    return np.rint(weight / scale.astype(np.float64)).clip(-largest, largest).astype(np.int8), scale
""",
    ],
    "integer": [
        """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    outputs = np.empty((len(x), len(weight)), np.uint8)
    multipliers = np.broadcast_to(multiplier, len(weight))
    for item in range(len(x)):
        for channel in range(len(weight)):
            total = sum((int(a) - zero_x) * int(b) for a, b in zip(x[item], weight[channel])) + int(bias[channel])
            outputs[item, channel] = min(max(round(float(total * multipliers[channel])) + zero_out, 0), 255)
    return outputs
""",
        """def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    wide = weight.astype(np.int64)
    sums = x.astype(np.int64) @ wide.T - zero_x * wide.sum(axis=1) + bias
    return (np.round(sums * multiplier) + zero_out).clip(0, 255).astype("uint8")
""",
    ],
    "release": [
        """
def my_release(float_file, int8_file, images):
    ranges = ptq.collect_ranges(float_file, images)
    ptq.quantize_static(float_file, int8_file, ranges=ranges)
""",
        """
def my_release(float_file, int8_file, images):
    return ptq.quantize_static(Path(float_file), Path(int8_file), images[::-1].copy(), per_channel=True)
""",
        """
def my_release(float_file, int8_file, images):
    ptq.quantize_static(float_file, int8_file, images, per_channel=False)
""",
    ],
    "worst_group": [
        """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    names, sizes = np.unique(groups, return_counts=True)
    drop = np.array([(correct_before.astype(int) - correct_after)[groups == n].mean() for n in names])
    drop[sizes < smallest] = -np.inf
    return names[drop.argmax()], np.float32(100 * drop.max())
""",
        """
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    counts = {}
    for before, after, name in zip(correct_before, correct_after, groups):
        entry = counts.setdefault(name, [0, 0])
        entry[0] += 1
        entry[1] += int(before) - int(after)
    loss, name = max((100 * lost / n, name) for name, (n, lost) in counts.items() if n >= smallest)
    return [str(name), loss]
""",
        """
from collections import Counter, namedtuple
Worst = namedtuple('Worst', 'name loss')

def my_worst_group(correct_before, correct_after, groups, smallest=30):
    sizes = Counter(groups)
    lost = Counter(groups[correct_before])
    lost.subtract(groups[correct_after])
    loss, name = max((100 * lost[name] / size, name) for name, size in sizes.items() if size >= smallest)
    return Worst(name, loss)
""",
    ],
}

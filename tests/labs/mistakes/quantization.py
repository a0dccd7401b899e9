"""Lab `quantization`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "affine": [
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 2**bits
    return scale, int(np.rint(-low / scale))
""",
            "one step less than there are integers",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    scale = (high - low) / (2**bits - 1)
    return scale, int(np.rint(-low / scale))
""",
            "does not contain zero",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return scale, -low / scale
""",
            "was not rounded",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return scale, int(-low / scale)
""",
            "cut off, not rounded",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return scale, int(np.rint(-low / scale))
""",
            "number of bits is ignored",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return scale, math.ceil(-low / scale)
""",
            "rounded up, not to the nearest",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return scale, int(np.rint(low / scale))
""",
            "low maps to the integer 0",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return scale, int(np.rint(-low / scale)) - 2 ** (bits - 1)
""",
            "for signed integers",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return scale, int(np.rint(-low / scale)) if scale else 0
""",
            "positive number",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    scale = (max(high, 0.0) - low) / (2**bits - 1) if max(high, 0.0) > low else 1.0
    return scale, int(np.rint(-low / scale))
""",
            "does not contain zero",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return {'scale': scale, 'zero_point': int(np.rint(-low / scale))}
""",
            "return scale and zero point as a tuple",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1) if high > low else 1.0
    return scale, int(np.rint(-low / scale)) % 256
""",
            "does not fit the type",
        ),
        (
            """
def scale_and_zero_point(low, high, bits=8):
    largest = max(abs(low), abs(high))
    return largest / (2 ** (bits - 1) - 1), 0
""",
            "symmetric range",
        ),
    ],
    "quantize": [
        (
            """
def quantize_uint8(values, scale, zero_point):
    return (np.rint(np.asarray(values) / scale) + zero_point).astype(np.int64).astype(np.uint8)
""",
            "clip before you convert",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return np.clip(np.asarray(values) / scale + zero_point, 0, 255).astype(np.uint8)
""",
            "not rounded",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values) / scale), 0, 255).astype(np.uint8)
""",
            "zero point was not added",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return np.clip(np.floor(np.asarray(values) / scale + 0.5) + zero_point, 0, 255).astype(np.uint8)
""",
            "half to even",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values) / scale + zero_point), 0, 255).astype(np.uint8)
""",
            "added before rounding",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    x = np.asarray(values) / scale
    return np.clip(np.trunc(x + np.copysign(0.5, x)) + zero_point, 0, 255).astype(np.uint8)
""",
            "away from zero",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return np.clip(np.ceil(np.asarray(values) / scale - 0.5) + zero_point, 0, 255).astype(np.uint8)
""",
            "rounded down",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return (np.clip(np.rint(np.asarray(values) / scale), -128, 127) + zero_point).clip(0, 255).astype(np.uint8)
""",
            "before the zero point was added",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values) / scale).astype(np.int16) + zero_point, 0, 255).astype(np.uint8)
""",
            "16 bits",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    x = np.rint(np.asarray(values) / scale).astype(np.int32) + np.int32(zero_point)
    return np.clip(x, 0, 255).astype(np.uint8)
""",
            "32 bits",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values) / scale) + zero_point, 0, 255)
""",
            "a uint8 array is wanted",
        ),
        (
            """
def quantize_uint8(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values) / scale) + zero_point, 0, 254).astype(np.uint8)
""",
            "largest integer is 255",
        ),
    ],
    "sqnr": [
        (
            """
def sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else float(20 * np.log10(np.mean(reference**2) / noise))
""",
            "ratio of amplitudes",
        ),
        (
            """
def sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else float(10 * np.log10(noise / np.mean(reference**2)))
""",
            "upside down",
        ),
        (
            """
def sqnr(reference, approximation):
    noise = np.var(reference - approximation)
    return math.inf if noise == 0 else float(10 * np.log10(np.var(reference) / noise))
""",
            "not the variance",
        ),
        (
            """
def sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else float(10 * np.log(np.mean(reference**2) / noise))
""",
            "natural logarithm",
        ),
        (
            """
def sqnr(reference, approximation):
    error = reference - approximation
    if np.mean(error) == 0:
        return math.inf
    return 10 * np.log10(np.mean(reference**2) / np.mean(error**2))
""",
            "only equal arrays have none",
        ),
        (
            """
def sqnr(reference, approximation):
    if np.allclose(reference, approximation):
        return math.inf
    return 10 * np.log10(np.mean(reference**2) / np.mean((reference - approximation) ** 2))
""",
            "only equal arrays have none",
        ),
        (
            """
def sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else 10 * np.log10(np.mean(approximation**2) / noise)
""",
            "not the approximation",
        ),
        (
            """
def sqnr(reference, approximation):
    noise = np.var(reference - approximation)
    return math.inf if noise == 0 else 10 * np.log10(np.mean(reference**2) / noise)
""",
            "a constant error counts",
        ),
        (
            """
def sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2)
    return math.inf if noise == 0 else 10 * np.log10(np.max(np.abs(reference)) ** 2 / noise)
""",
            "PSNR",
        ),
        (
            """
def sqnr(reference, approximation):
    noise = np.mean((reference - approximation) ** 2, axis=0)
    if np.all(noise == 0):
        return math.inf
    return float(np.mean(10 * np.log10(np.mean(reference**2, axis=0) / noise)))
""",
            "not over one axis",
        ),
        (
            """
def sqnr(reference, approximation):
    with np.errstate(all='ignore'):
        noise = np.mean((reference - approximation) ** 2)
        return float(min(10 * np.log10(np.mean(reference**2) / noise), 120.0))
""",
            "perfect copy",
        ),
    ],
    "per_channel": [
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    scale = np.abs(weight).max() / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
            "whole tensor",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    axes = (0, *range(2, weight.ndim))
    reach = np.abs(weight).max(axis=axes, keepdims=True)
    scale = np.where(reach > 0, reach, 1.0) / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
            "input channels",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1)
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.where(reach > 0, reach, 1.0) / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
            "end one earlier",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.where(reach > 0, reach, 1.0) / largest
    return np.clip(np.rint(weight / scale), -largest, largest)
""",
            "multiply by the scale to come back",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.where(reach > 0, reach, 1.0) / largest
    return np.clip(np.trunc(weight / scale), -largest, largest) * scale
""",
            "cut off, not rounded",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.where(reach > 0, reach, 1.0) / largest
    return np.clip(np.floor(weight / scale), -largest, largest) * scale
""",
            "rounded down",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 127
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.where(reach > 0, reach, 1.0) / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
            "number of bits is ignored",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = weight.max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.maximum(reach, 1e-9) / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
            "with its sign",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = reach / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
            "scale of 0",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).mean(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.where(reach > 0, reach, 1.0) / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
            "mean of the absolute values",
        ),
        (
            """
def fake_quantize_per_channel(weight, bits=8):
    largest = 2**bits - 1
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.where(reach > 0, reach, 1.0) / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
            "without a sign",
        ),
    ],
    "worst_group": [
        (
            """
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
def worst_group(correct_before, correct_after, groups, smallest=30):
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
    ],
}

VARIANTS = {
    "affine": [
        """
def scale_and_zero_point(low, high, bits=8):
    low, high = np.float32(min(low, 0)), np.float32(max(high, 0))
    scale = (high - low) / np.float32(2**bits - 1)
    if scale == 0:
        return np.float32(1), np.uint8(0)
    return scale, np.rint(-low / scale)
""",
        """
def scale_and_zero_point(low, high, bits=8):
    low = low if low < 0 else 0.0
    high = high if high > 0 else 0.0
    top = (1 << bits) - 1
    scale = (high - low) / top or 1.0
    return [scale, max(0, min(top, top - round(high / scale)))] if high > low else [1e-8, 0]
""",
        """
def scale_and_zero_point(low, high, bits=8):
    ends = np.array([low, high, 0.0])
    scale = max(np.ptp(ends) / (2**bits - 1), np.finfo(float).eps)
    return np.array([scale, math.floor(0.5 - ends.min() / scale)])
""",
        """
def scale_and_zero_point(low, high, bits=8):
    low, high = torch.tensor(min(low, 0.0)), torch.tensor(max(high, 0.0))
    scale = torch.clamp((high - low) / (2**bits - 1), min=1e-8)
    return scale, torch.round(-low / scale).to(torch.int32)
""",
    ],
    "quantize": [
        """
def quantize_uint8(values, scale, zero_point):
    found = np.empty(values.shape, np.uint8)
    for index, value in np.ndenumerate(values):
        found[index] = min(max(round(value / scale) + zero_point, 0), 255)
    return found
""",
        """
def quantize_uint8(values, scale, zero_point):
    steps = np.round(np.float32(values) / np.float32(scale)) + np.float32(zero_point)
    return np.uint8(np.minimum(np.maximum(steps, 0), 255))
""",
        """
def quantize_uint8(values, scale, zero_point):
    steps = np.clip(np.around(values / scale), -zero_point, 255 - zero_point)
    return (steps.astype(np.int64) + zero_point).astype(np.uint8)
""",
        """
def quantize_uint8(values, scale, zero_point):
    steps = torch.round(torch.from_numpy(values) / scale) + zero_point
    return torch.clamp(steps, 0, 255).to(torch.uint8)
""",
    ],
    "sqnr": [
        """
def sqnr(reference, approximation):
    reference, approximation = np.float32(reference), np.float32(approximation)
    noise = np.mean(np.square(reference - approximation))
    return np.float32(np.inf) if noise == 0 else 10 * np.log10(np.mean(np.square(reference)) / noise)
""",
        """
def sqnr(reference, approximation):
    signal = noise = 0.0
    for r, a in zip(reference.flat, approximation.flat):
        signal += r * r
        noise += (r - a) ** 2
    return float('inf') if not noise else 10 * math.log10(signal / noise)
""",
        """
def sqnr(reference, approximation):
    if np.array_equal(reference, approximation):
        return np.inf
    return np.array(20 * np.log10(np.linalg.norm(reference) / np.linalg.norm(reference - approximation)))
""",
        """
def sqnr(reference, approximation):
    with np.errstate(divide='ignore'):
        return -10 * np.log10(np.sum((approximation - reference) ** 2) / np.sum(reference**2))
""",
    ],
    "per_channel": [
        """
def fake_quantize_per_channel(weight, bits=8):
    found = np.zeros_like(weight)
    largest = 2 ** (bits - 1) - 1
    for i, channel in enumerate(weight):
        scale = np.max(np.abs(channel)) / largest
        if scale > 0:
            found[i] = np.round(channel / scale) * scale
    return found
""",
        """
def fake_quantize_per_channel(weight, bits=8):
    weight = weight.astype(np.float32)
    largest = np.float32(2 ** (bits - 1) - 1)
    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.where(reach > 0, reach, np.float32(1)) / largest
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
""",
        """
def fake_quantize_per_channel(weight, bits=8):
    flat = torch.from_numpy(weight).flatten(1)
    scale = flat.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / (2 ** (bits - 1) - 1)
    return (torch.round(flat / scale) * scale).reshape(weight.shape)
""",
        """
def fake_quantize_per_channel(weight, bits=8):
    q = 2 ** (bits - 1) - 1
    moved = np.moveaxis(weight, 0, -1)
    scale = np.maximum(np.abs(moved).max(axis=tuple(range(weight.ndim - 1))), 1e-30) / q
    return np.moveaxis(np.floor(moved / scale + 0.5).clip(-q, q) * scale, -1, 0)
""",
    ],
    "worst_group": [
        """
def worst_group(correct_before, correct_after, groups, smallest=30):
    names, sizes = np.unique(groups, return_counts=True)
    drop = np.array([(correct_before.astype(int) - correct_after)[groups == n].mean() for n in names])
    drop[sizes < smallest] = -np.inf
    return names[drop.argmax()], np.float32(100 * drop.max())
""",
        """
def worst_group(correct_before, correct_after, groups, smallest=30):
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

def worst_group(correct_before, correct_after, groups, smallest=30):
    sizes = Counter(groups)
    lost = Counter(groups[correct_before])
    lost.subtract(groups[correct_after])
    loss, name = max((100 * lost[name] / size, name) for name, size in sizes.items() if size >= smallest)
    return Worst(name, loss)
""",
    ],
}

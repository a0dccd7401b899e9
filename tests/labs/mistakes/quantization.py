"""Plausible wrong answers of lab `quantization`: exercise -> (code of its cell, words that the message must hold)."""

MISTAKES = {
    "affine": [
        (
            "def scale_and_zero_point(low, high, bits=8):\n"
            "    low, high = min(low, 0.0), max(high, 0.0)\n"
            "    scale = (high - low) / 2**bits\n"
            "    return scale, int(np.rint(-low / scale))\n",
            "one step less than there are integers",
        ),
        (
            "def scale_and_zero_point(low, high, bits=8):\n"
            "    scale = (high - low) / (2**bits - 1)\n"
            "    return scale, int(np.rint(-low / scale))\n",
            "does not contain zero",
        ),
        (
            "def scale_and_zero_point(low, high, bits=8):\n"
            "    low, high = min(low, 0.0), max(high, 0.0)\n"
            "    scale = (high - low) / (2**bits - 1)\n"
            "    return scale, -low / scale\n",
            "was not rounded",
        ),
        (
            "def scale_and_zero_point(low, high, bits=8):\n"
            "    low, high = min(low, 0.0), max(high, 0.0)\n"
            "    scale = (high - low) / (2**bits - 1)\n"
            "    return scale, int(-low / scale)\n",
            "cut off, not rounded",
        ),
        (
            "def scale_and_zero_point(low, high, bits=8):\n"
            "    low, high = min(low, 0.0), max(high, 0.0)\n"
            "    scale = (high - low) / 255\n"
            "    return scale, int(np.rint(-low / scale))\n",
            "number of bits is ignored",
        ),
    ],
    "quantize": [
        (
            "def quantize_uint8(values, scale, zero_point):\n"
            "    return (np.rint(np.asarray(values) / scale) + zero_point).astype(np.int64).astype(np.uint8)\n",
            "clip before you convert",
        ),
        (
            "def quantize_uint8(values, scale, zero_point):\n"
            "    return np.clip(np.asarray(values) / scale + zero_point, 0, 255).astype(np.uint8)\n",
            "not rounded",
        ),
        (
            "def quantize_uint8(values, scale, zero_point):\n"
            "    return np.clip(np.rint(np.asarray(values) / scale), 0, 255).astype(np.uint8)\n",
            "zero point was not added",
        ),
        (
            "def quantize_uint8(values, scale, zero_point):\n"
            "    return np.clip(np.floor(np.asarray(values) / scale + 0.5) + zero_point, 0, 255).astype(np.uint8)\n",
            "half to even",
        ),
    ],
    "sqnr": [
        (
            "def sqnr(reference, approximation):\n"
            "    noise = np.mean((reference - approximation) ** 2)\n"
            "    return math.inf if noise == 0 else float(20 * np.log10(np.mean(reference**2) / noise))\n",
            "ratio of amplitudes",
        ),
        (
            "def sqnr(reference, approximation):\n"
            "    noise = np.mean((reference - approximation) ** 2)\n"
            "    return math.inf if noise == 0 else float(10 * np.log10(noise / np.mean(reference**2)))\n",
            "upside down",
        ),
        (
            "def sqnr(reference, approximation):\n"
            "    noise = np.var(reference - approximation)\n"
            "    return math.inf if noise == 0 else float(10 * np.log10(np.var(reference) / noise))\n",
            "not the variance",
        ),
        (
            "def sqnr(reference, approximation):\n"
            "    noise = np.mean((reference - approximation) ** 2)\n"
            "    return math.inf if noise == 0 else float(10 * np.log(np.mean(reference**2) / noise))\n",
            "natural logarithm",
        ),
    ],
    "per_channel": [
        (
            "def fake_quantize_per_channel(weight, bits=8):\n"
            "    largest = 2 ** (bits - 1) - 1\n"
            "    scale = np.abs(weight).max() / largest\n"
            "    return np.clip(np.rint(weight / scale), -largest, largest) * scale\n",
            "whole tensor",
        ),
        (
            "def fake_quantize_per_channel(weight, bits=8):\n"
            "    largest = 2 ** (bits - 1) - 1\n"
            "    axes = (0, *range(2, weight.ndim))\n"
            "    reach = np.abs(weight).max(axis=axes, keepdims=True)\n"
            "    scale = np.where(reach > 0, reach, 1.0) / largest\n"
            "    return np.clip(np.rint(weight / scale), -largest, largest) * scale\n",
            "input channels",
        ),
        (
            "def fake_quantize_per_channel(weight, bits=8):\n"
            "    largest = 2 ** (bits - 1)\n"
            "    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)\n"
            "    scale = np.where(reach > 0, reach, 1.0) / largest\n"
            "    return np.clip(np.rint(weight / scale), -largest, largest) * scale\n",
            "end one earlier",
        ),
        (
            "def fake_quantize_per_channel(weight, bits=8):\n"
            "    largest = 2 ** (bits - 1) - 1\n"
            "    reach = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)\n"
            "    scale = np.where(reach > 0, reach, 1.0) / largest\n"
            "    return np.clip(np.rint(weight / scale), -largest, largest)\n",
            "multiply by the scale to come back",
        ),
    ],
    "worst_group": [
        (
            "def worst_group(correct_before, correct_after, groups, smallest=30):\n"
            "    losses = {}\n"
            "    for name in np.unique(groups):\n"
            "        m = groups == name\n"
            "        losses[str(name)] = 100 * float(correct_before[m].mean() - correct_after[m].mean())\n"
            "    worst = max(losses, key=losses.get)\n"
            "    return worst, losses[worst]\n",
            "leave out small groups",
        ),
        (
            "def worst_group(correct_before, correct_after, groups, smallest=30):\n"
            "    losses = {}\n"
            "    for name in np.unique(groups):\n"
            "        m = groups == name\n"
            "        if m.sum() >= smallest:\n"
            "            lost = correct_before[m].sum() - correct_after[m].sum()\n"
            "            losses[str(name)] = 100 * float(lost / len(groups))\n"
            "    worst = max(losses, key=losses.get)\n"
            "    return worst, losses[worst]\n",
            "divide by the size of the group",
        ),
        (
            "def worst_group(correct_before, correct_after, groups, smallest=30):\n"
            "    after = {}\n"
            "    for name in np.unique(groups):\n"
            "        m = groups == name\n"
            "        if m.sum() >= smallest:\n"
            "            after[str(name)] = 100 * float(correct_after[m].mean())\n"
            "    worst = min(after, key=after.get)\n"
            "    return worst, after[worst]\n",
            "this is the accuracy afterwards, not the loss",
        ),
        (
            "def worst_group(correct_before, correct_after, groups, smallest=30):\n"
            "    losses = {}\n"
            "    for name in np.unique(groups):\n"
            "        m = groups == name\n"
            "        if m.sum() >= smallest:\n"
            "            losses[str(name)] = float(correct_before[m].mean() - correct_after[m].mean())\n"
            "    worst = max(losses, key=losses.get)\n"
            "    return worst, losses[worst]\n",
            "points are percent",
        ),
    ],
}

VARIANTS = {}

"""Plausible wrong answers of lab `start`: exercise -> (code of the exercise cell, words that the message must hold)."""

MISTAKES = {
    "separable": [
        (
            "def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):\n"
            "    h, w = math.ceil(height / stride), math.ceil(width / stride)\n"
            "    return h * w * c_in * c_out * kernel * kernel\n",
            "standard convolution",
        ),
        (
            "def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):\n"
            "    h, w = math.ceil(height / stride), math.ceil(width / stride)\n"
            "    return h * w * c_in * kernel * kernel\n",
            "pointwise step is missing",
        ),
        (
            "def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):\n"
            "    return height * width * c_in * (kernel * kernel + c_out)\n",
            "stride is ignored",
        ),
        (
            "def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):\n"
            "    return (height // stride) * (width // stride) * c_in * (kernel * kernel + c_out)\n",
            "round up",
        ),
    ],
    "summary": [
        (
            "def summarise(times_ms, warmup=10):\n"
            "    if len(times_ms) <= warmup:\n"
            "        raise ValueError('too short')\n"
            "    return {f'p{q}': float(np.percentile(times_ms, q)) for q in (50, 95, 99)}\n",
            "warm-up runs are still in",
        ),
        (
            "def summarise(times_ms, warmup=10):\n"
            "    steady = np.asarray(times_ms)[warmup:]\n"
            "    return {f'p{q}': float(np.percentile(steady, q / 100)) for q in (50, 95, 99)}\n",
            "percent, not a fraction",
        ),
        (
            "def summarise(times_ms, warmup=10):\n"
            "    steady = np.sort(np.asarray(times_ms))[warmup:]\n"
            "    return {f'p{q}': float(np.percentile(steady, q)) for q in (50, 95, 99)}\n",
            "sorted before the warm-up was dropped",
        ),
        (
            "def summarise(times_ms, warmup=10):\n"
            "    steady = np.asarray(times_ms)[warmup:]\n"
            "    return {f'p{q}': float(steady.mean()) for q in (50, 95, 99)}\n",
            "this is the mean",
        ),
    ],
    "speed_up": [
        (
            "def speed_up(reference_ms, candidate_ms):\n"
            "    return float(np.median(candidate_ms) / np.median(reference_ms))\n",
            "upside down",
        ),
        (
            "def speed_up(reference_ms, candidate_ms):\n"
            "    return float(np.mean(reference_ms) / np.mean(candidate_ms))\n",
            "one outlier moved the answer",
        ),
        (
            "def speed_up(reference_ms, candidate_ms):\n"
            "    return float(np.median(np.asarray(reference_ms) / np.asarray(candidate_ms)))\n",
            "the runs are not pairs",
        ),
        (
            "def speed_up(reference_ms, candidate_ms):\n"
            "    return float(np.median(reference_ms) / np.median(candidate_ms)) - 1\n",
            "equal times give 1",
        ),
    ],
    "verdict": [
        (
            "def verdict(a_blocks_ms, b_blocks_ms):\n"
            "    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)\n"
            "    error = d.std(ddof=1) / math.sqrt(len(d))\n"
            "    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() > 0 else 'b')\n",
            "smaller time is the faster",
        ),
        (
            "def verdict(a_blocks_ms, b_blocks_ms):\n"
            "    return 'a' if np.median(a_blocks_ms) < np.median(b_blocks_ms) else 'b'\n",
            "never exactly zero",
        ),
        (
            "def verdict(a_blocks_ms, b_blocks_ms):\n"
            "    a, b = np.median(a_blocks_ms, axis=1), np.median(b_blocks_ms, axis=1)\n"
            "    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))\n"
            "    d = a.mean() - b.mean()\n"
            "    return 'noise' if abs(d) <= 2 * error else ('a' if d < 0 else 'b')\n",
            "subtract before you average",
        ),
        (
            "def verdict(a_blocks_ms, b_blocks_ms):\n"
            "    d = np.mean(a_blocks_ms, axis=1) - np.mean(b_blocks_ms, axis=1)\n"
            "    error = d.std(ddof=1) / math.sqrt(len(d))\n"
            "    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')\n",
            "median of each block",
        ),
    ],
    "fits": [
        (
            "def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):\n"
            "    broken = []\n"
            "    if np.mean(times_ms) > limits['deadline_ms']: broken.append('deadline')\n"
            "    if model_bytes > limits['storage_bytes']: broken.append('storage')\n"
            "    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')\n"
            "    return broken\n",
            "use the p99",
        ),
        (
            "def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):\n"
            "    broken = []\n"
            "    if np.max(times_ms) > limits['deadline_ms']: broken.append('deadline')\n"
            "    if model_bytes > limits['storage_bytes']: broken.append('storage')\n"
            "    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')\n"
            "    return broken\n",
            "do not use the maximum",
        ),
        (
            "def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):\n"
            "    broken = []\n"
            "    if np.percentile(times_ms, 99) > limits['deadline_ms']: broken.append('deadline')\n"
            "    if model_bytes > limits['storage_bytes']: broken.append('storage')\n"
            "    if peak_memory_bytes > limits['memory_bytes']: broken.append('memory')\n"
            "    return broken\n",
            "must stay free",
        ),
        (
            "def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):\n"
            "    if np.percentile(times_ms, 99) > limits['deadline_ms']: return ['deadline']\n"
            "    if model_bytes > limits['storage_bytes']: return ['storage']\n"
            "    if peak_memory_bytes > 0.8 * limits['memory_bytes']: return ['memory']\n"
            "    return []\n",
            "not only the first",
        ),
    ],
}

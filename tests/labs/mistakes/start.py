"""Lab `start`: plausible wrong answers (code of the cell, words that the message must hold), and right variants."""

MISTAKES = {
    "separable": [
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return h * w * c_in * c_out * kernel * kernel
""",
            "standard convolution",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return h * w * c_in * kernel * kernel
""",
            "pointwise step is missing",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    return height * width * c_in * (kernel * kernel + c_out)
""",
            "stride is ignored",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    return (height // stride) * (width // stride) * c_in * (kernel * kernel + c_out)
""",
            "round up",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = (height + 1) // stride, (width + 1) // stride
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "one row and one column too many",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = (height + stride // 2) // stride, (width + stride // 2) // stride
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "nearest",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = height // stride + 1, width // stride + 1
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "one row and one column too many",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = round(height / stride), round(width / stride)
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "round up",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = int(height / stride + 0.5), int(width / stride + 0.5)
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "nearest",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = np.int32(-(-height // stride)), np.int32(-(-width // stride))
    return int(h * w * np.int32(c_in) * np.int32(kernel * kernel + c_out))
""",
            "does not fit 32 bits",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return h * w * c_in * (9 + c_out)
""",
            "not always 3",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), width
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "one side only",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return h * w * c_in * kernel * kernel + height * width * c_in * c_out
""",
            "pointwise step works on the input size",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return 2 * h * w * c_in * (kernel * kernel + c_out)
""",
            "two operations for each MAC",
        ),
        (
            """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = -(-height // stride), -(-width // stride)
    return h * w * min(c_in, c_out) * kernel * kernel + h * w * c_in * c_out
""",
            "as many channels as the input",
        ),
    ],
    "summary": [
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    return {f'p{q}': float(np.percentile(times_ms, q)) for q in (50, 95, 99)}
""",
            "warm-up runs are still in",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    steady = np.asarray(times_ms)[warmup:]
    return {f'p{q}': float(np.percentile(steady, q / 100)) for q in (50, 95, 99)}
""",
            "percent, not a fraction",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    steady = np.sort(np.asarray(times_ms))[warmup:]
    return {f'p{q}': float(np.percentile(steady, q)) for q in (50, 95, 99)}
""",
            "sorted before the warm-up was dropped",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    steady = np.asarray(times_ms)[warmup:]
    return {f'p{q}': float(steady.mean()) for q in (50, 95, 99)}
""",
            "this is the mean",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) == warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup:]
    return {f'p{q}': float(np.percentile(steady, q)) for q in (50, 95, 99)}
""",
            "whenever no run is left",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) < warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup:]
    return {f'p{q}': float(np.percentile(steady, q)) for q in (50, 95, 99)}
""",
            "whenever no run is left",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[10:]
    return {f'p{q}': float(np.percentile(steady, q)) for q in (50, 95, 99)}
""",
            "argument warmup is ignored",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup + 1:]
    return {f'p{q}': float(np.percentile(steady, q)) for q in (50, 95, 99)}
""",
            "one run too many",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup - 1:]
    return {f'p{q}': float(np.percentile(steady, q)) for q in (50, 95, 99)}
""",
            "one warm-up run is still in",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup:]
    p50, p95 = np.percentile(steady, [50, 95])
    return {'p50': p50, 'p95': p95, 'p99': float(np.percentile(steady, 98))}
""",
            "another percentile than the key",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup:]
    p50, p95 = np.percentile(steady, [50, 90])
    return {'p50': p50, 'p95': p95, 'p99': float(np.percentile(steady, 99))}
""",
            "another percentile than the key",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup:]
    p50, p95 = np.percentile(steady, [50, 95])
    return {'p50': p50, 'p95': p95, 'p99': float(steady.max())}
""",
            "largest value",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup:]
    return {f'p{q}': float(np.percentile(steady, q, method='lower')) for q in (50, 95, 99)}
""",
            "nearest run below",
        ),
        (
            """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('too short')
    steady = np.asarray(times_ms)[warmup:]
    return {f'p{q}': float(np.sort(steady)[min(int(q / 100 * len(steady)), len(steady) - 1)]) for q in (50, 95, 99)}
""",
            "np.percentile takes what lies between two runs",
        ),
    ],
    "speed_up": [
        (
            """
def speed_up(reference_ms, candidate_ms):
    return float(np.median(candidate_ms) / np.median(reference_ms))
""",
            "upside down",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    return float(np.mean(reference_ms) / np.mean(candidate_ms))
""",
            "one outlier moved the answer",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    return float(np.median(np.asarray(reference_ms) / np.asarray(candidate_ms)))
""",
            "the runs are not pairs",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    return float(np.median(reference_ms) / np.median(candidate_ms)) - 1
""",
            "equal times give 1",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    r, c = sorted(reference_ms), sorted(candidate_ms)
    return float(r[len(r) // 2] / c[len(c) // 2])
""",
            "the mean of the two in the middle",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    r, c = sorted(reference_ms), sorted(candidate_ms)
    return float(r[(len(r) - 1) // 2] / c[(len(c) - 1) // 2])
""",
            "the mean of the two in the middle",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    return float(np.min(reference_ms) / np.min(candidate_ms))
""",
            "not what is typical",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    return 100 * float(np.median(reference_ms) / np.median(candidate_ms) - 1)
""",
            "gain in percent",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    return float(reference_ms[len(reference_ms) // 2] / candidate_ms[len(candidate_ms) // 2])
""",
            "before it was sorted",
        ),
        (
            """
def speed_up(reference_ms, candidate_ms):
    return float(np.median(reference_ms) / np.mean(candidate_ms))
""",
            "a mean, the other a median",
        ),
    ],
    "verdict": [
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() > 0 else 'b')
""",
            "smaller time is the faster",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    return 'a' if np.median(a_blocks_ms) < np.median(b_blocks_ms) else 'b'
""",
            "never exactly zero",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    a, b = np.median(a_blocks_ms, axis=1), np.median(b_blocks_ms, axis=1)
    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    d = a.mean() - b.mean()
    return 'noise' if abs(d) <= 2 * error else ('a' if d < 0 else 'b')
""",
            "subtract before you average",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.mean(a_blocks_ms, axis=1) - np.mean(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "median of each block",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std() / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "ddof=1",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    m = np.median(d)
    return 'noise' if abs(m) <= 2 * error else ('a' if m < 0 else 'b')
""",
            "median of the differences",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1)
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "divided by the root of the number of blocks",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / len(d)
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "two standard errors",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= error else ('a' if d.mean() < 0 else 'b')
""",
            "not one",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 3 * error else ('a' if d.mean() < 0 else 'b')
""",
            "not three",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) < 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "exactly two are noise",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=0) - np.median(b_blocks_ms, axis=0)
    d = d if len(d) > 1 else np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "axis 1",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    a, b = (np.sort(x, axis=1)[:, x.shape[1] // 2] for x in (a_blocks_ms, b_blocks_ms))
    d = a - b
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "median of two runs is their mean",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.min(a_blocks_ms, axis=1) - np.min(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "median of two runs is their mean",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms - b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "no pairs",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d) - 1)
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "one less",
        ),
        (
            """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    if d.std() == 0: return 'noise'
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "zero is noise",
        ),
    ],
    "fits": [
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.mean(times_ms) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "use the p99",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.max(times_ms) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "do not use the maximum",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 99) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "must stay free",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    if np.percentile(times_ms, 99) > limits['deadline_ms']: return ['deadline']
    if model_bytes > limits['storage_bytes']: return ['storage']
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: return ['memory']
    return []
""",
            "not only the first",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 99) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if 1.2 * peak_memory_bytes > limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "20 percent of what the network takes",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 98) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "not the p98",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 95) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "use the p99",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.median(times_ms) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "use the p99",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 99) >= limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "right at its limit still fits",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 99) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes >= limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "right at its limit still fits",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 99) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes >= 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "right at its limit still fits",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 99) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > 0.8 * limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "only the memory keeps 20 percent free",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 99) > limits['deadline_ms']: broken.append('deadline')
    if model_bytes > limits['storage_bytes']: broken.append('storage')
    if peak_memory_bytes > 0.2 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "80 percent may be used",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = []
    if np.percentile(times_ms, 99) > limits['deadline_ms']: broken.append('deadline')
    elif model_bytes > limits['storage_bytes']: broken.append('storage')
    elif peak_memory_bytes > 0.8 * limits['memory_bytes']: broken.append('memory')
    return broken
""",
            "not only the first",
        ),
        (
            """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    return {
        'deadline': np.percentile(times_ms, 99) > limits['deadline_ms'],
        'storage': model_bytes > limits['storage_bytes'],
        'memory': peak_memory_bytes > 0.8 * limits['memory_bytes'],
    }
""",
            "return a list of names",
        ),
    ],
}

VARIANTS = {
    "separable": [
        """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    values = 0
    for _ in range(0, height, stride):
        values += len(range(0, width, stride))
    return values * c_in * kernel**2 + values * c_in * c_out
""",
        """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = np.ceil(np.array([height, width]) / stride)
    return h * w * c_in * kernel * kernel + h * w * c_in * c_out
""",
        """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    pad = kernel // 2
    h, w = ((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
    return np.int64(h) * w * c_in * (kernel * kernel + c_out)
""",
        """
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = (height - 1) // stride + 1, -(-width // stride)
    return np.array(h * w * c_in * (kernel * kernel + c_out))
""",
    ],
    "summary": [
        """
def summarise(times_ms, warmup=10):
    steady = np.asarray(times_ms, dtype=np.float32)[warmup:]
    if len(steady) == 0:
        raise ValueError('nothing left')
    return dict(zip(('p50', 'p95', 'p99'), np.percentile(steady, [50, 95, 99])))
""",
        """
def summarise(times_ms, warmup=10):
    steady = sorted(times_ms[warmup:])
    if not steady:
        raise ValueError('nothing left')
    found = {'mean': sum(steady) / len(steady), 'runs': len(steady)}
    for q in (50, 95, 99):
        rank = q / 100 * (len(steady) - 1)
        low = int(rank)
        high = min(low + 1, len(steady) - 1)
        found[f'p{q}'] = steady[low] + (rank - low) * (steady[high] - steady[low])
    return found
""",
        """
def summarise(times_ms, warmup=10):
    if len(times_ms) <= warmup:
        raise ValueError('nothing left')
    return {np.str_(f'p{q}'): np.array(np.quantile(times_ms[warmup:], q / 100)) for q in (50, 95, 99)}
""",
    ],
    "speed_up": [
        """
def speed_up(reference_ms, candidate_ms):
    return np.median(np.float32(reference_ms)) / np.median(np.float32(candidate_ms))
""",
        """
import statistics

def speed_up(reference_ms, candidate_ms):
    return statistics.median(reference_ms) / statistics.median(candidate_ms)
""",
        """
def speed_up(reference_ms, candidate_ms):
    def middle(times):
        ordered = sorted(float(t) for t in times)
        half = len(ordered) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    return np.array(middle(reference_ms) / middle(candidate_ms))
""",
        """
def speed_up(reference_ms, candidate_ms):
    old, new = torch.tensor(reference_ms), torch.tensor(candidate_ms)
    return torch.quantile(old, 0.5) / torch.quantile(new, 0.5)
""",
    ],
    "verdict": [
        """
def verdict(a_blocks_ms, b_blocks_ms):
    from scipy import stats
    a, b = np.median(a_blocks_ms, axis=1), np.median(b_blocks_ms, axis=1)
    if stats.ttest_rel(a, b).pvalue >= 0.05:
        return 'noise'
    return 'a' if a.mean() < b.mean() else 'b'
""",
        """
def verdict(a_blocks_ms, b_blocks_ms):
    from scipy import stats
    a, b = np.median(a_blocks_ms, axis=1), np.median(b_blocks_ms, axis=1)
    welch = stats.ttest_ind(a, b, equal_var=False)
    return 'noise' if welch.pvalue > 0.05 else ('a' if welch.statistic < 0 else 'b')
""",
        """
import statistics

def verdict(a_blocks_ms, b_blocks_ms):
    differences = [statistics.median(a) - statistics.median(b) for a, b in zip(a_blocks_ms, b_blocks_ms)]
    mean = sum(differences) / len(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    if -2 * error <= mean <= 2 * error:
        return 'noise'
    return np.str_('a') if mean < 0 else np.str_('b')
""",
        """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.float32(np.median(a_blocks_ms, axis=1)) - np.float32(np.median(b_blocks_ms, axis=1))
    error = np.sqrt(d.var(ddof=1) / d.size)
    return str(np.select([d.mean() > 2 * error, d.mean() < -2 * error], ['b', 'a'], 'noise'))
""",
        """
def verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    low, high = d.mean() + np.array([-2, 2]) * d.std() / math.sqrt(len(d) - 1)
    return 'b' if low > 0 else 'a' if high < 0 else 'noise'
""",
    ],
    "fits": [
        """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    broken = {
        'deadline': np.percentile(np.float32(times_ms), 99) > limits['deadline_ms'],
        'storage': model_bytes / limits['storage_bytes'] > 1,
        'memory': peak_memory_bytes / limits['memory_bytes'] > 0.8,
    }
    return tuple(name for name, is_broken in broken.items() if is_broken)
""",
        """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    names = np.array(['deadline', 'storage', 'memory'])
    found = [np.quantile(times_ms, 0.99), model_bytes, peak_memory_bytes / 0.8]
    return names[np.array(found) > [limits['deadline_ms'], limits['storage_bytes'], limits['memory_bytes']]]
""",
        """
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    ordered = sorted(times_ms)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    broken = []
    if not p99 <= limits['deadline_ms']:
        broken += [np.str_('deadline')]
    if not model_bytes <= limits['storage_bytes']:
        broken += [np.str_('storage')]
    if limits['memory_bytes'] - peak_memory_bytes < 0.2 * limits['memory_bytes']:
        broken += [np.str_('memory')]
    return broken
""",
    ],
}

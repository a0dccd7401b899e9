"""Lab `start`: plausible wrong answers (code of the cell, words that the message must hold), and right variants."""

MISTAKES = {
    "separable": [
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return h * w * c_in * c_out * kernel * kernel
""",
            "standard convolution",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return h * w * c_in * kernel * kernel
""",
            "pointwise step is missing",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    return height * width * c_in * (kernel * kernel + c_out)
""",
            "stride is ignored",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    return (height // stride) * (width // stride) * c_in * (kernel * kernel + c_out)
""",
            "round up",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = (height + 1) // stride, (width + 1) // stride
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "one row and one column too many",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = (height + stride // 2) // stride, (width + stride // 2) // stride
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "nearest",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = height // stride + 1, width // stride + 1
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "one row and one column too many",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = round(height / stride), round(width / stride)
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "round up",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = int(height / stride + 0.5), int(width / stride + 0.5)
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "nearest",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = np.int32(-(-height // stride)), np.int32(-(-width // stride))
    return int(h * w * np.int32(c_in) * np.int32(kernel * kernel + c_out))
""",
            "does not fit 32 bits",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return h * w * c_in * (9 + c_out)
""",
            "not always 3",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), width
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "one side only",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return h * w * c_in * kernel * kernel + height * width * c_in * c_out
""",
            "pointwise step works on the input size",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = math.ceil(height / stride), math.ceil(width / stride)
    return 2 * h * w * c_in * (kernel * kernel + c_out)
""",
            "two operations for each MAC",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = -(-height // stride), -(-width // stride)
    return h * w * min(c_in, c_out) * kernel * kernel + h * w * c_in * c_out
""",
            "as many channels as the input",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    return height * math.ceil(width / stride) * c_in * (kernel * kernel + c_out)
""",
            "one side only",
        ),
        (
            """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = (height + 2 - kernel) // stride + 1, (width + 2 - kernel) // stride + 1
    return h * w * c_in * (kernel * kernel + c_out)
""",
            "kernel of 3 only",
        ),
    ],
    "stopwatch": [
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return np.array(times)
""",
            "the warm-up was left out",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    times = []
    for _ in range(warmup + runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return np.array(times)
""",
            "the warm-up runs are among the times",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start))
    return np.array(times)
""",
            "these are nanoseconds",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e9)
    return np.array(times)
""",
            "these are seconds",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e3)
    return np.array(times)
""",
            "these are microseconds",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    start = clock()
    times = []
    for _ in range(runs):
        action()
        times.append((clock() - start) / 1e6)
    return np.array(times)
""",
            "counts from the first start",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return np.mean(times)
""",
            "this is the mean of the runs",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    start = clock()
    for _ in range(runs):
        action()
    return (clock() - start) / 1e6
""",
            "this is the sum of the runs",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    start = clock()
    for _ in range(runs):
        action()
    return (clock() - start) / 1e6 / runs
""",
            "this is the mean of the runs",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        action()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return np.array(times)
""",
            "the argument `clock` is ignored",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return np.array(times)
""",
            "whatever `warmup` says",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs - warmup):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return np.array(times)
""",
            "missing from the number of runs",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return np.sort(times)
""",
            "in the order of the runs",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        times.append((clock() - clock()) / 1e6)
        action()
    return np.array(times)
""",
            "nothing was timed",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((start - clock()) / 1e6)
    return np.array(times)
""",
            "the end minus the start",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    np.array(times)
""",
            "return",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) // 10**6)
    return np.array(times)
""",
            "fractions of a millisecond are lost",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return np.median(times)
""",
            "this is the median of the runs",
        ),
        (
            """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    for _ in range(runs):
        start = clock()
        action()
        yield (clock() - start) / 1e6
""",
            "a generator, which has run nothing yet",
        ),
    ],
    "percentile": [
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.asarray(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])
""",
            "the runs were not sorted",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[low]), float(ordered[high])
""",
            "the lower end is one run too high",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high - 1])
""",
            "the upper end is one run too low",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if False:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[min(high, n - 1)])
""",
            "a rank above n has no run",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if high + 1 > n:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])
""",
            "a rank of 0 has no run",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 >= n:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])
""",
            "the rank n is still a run",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.05, 0.95], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])
""",
            "0.025 and 0.975",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q / 100))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])
""",
            "percent, not a fraction",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[high]), float(ordered[low - 1])
""",
            "wrong way round",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, *np.percentile(ordered, [2.5, 97.5])
""",
            "percentiles of the runs, not of the count",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, low, high + 1
""",
            "the runs that have them are wanted",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, 0.5).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])
""",
            "the interval is that of the median",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[0]), float(ordered[-1])
""",
            "the range of all runs",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.mean(ordered))
    if low < 1 or high + 1 > n:
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])
""",
            "this is the mean",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q)
    value = float(np.percentile(ordered, q))
    if not (low >= 1 and high + 1 <= n):
        return value, None, None
    return value, float(ordered[int(low) - 1]), float(ordered[int(high)])
""",
            "q / 100, a fraction",
        ),
        (
            """
def my_percentile_interval(times_ms, q):
    ordered, n = np.sort(times_ms), len(times_ms)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    return value, float(ordered[low - 1]) if low >= 1 else None, float(ordered[high]) if high < n else None
""",
            "None for both ends",
        ),
    ],
    "race": [
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {}
    for name, action in contenders.items():
        times[name] = np.array([stopwatch(action, runs, 1, clock) for _ in range(rounds)])
    return times
""",
            "one contender after the other",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs, 0, clock))
    return {name: np.array(blocks) for name, blocks in times.items()}
""",
            "pays for the change of contender",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs + 1, 0, clock))
    return {name: np.array(blocks) for name, blocks in times.items()}
""",
            "the untimed run of each block is among the times",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs, 1))
    return {name: np.array(blocks) for name, blocks in times.items()}
""",
            "not handed on to the stopwatch",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs, 1, clock))
    return {name: np.array(blocks).T for name, blocks in times.items()}
""",
            "rows and columns are exchanged",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs, 1, clock))
    return {name: np.concatenate(blocks) for name, blocks in times.items()}
""",
            "keep one row for each round",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds * runs):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, 1, 0, clock)[0])
    return {name: np.array(blocks).reshape(rounds, runs) for name, blocks in times.items()}
""",
            "change after each single run",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(np.full(runs, stopwatch(action, runs, 1, clock).mean()))
    return {name: np.array(blocks) for name, blocks in times.items()}
""",
            "every later run timed once",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs, 1, clock))
    return list(times.values())
""",
            "a key for each contender",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs, 0, clock)[1:])
    return {name: np.array(blocks) for name, blocks in times.items()}
""",
            "on top of the timed ones",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(np.median(stopwatch(action, runs, 1, clock)))
    return {name: np.array(blocks) for name, blocks in times.items()}
""",
            "each block became one number",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name] = stopwatch(action, runs, 1, clock)
    return times
""",
            "the others are lost",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    return times
""",
            "none of them",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs, runs, clock))
    return {name: np.array(blocks) for name, blocks in times.items()}
""",
            "here more went by",
        ),
        (
            """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: [] for name in contenders}
    action = list(contenders.values())[0]
    for _ in range(rounds):
        for name in contenders:
            times[name].append(stopwatch(action, runs, 1, clock))
    return {name: np.array(blocks) for name, blocks in times.items()}
""",
            "calls of A",
        ),
    ],
    "speed_up": [
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    return float(np.median(candidate_ms) / np.median(reference_ms))
""",
            "upside down",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    return float(np.mean(reference_ms) / np.mean(candidate_ms))
""",
            "one outlier moved the answer",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    return float(np.median(np.asarray(reference_ms) / np.asarray(candidate_ms)))
""",
            "the runs are not pairs",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    return float(np.median(reference_ms) / np.median(candidate_ms)) - 1
""",
            "equal times give 1",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    r, c = sorted(reference_ms), sorted(candidate_ms)
    return float(r[len(r) // 2] / c[len(c) // 2])
""",
            "the mean of the two in the middle",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    r, c = sorted(reference_ms), sorted(candidate_ms)
    return float(r[(len(r) - 1) // 2] / c[(len(c) - 1) // 2])
""",
            "the mean of the two in the middle",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    return float(np.min(reference_ms) / np.min(candidate_ms))
""",
            "not what is typical",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    return 100 * float(np.median(reference_ms) / np.median(candidate_ms) - 1)
""",
            "gain in percent",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    return float(reference_ms[len(reference_ms) // 2] / candidate_ms[len(candidate_ms) // 2])
""",
            "before it was sorted",
        ),
        (
            """
def my_speed_up(reference_ms, candidate_ms):
    return float(np.median(reference_ms) / np.mean(candidate_ms))
""",
            "a mean, the other a median",
        ),
    ],
    "verdict": [
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() > 0 else 'b')
""",
            "smaller time is the faster",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    return 'a' if np.median(a_blocks_ms) < np.median(b_blocks_ms) else 'b'
""",
            "never exactly zero",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    a, b = np.median(a_blocks_ms, axis=1), np.median(b_blocks_ms, axis=1)
    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    d = a.mean() - b.mean()
    return 'noise' if abs(d) <= 2 * error else ('a' if d < 0 else 'b')
""",
            "subtract before you average",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.mean(a_blocks_ms, axis=1) - np.mean(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "median of each block",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std() / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "ddof=1",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    m = np.median(d)
    return 'noise' if abs(m) <= 2 * error else ('a' if m < 0 else 'b')
""",
            "median of the differences",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1)
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "divided by the root of the number of blocks",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / len(d)
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "two standard errors",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= error else ('a' if d.mean() < 0 else 'b')
""",
            "not one",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 3 * error else ('a' if d.mean() < 0 else 'b')
""",
            "not three",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) < 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "exactly two are noise",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=0) - np.median(b_blocks_ms, axis=0)
    d = d if len(d) > 1 else np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "axis 1",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    a, b = (np.sort(x, axis=1)[:, x.shape[1] // 2] for x in (a_blocks_ms, b_blocks_ms))
    d = a - b
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "median of two runs is their mean",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.min(a_blocks_ms, axis=1) - np.min(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "median of two runs is their mean",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms - b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "no pairs",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = d.std(ddof=1) / math.sqrt(len(d) - 1)
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "one less",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    if d.std() == 0: return 'noise'
    error = d.std(ddof=1) / math.sqrt(len(d))
    return 'noise' if abs(d.mean()) <= 2 * error else ('a' if d.mean() < 0 else 'b')
""",
            "zero is noise",
        ),
        (
            """
def my_verdict(a_blocks_ms, b_blocks_ms):
    a, b = np.median(a_blocks_ms, axis=1), np.median(b_blocks_ms, axis=1)
    ea, eb = (2 * x.std(ddof=1) / math.sqrt(len(x)) for x in (a, b))
    if a.mean() + ea < b.mean() - eb:
        return 'a'
    if b.mean() + eb < a.mean() - ea:
        return 'b'
    return 'noise'
""",
            "two intervals may overlap",
        ),
    ],
    "benchmark": [
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    found = {}
    for name, action in contenders.items():
        start = clock()
        for _ in range(10):
            action()
        found[name] = (clock() - start) / 10 / 1e6
    return found
""",
            "warm up, and time many more than ten runs",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    found = {}
    for name, action in contenders.items():
        for _ in range(20):
            action()
        start = clock()
        for _ in range(200):
            action()
        found[name] = (clock() - start) / 200 / 1e6
    return found
""",
            "take the median",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    return {name: float(np.median(stopwatch(action, 200, 20, clock))) for name, action in contenders.items()}
""",
            "they ran one after the other",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    return {name: float(np.median(stopwatch(action, 30, 20, clock))) for name, action in contenders.items()}
""",
            "they ran one after the other",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=20, runs=10, clock=clock)
    return {name: float(found.mean()) for name, found in times.items()}
""",
            "the first runs weigh too much",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=20, runs=10, clock=clock)
    return {name: float(found[2:].mean()) for name, found in times.items()}
""",
            "take the median",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=20, runs=10, clock=clock)
    return {name: float(found.min()) for name, found in times.items()}
""",
            "nearer to the fastest run",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=20, runs=10, clock=clock)
    return {name: float(np.median(found)) / 1e3 for name, found in times.items()}
""",
            "these are seconds",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=2, runs=6, clock=clock)
    return {name: float(np.median(found)) for name, found in times.items()}
""",
            "time many more than ten runs",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=20, runs=10, clock=clock)
    return {name: found for name, found in times.items()}
""",
            "one number of milliseconds",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=20, runs=10)
    return {name: float(np.median(found)) for name, found in times.items()}
""",
            "not handed on",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=3, runs=70, clock=clock)
    return {name: float(np.median(found)) for name, found in times.items()}
""",
            "in few long blocks",
        ),
        (
            """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    for action in contenders.values():
        for _ in range(20):
            action()
    times = race(contenders, rounds=10, runs=1, clock=clock)
    return {name: float(np.median(found)) for name, found in times.items()}
""",
            "",  # by its luck, or because of it
        ),
    ],
    "fits": [
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    deadline = 'kept' if np.mean(times_ms) <= budget['deadline_ms'] else 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "a deadline asks for the p99",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    deadline = 'kept' if np.median(times_ms) <= budget['deadline_ms'] else 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "a deadline asks for the p99",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    deadline = 'kept' if np.percentile(times_ms, 95) <= budget['deadline_ms'] else 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "a deadline asks for the p99",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    deadline = 'kept' if np.max(times_ms) <= budget['deadline_ms'] else 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "the slowest run decides here",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    deadline = 'kept' if np.percentile(times_ms, 99) <= budget['deadline_ms'] else 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "not the p99 itself",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and low <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "kept asks its upper end",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif high is not None and high > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "broken asks its lower end",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    value, deadline = _, 'cannot tell'
    if low is None:
        low = high = value
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "too few to tell the p99",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "must stay free",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if 1.2 * peak_bytes <=   budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "20 percent of what the network takes",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.2 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "80 percent may be used",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high < budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "right at its limit still keeps",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes < budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "right at its limit still keeps",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes < 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "right at its limit still keeps",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= 0.8 * budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "only the memory keeps 20 percent free",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    if deadline == 'broken':
        return {'deadline': deadline, 'storage': 'kept', 'memory': 'kept'}
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "after the first broken one, go on",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is not None and low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return [deadline, storage, memory]
""",
            "return a dict of three words",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is not None and high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low is None or low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "which breaks nothing",
        ),
        (
            """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    _, low, high = percentile_interval(times_ms, 99)
    deadline = 'cannot tell'
    if high is None or high <= budget['deadline_ms']:
        deadline = 'kept'
    elif low > budget['deadline_ms']:
        deadline = 'broken'
    storage = 'kept' if file_bytes <= budget['storage_bytes'] else 'broken'
    memory = 'kept' if peak_bytes <= 0.8 * budget['memory_bytes'] else 'broken'
    return {'deadline': deadline, 'storage': storage, 'memory': memory}
""",
            "too few to tell the p99",
        ),
    ],
}

VARIANTS = {
    "separable": [
        """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    values = 0
    for _ in range(0, height, stride):
        values += len(range(0, width, stride))
    return values * c_in * kernel**2 + values * c_in * c_out
""",
        """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = np.ceil(np.array([height, width]) / stride)
    return h * w * c_in * kernel * kernel + h * w * c_in * c_out
""",
        """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    pad = kernel // 2
    h, w = ((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
    return np.int64(h) * w * c_in * (kernel * kernel + c_out)
""",
        """
def my_separable_macs(height, width, c_in, c_out, kernel=3, stride=1):
    h, w = (height - 1) // stride + 1, -(-width // stride)
    return np.array(h * w * c_in * (kernel * kernel + c_out))
""",
    ],
    "stopwatch": [
        """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return times
""",
        """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    def once():
        start = clock()
        action()
        return clock() - start

    for _ in range(warmup):
        once()
    return np.array([once() for _ in range(runs)]) / 1e6
""",
        """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    ends = np.zeros((warmup + runs, 2))
    for row in ends:
        row[0] = clock()
        action()
        row[1] = clock()
    return np.float32(1e-6 * (ends[warmup:, 1] - ends[warmup:, 0]))
""",
        """
def my_stopwatch(action, runs, warmup=0, clock=time.perf_counter_ns):
    times = np.empty(runs)
    for i in range(-warmup, runs):
        start = clock()
        action()
        if i >= 0:
            times[i] = (clock() - start) / 1e6
    return tuple(times)
""",
    ],
    "percentile": [
        """
def my_percentile_interval(times_ms, q):
    runs = sorted(times_ms)
    few, many = (int(k) for k in binom.interval(0.95, len(runs), q / 100))
    middle = np.percentile(runs, q)
    if few == 0 or many >= len(runs):
        return middle, None, None
    return middle, runs[few - 1], runs[many]
""",
        """
def my_percentile_interval(times_ms, q):
    ordered = np.concatenate([[np.nan], np.sort(times_ms), [np.nan]])
    n = len(times_ms)
    low = int(binom.ppf(0.025, n, q / 100))
    high = min(int(binom.ppf(0.975, n, q / 100)) + 1, n + 1)
    ends = [ordered[low], ordered[high]]
    if np.isnan(ends).any():
        ends = [None, None]
    return [np.quantile(times_ms, q / 100), *ends]
""",
        """
def my_percentile_interval(times_ms, q):
    ordered, n = torch.sort(torch.tensor(times_ms)).values, len(times_ms)
    ranks = binom.ppf([0.025, 0.975], n, q / 100)
    value = torch.quantile(ordered, q / 100)
    if ranks[0] == 0 or ranks[1] == n:
        return value, None, None
    return value, ordered[int(ranks[0]) - 1], ordered[int(ranks[1])]
""",
    ],
    "race": [
        """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    times = {name: np.zeros((rounds, runs)) for name in contenders}
    for r in range(rounds):
        for name in contenders:
            times[name][r] = stopwatch(contenders[name], runs, warmup=1, clock=clock)
    return times
""",
        """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    blocks = [
        {name: list(stopwatch(action, runs, 1, clock)) for name, action in contenders.items()}
        for _ in range(rounds)
    ]
    return {name: [block[name] for block in blocks] for name in contenders}
""",
        """
def my_race(contenders, rounds, runs, clock=time.perf_counter_ns):
    names, draw = list(contenders), np.random.default_rng(1)
    times = {name: [] for name in names}
    for r in range(rounds):
        for name in draw.permutation(names):
            times[str(name)].append(stopwatch(contenders[str(name)], runs + 1, 0, clock)[1:])
    return {name: np.stack(found) for name, found in times.items()}
""",
    ],
    "speed_up": [
        """
def my_speed_up(reference_ms, candidate_ms):
    return np.median(np.float32(reference_ms)) / np.median(np.float32(candidate_ms))
""",
        """
import statistics

def my_speed_up(reference_ms, candidate_ms):
    return statistics.median(reference_ms) / statistics.median(candidate_ms)
""",
        """
def my_speed_up(reference_ms, candidate_ms):
    def middle(times):
        ordered = sorted(float(t) for t in times)
        half = len(ordered) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    return np.array(middle(reference_ms) / middle(candidate_ms))
""",
        """
def my_speed_up(reference_ms, candidate_ms):
    old, new = torch.tensor(reference_ms), torch.tensor(candidate_ms)
    return torch.quantile(old, 0.5) / torch.quantile(new, 0.5)
""",
    ],
    "verdict": [
        """
def my_verdict(a_blocks_ms, b_blocks_ms):
    from scipy import stats
    a, b = np.median(a_blocks_ms, axis=1), np.median(b_blocks_ms, axis=1)
    if stats.ttest_rel(a, b).pvalue >= 0.05:
        return 'noise'
    return 'a' if a.mean() < b.mean() else 'b'
""",
        """
def my_verdict(a_blocks_ms, b_blocks_ms):
    from scipy import stats
    a, b = np.median(a_blocks_ms, axis=1), np.median(b_blocks_ms, axis=1)
    welch = stats.ttest_ind(a, b, equal_var=False)
    return 'noise' if welch.pvalue > 0.05 else ('a' if welch.statistic < 0 else 'b')
""",
        """
import statistics

def my_verdict(a_blocks_ms, b_blocks_ms):
    differences = [statistics.median(a) - statistics.median(b) for a, b in zip(a_blocks_ms, b_blocks_ms)]
    mean = sum(differences) / len(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    if -2 * error <= mean <= 2 * error:
        return 'noise'
    return np.str_('a') if mean < 0 else np.str_('b')
""",
        """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.float32(np.median(a_blocks_ms, axis=1)) - np.float32(np.median(b_blocks_ms, axis=1))
    error = np.sqrt(d.var(ddof=1) / d.size)
    return str(np.select([d.mean() > 2 * error, d.mean() < -2 * error], ['b', 'a'], 'noise'))
""",
        """
def my_verdict(a_blocks_ms, b_blocks_ms):
    d = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    low, high = d.mean() + np.array([-2, 2]) * d.std() / math.sqrt(len(d) - 1)
    return 'b' if low > 0 else 'a' if high < 0 else 'noise'
""",
    ],
    "benchmark": [
        """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    for action in contenders.values():
        for _ in range(20):
            action()
    times = race(contenders, 30, 8, clock)
    return {name: np.percentile(found, 50) for name, found in times.items()}
""",
        """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    for name, action in contenders.items():
        stopwatch(action, 1, 20, clock)
    times = {name: [] for name in contenders}
    for _ in range(150):
        for name, action in contenders.items():
            start = clock()
            action()
            times[name].append(clock() - start)
    return {name: sorted(found)[len(found) // 2] / 1e6 for name, found in times.items()}
""",
        """
def my_benchmark(contenders, clock=time.perf_counter_ns):
    times = race(contenders, rounds=40, runs=5, clock=clock)
    return {name: np.float32(np.median(np.median(found, axis=1))) for name, found in times.items()}
""",
    ],
    "fits": [
        """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    def word(low, high, limit):
        if low is None:
            return 'cannot tell'
        return 'kept' if high <= limit else 'broken' if low > limit else 'cannot tell'

    p99 = percentile_interval(times_ms, 99)
    return {
        'deadline': word(*p99[1:], budget['deadline_ms']),
        'storage': word(file_bytes, file_bytes, budget['storage_bytes']),
        'memory': word(peak_bytes / 0.8, peak_bytes / 0.8, budget['memory_bytes']),
    }
""",
        """
def my_against_budget(times_ms, file_bytes, peak_bytes, budget):
    words = np.array(['kept', 'broken', 'cannot tell'])
    value, low, high = stats.percentile_interval(times_ms, 99)
    if low is None:
        told = 2
    else:
        told = 0 if high <= budget['deadline_ms'] else 1 if low > budget['deadline_ms'] else 2
    free = budget['memory_bytes'] - peak_bytes
    return dict(
        memory=words[int(free < 0.2 * budget['memory_bytes'] - 1e-6)],
        storage=words[int(file_bytes > budget['storage_bytes'])],
        deadline=words[told],
    )
""",
    ],
}

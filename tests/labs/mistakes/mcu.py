"""Lab `mcu`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "lifetimes": [
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            first.setdefault(name, step); last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "weights are in it",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 0):
        for name in read:
            if name in first: last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "runs at step i + 1",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if name in first: last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = last[name]
    return {name: (first[name], last[name]) for name in first}
""",
            "the outputs must live to the last step",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 1)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if name in first: last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "the inputs are there from step 0",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            pass
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "until its last reader",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if name in first: last[name] = max(first[name], step - 1)
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "the step that reads",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if last.get(name) == first.get(name, -1): last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "the first reader ends the life",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if name in first: last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators) - 1
    return {name: (first[name], last[name]) for name in first}
""",
            "one step too short",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if name in first: last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators) + 1
    return {name: (first[name], last[name]) for name in first}
""",
            "one step too long",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if name in first: last[name] = step + 1
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "not one later",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 0):
        for name in read:
            if name in first: last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators) - 1
    return {name: (first[name], last[name]) for name in first}
""",
            "runs at step i + 1",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if name in first: last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name] - first[name]) for name in first}
""",
            "first step and length",
        ),
        (
            """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, 1):
        for name in read:
            if name in first: last[name] = step
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return [(first[name], last[name]) for name in first]
""",
            "return a dict of names",
        ),
    ],
    "tightest_gap": [
        (
            """
def tightest_gap(size, taken):
    free = 0
    for start, end in sorted(taken):
        if start - free >= size:
            return free
        free = max(free, end)
    return free
""",
            "the first gap that is large enough",
        ),
        (
            """
def tightest_gap(size, taken):
    gaps, free = [], 0
    for start, end in sorted(taken):
        if start - free > size:
            gaps.append((start - free, free))
        free = max(free, end)
    return min(gaps)[1] if gaps else free
""",
            "a gap of exactly that size",
        ),
        (
            """
def tightest_gap(size, taken):
    gaps, free = [], 0
    for start, end in taken:
        if start - free >= size:
            gaps.append((start - free, free))
        free = max(free, end)
    return min(gaps)[1] if gaps else free
""",
            "sort them",
        ),
        (
            """
def tightest_gap(size, taken):
    gaps, free = [], 0
    for start, end in sorted(taken):
        if start - free >= size:
            gaps.append((start - free, free))
        free = end
    return min(gaps)[1] if gaps else free
""",
            "ranges may overlap",
        ),
        (
            """
def tightest_gap(size, taken):
    ordered = sorted(taken)
    gaps = []
    free = ordered[0][0] if ordered else 0
    for start, end in ordered:
        if start - free >= size:
            gaps.append((start - free, free))
        free = max(free, end)
    return min(gaps)[1] if gaps else free
""",
            "the memory before the first range",
        ),
        (
            """
def tightest_gap(size, taken):
    return max((end for _, end in taken), default=0)
""",
            "the gaps were not looked at",
        ),
        (
            """
def tightest_gap(size, taken):
    best, free = None, 0
    for start, end in sorted(taken):
        gap = start - free
        if gap >= size and (best is None or gap <= best[0]):
            best = (gap, free)
        free = max(free, end)
    return free if best is None else best[1]
""",
            "of equal gaps take the lowest",
        ),
        (
            """
def tightest_gap(size, taken):
    best, free = None, 0
    for start, end in sorted(taken, key=lambda r: r[1]):
        gap = start - free
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, free)
        free = max(free, end)
    return free if best is None else best[1]
""",
            "sorted by their end",
        ),
        (
            """
def tightest_gap(size, taken):
    best, free = None, 0
    for start, end in sorted(taken):
        gap = start - free
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, free)
        free = max(free, end)
    return free if best is None else best[1] + best[0] - size
""",
            "lower end of its gap",
        ),
        (
            """
def tightest_gap(size, taken):
    best, free = None, 0
    for start, end in sorted(taken):
        gap = start - free
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, free)
        free = max(free, end)
    return free if best is None else best[1] + size
""",
            "where the buffer ends",
        ),
        (
            """
def tightest_gap(size, taken):
    best, free = None, 0
    for start, end in sorted(taken):
        gap = start - free
        if gap >= size and (best is None or gap > best[0]):
            best = (gap, free)
        free = max(free, end)
    return free if best is None else best[1]
""",
            "largest gap",
        ),
    ],
    "smallest_arena": [
        (
            """
def smallest_arena(works, enough, step=16):
    size = enough
    while size // 2 and works(size // 2):
        size //= 2
    return size
""",
            "this is what halving finds",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    for size in range(step, enough + 1, step):
        if works(size):
            return size
""",
            "halve the interval instead",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    low, high = 0, enough // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * step) else (middle, high)
    return low * step
""",
            "the last size that does not work",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    low, high = 0, enough // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * step) else (middle, high)
    return high
""",
            "the answer is in steps",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    low, high = 0, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high
""",
            "halve the number of steps, not the number of bytes",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    low, high = 0, enough // step
    while high > low:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * step) else (middle, high)
    return high * step
""",
            "a loop that never ends",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    low, high = 0, enough // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * step) else (middle, high)
    return (high + 1) * step
""",
            "one step too much",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    step = 16
    low, high = 0, enough // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * step) else (middle, high)
    return high * step
""",
            "step is ignored",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    return enough
""",
            "nothing was searched",
        ),
        (
            """
def smallest_arena(works, enough, step=16):
    size = enough
    while works(size - step) and size > step:
        size -= step
    return size
""",
            "halve the interval instead",
        ),
    ],
    "tail": [
        (
            """
def tail_bytes(requests, arena_bytes):
    return sum(size for size, alignment in requests)
""",
            "the alignment is ignored",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    return sum(-(-size // a) * a for size, a in requests)
""",
            "it is the address that must be divisible",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in requests:
        address = address // alignment * alignment - size
    return arena_bytes - address
""",
            "round after you subtract",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in requests:
        address = -(-(address - size) // alignment) * alignment
    return arena_bytes - address
""",
            "rounded up, into the record above",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    used = 0
    for size, alignment in requests:
        used = -(-used // alignment) * alignment + size
    return used
""",
            "grows up from 0",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in requests:
        address = (address - size) // alignment * alignment
    return address
""",
            "this is the address",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in reversed(requests):
        address = (address - size) // alignment * alignment
    return arena_bytes - address
""",
            "taken from behind",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in sorted(requests, reverse=True):
        address = (address - size) // alignment * alignment
    return arena_bytes - address
""",
            "were sorted",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    used = 0
    for size, alignment in requests:
        used = -(-(used + size) // alignment) * alignment
    return used
""",
            "bytes so far were rounded up",
        ),
        (
            """
def tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in requests:
        address = (address - size) // alignment * alignment
    return address - arena_bytes
""",
            "the sign is wrong",
        ),
    ],
    "broken": [
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    ram = arena_bytes + stack_bytes
    return found + (['SRAM'] if ram > (1 - headroom) * chip.sram_total_bytes else [])
""",
            "the largest piece, not in all of the SRAM",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes + stack_bytes > chip.sram_bytes else [])
""",
            "the headroom is forgotten",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes > (1 - headroom) * chip.sram_bytes else [])
""",
            "the stack is forgotten",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    ram = (1 + headroom) * (arena_bytes + stack_bytes)
    return found + (['SRAM'] if ram > chip.sram_bytes else [])
""",
            "a share of the SRAM, not of what the network needs",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes + stack_bytes > 0.8 * chip.sram_bytes else [])
""",
            "the argument headroom is ignored",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > (1 - headroom) * chip.flash_bytes else []
    ram = arena_bytes + stack_bytes
    return found + (['SRAM'] if ram > (1 - headroom) * chip.sram_bytes else [])
""",
            "flash needs no headroom",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    if flash_bytes > chip.flash_bytes:
        return ['flash']
    ram = arena_bytes + stack_bytes
    return ['SRAM'] if ram > (1 - headroom) * chip.sram_bytes else []
""",
            "name both, not only the first",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes / (1 - headroom) + stack_bytes > chip.sram_bytes else [])
""",
            "the stack was added after the headroom",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    ram = arena_bytes + stack_bytes
    return found + (['SRAM'] if ram >= (1 - headroom) * chip.sram_bytes else [])
""",
            "what fits exactly, fits",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes >= chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes else [])
""",
            "what fits exactly, fits",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return (['SRAM'] if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes else []) + found
""",
            "flash comes first",
        ),
        (
            """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes:
        return 'SRAM'
    return 'flash' if flash_bytes > chip.flash_bytes else ''
""",
            "return a list of names",
        ),
    ],
}

VARIANTS = {
    "lifetimes": [
        """
def lifetimes(operators, inputs, outputs):
    known = [*inputs, *(name for _, written in operators for name in written)]
    found = {}
    for name in known:
        start = next((step for step, (_, written) in enumerate(operators, 1) if name in written), 0)
        uses = [step for step, (read, _) in enumerate(operators, 1) if name in read]
        end = len(operators) if name in outputs else max([start, *uses])
        found[np.str_(name)] = [np.int64(start), np.int64(end)]
    return found
""",
        """
def lifetimes(operators, inputs, outputs):
    life = {name: [0, 0] for name in inputs}
    for index in range(len(operators)):
        read, written = operators[index]
        for name in written:
            life[name] = [index + 1, index + 1]
        for name in read:
            if name in life:
                life[name][1] = index + 1
    for name in outputs:
        life[name][1] = len(operators)
    return {name: tuple(ends) for name, ends in life.items()}
""",
        """
def lifetimes(operators, inputs, outputs):
    from collections import defaultdict
    steps = defaultdict(list)
    for name in inputs:
        steps[name].append(0)
    for step, (read, written) in enumerate(operators, start=1):
        for name in [*written, *(name for name in read if name in steps)]:
            steps[name].append(step)
    for name in outputs:
        steps[name].append(len(operators))
    return {name: np.array([min(used), max(used)]) for name, used in steps.items()}
""",
    ],
    "tightest_gap": [
        """
def tightest_gap(size, taken):
    end_of_all = max([end for _, end in taken], default=0)
    busy = np.zeros(end_of_all + 1, bool)
    for start, end in taken:
        busy[start:end] = True
    busy[end_of_all] = True
    edges = np.flatnonzero(np.diff(np.r_[True, busy].astype(int)))
    gaps = [(b - a, a) for a, b in zip(edges[::2], edges[1::2]) if b - a >= size]
    return min(gaps)[1] if gaps else np.int64(end_of_all)
""",
        """
def tightest_gap(size, taken):
    merged = []
    for start, end in sorted(taken):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    starts = [0] + [end for _, end in merged]
    ends = [start for start, _ in merged] + [float('inf')]
    gaps = [(e - s, s) for s, e in zip(starts, ends) if e - s >= size]
    return float(min(gaps)[1])
""",
    ],
    "smallest_arena": [
        """
def smallest_arena(works, enough, step=16):
    def search(low, high):
        if high - low == step:
            return high
        middle = (low // step + high // step) // 2 * step
        return search(low, middle) if works(middle) else search(middle, high)
    return search(0, enough)
""",
        """
import bisect

def smallest_arena(works, enough, step=16):
    sizes = range(step, enough + 1, step)
    return sizes[bisect.bisect_left(sizes, True, key=lambda size: bool(works(size)))]
""",
        """
def smallest_arena(works, enough, step=16):
    size = step
    while not works(size):
        size *= 2
    low, high = size // 2 // step, size // step
    while high - low > 1:
        middle = (low + high) // 2
        if works(step * middle):
            high = middle
        else:
            low = middle
    return np.int64(high * step)
""",
    ],
    "tail": [
        """
def tail_bytes(requests, arena_bytes):
    used = 0
    for size, alignment in requests:
        used += size
        used += (arena_bytes - used) % alignment
    return used
""",
        """
def tail_bytes(requests, arena_bytes):
    top = np.int64(arena_bytes)
    for size, alignment in requests:
        top = (top - size) & ~(np.int64(alignment) - 1)
    return np.array(arena_bytes - top)
""",
        """
def tail_bytes(requests, arena_bytes):
    from functools import reduce
    lowest = reduce(lambda top, r: math.floor((top - r[0]) / r[1]) * r[1], requests, arena_bytes)
    return float(arena_bytes - lowest)
""",
    ],
    "broken": [
        """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    free = chip.sram_bytes - arena_bytes - stack_bytes
    checks = {'flash': flash_bytes <= chip.flash_bytes, 'SRAM': free >= headroom * chip.sram_bytes}
    return tuple(name for name, fits in checks.items() if not fits)
""",
        """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    shares = np.array([flash_bytes / chip.flash_bytes, (arena_bytes + stack_bytes) / chip.sram_bytes])
    return np.array(['flash', 'SRAM'])[shares > np.array([1, 1 - headroom])]
""",
        """
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if not flash_bytes <= chip.flash_bytes:
        found.append(np.str_('flash'))
    if not (arena_bytes + stack_bytes) <= chip.sram_bytes * (1 - headroom):
        found.append(np.str_('SRAM'))
    return found
""",
    ],
}

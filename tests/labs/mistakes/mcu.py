"""Plausible wrong answers of lab `mcu`: exercise -> (code of the exercise cell, words that the message must hold)."""

_LIFETIMES = """
def lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, {start})
    last = dict(first)
    for step, (read, written) in enumerate(operators, {base}):
        for name in read:
            {reading}
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = {end}
    return {{name: (first[name], last[name]) for name in first}}
"""


def _lifetimes(start="0", base="1", reading="if name in first: last[name] = step", end="len(operators)"):
    return _LIFETIMES.format(start=start, base=base, reading=reading, end=end)


MISTAKES = {
    "lifetimes": [
        (_lifetimes(reading="first.setdefault(name, step); last[name] = step"), "weights are in it"),
        (_lifetimes(base="0"), "runs at step i + 1"),
        (_lifetimes(end="last[name]"), "the outputs must live to the last step"),
        (_lifetimes(start="1"), "the inputs are there from step 0"),
        (_lifetimes(reading="pass"), "until its last reader"),
        (_lifetimes(reading="if name in first: last[name] = max(first[name], step - 1)"), "the step that reads"),
        (
            _lifetimes(reading="if last.get(name) == first.get(name, -1): last[name] = step"),
            "the first reader ends the life",
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
    ram = arena_bytes + stack_bytes
    return found + (['SRAM'] if ram >= (1 - headroom) * chip.sram_bytes else [])
""",
            "what fits exactly, fits",
        ),
    ],
}

VARIANTS = {}

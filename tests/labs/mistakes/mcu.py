"""Plausible wrong answers of lab `mcu`: exercise -> (code of the exercise cell, words that the message must hold)."""

_LIFETIMES = (
    "def lifetimes(operators, inputs, outputs):\n"
    "    first = dict.fromkeys(inputs, {start})\n"
    "    last = dict(first)\n"
    "    for step, (read, written) in enumerate(operators, {base}):\n"
    "        for name in read:\n"
    "            {reading}\n"
    "        for name in written:\n"
    "            first[name] = last[name] = step\n"
    "    for name in outputs:\n"
    "        last[name] = {end}\n"
    "    return {{name: (first[name], last[name]) for name in first}}\n"
)


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
            "def tightest_gap(size, taken):\n"
            "    free = 0\n"
            "    for start, end in sorted(taken):\n"
            "        if start - free >= size:\n"
            "            return free\n"
            "        free = max(free, end)\n"
            "    return free\n",
            "the first gap that is large enough",
        ),
        (
            "def tightest_gap(size, taken):\n"
            "    gaps, free = [], 0\n"
            "    for start, end in sorted(taken):\n"
            "        if start - free > size:\n"
            "            gaps.append((start - free, free))\n"
            "        free = max(free, end)\n"
            "    return min(gaps)[1] if gaps else free\n",
            "a gap of exactly that size",
        ),
        (
            "def tightest_gap(size, taken):\n"
            "    gaps, free = [], 0\n"
            "    for start, end in taken:\n"
            "        if start - free >= size:\n"
            "            gaps.append((start - free, free))\n"
            "        free = max(free, end)\n"
            "    return min(gaps)[1] if gaps else free\n",
            "sort them",
        ),
        (
            "def tightest_gap(size, taken):\n"
            "    gaps, free = [], 0\n"
            "    for start, end in sorted(taken):\n"
            "        if start - free >= size:\n"
            "            gaps.append((start - free, free))\n"
            "        free = end\n"
            "    return min(gaps)[1] if gaps else free\n",
            "ranges may overlap",
        ),
        (
            "def tightest_gap(size, taken):\n"
            "    ordered = sorted(taken)\n"
            "    gaps = []\n"
            "    free = ordered[0][0] if ordered else 0\n"
            "    for start, end in ordered:\n"
            "        if start - free >= size:\n"
            "            gaps.append((start - free, free))\n"
            "        free = max(free, end)\n"
            "    return min(gaps)[1] if gaps else free\n",
            "the memory before the first range",
        ),
        (
            "def tightest_gap(size, taken):\n    return max((end for _, end in taken), default=0)\n",
            "the gaps were not looked at",
        ),
        (
            "def tightest_gap(size, taken):\n"
            "    best, free = None, 0\n"
            "    for start, end in sorted(taken):\n"
            "        gap = start - free\n"
            "        if gap >= size and (best is None or gap <= best[0]):\n"
            "            best = (gap, free)\n"
            "        free = max(free, end)\n"
            "    return free if best is None else best[1]\n",
            "of equal gaps take the lowest",
        ),
    ],
    "smallest_arena": [
        (
            "def smallest_arena(works, enough, step=16):\n"
            "    size = enough\n"
            "    while size // 2 and works(size // 2):\n"
            "        size //= 2\n"
            "    return size\n",
            "this is what halving finds",
        ),
        (
            "def smallest_arena(works, enough, step=16):\n"
            "    for size in range(step, enough + 1, step):\n"
            "        if works(size):\n"
            "            return size\n",
            "halve the interval instead",
        ),
        (
            "def smallest_arena(works, enough, step=16):\n"
            "    low, high = 0, enough // step\n"
            "    while high - low > 1:\n"
            "        middle = (low + high) // 2\n"
            "        low, high = (low, middle) if works(middle * step) else (middle, high)\n"
            "    return low * step\n",
            "the last size that does not work",
        ),
        (
            "def smallest_arena(works, enough, step=16):\n"
            "    low, high = 0, enough // step\n"
            "    while high - low > 1:\n"
            "        middle = (low + high) // 2\n"
            "        low, high = (low, middle) if works(middle * step) else (middle, high)\n"
            "    return high\n",
            "the answer is in steps",
        ),
        (
            "def smallest_arena(works, enough, step=16):\n"
            "    low, high = 0, enough\n"
            "    while high - low > 1:\n"
            "        middle = (low + high) // 2\n"
            "        low, high = (low, middle) if works(middle) else (middle, high)\n"
            "    return high\n",
            "halve the number of steps, not the number of bytes",
        ),
        (
            "def smallest_arena(works, enough, step=16):\n"
            "    low, high = 0, enough // step\n"
            "    while high > low:\n"
            "        middle = (low + high) // 2\n"
            "        low, high = (low, middle) if works(middle * step) else (middle, high)\n"
            "    return high * step\n",
            "a loop that never ends",
        ),
    ],
    "tail": [
        (
            "def tail_bytes(requests, arena_bytes):\n    return sum(size for size, alignment in requests)\n",
            "the alignment is ignored",
        ),
        (
            "def tail_bytes(requests, arena_bytes):\n    return sum(-(-size // a) * a for size, a in requests)\n",
            "it is the address that must be divisible",
        ),
        (
            "def tail_bytes(requests, arena_bytes):\n"
            "    address = arena_bytes\n"
            "    for size, alignment in requests:\n"
            "        address = address // alignment * alignment - size\n"
            "    return arena_bytes - address\n",
            "round after you subtract",
        ),
        (
            "def tail_bytes(requests, arena_bytes):\n"
            "    address = arena_bytes\n"
            "    for size, alignment in requests:\n"
            "        address = -(-(address - size) // alignment) * alignment\n"
            "    return arena_bytes - address\n",
            "rounded up, into the record above",
        ),
        (
            "def tail_bytes(requests, arena_bytes):\n"
            "    used = 0\n"
            "    for size, alignment in requests:\n"
            "        used = -(-used // alignment) * alignment + size\n"
            "    return used\n",
            "grows up from 0",
        ),
        (
            "def tail_bytes(requests, arena_bytes):\n"
            "    address = arena_bytes\n"
            "    for size, alignment in requests:\n"
            "        address = (address - size) // alignment * alignment\n"
            "    return address\n",
            "this is the address",
        ),
    ],
    "broken": [
        (
            "def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):\n"
            "    found = ['flash'] if flash_bytes > chip.flash_bytes else []\n"
            "    ram = arena_bytes + stack_bytes\n"
            "    return found + (['SRAM'] if ram > (1 - headroom) * chip.sram_total_bytes else [])\n",
            "the largest piece, not in all of the SRAM",
        ),
        (
            "def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):\n"
            "    found = ['flash'] if flash_bytes > chip.flash_bytes else []\n"
            "    return found + (['SRAM'] if arena_bytes + stack_bytes > chip.sram_bytes else [])\n",
            "the headroom is forgotten",
        ),
        (
            "def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):\n"
            "    found = ['flash'] if flash_bytes > chip.flash_bytes else []\n"
            "    return found + (['SRAM'] if arena_bytes > (1 - headroom) * chip.sram_bytes else [])\n",
            "the stack is forgotten",
        ),
        (
            "def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):\n"
            "    found = ['flash'] if flash_bytes > chip.flash_bytes else []\n"
            "    ram = (1 + headroom) * (arena_bytes + stack_bytes)\n"
            "    return found + (['SRAM'] if ram > chip.sram_bytes else [])\n",
            "a share of the SRAM, not of what the network needs",
        ),
        (
            "def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):\n"
            "    found = ['flash'] if flash_bytes > chip.flash_bytes else []\n"
            "    return found + (['SRAM'] if arena_bytes + stack_bytes > 0.8 * chip.sram_bytes else [])\n",
            "the argument headroom is ignored",
        ),
        (
            "def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):\n"
            "    found = ['flash'] if flash_bytes > (1 - headroom) * chip.flash_bytes else []\n"
            "    ram = arena_bytes + stack_bytes\n"
            "    return found + (['SRAM'] if ram > (1 - headroom) * chip.sram_bytes else [])\n",
            "flash needs no headroom",
        ),
        (
            "def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):\n"
            "    if flash_bytes > chip.flash_bytes:\n"
            "        return ['flash']\n"
            "    ram = arena_bytes + stack_bytes\n"
            "    return ['SRAM'] if ram > (1 - headroom) * chip.sram_bytes else []\n",
            "name both, not only the first",
        ),
        (
            "def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):\n"
            "    found = ['flash'] if flash_bytes > chip.flash_bytes else []\n"
            "    ram = arena_bytes + stack_bytes\n"
            "    return found + (['SRAM'] if ram >= (1 - headroom) * chip.sram_bytes else [])\n",
            "what fits exactly, fits",
        ),
    ],
}

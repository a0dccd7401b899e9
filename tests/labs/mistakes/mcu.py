"""Lab `mcu`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "lifetimes": [
        (
            """
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
        (
            """
def my_lifetimes(operators, inputs, outputs):
    lives = {n: (0, 0) for n in inputs}
    for step, (read, written) in enumerate(operators, 1):
        for n in written: lives[n] = (step, step)
        for n in read:
            if n in lives: lives[n] = (lives[n][0], step)
    for n in outputs: lives[n] = (lives[n][0], len(operators))
    return {n: list(range(f, l + 1)) for n, (f, l) in lives.items()}
""",
            "these are all steps of a life",
        ),
        (
            """
def my_lifetimes(operators, inputs, outputs):
    lives = {n: (0, len(operators)) for n in inputs}
    for step, (read, written) in enumerate(operators, 1):
        for n in written: lives[n] = (step, step)
        for n in read:
            if n in lives and n not in inputs: lives[n] = (lives[n][0], step)
    for n in outputs: lives[n] = (lives[n][0], len(operators))
    return lives
""",
            "the inputs live to the last step",
        ),
        (
            """
def my_lifetimes(operators, inputs, outputs):
    lives = {n: (0, 0) for n in inputs}
    for step, (read, written) in enumerate(operators, 1):
        for n in written: lives[n] = (step, step)
        n = read[0]
        if n in lives: lives[n] = (lives[n][0], step)
    for n in outputs: lives[n] = (lives[n][0], len(operators))
    return lives
""",
            "names that an operator reads",
        ),
        (
            """
def my_lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    for step, (read, written) in enumerate(operators, 1):
        for n in written: first[n] = step
    return {n: (f, len(operators)) for n, f in first.items()}
""",
            "every tensor lives to the last step",
        ),
        (
            """
def my_lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, start=1):
        last.update({name: step for name in read if name in first})
        for name in written:
            first[name] = last[name] = step
    last[outputs[-1]] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "only the last of the outputs",
        ),
        (
            """
def my_lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, start=1):
        last.update({name: step for name in read if name in first})
        for name in written:
            first[name] = step + 1; last[name] = step + 1
    for n in outputs: last[n] = len(operators)
    return {name: (first[name], last[name]) for name in first}
""",
            "not one later",
        ),
        (
            """
def my_lifetimes(operators, inputs, outputs):
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, start=1):
        last.update({name: step for name in read})
        for name in written:
            first[name] = last[name] = step
    for n in outputs: last[n] = len(operators)
    return {name: (first.get(name, 0), last[name]) for name in last}
""",
            "weights are in it from step 0",
        ),
    ],
    "alive": [
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (1 + max(last for _, last in lives.values()))
    for name, (first, last) in lives.items():
        for step in range(first, last):
            if step < len(sums):
                sums[step] += sizes[name]
    return sums
""",
            "the last step of a life was left out",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (1 + max(last for _, last in lives.values()))
    for name, (first, last) in lives.items():
        for step in range(first, last + 2):
            if step < len(sums):
                sums[step] += sizes[name]
    return sums
""",
            "one step too long",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (1 + max(last for _, last in lives.values()))
    for name, (first, last) in lives.items():
        for step in range(first + 1, last + 1):
            if step < len(sums):
                sums[step] += sizes[name]
    return sums
""",
            "the first step of a life was left out",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (1 + max(last for _, last in lives.values()))
    for name, (first, last) in lives.items():
        for step in range(first, last + 1):
            if step < len(sums):
                sums[step] += 1
    return sums
""",
            "not how many bytes",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (max(last for _, last in lives.values()))
    for name, (first, last) in lives.items():
        for step in range(first, last + 1):
            if step < len(sums):
                sums[step] += sizes[name]
    return sums
""",
            "one step too short",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (1 + max(last for _, last in lives.values()))
    for name, (first, last) in lives.items():
        for step in range(first, last + 1):
            if step < len(sums):
                sums[step] += sizes[name]
    return max(sums)
""",
            "this is the lower bound",
        ),
        (
            """
def my_alive(lives, sizes):
    steps = 1 + max(last for _, last in lives.values())
    return [max([sizes[n] for n, (f, l) in lives.items() if f <= t <= l], default=0) for t in range(steps)]
""",
            "not the sum",
        ),
        (
            """
def my_alive(lives, sizes):
    steps = 1 + max(last for _, last in lives.values())
    return [sum(sizes[n] for n, (f, l) in lives.items() if f == t) for t in range(steps)]
""",
            "what is still needed counts, too",
        ),
        (
            """
def my_alive(lives, sizes):
    steps = 1 + max(last for _, last in lives.values())
    return [sum(sizes[n] for n, (f, l) in lives.items() if f <= t) for t in range(steps)]
""",
            "nothing was given back",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (2 + max(last for _, last in lives.values()))
    for name, (first, last) in lives.items():
        for step in range(first, last + 1):
            if step < len(sums):
                sums[step] += sizes[name]
    return sums
""",
            "one step too long",
        ),
        (
            """
def my_alive(lives, sizes):
    return [sum(sizes[n] for n, (f, l) in lives.items() if f <= t <= l) for t in range(len(lives))]
""",
            "as many steps as tensors",
        ),
        (
            """
def my_alive(lives, sizes):
    steps = list(lives.values())[-1][1] + 1
    return [sum(sizes[n] for n, (f, l) in lives.items() if f <= t <= l) for t in range(steps)]
""",
            "ends with the last tensor of the dict",
        ),
        (
            """
def my_alive(lives, sizes):
    steps = 1 + max(l for _, l in lives.values())
    s = [sum(sizes[n] for n, (f, l) in lives.items() if f <= t <= l) for t in range(steps)]
    return [x for x in s if x]
""",
            "nobody is alive are missing",
        ),
        (
            """
def my_alive(lives, sizes):
    steps = 1 + max(l for _, l in lives.values())
    return [sum(sizes[n] for n, (f, l) in lives.items() if f <= t <= l) for t in range(1, steps)]
""",
            "step 0 is missing",
        ),
        (
            """
def my_alive(lives, sizes):
    steps = 1 + max(l for _, l in lives.values())
    s = [sum(sizes[n] for n, (f, l) in lives.items() if f <= t <= l) for t in range(steps)]
    return list(np.maximum.accumulate(s))
""",
            "the largest sum so far",
        ),
        (
            """
def my_alive(lives, sizes):
    steps = 1 + max(l for _, l in lives.values())
    s = [sum(sizes[n] for n, (f, l) in lives.items() if f <= t <= l) for t in range(steps)]
    return list(np.cumsum(s))
""",
            "added up over the steps",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (1 + max(l for _, l in lives.values()))
    for n, (f, l) in lives.items():
        for t in range(l + 1):
            sums[t] += sizes[n]
    return sums
""",
            "not at step 0",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (1 + max(l for _, l in lives.values()))
    for n, (f, l) in lives.items():
        sums[f] += sizes[n]
        if l != f: sums[l] += sizes[n]
    return sums
""",
            "those between count, too",
        ),
        (
            """
def my_alive(lives, sizes):
    sums = [0] * (1 + max(l for _, l in lives.values()))
    for n, (f, l) in lives.items():
        for t in range(f, l + 1):
            sums[t] += sizes[n]
        return sums
""",
            "a return inside of the loop",
        ),
    ],
    "first_gap": [
        (
            """
def my_first_gap(size, taken):
    best, free = None, 0
    for start, end in sorted(taken):
        gap = start - free
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, free)
        free = max(free, end)
    return free if best is None else best[1]
""",
            "this is the tightest gap",
        ),
        (
            """
def my_first_gap(size, taken):
    best, free = None, 0
    for start, end in sorted(taken):
        gap = start - free
        if gap >= size and (best is None or gap > best[0]):
            best = (gap, free)
        free = max(free, end)
    return free if best is None else best[1]
""",
            "this is the largest gap",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for start, end in taken:
        if start - free >= size:
            break
        free = max(free, end)
    return free
""",
            "sort them",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for start, end in sorted(taken):
        if start - free >= size:
            break
        free = end
    return free
""",
            "the largest end so far was forgotten",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for start, end in sorted(taken):
        if start - free > size:
            break
        free = max(free, end)
    return free
""",
            "a gap of exactly that size is large enough",
        ),
        (
            """
def my_first_gap(size, taken):
    free = min((s for s, _ in taken), default=0)
    for start, end in sorted(taken):
        if start - free >= size:
            break
        free = max(free, end)
    return free
""",
            "the memory before the first range",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for start, end in sorted(taken):
        if start - free >= size:
            break
        free = max(free, end)
    return free + size
""",
            "this is where the buffer ends",
        ),
        (
            """
def my_first_gap(size, taken):
    return max((end for _, end in taken), default=0)
""",
            "behind the last range",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for start, end in sorted(taken):
        if start - free >= size:
            return start - size
        free = max(free, end)
    return free
""",
            "at the lower end of its gap",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for start, end in sorted(taken):
        if start > free:
            break
        free = max(free, end)
    return free
""",
            "whether or not the buffer fits there",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for s, e in sorted(taken):
        if s - free >= size: return free
        free = max(free, e)
    return 0
""",
            "behind the last range, not to 0",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for s, e in sorted(taken):
        if s - free >= size: break
        free += e - s
    return free
""",
            "the sizes of the ranges were added up",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for s, e in sorted(taken):
        if s - free >= size: break
        free = max(free, e)
    return -(-free // 16) * 16
""",
            "rounded up to 16",
        ),
        (
            """
def my_first_gap(size, taken):
    free = 0
    for s, e in sorted(taken):
        if s - free >= size: break
        free = max(free, e)
    return free, free + size
""",
            "an address is a number",
        ),
        (
            """
def my_first_gap(size, taken):
    for place in sorted([0, *(e for _, e in taken)]):
        if any(place + size <= s or place >= e for s, e in taken) or not taken: return place
""",
            "it must be free of each",
        ),
    ],
    "place": [
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(buffers, key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "the later goes first",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(buffers, key=lambda b: b.size_bytes, reverse=True):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "the later goes first",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "the smallest went first",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in buffers:
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "in the order of the list or of their first steps",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in reversed(buffers):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "from the end of the list",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if True]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "only those that meet in time",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if False]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "may not overlap",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first < b.last and b.first < o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "share just one step meet",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "they also meet if the other begins later",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if b.first <= o.first <= b.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "they also meet if this one begins later",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = max((e for _, e in taken), default=0)
        done.append(b)
    return address
""",
            "no gap was used",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return {b.name: address[b.name] + b.size_bytes for b in buffers}
""",
            "these are the ends",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return list(address.values())
""",
            "return a dict",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(buffers, key=lambda b: b.first):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "of their first steps",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        done.append(b); address[b.name] = 0
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
    return address
""",
            "in its own way",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes * (b.last - b.first + 1)):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "size times length of life",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = -(-first_gap(b.size_bytes, taken)//16)*16+0*16
        done.append(b)
    return address
""",
            "rounded up to 16",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return {n: (a, a) for n, a in address.items()}
""",
            "an address is one number",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return {b: address[b.name] for b in buffers}
""",
            "their names are asked for",
        ),
        (
            """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + b.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
            "the size of this one",
        ),
    ],
    "tail": [
        (
            """
def my_tail_bytes(requests, arena_bytes):
    return sum(size for size, alignment in requests)
""",
            "the alignment is ignored",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    return sum(-(-size // a) * a for size, a in requests)
""",
            "it is the address that must be divisible",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in requests:
        address = address // alignment * alignment - size
    return arena_bytes - address
""",
            "round after you subtract",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in requests:
        address = -(-(address - size) // alignment) * alignment
    return arena_bytes - address
""",
            "rounded up, into the record above",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    used = 0
    for size, alignment in requests:
        used = -(-used // alignment) * alignment + size
    return used
""",
            "grows up from 0",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in requests:
        address = (address - size) // alignment * alignment
    return address
""",
            "this is the address",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in reversed(requests):
        address = (address - size) // alignment * alignment
    return arena_bytes - address
""",
            "taken from behind",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in sorted(requests, reverse=True):
        address = (address - size) // alignment * alignment
    return arena_bytes - address
""",
            "were sorted",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    used = 0
    for size, alignment in requests:
        used = -(-(used + size) // alignment) * alignment
    return used
""",
            "bytes so far were rounded up",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    address = arena_bytes
    for size, alignment in requests:
        address = (address - size) // alignment * alignment
    return address - arena_bytes
""",
            "the sign is wrong",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    top = arena_bytes
    for s, a in requests:
        top = top - s - a
    return arena_bytes - top
""",
            "both subtracted",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    top = arena_bytes
    for s, a in requests:
        top = (top - s) % a
    return arena_bytes - top
""",
            "this is what is left over",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    top = arena_bytes
    for s, a in requests:
        top -= s
        top += top % a
    return arena_bytes - top
""",
            "what is left over was added",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    top, found = arena_bytes, []
    for s, a in requests:
        top = (top - s) // a * a
        found.append(top)
    return found
""",
            "these are the addresses",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    top = arena_bytes
    for s, a in requests:
        top = top - s // a * a
    return arena_bytes - top
""",
            "the size was rounded down",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    top = arena_bytes
    for s, a in requests:
        top = top // a * a
    return arena_bytes - top
""",
            "the sizes were not subtracted",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    top = arena_bytes
    for s, a in requests:
        top = (top - s) // a * a
    return arena_bytes - top - sum(s for s, _ in requests)
""",
            "the lost bytes alone",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    most = max((a for _, a in requests), default=1)
    top = arena_bytes
    for s, a in requests:
        top = (top - s) // most * most
    return arena_bytes - top
""",
            "rounded to the largest alignment",
        ),
        (
            """
def my_tail_bytes(requests, arena_bytes):
    top = arena_bytes
    for s, a in requests:
        top = (top - s) // 4 * 4
    return arena_bytes - top
""",
            "rounded to 4",
        ),
    ],
    "smallest_arena": [
        (
            """
def my_smallest_arena(works, enough, step=16):
    size = enough
    while size // 2 and works(size // 2):
        size //= 2
    return size
""",
            "this is what halving finds",
        ),
        (
            """
def my_smallest_arena(works, enough, step=16):
    for size in range(step, enough + 1, step):
        if works(size):
            return size
""",
            "halve the interval instead",
        ),
        (
            """
def my_smallest_arena(works, enough, step=16):
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
def my_smallest_arena(works, enough, step=16):
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
def my_smallest_arena(works, enough, step=16):
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
def my_smallest_arena(works, enough, step=16):
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
def my_smallest_arena(works, enough, step=16):
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
def my_smallest_arena(works, enough, step=16):
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
def my_smallest_arena(works, enough, step=16):
    return enough
""",
            "nothing was searched",
        ),
        (
            """
def my_smallest_arena(works, enough, step=16):
    size = enough
    while works(size - step) and size > step:
        size -= step
    return size
""",
            "halve the interval instead",
        ),
        (
            """
def my_smallest_arena(works, enough, step=16):
    low, high = 0, enough // step
    for _ in range(10):
        m = (low + high) // 2
        if works(m * step): high = m
        else: low = m
    return high * step
""",
            "the search ended too early",
        ),
        (
            """
def my_smallest_arena(works, enough, step=16):
    low, high = 0, enough // step
    while high - low > 1:
        m = (low + high) // 2
        if works(m * step): high = m
        else: low = m
    return low * step, high * step
""",
            "both ends of the interval",
        ),
        (
            """
def my_smallest_arena(works, enough, step=16):
    low, high = 0, enough
    while high - low > step:
        m = (low + high) // 2
        low, high = (low, m) if works(m) else (m, high)
    return high
""",
            "not the number of bytes",
        ),
    ],
    "classify": [
        (
            """
def my_classify(board, model, x):
    interpreter = board.interpreter(model, board.arena_for(model))
    interpreter.allocate_tensors()
    interpreter.invoke(x)
    return interpreter.output().argmax(axis=1)
""",
            "what lay in the memory",
        ),
        (
            """
def my_classify(board, model, x):
    interpreter = board.interpreter(model, 6 * 1024)
    if interpreter.allocate_tensors() != OK or interpreter.invoke(x) != OK:
        return None
    return interpreter.output().argmax(axis=1)
""",
            "a size that was guessed",
        ),
        (
            """
def my_classify(board, model, x):
    interpreter = board.interpreter(model, board.arena_for(model))
    if interpreter.allocate_tensors() != OK:
        return None
    interpreter.invoke(x)
    return interpreter.output().argmax(axis=1)
""",
            "the status of invoke() was not looked at",
        ),
        (
            """
def my_classify(board, model, x):
    trial = board.interpreter(model, board.free_bytes)
    trial.allocate_tensors()
    interpreter = board.interpreter(model, trial.arena_used_bytes())
    if interpreter.allocate_tensors() != OK or interpreter.invoke(x) != OK:
        return None
    return interpreter.output().argmax(axis=1)
""",
            "one that the interpreter says to use afterwards",
        ),
        (
            """
def my_classify(board, model, x):
    interpreter = board.interpreter(model, board.arena_for(model))
    if interpreter.allocate_tensors() != OK or interpreter.invoke(x) != OK:
        return None
    return interpreter.output()
""",
            "these are the scores",
        ),
        (
            """
def my_classify(board, model, x):
    interpreter = board.interpreter(model, board.arena_for(model))
    if interpreter.allocate_tensors() != OK or interpreter.invoke(x) != OK:
        return None
    return interpreter.output().argmax()
""",
            "argmax needs axis=1",
        ),
        (
            """
def my_classify(board, model, x):
    interpreter = board.interpreter(model, board.arena_for(model))
    if not interpreter.allocate_tensors() or not interpreter.invoke(x):
        return None
    return interpreter.output().argmax(axis=1)
""",
            "what lay in the memory",
        ),
        (
            """
def my_classify(board, model, x):
    interpreter = board.interpreter(model, board.arena_for(model))
    if interpreter.allocate_tensors() != OK or interpreter.invoke(x) != OK:
        return [0] * len(x)
    return interpreter.output().argmax(axis=1)
""",
            "return None where the board cannot answer",
        ),
        (
            """
def my_classify(board, model, x):
    i = board.interpreter(model, board.arena_for(model))
    if i.allocate_tensors() != OK and i.invoke(x) != OK: return None
    return i.output().argmax(axis=1)
""",
            "asks the second call only if",
        ),
        (
            """
def my_classify(board, model, x):
    i = board.interpreter(model, board.arena_for(model))
    if i.allocate_tensors() != OK or i.invoke(x) != OK: return None
    return i.output().argmax(axis=0)
""",
            "the best input of each class",
        ),
        (
            """
def my_classify(board, model, x):
    i = board.interpreter(model, board.arena_for(model))
    if i.allocate_tensors() == OK or i.invoke(x) == OK: return None
    return i.output().argmax(axis=1)
""",
            "what is compared with what",
        ),
        (
            """
def my_classify(board, model, x):
    i = board.interpreter(model, board.arena_for(model))
    if i.allocate_tensors() != OK or i.invoke(x) != OK: return None
    return i.output().max(axis=1)
""",
            "argmax",
        ),
        (
            """
def my_classify(board, model, x):
    i = board.interpreter(model, board.arena_for(model))
    if i.allocate_tensors() != OK: return None
    got = []
    for item in x:
        if i.invoke(item) != OK: return None
        got.append(i.output().argmax())
    return got
""",
            "all inputs at once",
        ),
    ],
    "broken": [
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    ram = arena_bytes + stack_bytes
    return found + (['SRAM'] if ram > (1 - headroom) * chip.sram_total_bytes else [])
""",
            "the largest piece, not in all of the SRAM",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes + stack_bytes > chip.sram_bytes else [])
""",
            "the headroom is forgotten",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes > (1 - headroom) * chip.sram_bytes else [])
""",
            "the stack is forgotten",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    ram = (1 + headroom) * (arena_bytes + stack_bytes)
    return found + (['SRAM'] if ram > chip.sram_bytes else [])
""",
            "a share of the SRAM, not of what the network needs",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes + stack_bytes > 0.8 * chip.sram_bytes else [])
""",
            "the argument headroom is ignored",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > (1 - headroom) * chip.flash_bytes else []
    ram = arena_bytes + stack_bytes
    return found + (['SRAM'] if ram > (1 - headroom) * chip.sram_bytes else [])
""",
            "flash needs no headroom",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    if flash_bytes > chip.flash_bytes:
        return ['flash']
    ram = arena_bytes + stack_bytes
    return ['SRAM'] if ram > (1 - headroom) * chip.sram_bytes else []
""",
            "name both, not only the first",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes / (1 - headroom) + stack_bytes > chip.sram_bytes else [])
""",
            "the stack was added after the headroom",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    ram = arena_bytes + stack_bytes
    return found + (['SRAM'] if ram >= (1 - headroom) * chip.sram_bytes else [])
""",
            "what fits exactly, fits",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes >= chip.flash_bytes else []
    return found + (['SRAM'] if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes else [])
""",
            "what fits exactly, fits",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = ['flash'] if flash_bytes > chip.flash_bytes else []
    return (['SRAM'] if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes else []) + found
""",
            "flash comes first",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes:
        return 'SRAM'
    return 'flash' if flash_bytes > chip.flash_bytes else ''
""",
            "return a list of names",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if flash_bytes > chip.flash_bytes:
        found.append("flash")
    if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes:
        found.append("sram")
    return found
""",
            "the names are",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if flash_bytes > chip.flash_bytes:
        found.append("flash")
    if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes:
        found.append("SRAM")
    return set(found)
""",
            "return a list of names",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if flash_bytes <= chip.flash_bytes:
        found.append("flash")
    if arena_bytes + stack_bytes <= (1 - headroom) * chip.sram_bytes:
        found.append("SRAM")
    return found
""",
            "these are the limits that hold",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if flash_bytes > chip.flash_bytes:
        found.append("SRAM")
    if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes:
        found.append("flash")
    return found
""",
            "exchanged",
        ),
        (
            """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.0):
    found = []
    if flash_bytes > chip.flash_bytes:
        found.append("flash")
    if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes:
        found.append("SRAM")
    return found
""",
            "the default of headroom",
        ),
    ],
}

VARIANTS = {
    "lifetimes": [
        """
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
def my_lifetimes(operators, inputs, outputs):
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
        """
def my_lifetimes(operators, inputs, outputs):
    from types import SimpleNamespace
    made = {n: i + 1 for i, (r, w) in enumerate(operators) for n in w} | {n: 0 for n in inputs}
    lives = {}
    for n, f in reversed(list(made.items())):
        l = f
        for i, (r, w) in enumerate(operators):
            if n in r: l = max(l, i + 1)
        lives[n] = (f, len(operators) if n in outputs else l)
    return lives
""",
        """
def my_lifetimes(operators, inputs, outputs):
    operators = [*operators, (outputs, [])]
    lives = {n: [0, 0] for n in inputs}
    n = len(operators) - 1
    for s, (r, w) in enumerate(operators, 1):
        for x in r:
            if x in lives: lives[x][1] = min(s, n)
        for x in w: lives[x] = [s, s]
    return lives
""",
    ],
    "alive": [
        """
def my_alive(lives, sizes):
    steps = 1 + max(last for _, last in lives.values())
    return np.array([sum(sizes[n] for n, (f, l) in lives.items() if f <= t <= l) for t in range(steps)])
""",
        """
def my_alive(lives, sizes):
    from collections import Counter
    total = Counter()
    for name, (first, last) in lives.items():
        for step in range(first, last + 1):
            total[step] += sizes[name]
    return tuple(float(total[t]) for t in range(max(last for _, last in lives.values()) + 1))
""",
        """
def my_alive(lives, sizes):
    change = np.zeros(2 + max(last for _, last in lives.values()), np.int32)
    for name, (first, last) in lives.items():
        change[first] += sizes[name]
        change[last + 1] -= sizes[name]
    return change.cumsum()[:-1]
""",
        """
def my_alive(lives, sizes):
    t = torch.zeros(1 + max(l for _, l in lives.values()), dtype=torch.int64)
    for n, (f, l) in lives.items(): t[f:l+1] += sizes[n]
    return t
""",
        """
def my_alive(lives, sizes):
    out = np.zeros(1 + max(l for _, l in lives.values()), np.float32)
    for n, (f, l) in lives.items(): out[f:l+1] += sizes[n]
    return list(out)
""",
    ],
    "first_gap": [
        """
def my_first_gap(size, taken):
    spots = sorted({0, *(end for _, end in taken)})
    for place in spots:
        if all(place + size <= start or place >= end for start, end in taken):
            return np.int64(place)
""",
        """
def my_first_gap(size, taken):
    place = 0
    while any(place < end and start < place + size for start, end in taken):
        place += 1
    return place
""",
        """
def my_first_gap(size, taken):
    taken = np.array(sorted(taken)).reshape(-1, 2)
    free = np.concatenate([[0], np.maximum.accumulate(taken[:, 1])])
    starts = np.concatenate([taken[:, 0], [np.inf]])
    return float(free[np.argmax(starts - free >= size)])
""",
        """
def my_first_gap(size, taken):
    place, moved = 0, True
    while moved:
        moved = False
        for s, e in taken:
            if place < e and s < place + size: place, moved = e, True
    return place
""",
        """
def my_first_gap(size, taken):
    used = np.zeros(max((e for _, e in taken), default=0) + size + 1, bool)
    for s, e in taken: used[s:e] = True
    for p in range(len(used)):
        if not used[p:p+size].any(): return p
""",
    ],
    "place": [
        """
def my_place(buffers):
    numbered = sorted(enumerate(buffers), key=lambda entry: (entry[1].size_bytes, entry[0]), reverse=True)
    address = {}
    for _, b in numbered:
        taken = [
            (address[o.name], address[o.name] + o.size_bytes)
            for o in buffers
            if o.name in address and not (o.last < b.first or b.last < o.first)
        ]
        address[b.name] = np.int64(first_gap(b.size_bytes, taken))
    return address
""",
        """
def my_place(buffers):
    todo, placed = list(buffers), []
    while todo:
        largest = max(b.size_bytes for b in todo)
        b = [b for b in todo if b.size_bytes == largest][-1]
        todo.remove(b)
        spot = 0
        for start, end in sorted((a, a + o.size_bytes) for o, a in placed
                                 if set(range(o.first, o.last + 1)) & set(range(b.first, b.last + 1))):
            if start - spot >= b.size_bytes:
                break
            spot = max(spot, end)
        placed.append((b, spot))
    return {b.name: spot for b, spot in placed}
""",
        """
def my_place(buffers):
    order = np.argsort([b.size_bytes for b in buffers], kind="stable")[::-1]
    address = {}
    for i in order:
        b = buffers[i]
        taken = []
        for other in buffers:
            if other.name in address and max(b.first, other.first) <= min(b.last, other.last):
                taken.append((address[other.name], address[other.name] + other.size_bytes))
        address[b.name] = first_gap(b.size_bytes, taken)
    return {b.name: float(address[b.name]) for b in buffers}
""",
        """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(buffers, key=lambda b: b.size_bytes)[::-1]:
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
""",
        """
def my_place(buffers):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = next(p for p in range(10**6) if all(p + b.size_bytes <= s or p >= e for s, e in taken))
        done.append(b)
    return address
""",
    ],
    "tail": [
        """
def my_tail_bytes(requests, arena_bytes):
    used = 0
    for size, alignment in requests:
        used += size
        used += (arena_bytes - used) % alignment
    return used
""",
        """
def my_tail_bytes(requests, arena_bytes):
    top = np.int64(arena_bytes)
    for size, alignment in requests:
        top = (top - size) & ~(np.int64(alignment) - 1)
    return np.array(arena_bytes - top)
""",
        """
def my_tail_bytes(requests, arena_bytes):
    from functools import reduce
    lowest = reduce(lambda top, r: math.floor((top - r[0]) / r[1]) * r[1], requests, arena_bytes)
    return float(arena_bytes - lowest)
""",
        """
def my_tail_bytes(requests, arena_bytes):
    top = torch.tensor(arena_bytes)
    for s, a in requests:
        top = torch.div(top - s, a, rounding_mode="floor") * a
    return arena_bytes - top
""",
        """
def my_tail_bytes(requests, arena_bytes):
    top = arena_bytes
    for s, a in requests:
        top -= s
        while top % a: top -= 1
    return np.float32(arena_bytes - top)
""",
    ],
    "smallest_arena": [
        """
def my_smallest_arena(works, enough, step=16):
    def search(low, high):
        if high - low == step:
            return high
        middle = (low // step + high // step) // 2 * step
        return search(low, middle) if works(middle) else search(middle, high)
    return search(0, enough)
""",
        """
import bisect

def my_smallest_arena(works, enough, step=16):
    sizes = range(step, enough + 1, step)
    return sizes[bisect.bisect_left(sizes, True, key=lambda size: bool(works(size)))]
""",
        """
def my_smallest_arena(works, enough, step=16):
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
        """
def my_smallest_arena(works, enough, step=16):
    low, high = 1, enough // step
    while low < high:
        m = (low + high) // 2
        if works(m * step): high = m
        else: low = m + 1
    return low * step
""",
        """
def my_smallest_arena(works, enough, step=16):
    n = enough // step
    high = n
    jump = 1 << (n.bit_length() - 1)
    while jump:
        while high - jump >= 1 and works((high - jump) * step): high -= jump
        jump //= 2
    return float(high * step)
""",
    ],
    "classify": [
        """
def my_classify(board, model, x):
    needed = board.arena_for(model)
    if needed > board.free_bytes:
        return None
    interpreter = board.interpreter(model, needed)
    if interpreter.allocate_tensors() == ERROR:
        return None
    if interpreter.invoke(x) == ERROR:
        return None
    return [int(np.argmax(scores)) for scores in interpreter.output()]
""",
        """
def my_classify(board, model, x):
    interpreter = board.interpreter(model, board.free_bytes)  # all that there is
    for status in (interpreter.allocate_tensors, lambda: interpreter.invoke(x)):
        if status() != OK:
            return
    return np.argmax(interpreter.output(), axis=-1).astype(np.int8)
""",
        """
def my_classify(board, model, x):
    arena = 1024
    while arena <= board.free_bytes:
        interpreter = board.interpreter(model, arena)
        if interpreter.allocate_tensors() == OK:
            return interpreter.output().argmax(1) if interpreter.invoke(x) == OK else None
        arena += 16
    return None
""",
        """
def my_classify(board, model, x):
    i = board.interpreter(model, board.arena_for(model))
    if i.allocate_tensors() == OK and i.invoke(x) == OK:
        return torch.from_numpy(i.output()).argmax(dim=1)
""",
        """
def my_classify(board, model, x):
    i = board.interpreter(model, board.arena_for(model))
    got = []
    if i.allocate_tensors() != OK: return None
    if i.invoke(x) != OK: return None
    for row in i.output(): got.append(int(row.tolist().index(max(row))))
    return tuple(got)
""",
    ],
    "broken": [
        """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    free = chip.sram_bytes - arena_bytes - stack_bytes
    checks = {'flash': flash_bytes <= chip.flash_bytes, 'SRAM': free >= headroom * chip.sram_bytes}
    return tuple(name for name, fits in checks.items() if not fits)
""",
        """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    shares = np.array([flash_bytes / chip.flash_bytes, (arena_bytes + stack_bytes) / chip.sram_bytes])
    return np.array(['flash', 'SRAM'])[shares > np.array([1, 1 - headroom])]
""",
        """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if not flash_bytes <= chip.flash_bytes:
        found.append(np.str_('flash'))
    if not (arena_bytes + stack_bytes) <= chip.sram_bytes * (1 - headroom):
        found.append(np.str_('SRAM'))
    return found
""",
        """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if flash_bytes > chip.flash_bytes:
        found.append("flash")
    if (arena_bytes + stack_bytes) / chip.sram_bytes > 1 - headroom:
        found.append("SRAM")
    return found
""",
        """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if flash_bytes > chip.flash_bytes:
        found.append("flash")
    if 1 - (arena_bytes + stack_bytes) / chip.sram_bytes < headroom:
        found.append("SRAM")
    return found
""",
        """
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    found = []
    if flash_bytes > chip.flash_bytes:
        found.append("flash")
    if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes:
        found.append("SRAM")
    return (name for name in found)
""",
    ],
}

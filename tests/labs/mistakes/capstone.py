"""Lab `capstone`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "against_floor": [
        (
            """
def my_against_floor(right, items, floor, z=1.96):
    share, room = right / items, z**2 / items
    middle = (share + room / 2) / (1 + room)
    half = math.sqrt(share * (1 - share) / items + room / (4 * items)) * z
    if middle - half >= floor:
        return "reached"
    return "missed" if middle + half < floor else "cannot tell"
""",
            "half of the width is divided by",
        ),
        (
            """
def my_against_floor(right, items, floor, z=1.96):
    return "reached" if right / items >= floor else "missed"
""",
            "the share alone was compared",
        ),
        (
            """
def my_against_floor(right, items, floor, z=1.96):
    p = right / items
    half = z * math.sqrt(p * (1 - p) / items)
    if p - half >= floor:
        return "reached"
    return "missed" if p + half < floor else "cannot tell"
""",
            "take Wilson's",
        ),
        (
            """
def my_against_floor(right, items, floor, z=1.96):
    _, low, high = stats.wilson_interval(right, items)
    if low >= floor:
        return "reached"
    return "missed" if high < floor else "cannot tell"
""",
            "not always 1.96",
        ),
        (
            """
def my_against_floor(right, items, floor, z=1.96):
    p, r = right / items, z**2 / items
    half = z / (1 + r) * math.sqrt(p * (1 - p) / items + r / (4 * items))
    return "reached" if (p + r / 2) / (1 + r) - half >= floor else "missed"
""",
            "below the floor it is missed only if",
        ),
        (
            """
def my_against_floor(right, items, floor, z=1.96):
    p, r = right / items, z**2 / items
    half = z / (1 + r) * math.sqrt(p * (1 - p) / items + r / (4 * items))
    middle = (p + r / 2) / (1 + r)
    if middle + half >= floor:
        return "reached"
    return "missed"
""",
            "the upper end was taken",
        ),
        (
            """
def my_against_floor(right, items, floor, z=1.96):
    p, r = right / items, z**2 / items
    half = z / (1 + r) * math.sqrt(p * (1 - p) / items + r / (4 * items))
    middle = (p + r / 2) / (1 + r)
    if middle - half >= floor:
        return "missed"
    return "reached" if middle + half < floor else "cannot tell"
""",
            "reached and missed are exchanged",
        ),
    ],
    "front": [
        (
            """
def my_front(rows):
    def beats(a, b):
        return all(x < y for x, y in zip(a, b))
    return [n for n, row in rows.items() if not any(beats(r, row) for r in rows.values())]
""",
            "better in everything was asked for",
        ),
        (
            """
def my_front(rows):
    def beats(a, b):
        return any(x < y for x, y in zip(a, b))
    return [n for n, row in rows.items() if not any(beats(r, row) for r in rows.values())]
""",
            "better in something was asked for",
        ),
        (
            """
def my_front(rows):
    def beats(a, b):
        return all(x <= y for x, y in zip(a, b))
    return [n for n, row in rows.items() if not any(beats(r, row) for r in rows.values())]
""",
            "equal rows beat each other",
        ),
        (
            """
def my_front(rows):
    def beats(a, b):
        return all(x >= y for x, y in zip(a, b)) and a != b
    return [n for n, row in rows.items() if not any(beats(r, row) for r in rows.values())]
""",
            "higher was taken for better",
        ),
        (
            """
def my_front(rows):
    def beats(a, b):
        return all(x <= y for x, y in zip(a, b)) and a != b
    return [n for n, row in rows.items() if any(beats(r, row) for r in rows.values())]
""",
            "these are the rows that are beaten",
        ),
        (
            """
def my_front(rows):
    least = min(sum(row) for row in rows.values())
    return [n for n, row in rows.items() if sum(row) == least]
""",
            "the sums were compared",
        ),
    ],
    "best_orders": [
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda o: -np.max(results[o]))
    kept = []
    for o in ranked:
        d = np.subtract(results[ranked[0]], results[o])
        if o == ranked[0] or d.mean() - t * d.std(ddof=1) / math.sqrt(len(d)) <= 0:
            kept.append(o)
    return kept
""",
            "the highest mean",
        ),
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda o: -np.mean(results[o]))
    kept = ranked[:1]
    for o in ranked[1:]:
        d = np.subtract(results[ranked[0]], results[o])
        if d.mean() - t * d.std(ddof=1) / math.sqrt(len(d) - 1) <= 0:
            kept.append(o)
    return kept
""",
            "and not of n - 1",
        ),
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda o: -np.mean(results[o]))
    kept = ranked[:1]
    for o in ranked[1:]:
        d = np.subtract(results[ranked[0]], results[o])
        if d.mean() - 4.303 * d.std(ddof=1) / math.sqrt(3) <= 0:
            kept.append(o)
    return kept
""",
            "belong to three seeds",
        ),
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda n: -np.mean(results[n]))
    return ranked[:1]
""",
            "only the best was kept",
        ),
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda n: -np.mean(results[n]))
    kept = ranked[:1]
    for n in ranked[1:]:
        d = np.subtract(results[ranked[0]], results[n])
        if d.mean() - t * d.std() / math.sqrt(len(d)) <= 0:
            kept.append(n)
    return kept
""",
            "it is n - 1",
        ),
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda n: -np.mean(results[n]))
    kept = ranked[:1]
    for n in ranked[1:]:
        d = np.subtract(results[ranked[0]], results[n])
        if d.mean() - t * d.std(ddof=1) <= 0:
            kept.append(n)
    return kept
""",
            "the root of n is missing",
        ),
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda n: -np.mean(results[n]))
    kept = ranked[:1]
    for n in ranked[1:]:
        d = np.subtract(results[ranked[0]], results[n])
        if d.mean() - 1.96 * d.std(ddof=1) / math.sqrt(len(d)) <= 0:
            kept.append(n)
    return kept
""",
            "1.96 was taken for t",
        ),
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda n: -np.mean(results[n]))
    a = np.array(results[ranked[0]])
    kept = ranked[:1]
    for n in ranked[1:]:
        b = np.array(results[n])
        s = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        if a.mean() - b.mean() - t * s <= 0:
            kept.append(n)
    return kept
""",
            "the seeds were not paired",
        ),
        (
            """
def my_best_orders(results, t):
    ranked = sorted(results, key=lambda n: np.mean(results[n]))
    kept = []
    for n in ranked:
        d = np.subtract(results[ranked[-1]], results[n])
        if n == ranked[-1] or d.mean() - t * d.std(ddof=1) / math.sqrt(len(d)) <= 0:
            kept.append(n)
    return kept
""",
            "the order with the highest mean",
        ),
        (
            """
def my_best_orders(results, t):
    return sorted(results, key=lambda n: -np.mean(results[n]))
""",
            "all orders were kept",
        ),
    ],
    "holm": [
        (
            """
def my_holm(p_values):
    p = np.asarray(p_values, dtype=float)
    return np.minimum(1, len(p) * p)
""",
            "that is Bonferroni",
        ),
        (
            """
def my_holm(p_values):
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    out = np.empty(len(p))
    out[order] = np.minimum(1, (len(p) - np.arange(len(p))) * p[order])
    return out
""",
            "never smaller than the one before",
        ),
        (
            """
def my_holm(p_values):
    p = np.sort(np.asarray(p_values, dtype=float))
    return np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p))
""",
            "put each back at its place",
        ),
        (
            """
def my_holm(p_values):
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    out = np.empty(len(p))
    out[order] = np.minimum(1, np.maximum.accumulate((1 + np.arange(len(p))) * p[order]))
    return out
""",
            "the wrong way round",
        ),
        (
            """
def my_holm(p_values):
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    out = np.empty(len(p))
    out[order] = np.minimum(1, np.maximum.accumulate(len(p) / (1 + np.arange(len(p))) * p[order]))
    return out
""",
            "Benjamini and Hochberg",
        ),
        (
            """
def my_holm(p_values):
    p = np.asarray(p_values, dtype=float)
    return np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p))
""",
            "were not sorted",
        ),
    ],
    "mean_cosine": [
        (
            """
def my_mean_cosine(reference, other):
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    return np.mean(np.abs((reference * other).sum(1)) / lengths)
""",
            "the sign is gone",
        ),
        (
            """
def my_mean_cosine(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))
""",
            "all rows were taken as one",
        ),
        (
            """
def my_mean_cosine(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    return float(np.mean((a * b).sum(axis=0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0))))
""",
            "axis 1 are the classes",
        ),
        (
            """
def my_mean_cosine(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    return float(np.mean((a * b).sum(axis=1)))
""",
            "the lengths are missing",
        ),
        (
            """
def my_mean_cosine(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return float(np.mean((a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))))
""",
            "that is a correlation",
        ),
        (
            """
def my_mean_cosine(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    return float(np.mean((a * b).sum(axis=1) / ((a**2).sum(axis=1) * (b**2).sum(axis=1))))
""",
            "take the roots",
        ),
        (
            """
def my_mean_cosine(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.min((a * b).sum(axis=1) / lengths))
""",
            "the smallest cosine",
        ),
    ],
    "ready": [
        (
            """
def my_ready(reference, candidate, images, labels, most):
    draw = np.random.default_rng(0).normal(size=(64, *images.shape[1:])).astype(np.float32)
    a, b = reference(draw), candidate(draw)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return bool(np.mean((a * b).sum(axis=1) / lengths) > 0.995)
""",
            "noise shows nothing",
        ),
        (
            """
def my_ready(reference, candidate, images, labels, most):
    before = reference(images).argmax(axis=1) == labels
    after = candidate(images).argmax(axis=1) == labels
    return bool(100 * (before.mean() - after.mean()) <= most)
""",
            "the upper end of the interval has to be within",
        ),
        (
            """
def my_ready(reference, candidate, images, labels, most):
    before = reference(images).argmax(axis=1) == labels
    after = candidate(images).argmax(axis=1) == labels
    return bool(100 * stats.paired_difference(before, after)[2] <= 1.0)
""",
            "`most` is in points",
        ),
        (
            """
def my_ready(reference, candidate, images, labels, most):
    after = candidate(images).argmax(axis=1) == labels
    return bool(100 * (1 - stats.wilson_interval(int(after.sum()), len(after))[1]) <= most)
""",
            "the loss counts against the reference",
        ),
        (
            """
def my_ready(reference, candidate, images, labels, most):
    same = reference(images).argmax(axis=1) == candidate(images).argmax(axis=1)
    return bool(100 * stats.paired_difference(np.ones(len(same), bool), same)[2] <= most)
""",
            "changed for the better",
        ),
        (
            """
def my_ready(reference, candidate, images, labels, most):
    before = reference(images).argmax(axis=1) == labels
    after = candidate(images).argmax(axis=1) == labels
    return bool(stats.paired_difference(before, after)[2] <= most)
""",
            "the images were not looked at",
        ),
    ],
    "choose_device": [
        (
            """
def my_choose_device(rows, deadline_ms):
    known = [r for r in rows if r["fits"] and None not in (r["slow_ms"], r["energy_mj"])]
    able = [r for r in known if r["slow_ms"] <= deadline_ms]
    return min(able, key=lambda r: r["energy_mj"] * r["slow_ms"])["device"] if able else None
""",
            "time and energy were multiplied",
        ),
        (
            """
def my_choose_device(rows, deadline_ms):
    able = [r for r in rows if r["slow_ms"] is not None and r["energy_mj"] is not None]
    able = [r for r in able if r["slow_ms"] <= deadline_ms]
    return min(able, key=lambda r: r["energy_mj"])["device"] if able else None
""",
            "does not fit on",
        ),
        (
            """
def my_choose_device(rows, deadline_ms):
    able = [r for r in rows if r["fits"] and r["slow_ms"] is not None and r["energy_mj"] is not None]
    return min(able, key=lambda r: r["energy_mj"])["device"] if able else None
""",
            "the deadline was left out",
        ),
        (
            """
def my_choose_device(rows, deadline_ms):
    able = [r for r in rows if r["fits"] and r["slow_ms"] is not None and r["energy_mj"] is not None]
    able = [r for r in able if r["slow_ms"] < deadline_ms]
    return min(able, key=lambda r: r["energy_mj"])["device"] if able else None
""",
            "exactly at the deadline is in time",
        ),
        (
            """
def my_choose_device(rows, deadline_ms):
    able = [r for r in rows if r["fits"] and r["slow_ms"] is not None and r["energy_mj"] is not None]
    able = [r for r in able if r["slow_ms"] <= deadline_ms]
    return min(able, key=lambda r: r["slow_ms"])["device"] if able else None
""",
            "the fastest was taken",
        ),
        (
            """
def my_choose_device(rows, deadline_ms):
    able = [r for r in rows if r["fits"] and (r["slow_ms"] or 0) <= deadline_ms]
    able = [r for r in able if r["energy_mj"] is not None]
    return min(able, key=lambda r: r["energy_mj"])["device"] if able else None
""",
            "an unknown figure counts as none",
        ),
        (
            """
def my_choose_device(rows, deadline_ms):
    able = [r for r in rows if r["fits"] and r["slow_ms"] is not None and r["slow_ms"] <= deadline_ms]
    return min(able, key=lambda r: r["energy_mj"] or 0)["device"] if able else None
""",
            "an unknown energy is not the least",
        ),
        (
            """
def my_choose_device(rows, deadline_ms):
    able = [r for r in rows if r["fits"] and r["slow_ms"] is not None and r["energy_mj"] is not None]
    able = [r for r in able if r["slow_ms"] <= deadline_ms]
    return min(able, key=lambda r: r["energy_mj"])["device"] if able else ""
""",
            "None is the answer",
        ),
    ],
    "sqnr": [
        (
            """
def my_sqnr(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    noise = ((a - b) ** 2).sum()
    return math.inf if noise == 0 else 20 * math.log10((a**2).sum() / noise)
""",
            "with squares it is 10",
        ),
        (
            """
def my_sqnr(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    noise = ((a - b) ** 2).sum()
    return math.inf if noise == 0 else 10 * math.log((a**2).sum() / noise)
""",
            "log10 is wanted",
        ),
        (
            """
def my_sqnr(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    noise = ((a - b) ** 2).sum()
    return math.inf if noise == 0 else 10 * math.log10(noise / (a**2).sum())
""",
            "turn it over",
        ),
        (
            """
def my_sqnr(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    noise = ((a - b) ** 2).sum()
    return math.inf if noise == 0 else 10 * math.log10((b**2).sum() / noise)
""",
            "the reference's is wanted",
        ),
        (
            """
def my_sqnr(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    noise = ((a - b) ** 2).sum()
    return 10 * math.log10((a**2).sum() / (noise + 1e-12))
""",
            "return math.inf before you divide",
        ),
        (
            """
def my_sqnr(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    rows = (a**2).sum(axis=1) / np.maximum(((a - b) ** 2).sum(axis=1), 1e-300)
    return float(np.mean(10 * np.log10(rows)))
""",
            "the decibels of the rows were averaged",
        ),
    ],
    "first_wave": [
        (
            """
def my_first_wave(devices, rate, hours, confidence=0.95):
    needed = math.ceil(math.log(1 - confidence) / math.log(1 - rate) / hours)
    return 100 * needed / devices
""",
            "at most 100 percent",
        ),
        (
            """
def my_first_wave(devices, rate, hours, confidence=0.95):
    needed = math.ceil(math.log(1 - confidence) / math.log(1 - rate))
    return min(100.0, 100 * needed / devices)
""",
            "the hours were left out",
        ),
        (
            """
def my_first_wave(devices, rate, hours, confidence=0.95):
    needed = math.log(1 - confidence) / math.log(1 - rate) / hours
    return min(100.0, 100 * needed / devices)
""",
            "round up",
        ),
        (
            """
def my_first_wave(devices, rate, hours, confidence=0.95):
    needed = int(math.log(1 - confidence) / math.log(1 - rate) / hours)
    return min(100.0, 100 * needed / devices)
""",
            "rounded down",
        ),
        (
            """
def my_first_wave(devices, rate, hours, confidence=0.95):
    needed = math.ceil(math.log(confidence) / math.log(1 - rate) / hours)
    return min(100.0, 100 * needed / devices)
""",
            "the confidence and its rest are exchanged",
        ),
        (
            """
def my_first_wave(devices, rate, hours, confidence=0.95):
    needed = math.ceil(math.log(1 - confidence) / math.log(1 - rate) / hours)
    return min(1.0, needed / devices)
""",
            "percent are wanted",
        ),
        (
            """
def my_first_wave(devices, rate, hours, confidence=0.95):
    return min(100.0, 100 * math.ceil(1 / rate / hours) / devices)
""",
            "one expected failure is too few",
        ),
        (
            """
def my_first_wave(devices, rate, hours, confidence=0.95):
    needed = math.ceil(math.log(0.05) / math.log(1 - rate) / hours)
    return min(100.0, 100 * needed / devices)
""",
            "it is an argument",
        ),
    ],
}

VARIANTS = {
    "against_floor": [
        """
def my_against_floor(right, items, floor, z=1.96):
    n, p = items, right / items
    root = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = (p + z * z / (2 * n) - root) / (1 + z * z / n)
    high = (p + z * z / (2 * n) + root) / (1 + z * z / n)
    return np.str_("reached") if low >= floor else "cannot tell" if high >= floor else "missed"
""",
        """
def my_against_floor(right, items, floor, z=1.96):
    distance = right / items - floor
    if distance**2 < z**2 * floor * (1 - floor) / items:
        return "cannot tell"
    return "reached" if distance > 0 else "missed"
""",
    ],
    "front": [
        """
def my_front(rows):
    kept = []
    for name, row in rows.items():
        beaten = False
        for other in rows.values():
            if all(a <= b for a, b in zip(other, row)) and tuple(other) != tuple(row):
                beaten = True
        if not beaten:
            kept.append(name)
    return kept
""",
        """
def my_front(rows):
    names, table = list(rows), np.array(list(rows.values()))
    le = (table[:, None] <= table[None]).all(axis=2)
    lt = (table[:, None] < table[None]).any(axis=2)
    return {names[i] for i in np.flatnonzero(~(le & lt).any(axis=0))}
""",
    ],
    "best_orders": [
        """
def my_best_orders(results, t):
    means = {n: sum(v) / len(v) for n, v in results.items()}
    best = max(means, key=means.get)
    kept = [best]
    for n in results:
        if n == best:
            continue
        d = [a - b for a, b in zip(results[best], results[n])]
        m = sum(d) / len(d)
        s = math.sqrt(sum((x - m) ** 2 for x in d) / (len(d) - 1))
        if m <= t * s / math.sqrt(len(d)):
            kept.append(n)
    return kept
""",
        """
def my_best_orders(results, t):
    table = {n: np.array(v) for n, v in results.items()}
    ranked = sorted(table, key=lambda n: table[n].mean(), reverse=True)
    gaps = {n: table[ranked[0]] - table[n] for n in ranked}
    half = {n: t * np.std(d, ddof=1) / len(d) ** 0.5 for n, d in gaps.items()}
    return tuple(n for n in ranked if n == ranked[0] or gaps[n].mean() - half[n] <= 0)
""",
    ],
    "holm": [
        """
def my_holm(p_values):
    m, largest, out = len(p_values), 0.0, [0.0] * len(p_values)
    for rank, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - rank) * p_values[i]))
        out[i] = largest
    return out
""",
        """
def my_holm(p_values):
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    grown = np.maximum.accumulate(np.clip(p[order] * np.arange(len(p), 0, -1), 0, 1))
    return grown[np.argsort(order, kind="stable")]
""",
    ],
    "mean_cosine": [
        """
def my_mean_cosine(reference, other):
    found = []
    for a, b in zip(reference, other):
        found.append(np.dot(a, b) / math.sqrt(np.dot(a, a) * np.dot(b, b)))
    return sum(found) / len(found)
""",
        """
def my_mean_cosine(reference, other):
    a, b = torch.as_tensor(reference), torch.as_tensor(other)
    return torch.nn.functional.cosine_similarity(a, b, dim=1).mean()
""",
    ],
    "ready": [
        """
def my_ready(reference, candidate, images, labels, most):
    before = reference(images).argmax(axis=1) == labels
    after = candidate(images).argmax(axis=1) == labels
    return quality.difference(before, after).loss.high <= most
""",
        """
def my_ready(reference, candidate, images, labels, most):
    labels = np.asarray(labels)
    before = np.argmax(reference(images), axis=1) == labels
    after = np.argmax(candidate(images), axis=1) == labels
    n, b, c = len(labels), np.sum(before & ~after), np.sum(~before & after)
    upper = (b - c) / n + 1.96 * np.sqrt((b + c) - (b - c) ** 2 / n) / n
    return upper <= most / 100
""",
    ],
    "choose_device": [
        """
def my_choose_device(rows, deadline_ms):
    best = None
    for r in rows:
        if not r["fits"] or r["slow_ms"] is None or r["energy_mj"] is None:
            continue
        if r["slow_ms"] <= deadline_ms and (best is None or r["energy_mj"] < best["energy_mj"]):
            best = r
    return best["device"] if best else None
""",
        """
def my_choose_device(rows, deadline_ms):
    able = sorted(
        (r["energy_mj"], r["device"])
        for r in rows
        if r["fits"] and r["energy_mj"] is not None and r["slow_ms"] is not None and not r["slow_ms"] > deadline_ms
    )
    return able[0][1] if able else None
""",
    ],
    "sqnr": [
        """
def my_sqnr(reference, other):
    signal = noise = 0.0
    for row, found in zip(reference, other):
        for a, b in zip(row, found):
            signal, noise = signal + a * a, noise + (a - b) ** 2
    return 10 * math.log10(signal / noise) if noise else math.inf
""",
        """
def my_sqnr(reference, other):
    a, b = np.asarray(reference, float), np.asarray(other, float)
    with np.errstate(divide="ignore"):
        return 20 * np.log10(np.linalg.norm(a) / np.float64(np.linalg.norm(a - b)))
""",
    ],
    "first_wave": [
        """
def my_first_wave(devices, rate, hours, confidence=0.95):
    needed = np.ceil(np.log1p(-confidence) / (hours * np.log1p(-rate)))
    return np.minimum(100, needed / devices * 100)
""",
        """
def my_first_wave(devices, rate, hours, confidence=0.95):
    n = 1
    while n < devices and (1 - rate) ** (n * hours) > 1 - confidence:
        n += 1
    return 100 * n / devices
""",
    ],
}

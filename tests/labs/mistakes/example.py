"""Plausible wrong answers of lab `example`: exercise -> (code of its cell, words that the message must hold)."""

MISTAKES = {
    "percentile": [
        (
            """
def my_percentile(values, q):
    return values[int(np.ceil(q / 100 * len(values))) - 1]
""",
            "the values were not sorted",
        ),
        (
            """
def my_percentile(values, q):
    return np.sort(values)[int(q / 100 * len(values)) - 1]
""",
            "rounded down",
        ),
        (
            """
def my_percentile(values, q):
    return np.sort(values)[min(int(np.ceil(q / 100 * len(values))), len(values) - 1)]
""",
            "indices from 0",
        ),
        (
            """
def my_percentile(values, q):
    return np.sort(values)[max(round(q / 100 * len(values) + 1e-9), 1) - 1]
""",
            "to the nearest",
        ),
        (
            """
def my_percentile(values, q):
    values.sort()
    return values[int(np.ceil(q / 100 * len(values))) - 1]
""",
            "changed its argument 1 in place",
        ),
    ],
    "speed_up": [
        (
            """
def my_speed_up(before, after):
    return np.mean(before) / np.mean(after)
""",
            "the mean was used",
        ),
        (
            """
def my_speed_up(before, after):
    return percentile(after, 50) / percentile(before, 50)
""",
            "upside down",
        ),
        (
            """
def my_speed_up(before, after):
    return percentile(after, 50) - percentile(before, 50)
""",
            "a difference is no ratio",
        ),
        (
            """
def my_speed_up(before, after):
    ratio = percentile(before, 50) / percentile(after, 50)
""",
            "return",
        ),
    ],
}

VARIANTS = {
    "percentile": [
        """
def my_percentile(values, q):
    ordered = sorted(float(value) for value in values)
    for rank, value in enumerate(ordered, start=1):
        if 100 * rank >= q * len(ordered):
            return value
""",
        """
def my_percentile(values, q):
    return np.percentile(np.asarray(values, dtype=np.float32), q, method="inverted_cdf")
""",
    ],
    "speed_up": [
        """
def my_speed_up(before, after):
    return np.float32(percentile(before, 50)) / np.float32(percentile(after, 50))
""",
        """
def my_speed_up(before, after):
    old, new = (np.sort(times)[(len(times) - 1) // 2] for times in (before, after))
    return np.array(old / new)
""",
    ],
}

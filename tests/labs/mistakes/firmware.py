"""Plausible wrong answers of lab `firmware`: exercise -> (code of its cell, words that the message must hold)."""

MISTAKES = {
    "multiplier": [
        (
            "def quantize_multiplier(real):\n"
            "    fraction, shift = math.frexp(real)\n"
            "    return math.floor(fraction * 2**31 + 0.5), shift\n",
            "does not fit 32 bits",
        ),
        (
            "def quantize_multiplier(real):\n"
            "    fraction, shift = math.frexp(real)\n"
            "    return int(fraction * 2**31), shift\n",
            "cut off, not rounded",
        ),
        (
            "def quantize_multiplier(real):\n"
            "    fraction, shift = math.frexp(real)\n"
            "    mantissa = round(fraction * 2**31)\n"
            "    if mantissa == 2**31:\n"
            "        mantissa, shift = 2**30, shift + 1\n"
            "    return mantissa, -shift\n",
            "sign of the shift",
        ),
        (
            "def quantize_multiplier(real):\n"
            "    fraction, shift = math.frexp(real)\n"
            "    return round(fraction * 2**30), shift\n",
            "30 bits after the point",
        ),
        (
            "def quantize_multiplier(real):\n"
            "    fraction, shift = math.frexp(real)\n"
            "    return fraction * 2**31, shift\n",
            "must be an integer",
        ),
        (
            "def quantize_multiplier(real):\n"
            "    fraction, shift = math.frexp(real)\n"
            "    return round(fraction * 2**31), 0\n",
            "shift was forgotten",
        ),
    ],
    "high_multiply": [
        ("def saturating_high_multiply(a, b):\n    return (a * b) >> 31\n", "cut off, not rounded"),
        ("def saturating_high_multiply(a, b):\n    return (a * b + 2**31) >> 32\n", "without doubling"),
        ("def saturating_high_multiply(a, b):\n    return (a * b + 2**30) >> 31\n", "saturate to 2**31 - 1"),
        (
            "def saturating_high_multiply(a, b):\n"
            "    if a == b == -(2**31):\n"
            "        return 2**31 - 1\n"
            "    exact = a * b\n"
            "    return (abs(exact) + 2**30 >> 31) * (1 if exact >= 0 else -1)\n",
            "not away from zero",
        ),
        (
            "def saturating_high_multiply(a, b):\n    return min(int((a * b + 2**30) / 2**31), 2**31 - 1)\n",
            "cuts towards zero",
        ),
    ],
    "rounding_shift": [
        (
            "def rounding_divide(x, bits):\n    return x if bits == 0 else (x + (1 << (bits - 1))) >> bits\n",
            "goes away from zero, and here it went up",
        ),
        ("def rounding_divide(x, bits):\n    return x >> bits\n", "cut off, not rounded"),
        ("def rounding_divide(x, bits):\n    return round(x / 2**bits)\n", "even neighbour"),
        (
            "def rounding_divide(x, bits):\n    return (x + ((1 << bits) >> 1) - (x < 0)) >> bits\n",
            "with bits = 0 nothing may change",
        ),
        ("def rounding_divide(x, bits):\n    return int(x / 2**bits)\n", "towards zero, not rounded"),
    ],
    "first_difference": [
        (
            "def first_difference(found, expected):\n"
            "    if found.shape != expected.shape or found.dtype != expected.dtype:\n"
            "        raise ValueError\n"
            "    close = np.isclose(found.astype(float), expected.astype(float), atol=1)\n"
            "    differ = ~close.reshape(len(found), -1).all(axis=1)\n"
            "    return int(differ.argmax()) if differ.any() else None\n",
            "without a tolerance",
        ),
        (
            "def first_difference(found, expected):\n"
            "    if found.shape != expected.shape or found.dtype != expected.dtype:\n"
            "        raise ValueError\n"
            "    a, b = (z.reshape(len(z), -1).argmax(axis=1) for z in (found, expected))\n"
            "    return int((a != b).argmax()) if (a != b).any() else None\n",
            "overlooked",
        ),
        (
            "def first_difference(found, expected):\n"
            "    if found.shape != expected.shape or found.dtype != expected.dtype:\n"
            "        raise ValueError\n"
            "    differ = (found != expected).reshape(len(found), -1).any(axis=1)\n"
            "    return int(differ.argmax())\n",
            "argmax of nothing is 0",
        ),
        (
            "def first_difference(found, expected):\n"
            "    differ = (found != expected).reshape(max(len(found), len(expected)), -1).any(axis=1)\n"
            "    return int(differ.argmax()) if differ.any() else None\n",
            "compare the shapes first",
        ),
        (
            "def first_difference(found, expected):\n"
            "    if found.shape != expected.shape:\n"
            "        raise ValueError\n"
            "    differ = (found != expected).reshape(len(found), -1).any(axis=1)\n"
            "    return int(differ.argmax()) if differ.any() else None\n",
            "compare dtype, too",
        ),
        (
            "def first_difference(found, expected):\n"
            "    if found.shape != expected.shape or found.dtype != expected.dtype:\n"
            "        raise ValueError\n"
            "    differ = (found != expected).ravel()\n"
            "    return int(differ.argmax()) if differ.any() else None\n",
            "rows are wanted",
        ),
        (
            "def first_difference(found, expected):\n"
            "    if found.shape != expected.shape or found.dtype != expected.dtype:\n"
            "        raise ValueError\n"
            "    differ = (found != expected).reshape(len(found), -1).any(axis=1)\n"
            "    return int(differ.argmax()) or None\n",
            "0 is not None",
        ),
    ],
    "budget": [
        (
            "def flash_and_ram(sections):\n"
            "    get = lambda *names: sum(sections.get(name, 0) for name in names)\n"
            "    return get('.vectors', '.text', '.rodata'), get('.data', '.bss', '.stack')\n",
            "lie in flash, too",
        ),
        (
            "def flash_and_ram(sections):\n"
            "    get = lambda *names: sum(sections.get(name, 0) for name in names)\n"
            "    return get('.vectors', '.text', '.rodata', '.data'), get('.bss', '.stack')\n",
            "lives in RAM, too",
        ),
        (
            "def flash_and_ram(sections):\n"
            "    get = lambda *names: sum(sections.get(name, 0) for name in names)\n"
            "    return get('.vectors', '.text', '.rodata', '.data'), get('.data', '.bss')\n",
            "stack was forgotten",
        ),
        (
            "def flash_and_ram(sections):\n"
            "    ram = sum(sections.get(name, 0) for name in ('.data', '.bss', '.stack'))\n"
            "    return sum(sections.values()) - sections.get('.bss', 0) - sections.get('.stack', 0), ram\n",
            "notes for the debugger",
        ),
        (
            "def flash_and_ram(sections):\n"
            "    get = lambda *names: sum(sections.get(name, 0) for name in names)\n"
            "    return get('.vectors', '.text', '.rodata', '.data', '.bss'), get('.data', '.bss', '.stack')\n",
            "starts as zero",
        ),
    ],
    "interval": [
        (
            "def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):\n"
            "    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766\n"
            "    if allowed <= sleep_ua:\n"
            "        return math.inf\n"
            "    return awake_ms / 1000 * 1000 * active_ma / allowed\n",
            "sleep current was left out",
        ),
        (
            "def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):\n"
            "    allowed = 1000 * capacity_mah / goal_years / 8766\n"
            "    if allowed <= sleep_ua:\n"
            "        return math.inf\n"
            "    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)\n",
            "self-discharge was left out",
        ),
        (
            "def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):\n"
            "    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766\n"
            "    if allowed <= sleep_ua:\n"
            "        return math.inf\n"
            "    return awake_ms * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)\n",
            "in milliseconds",
        ),
        (
            "def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):\n"
            "    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766\n"
            "    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)\n",
            "a negative interval means",
        ),
        (
            "def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):\n"
            "    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766\n"
            "    if allowed <= sleep_ua:\n"
            "        return math.inf\n"
            "    return awake_ms / 1000 * 1000 * active_ma / (allowed - sleep_ua)\n",
            "by active - sleep",
        ),
        (
            "def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):\n"
            "    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / (365 * 24)\n"
            "    if allowed <= sleep_ua:\n"
            "        return math.inf\n"
            "    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)\n",
            "365.25 days",
        ),
    ],
}

VARIANTS = {}

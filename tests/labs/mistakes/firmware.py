"""Lab `firmware`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "multiplier": [
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    return math.floor(fraction * 2**31 + 0.5), shift
""",
            "does not fit 32 bits",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    return int(fraction * 2**31), shift
""",
            "cut off, not rounded",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    mantissa = round(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = 2**30, shift + 1
    return mantissa, -shift
""",
            "sign of the shift",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    return round(fraction * 2**30), shift
""",
            "30 bits after the point",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    return fraction * 2**31, shift
""",
            "must be an integer",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    return round(fraction * 2**31), 0
""",
            "shift was forgotten",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    mantissa = math.ceil(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = 2**30, shift + 1
    return mantissa, shift
""",
            "rounded up, not to the nearest",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    return min(round(fraction * 2**31), 2**31 - 1), shift
""",
            "cut to the largest integer",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    mantissa = round(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = 2**30, shift - 1
    return mantissa, shift
""",
            "the shift went down",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    mantissa = round(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = 2**30, shift + 1
    return mantissa, shift - 31
""",
            "left in the shift",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    mantissa = round(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = 2**30, shift + 1
    return shift, mantissa
""",
            "wrong order",
        ),
        (
            """
def quantize_multiplier(real):
    fraction, shift = math.frexp(real)
    mantissa = round(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = 2**30, shift + 1
    return {'mantissa': mantissa, 'shift': shift}
""",
            "return the mantissa and the shift",
        ),
        (
            """
def quantize_multiplier(real):
    f, s = math.frexp(real)
    m = round(f * 2**31)
    if m >= 2**31 - 1: m, s = 2**30, s + 1
    return m, s
""",
            "",
        ),
    ],
    "high_multiply": [
        (
            """
def saturating_high_multiply(a, b):
    return (a * b) >> 31
""",
            "cut off, not rounded",
        ),
        (
            """
def saturating_high_multiply(a, b):
    return (a * b + 2**31) >> 32
""",
            "without doubling",
        ),
        (
            """
def saturating_high_multiply(a, b):
    return (a * b + 2**30) >> 31
""",
            "saturate to 2**31 - 1",
        ),
        (
            """
def saturating_high_multiply(a, b):
    if a == b == -(2**31):
        return 2**31 - 1
    exact = a * b
    return (abs(exact) + 2**30 >> 31) * (1 if exact >= 0 else -1)
""",
            "not away from zero",
        ),
        (
            """
def saturating_high_multiply(a, b):
    return min(int((a * b + 2**30) / 2**31), 2**31 - 1)
""",
            "cuts towards zero",
        ),
        (
            """
def saturating_high_multiply(a, b):
    return min(math.floor(a * b / 2**31 + 0.5), 2**31 - 1)
""",
            "53 bits",
        ),
        (
            """
def saturating_high_multiply(a, b):
    return min(round(a * b / 2**31), 2**31 - 1)
""",
            "even neighbour",
        ),
        (
            """
def saturating_high_multiply(a, b):
    return min(-((2**30 - a * b) >> 31), 2**31 - 1)
""",
            "rounded down",
        ),
        (
            """
def saturating_high_multiply(a, b):
    return min(-(-a * b >> 31), 2**31 - 1)
""",
            "rounded up, not to the nearest",
        ),
        (
            """
def saturating_high_multiply(a, b):
    with np.errstate(over='ignore'):
        product = np.int32(a) * np.int32(b)
    return (int(product) + 2**30) >> 31
""",
            "32 bits, which do not hold it",
        ),
        (
            """
def saturating_high_multiply(a, b):
    wide = (a * b + 2**30) >> 31
    return (wide + 2**31) % 2**32 - 2**31
""",
            "wrapped around",
        ),
        (
            """
def saturating_high_multiply(a, b):
    return min((abs(a * b) + 2**30) >> 31, 2**31 - 1)
""",
            "the sign was lost",
        ),
    ],
    "rounding_shift": [
        (
            """
def rounding_divide(x, bits):
    return x if bits == 0 else (x + (1 << (bits - 1))) >> bits
""",
            "goes away from zero, and here it went up",
        ),
        (
            """
def rounding_divide(x, bits):
    return x >> bits
""",
            "cut off, not rounded",
        ),
        (
            """
def rounding_divide(x, bits):
    return round(x / 2**bits)
""",
            "even neighbour",
        ),
        (
            """
def rounding_divide(x, bits):
    return (x + ((1 << bits) >> 1) - (x < 0)) >> bits
""",
            "with bits = 0 nothing may change",
        ),
        (
            """
def rounding_divide(x, bits):
    return int(x / 2**bits)
""",
            "towards zero, not rounded",
        ),
        (
            """
def rounding_divide(x, bits):
    return math.floor(x / 2**bits + 0.5)
""",
            "here it went up",
        ),
        (
            """
def rounding_divide(x, bits):
    return math.ceil(x / 2**bits - 0.5)
""",
            "went down",
        ),
        (
            """
def rounding_divide(x, bits):
    whole, rest = divmod(abs(x), 2**bits)
    return (whole + (2 * rest > 2**bits)) * (1 if x >= 0 else -1)
""",
            "went towards it",
        ),
        (
            """
def rounding_divide(x, bits):
    return (x + (1 << (bits - 1)) - 1) >> bits if bits else x
""",
            "negative numbers alone",
        ),
        (
            """
def rounding_divide(x, bits):
    return -(-x >> bits)
""",
            "rounded up, not to the nearest",
        ),
        (
            """
def rounding_divide(x, bits):
    if bits == 0:
        return x
    wide = x + (1 << (bits - 1)) - (x < 0)
    return ((wide + 2**31) % 2**32 - 2**31) >> bits
""",
            "does not fit 32 bits",
        ),
        (
            """
def rounding_divide(x, bits):
    return (abs(x) + ((1 << bits) >> 1)) >> bits
""",
            "the sign was lost",
        ),
    ],
    "first_difference": [
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    close = np.isclose(found.astype(float), expected.astype(float), atol=1)
    differ = ~close.reshape(len(found), -1).all(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "without a tolerance",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    a, b = (z.reshape(len(z), -1).argmax(axis=1) for z in (found, expected))
    return int((a != b).argmax()) if (a != b).any() else None
""",
            "overlooked",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax())
""",
            "argmax of nothing is 0",
        ),
        (
            """
def first_difference(found, expected):
    differ = (found != expected).reshape(max(len(found), len(expected)), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "compare the shapes first",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "compare dtype, too",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).ravel()
    return int(differ.argmax()) if differ.any() else None
""",
            "rows are wanted",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) or None
""",
            "0 is not None",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    a, b = (z.reshape(len(z), -1).sum(axis=1) for z in (found, expected))
    differ = a != b
    return int(differ.argmax()) if differ.any() else None
""",
            "not sums or sorted values",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.sum()) or None
""",
            "counts the rows",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) + 1 if differ.any() else None
""",
            "rows are counted from 0",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(np.flatnonzero(differ)[-1]) if differ.any() else None
""",
            "overlooked",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1)[:, :-1].any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "last element was not compared",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    close = np.isclose(found, expected, rtol=1e-6, atol=0)
    differ = ~close.reshape(len(found), -1).all(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "in the last bit",
        ),
        (
            """
def first_difference(found, expected):
    if len(found) != len(expected) or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "compare the shapes first",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else -1
""",
            "not -1",
        ),
        (
            """
def first_difference(found, expected):
    if found.shape != expected.shape or found.dtype.itemsize != expected.dtype.itemsize: raise ValueError
    d = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(d.argmax()) if d.any() else None
""",
            "compare dtype",
        ),
        (
            """
def first_difference(found, expected):
    if found.size != expected.size or found.dtype != expected.dtype: raise ValueError
    d = (found.reshape(len(found), -1) != expected.reshape(len(found), -1)).any(axis=1)
    return int(d.argmax()) if d.any() else None
""",
            "compare the shapes",
        ),
    ],
    "budget": [
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata'), get('.data', '.bss', '.stack')
""",
            "lie in flash, too",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data'), get('.bss', '.stack')
""",
            "lives in RAM, too",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data'), get('.data', '.bss')
""",
            "stack was forgotten",
        ),
        (
            """
def flash_and_ram(sections):
    ram = sum(sections.get(name, 0) for name in ('.data', '.bss', '.stack'))
    return sum(sections.values()) - sections.get('.bss', 0) - sections.get('.stack', 0), ram
""",
            "notes for the debugger",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data', '.bss'), get('.data', '.bss', '.stack')
""",
            "starts as zero",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.text', '.rodata', '.data'), get('.data', '.bss', '.stack')
""",
            "vector table was forgotten",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.data'), get('.data', '.bss', '.stack')
""",
            "constants were forgotten",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data'), get('.rodata', '.data', '.bss', '.stack')
""",
            "read from flash",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.data', '.bss', '.stack'), get('.vectors', '.text', '.rodata', '.data')
""",
            "wrong order",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return {'flash': get('.vectors', '.text', '.rodata', '.data'), 'RAM': get('.data', '.bss', '.stack')}
""",
            "return flash and RAM as a tuple",
        ),
        (
            """
def flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data') / 1024, get('.data', '.bss', '.stack') / 1024
""",
            "these are KiB",
        ),
        (
            """
def flash_and_ram(sections):
    f = sum(v for k, v in sections.items() if k.startswith(('.vectors', '.text', '.rodata', '.data')))
    return f, sum(v for k, v in sections.items() if k.startswith(('.data', '.bss', '.stack')))
""",
            "whole names",
        ),
    ],
    "interval": [
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * 1000 * active_ma / allowed
""",
            "sleep current was left out",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah / goal_years / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "self-discharge was left out",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "in milliseconds",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "a negative interval means",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * 1000 * active_ma / (allowed - sleep_ua)
""",
            "by active - sleep",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / (365 * 24)
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "365.25 days",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "percent are hundredths",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 - leak_percent / 100) / goal_years / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "each year, not",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
""",
            "duty cycle",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    return abs(awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua))
""",
            "sign was taken away",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return 0.0
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "math.inf, not 0",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return None
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "every path of your function end in a return",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma + sleep_ua) / (allowed - sleep_ua)
""",
            "added to the active one",
        ),
        (
            """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua) - awake_ms / 1000
""",
            "this is the sleep alone",
        ),
    ],
}

VARIANTS = {
    "multiplier": [
        """
def quantize_multiplier(real):
    shift = 0
    while real >= 1:
        real, shift = real / 2, shift + 1
    while real < 0.5:
        real, shift = real * 2, shift - 1
    mantissa = np.rint(real * 2.0**31)
    return [mantissa / 2, shift + 1] if mantissa == 2.0**31 else [mantissa, shift]
""",
        """
def quantize_multiplier(real):
    fraction, shift = np.frexp(real)
    mantissa = np.int64(np.round(fraction * (1 << 31)))
    if mantissa >> 31:
        mantissa >>= 1
        shift += 1
    return np.array([mantissa, shift])
""",
        """
def quantize_multiplier(real):
    from fractions import Fraction
    exact, shift = Fraction(real), 0
    while round(exact * 2**31) >= 2**31:
        exact, shift = exact / 2, shift + 1
    while round(exact * 2**31) < 2**30:
        exact, shift = exact * 2, shift - 1
    return np.int32(round(exact * 2**31)), np.int32(shift)
""",
    ],
    "high_multiply": [
        """
def saturating_high_multiply(a, b):
    product = np.int64(a) * np.int64(b) + np.int64(2**30)
    return np.minimum(product >> 31, 2**31 - 1)
""",
        """
def saturating_high_multiply(a, b):
    from fractions import Fraction
    return min(math.floor(Fraction(a * b, 2**31) + Fraction(1, 2)), 2**31 - 1)
""",
        """
def saturating_high_multiply(a, b):
    whole, rest = divmod(2 * a * b, 2**32)
    whole += rest >= 2**31
    return float(max(-(2**31), min(whole, 2**31 - 1)))
""",
    ],
    "rounding_shift": [
        """
def rounding_divide(x, bits):
    from decimal import ROUND_HALF_UP, Decimal
    return int((Decimal(x) / Decimal(2**bits)).to_integral_value(ROUND_HALF_UP))
""",
        """
def rounding_divide(x, bits):
    sign = -1 if x < 0 else 1
    whole, rest = divmod(abs(x), 1 << bits)
    return sign * (whole + (2 * rest >= 1 << bits))
""",
        """
def rounding_divide(x, bits):
    return np.trunc(x / 2.0**bits + np.copysign(0.5, x))
""",
        """
def rounding_divide(x, bits):
    x, mask = np.int64(x), (1 << bits) - 1
    return (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0))
""",
    ],
    "first_difference": [
        """
def first_difference(found, expected):
    if found.dtype != expected.dtype:
        raise ValueError('types')
    if found.shape != expected.shape:
        raise ValueError('shapes')
    for number, (a, b) in enumerate(zip(found, expected)):
        if not np.array_equal(a, b):
            return number
""",
        """
def first_difference(found, expected):
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f'{found.shape} {found.dtype} against {expected.shape} {expected.dtype}')
    rows = np.nonzero(found != expected)[0]
    return rows.min() if rows.size else None
""",
        """
def first_difference(found, expected):
    assert isinstance(found, np.ndarray)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise np.exceptions.AxisError('other arrays')
    numbers = [i for i in range(len(found)) if found[i].tobytes() != expected[i].tobytes()]
    return np.array(numbers[0]) if numbers else None
""",
    ],
    "budget": [
        """
def flash_and_ram(sections):
    flash = ram = 0
    for name, size in sections.items():
        if name in ('.vectors', '.text', '.rodata', '.data'):
            flash += size
        if name in ('.data', '.bss', '.stack'):
            ram += size
    return [flash, ram]
""",
        """
def flash_and_ram(sections):
    where = {'.vectors': (1, 0), '.text': (1, 0), '.rodata': (1, 0), '.data': (1, 1), '.bss': (0, 1), '.stack': (0, 1)}
    sizes = [np.multiply(where[name], size) for name, size in sections.items() if name in where]
    return np.sum(sizes, axis=0)
""",
        """
from collections import namedtuple
Budget = namedtuple('Budget', 'flash ram')

def flash_and_ram(sections):
    from collections import Counter
    s = Counter(sections)
    return Budget(float(s['.vectors'] + s['.text'] + s['.rodata'] + s['.data']), s['.data'] + s['.bss'] + s['.stack'])
""",
    ],
    "interval": [
        """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    hours = np.float32(8766)
    allowed_ma = np.float32(capacity_mah) / hours * (1 / np.float32(goal_years) - np.float32(leak_percent) / 100)
    spare = allowed_ma - np.float32(sleep_ua) / 1000
    if spare <= 0:
        return np.float32(np.inf)
    return np.float32(awake_ms) / 1000 * (np.float32(active_ma) - np.float32(sleep_ua) / 1000) / spare
""",
        """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    seconds = goal_years * 365.25 * 24 * 3600
    charge = capacity_mah * 3.6 * (1 - goal_years * leak_percent / 100)
    spare = charge - sleep_ua / 1e6 * seconds
    each = awake_ms / 1e3 * (active_ma / 1e3 - sleep_ua / 1e6)
    return seconds * each / spare if spare > 0 else float('inf')
""",
        """
def shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    def lasts(seconds):
        duty = awake_ms / 1000 / seconds
        used_a_year = 8766 * (duty * active_ma + (1 - duty) * sleep_ua / 1000) + capacity_mah * leak_percent / 100
        return capacity_mah / used_a_year >= goal_years
    low, high = awake_ms / 1000, 1e12
    if not lasts(high):
        return math.inf
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if lasts(middle) else (middle, high)
    return np.array(high)
""",
    ],
}

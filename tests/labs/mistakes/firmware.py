"""Lab `firmware`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "multiplier": [
        (
            """
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    return math.floor(fraction * 2**31 + 0.5), shift
""",
            "does not fit 32 bits",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    return int(fraction * 2**31), shift
""",
            "cut off, not rounded",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
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
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    return round(fraction * 2**30), shift
""",
            "30 bits after the point",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    return fraction * 2**31, shift
""",
            "must be an integer",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    return round(fraction * 2**31), 0
""",
            "shift was forgotten",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
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
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    return min(round(fraction * 2**31), 2**31 - 1), shift
""",
            "cut to the largest integer",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
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
def my_quantize_multiplier(real, bits=31):
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
def my_quantize_multiplier(real, bits=31):
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
def my_quantize_multiplier(real, bits=31):
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
def my_quantize_multiplier(real, bits=31):
    f, s = math.frexp(real)
    m = round(f * 2**31)
    if m >= 2**31 - 1: m, s = 2**30, s + 1
    return m, s
""",
            "",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    mantissa = round(fraction * 2**31)
    return (2**30, shift + 1) if mantissa == 2**31 else (mantissa, shift)
""",
            "`bits` is ignored",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    mantissa = round(fraction * 2**bits)
    return (2**30, shift + 1) if mantissa == 2**bits else (mantissa, shift)
""",
            "it is 2**(bits - 1)",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    fraction, shift = math.frexp(real)
    mantissa = round(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = 2**30, shift + 1
    return mantissa >> (31 - bits), shift
""",
            "cut off: round to the nearest",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    shift = math.ceil(math.log2(real))
    return round(real / 2**shift * 2**bits), shift
""",
            "power of two is one half",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    return round(real * 2**bits), 0
""",
            "written with 31 bits",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    f, s = np.frexp(np.float32(real))
    m = round(float(f) * 2**bits)
    if m == 2**bits: m, s = m // 2, s + 1
    return m, int(s)
""",
            "24 bits of the 31",
        ),
        (
            """
def my_quantize_multiplier(real, bits=31):
    s = 0
    while real < 0.5:
        real *= 2
        s -= 1
    m = round(real * 2**bits)
    if m == 2**bits: m, s = m // 2, s + 1
    return m, s
""",
            "written with 31 bits",
        ),
    ],
    "high_multiply": [
        (
            """
def my_high_multiply(a, b, bits=31):
    return (a * b) >> 31
""",
            "cut off, not rounded",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    return (a * b + 2**31) >> 32
""",
            "without doubling",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    return (a * b + 2**30) >> 31
""",
            "saturate to 2**31 - 1",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    if a == b == -(2**31):
        return 2**31 - 1
    exact = a * b
    return (abs(exact) + 2**30 >> 31) * (1 if exact >= 0 else -1)
""",
            "not away from zero",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    return min(int((a * b + 2**30) / 2**31), 2**31 - 1)
""",
            "cuts towards zero",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    return min(math.floor(a * b / 2**31 + 0.5), 2**31 - 1)
""",
            "53 bits",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    return min(round(a * b / 2**31), 2**31 - 1)
""",
            "even neighbour",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    return min(-((2**30 - a * b) >> 31), 2**31 - 1)
""",
            "rounded down",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    return min(-(-a * b >> 31), 2**31 - 1)
""",
            "rounded up, not to the nearest",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    with np.errstate(over='ignore'):
        product = np.int32(a) * np.int32(b)
    return (int(product) + 2**30) >> 31
""",
            "32 bits, which do not hold it",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    wide = (a * b + 2**30) >> 31
    return (wide + 2**31) % 2**32 - 2**31
""",
            "wrapped around",
        ),
        (
            """
def my_high_multiply(a, b, bits=31):
    return min((abs(a * b) + 2**30) >> 31, 2**31 - 1)
""",
            "the sign was lost",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return min((a * mantissa + 2**30) >> 31, 2**31 - 1)
""",
            "`bits` is ignored",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return min((a * mantissa + 2**30) >> bits, 2**bits - 1)
""",
            "here as well",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return min((a * mantissa + 2**(bits - 1)) >> bits, 2**31 - 1)
""",
            "saturates at 2**bits - 1",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return (a >> 16) * (mantissa >> (bits - 16)) if bits > 16 else (a * mantissa) >> bits
""",
            "loses their lower bits",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return min((a * mantissa + 2**(bits-1)) >> bits, 2**(bits-1) - 1)
""",
            "saturates at 2**30 - 1",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    if a == mantissa: return 2**bits - 1
    return (a * mantissa + 2**(bits-1)) >> bits
""",
            "two equal numbers",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return min((a * mantissa >> bits) + 2**(bits-1), 2**bits - 1)
""",
            "added after the shift",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return min(a * mantissa + 2**(bits-1) >> bits - 1, 2**bits - 1)
""",
            "shifts by 30",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return a * mantissa / 2**bits
""",
            "not rounded to an integer",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return max((a * mantissa + 2**(bits-1)) >> bits, 2**bits - 1)
""",
            "max() was taken for min()",
        ),
        (
            """
def my_high_multiply(a, mantissa, bits=31):
    return min(a * mantissa + 2**(bits-1), 2**bits - 1) >> bits
""",
            "held before the shift",
        ),
    ],
    "rounding_shift": [
        (
            """
def my_rounding_shift(x, bits):
    return x if bits == 0 else (x + (1 << (bits - 1))) >> bits
""",
            "goes away from zero, and here it went up",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return x >> bits
""",
            "cut off, not rounded",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return round(x / 2**bits)
""",
            "even neighbour",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return (x + ((1 << bits) >> 1) - (x < 0)) >> bits
""",
            "with bits = 0 nothing may change",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return int(x / 2**bits)
""",
            "towards zero, not rounded",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return math.floor(x / 2**bits + 0.5)
""",
            "here it went up",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return math.ceil(x / 2**bits - 0.5)
""",
            "went down",
        ),
        (
            """
def my_rounding_shift(x, bits):
    whole, rest = divmod(abs(x), 2**bits)
    return (whole + (2 * rest > 2**bits)) * (1 if x >= 0 else -1)
""",
            "went towards it",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return (x + (1 << (bits - 1)) - 1) >> bits if bits else x
""",
            "negative numbers alone",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return -(-x >> bits)
""",
            "rounded up, not to the nearest",
        ),
        (
            """
def my_rounding_shift(x, bits):
    if bits == 0:
        return x
    wide = x + (1 << (bits - 1)) - (x < 0)
    return ((wide + 2**31) % 2**32 - 2**31) >> bits
""",
            "does not fit 32 bits",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return (abs(x) + ((1 << bits) >> 1)) >> bits
""",
            "the sign was lost",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return -(abs(x) + (1 << bits >> 1)) >> bits if x < 0 else (x + (1 << bits >> 1)) >> bits
""",
            "too far down",
        ),
        (
            """
def my_rounding_shift(x, bits):
    h = 1 << bits >> 1
    return (x - h) >> bits if x < 0 else (x + h) >> bits
""",
            "too far down",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return int(x / 2**bits + 0.5)
""",
            "int() cuts towards zero",
        ),
        (
            """
def my_rounding_shift(x, bits):
    return (x + (1 << (bits - 1)) - (x < 0)) >> bits
""",
            "there is no half",
        ),
        (
            """
def my_rounding_shift(x, bits):
    if bits == 0: return 0
    return (x + (1 << bits - 1) - (x < 0)) >> bits
""",
            "return x, not 0",
        ),
        (
            """
def my_rounding_shift(x, bits):
    if bits == 0: return x
    return (x + (1 << bits - 1) - (x < 0)) / 2**bits
""",
            "not rounded to an integer",
        ),
    ],
    "first_difference": [
        (
            """
def my_first_difference(found, expected):
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
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    a, b = (z.reshape(len(z), -1).argmax(axis=1) for z in (found, expected))
    return int((a != b).argmax()) if (a != b).any() else None
""",
            "overlooked",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax())
""",
            "argmax of nothing is 0",
        ),
        (
            """
def my_first_difference(found, expected):
    differ = (found != expected).reshape(max(len(found), len(expected)), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "compare the shapes first",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "compare dtype, too",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).ravel()
    return int(differ.argmax()) if differ.any() else None
""",
            "rows are wanted",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) or None
""",
            "0 is not None",
        ),
        (
            """
def my_first_difference(found, expected):
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
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.sum()) or None
""",
            "counts the rows",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) + 1 if differ.any() else None
""",
            "rows are counted from 0",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(np.flatnonzero(differ)[-1]) if differ.any() else None
""",
            "the last row that differs",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1)[:, :-1].any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "last element was not compared",
        ),
        (
            """
def my_first_difference(found, expected):
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
def my_first_difference(found, expected):
    if len(found) != len(expected) or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "compare the shapes first",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else -1
""",
            "not -1",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype.itemsize != expected.dtype.itemsize: raise ValueError
    d = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(d.argmax()) if d.any() else None
""",
            "compare dtype",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.size != expected.size or found.dtype != expected.dtype: raise ValueError
    d = (found.reshape(len(found), -1) != expected.reshape(len(found), -1)).any(axis=1)
    return int(d.argmax()) if d.any() else None
""",
            "compare the shapes",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    differ = (found != expected).any(axis=-1)
    return int(differ.argmax()) if differ.any() else None
""",
            "a place in a flat array",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    differ = (found != expected).any(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "counted in a flat array",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    differ = (found != expected).reshape(len(found), -1).all(axis=1)
    return int(differ.argmax()) if differ.any() else None
""",
            "not only where all do",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    return np.where((found != expected).reshape(len(found), -1).any(axis=1))[0]
""",
            "not an empty array",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    return np.argwhere(found != expected)[0] if (found != expected).any() else None
""",
            "number of its row",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    return tuple(np.argwhere(found != expected)[0]) if (found != expected).any() else None
""",
            "number of its row",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    for i in range(len(found)):
        if (found[i] == expected[i]).any(): continue
        return i
""",
            "not only where all do",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    if not np.array_equal(found, expected): return (found != expected).reshape(len(found), -1).any(axis=1)
""",
            "the number of the first is wanted",
        ),
        (
            """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    d = np.abs(found - expected).reshape(len(found), -1).max(axis=1) > 0
    return int(d.argmax()) if d.any() else None
""",
            "compare with !=, do not subtract",
        ),
    ],
    "budget": [
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata'), get('.data', '.bss', '.stack')
""",
            "lie in flash, too",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data'), get('.bss', '.stack')
""",
            "lives in RAM, too",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data'), get('.data', '.bss')
""",
            "stack was forgotten",
        ),
        (
            """
def my_flash_and_ram(sections):
    ram = sum(sections.get(name, 0) for name in ('.data', '.bss', '.stack'))
    return sum(sections.values()) - sections.get('.bss', 0) - sections.get('.stack', 0), ram
""",
            "notes for the debugger",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data', '.bss'), get('.data', '.bss', '.stack')
""",
            "starts as zero",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.text', '.rodata', '.data'), get('.data', '.bss', '.stack')
""",
            "vector table was forgotten",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.data'), get('.data', '.bss', '.stack')
""",
            "constants were forgotten",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data'), get('.rodata', '.data', '.bss', '.stack')
""",
            "read from flash",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.data', '.bss', '.stack'), get('.vectors', '.text', '.rodata', '.data')
""",
            "wrong order",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return {'flash': get('.vectors', '.text', '.rodata', '.data'), 'RAM': get('.data', '.bss', '.stack')}
""",
            "return flash and RAM as a tuple",
        ),
        (
            """
def my_flash_and_ram(sections):
    get = lambda *names: sum(sections.get(name, 0) for name in names)
    return get('.vectors', '.text', '.rodata', '.data') / 1024, get('.data', '.bss', '.stack') / 1024
""",
            "these are KiB",
        ),
        (
            """
def my_flash_and_ram(sections):
    f = sum(v for k, v in sections.items() if k.startswith(('.vectors', '.text', '.rodata', '.data')))
    return f, sum(v for k, v in sections.items() if k.startswith(('.data', '.bss', '.stack')))
""",
            "whole names",
        ),
        (
            """
def my_flash_and_ram(sections):
    g = lambda *n: sum(sections.get(k, 0) for k in n)
    return g('.vectors', '.text', '.rodata'), g('.bss', '.stack')
""",
            ".data was forgotten",
        ),
        (
            """
def my_flash_and_ram(sections):
    g = lambda *n: sum(sections.get(k, 0) for k in n)
    return g('.vectors', '.text', '.rodata', '.data'), g('.bss')
""",
            "only .bss was counted",
        ),
        (
            """
def my_flash_and_ram(sections):
    g = lambda *n: sum(sections.get(k, 0) for k in n)
    return g('.text', '.rodata'), g('.data', '.bss', '.stack')
""",
            "vector table and .data",
        ),
        (
            """
def my_flash_and_ram(sections):
    g = lambda *n: sum(sections.get(k, 0) for k in n)
    return g('.text', '.data'), g('.data', '.bss', '.stack')
""",
            "vector table and the constants",
        ),
        (
            """
def my_flash_and_ram(sections):
    g = lambda *n: sum(sections.get(k, 0) for k in n)
    return sum(sections.values()), g('.data', '.bss', '.stack')
""",
            "not every section lies in flash",
        ),
        (
            """
def my_flash_and_ram(sections):
    g = lambda *n: sum(sections.get(k, 0) for k in n)
    return g('.vectors', '.text', '.rodata', '.data'), sum(sections.values())
""",
            "not every section takes RAM",
        ),
        (
            """
def my_flash_and_ram(sections):
    size = lambda names: sum(sections.get(k, 0) for k in names)
    return size('.vectors .text .rodata .data'), size('.data .bss .stack')
""",
            "no section was found",
        ),
        (
            """
def my_flash_and_ram(sections):
    f = sum(v for k, v in sections.items() if k not in ('.bss', '.stack') and 'debug' not in k)
    return f, sum(sections.get(k, 0) for k in ('.data', '.bss', '.stack'))
""",
            "name what counts",
        ),
        (
            """
def my_flash_and_ram(sections):
    g = lambda *n: sum(sections.get(k, 0) for k in n)
    return g('vectors', 'text', 'rodata', 'data'), g('data', 'bss', 'stack')
""",
            "begin with a dot",
        ),
        (
            """
def my_flash_and_ram(sections):
    g = lambda *n: sum(sections.get(k, 0) for k in n)
    return g('.vectors', '.text', '.rodata', '.data'), g('.data', '.bss', '.stack', '.vectors')
""",
            "vector table is read from flash",
        ),
    ],
    "interval": [
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * 1000 * active_ma / allowed
""",
            "sleep current was left out",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah / goal_years / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "self-discharge was left out",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "in milliseconds",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "a negative interval means",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * 1000 * active_ma / (allowed - sleep_ua)
""",
            "by active - sleep",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / (365 * 24)
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "365.25 days",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "percent are hundredths",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 - leak_percent / 100) / goal_years / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "each year, not",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
""",
            "duty cycle",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    return abs(awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua))
""",
            "sign was taken away",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return 0.0
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "math.inf, not 0",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return None
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "every path of your function end in a return",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma + sleep_ua) / (allowed - sleep_ua)
""",
            "added to the active one",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed - sleep_ua) - awake_ms / 1000
""",
            "this is the sleep alone",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (active_ma - sleep_ua) / (allowed - sleep_ua)
""",
            "one unit for both",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 24
    if allowed <= sleep_ua: return math.inf
    d = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
    return awake_ms / 1000 / d
""",
            "those of a day",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 365.25
    if allowed <= sleep_ua: return math.inf
    d = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
    return awake_ms / 1000 / d
""",
            "these are its days",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah / (8766 * goal_years) - leak_percent / 100
    if allowed <= sleep_ua: return math.inf
    d = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
    return awake_ms / 1000 / d
""",
            "subtracts bare percent",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua: return math.inf
    d = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
    return awake_ms / 1000 / d
""",
            "divide by the years",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua / 1000: return math.inf
    d = (allowed - sleep_ua) / (active_ma - sleep_ua)
    return awake_ms / 1000 / d
""",
            "one unit for all",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua: return math.inf
    d = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
    return awake_ms / 1000 / d / 3600
""",
            "in hours",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua: return math.inf
    d = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
    return 0.010 / d
""",
            "worked example",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua: return math.nan
    d = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
    return awake_ms / 1000 / d
""",
            "not NaN",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    d = max((allowed - sleep_ua) / (1000 * active_ma - sleep_ua), 1e-9)
    return awake_ms / 1000 / d
""",
            "not long enough either",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = capacity_mah * (1 / goal_years - leak_percent / 100) / 8766
    if allowed <= sleep_ua / 1000: return math.inf
    d = (allowed - sleep_ua / 1000) / (active_ma - sleep_ua / 1000)
    return 1 / d
""",
            "awake time is missing",
        ),
        (
            """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    allowed = 1000 * capacity_mah * (1 - leak_percent / 100)**goal_years / goal_years / 8766
    if allowed <= sleep_ua: return math.inf
    d = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)
    return awake_ms / 1000 / d
""",
            "not of what is left of it",
        ),
    ],
    "requantize": [
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(v, low), high)
""",
            "zero point is missing",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply((total + zero_point) << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(v, low), high)
""",
            "behind the two roundings",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(v, low), high) + zero_point
""",
            "add it first",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return v + zero_point
""",
            "limits are missing",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(v + zero_point, -128), 127)
""",
            "both limits are ignored",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(v + zero_point, low), 127)
""",
            "upper limit is ignored",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(v + zero_point, -128), high)
""",
            "lower limit is ignored",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = (high_multiply(total << max(shift, 0), mantissa) >> max(-shift, 0))
    return min(max(v + zero_point, low), high)
""",
            "second rounding is missing",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    return min(max(math.floor(total * (mantissa / 2**31) * 2.0**shift + 0.5) + zero_point, low), high)
""",
            "rounds once",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    return min(max(round(total * (mantissa / 2**31) * 2.0**shift) + zero_point, low), high)
""",
            "rounds once, to the even",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total, mantissa) << max(shift, 0), max(-shift, 0))
    return min(max(v + zero_point, low), high)
""",
            "before the high multiply",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total, mantissa), max(-shift, 0))
    return min(max(v + zero_point, low), high)
""",
            "above 0 is forgotten",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(-shift, 0), mantissa), max(shift, 0))
    return min(max(v + zero_point, low), high)
""",
            "sign of the shift",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    return min(max(high_multiply(total, mantissa) + zero_point, low), high)
""",
            "the shift is missing",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    return min(max(rounding_shift(high_multiply(total, mantissa), -shift) + zero_point, low), high)
""",
            "",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    q = int(np.int64(v + zero_point).astype(np.int8))
    return min(max(q, low), high)
""",
            "wrapped around in 8 bits",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(v - zero_point, low), high)
""",
            "was subtracted",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), shift)
    return min(max(v + zero_point, low), high)
""",
            "a number of bits was negative",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return max(min(max(v + zero_point, low), high), zero_point)
""",
            "ReLU is in the lower limit",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(max(v, 0) + zero_point, low), high)
""",
            "ReLU is in the lower limit",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = total * mantissa / 2**31 * 2**shift
    return min(max(v + zero_point, low), high)
""",
            "not rounded to an integer",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << abs(shift), mantissa), abs(shift))
    return min(max(v + zero_point, low), high)
""",
            "the shift is missing",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total, mantissa), abs(shift))
    return min(max(v + zero_point, low), high)
""",
            "here it went to the right",
        ),
        (
            """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return max(min(v + zero_point, low), high)
""",
            "min() and max() are exchanged",
        ),
    ],
    "layer": [
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    product = (sums * mantissas + (1 << 30)) >> 31
    right = -shifts
    rounded = (product + (1 << right >> 1)) >> right
    return np.clip((rounded + zero_point).astype(np.int8), low, high)
""",
            "through 32 bits",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    product = (sums.astype(np.int64) * mantissas + (1 << 30)) >> 31
    right = -shifts
    rounded = (product + (1 << right >> 1)) >> right
    return np.clip((rounded + zero_point).astype(np.int8), low, high)
""",
            "negative exact half went up",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    product = (sums.astype(np.int64) * mantissas + (1 << 30)) >> 31
    right = -shifts
    rounded = (product + (1 << right >> 1) - (product < 0)) >> right
    return np.clip((rounded + zero_point).astype(np.int8), low, high)
""",
            "wrapped around in 8 bits",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = (sums.astype(np.int64) * mantissas + (1 << 30)) >> 31
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "above 0 is forgotten",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) * mantissas + (1 << 30)) >> 31) << left
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "comes before the product",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    rounded = (product + (1 << right >> 1) - (product < 0)) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "shift of 0 or above is no division",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    factor = mantissas / 2.0**31 * 2.0**shifts
    return np.clip(np.rint(sums * factor) + zero_point, low, high).astype(np.int8)
""",
            "float arithmetic",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas[0] + (1 << 30)) >> 31
    right = right[0]
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "a mantissa and a shift of its own",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded + zero_point, low, high)
""",
            "convert to int8 at the very end",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded + zero_point, -128, 127).astype(np.int8)
""",
            "limits are ignored",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded, low, high).astype(np.int8)
""",
            "zero point is missing",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    sums = np.asarray(sums)
    sums <<= np.maximum(shifts, 0)
    right = np.maximum(-shifts, 0)
    product = (sums.astype(np.int64) * mantissas + (1 << 30)) >> 31
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "changed its argument 1 in place",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas) >> 31
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "the product was cut off, not rounded",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    return np.clip((product >> right) + zero_point, low, high).astype(np.int8)
""",
            "the second rounding is missing",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    right = np.abs(shifts)
    product = (sums.astype(np.int64) * mantissas + (1 << 30)) >> 31
    rounded = (product + (1 << right >> 1) - ((product < 0) & (right > 0))) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "went to the right",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = np.floor((sums.astype(float) * 2.0**left) * mantissas / 2**31 + 0.5).astype(np.int64)
    down = (product < 0) & (right > 0)
    rounded = (product + (1 << right >> 1) - down) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "whose 53 bits do not hold it",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    down = (product < 0) & (right > 0)
    rounded = (product + (1 << right >> 1) - down) >> right
    return np.clip(rounded, low, high).astype(np.int8) + zero_point
""",
            "added after the limits",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(-shifts, 0), np.maximum(shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    down = (product < 0) & (right > 0)
    rounded = (product + (1 << right >> 1) - down) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "left and right are exchanged",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    rounded = (np.abs(product) + (1 << right >> 1)) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "the sign was lost",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    down = (product > 0) & (right > 0)
    rounded = (product + (1 << right >> 1) - down) >> right
    return np.clip(rounded + zero_point, low, high).astype(np.int8)
""",
            "belongs to negative products",
        ),
        (
            """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    product = ((sums.astype(np.int64) << left) * mantissas + (1 << 30)) >> 31
    down = (product < 0) & (right > 0)
    rounded = (product + (1 << right >> 1) - down) >> right
    return np.clip(rounded + zero_point, -127, 127).astype(np.int8)
""",
            "not -127 and 127",
        ),
    ],
    "smlad": [
        (
            """
def my_smlad(x, y, total):
    return total + (x & 0xFFFF) * (y & 0xFFFF) + (x >> 16) * (y >> 16)
""",
            "halves have a sign",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
""",
            "sum so far is missing",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y >> 16) + s(x >> 16) * s(y & 0xFFFF)
""",
            "crossed",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF)
""",
            "upper product is missing",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) - s(x >> 16) * s(y >> 16)
""",
            "was subtracted",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n > 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
""",
            "0x8000 is already negative",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**15 if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
""",
            "minus 2**16, not",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + (x >> 16) * (y >> 16)
""",
            "upper halves have a sign, too",
        ),
        (
            """
def my_smlad(x, y, total):
    return total + x * y
""",
            "multiplied whole",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**8 if n >= 2**7 else n
    return total + s(x & 0xFF) * s(y & 0xFF) + s(x >> 8 & 0xFF) * s(y >> 8 & 0xFF)
""",
            "the halves have 16",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 0xFFFF if n >= 0x8000 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
""",
            "not minus 0xFFFF",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: (n & 0x7FFF) * (-1 if n & 0x8000 else 1)
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
""",
            "no minus sign beside 15 bits",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(x >> 16) + s(y & 0xFFFF) * s(y >> 16)
""",
            "belong to two registers",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return (total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)) & 0xFFFFFFFF
""",
            "needs no mask",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n > 2**15 - 1 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) * s(x >> 16) * s(y >> 16)
""",
            "were multiplied",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: -n if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
""",
            "another number",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + s(x & 0x00FF) * s(y & 0x00FF) + s(x >> 16) * s(y >> 16)
""",
            "0xFF keeps 8 bits",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x & 0xFFFF0000) * s(y & 0xFFFF0000)
""",
            "shifted down by 16",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total - s(x & 0xFFFF) * s(y & 0xFFFF) - s(x >> 16) * s(y >> 16)
""",
            "both products were subtracted",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: 2**16 - n if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
""",
            "the sign came out wrong",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + (s(x & 0xFFFF) + s(x >> 16)) * (s(y & 0xFFFF) + s(y >> 16))
""",
            "added up first",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n & 0x8000 else n
    r = total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
    return max(min(r, 32767), -32768)
""",
            "hold nothing at 16",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**15
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16)
""",
            "2**15 too small",
        ),
        (
            """
def my_smlad(x, y, total):
    s = lambda n: n - 2**16 if n >= 2**15 else n
    return total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x // 16) * s(y // 16)
""",
            "a division by 2**16",
        ),
    ],
}

VARIANTS = {
    "multiplier": [
        """
def my_quantize_multiplier(real, bits=31):
    shift = 0
    while real >= 1:
        real, shift = real / 2, shift + 1
    while real < 0.5:
        real, shift = real * 2, shift - 1
    mantissa = np.rint(real * 2.0**bits)
    return [mantissa / 2, shift + 1] if mantissa == 2.0**bits else [mantissa, shift]
""",
        """
def my_quantize_multiplier(real, bits=31):
    fraction, shift = np.frexp(real)
    mantissa = np.int64(np.round(fraction * (1 << bits)))
    if mantissa >> bits:
        mantissa >>= 1
        shift += 1
    return np.array([mantissa, shift])
""",
        """
def my_quantize_multiplier(real, bits=31):
    from fractions import Fraction
    exact, shift = Fraction(real), 0
    while round(exact * 2**bits) >= 2**bits:
        exact, shift = exact / 2, shift + 1
    while round(exact * 2**bits) < 2**(bits - 1):
        exact, shift = exact * 2, shift - 1
    return np.int32(round(exact * 2**bits)), np.int32(shift)
""",
        """
def my_quantize_multiplier(real, bits=31):
    s = math.floor(math.log2(real)) + 1
    m = int(real * 2.0**(bits - s) + 0.5)
    if m >= 2**bits: m, s = m >> 1, s + 1
    return m, s
""",
        """
def my_quantize_multiplier(real, bits=31):
    f, s = math.frexp(real)
    m = int(np.floor(np.ldexp(f, bits) + np.float64(0.5)))
    return (m >> 1, s + 1) if m >> bits else (m, s)
""",
        """
def my_quantize_multiplier(real, bits=31):
    f, s = math.frexp(real)
    q = torch.tensor(f, dtype=torch.float64).mul(2**bits).round().long()
    if int(q) == 2**bits: q, s = q // 2, s + 1
    return q, torch.tensor(s)
""",
    ],
    "high_multiply": [
        """
def my_high_multiply(a, b, bits=31):
    product = np.int64(a) * np.int64(b) + np.int64(2**(bits - 1))
    return np.minimum(product >> bits, 2**bits - 1)
""",
        """
def my_high_multiply(a, b, bits=31):
    from fractions import Fraction
    return min(math.floor(Fraction(a * b, 2**bits) + Fraction(1, 2)), 2**bits - 1)
""",
        """
def my_high_multiply(a, b, bits=31):
    whole, rest = divmod(2 * a * b, 2**(bits + 1))
    whole += rest >= 2**bits
    return float(max(-(2**bits), min(whole, 2**bits - 1)))
""",
        """
def my_high_multiply(a, mantissa, bits=31):
    return min((a * mantissa >> (bits - 1)) + 1 >> 1, 2**bits - 1)
""",
        """
def my_high_multiply(a, mantissa, bits=31):
    p = a * mantissa
    nudge = 2**(bits - 1) if p >= 0 else 1 - 2**(bits - 1)
    q = abs(p + nudge) // 2**bits * (1 if p + nudge >= 0 else -1)
    return np.int32(min(q, 2**bits - 1))
""",
        """
def my_high_multiply(a, mantissa, bits=31):
    q = (torch.tensor(a, dtype=torch.int64) * mantissa + 2**(bits - 1)) >> bits
    return torch.clamp(q, max=2**bits - 1)
""",
    ],
    "rounding_shift": [
        """
def my_rounding_shift(x, bits):
    from decimal import ROUND_HALF_UP, Decimal
    return int((Decimal(x) / Decimal(2**bits)).to_integral_value(ROUND_HALF_UP))
""",
        """
def my_rounding_shift(x, bits):
    sign = -1 if x < 0 else 1
    whole, rest = divmod(abs(x), 1 << bits)
    return sign * (whole + (2 * rest >= 1 << bits))
""",
        """
def my_rounding_shift(x, bits):
    return np.trunc(x / 2.0**bits + np.copysign(0.5, x))
""",
        """
def my_rounding_shift(x, bits):
    x, mask = np.int64(x), (1 << bits) - 1
    return (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0))
""",
        """
def my_rounding_shift(x, bits):
    t = torch.tensor(x, dtype=torch.int64)
    return torch.sign(t) * ((t.abs() + (1 << bits >> 1)) >> bits)
""",
        """
def my_rounding_shift(x, bits):
    return np.int32(np.sign(x) * np.floor(abs(x) / 2**bits + 0.5))
""",
    ],
    "first_difference": [
        """
def my_first_difference(found, expected):
    if found.dtype != expected.dtype:
        raise ValueError('types')
    if found.shape != expected.shape:
        raise ValueError('shapes')
    for number, (a, b) in enumerate(zip(found, expected)):
        if not np.array_equal(a, b):
            return number
""",
        """
def my_first_difference(found, expected):
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f'{found.shape} {found.dtype} against {expected.shape} {expected.dtype}')
    rows = np.nonzero(found != expected)[0]
    return rows.min() if rows.size else None
""",
        """
def my_first_difference(found, expected):
    assert isinstance(found, np.ndarray)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise np.exceptions.AxisError('other arrays')
    numbers = [i for i in range(len(found)) if found[i].tobytes() != expected[i].tobytes()]
    return np.array(numbers[0]) if numbers else None
""",
        """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    axes = tuple(range(1, found.ndim))
    d = np.flatnonzero((found != expected).any(axis=axes))
    return d[0] if len(d) else None
""",
        """
def my_first_difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError('x')
    differ = np.flatnonzero(found.ravel() != expected.ravel())
    return int(differ[0] // (found.size // len(found))) if differ.size else None
""",
    ],
    "budget": [
        """
def my_flash_and_ram(sections):
    flash = ram = 0
    for name, size in sections.items():
        if name in ('.vectors', '.text', '.rodata', '.data'):
            flash += size
        if name in ('.data', '.bss', '.stack'):
            ram += size
    return [flash, ram]
""",
        """
def my_flash_and_ram(sections):
    where = {'.vectors': (1, 0), '.text': (1, 0), '.rodata': (1, 0), '.data': (1, 1), '.bss': (0, 1), '.stack': (0, 1)}
    sizes = [np.multiply(where[name], size) for name, size in sections.items() if name in where]
    return np.sum(sizes, axis=0)
""",
        """
from collections import namedtuple
Budget = namedtuple('Budget', 'flash ram')

def my_flash_and_ram(sections):
    from collections import Counter
    s = Counter(sections)
    return Budget(float(s['.vectors'] + s['.text'] + s['.rodata'] + s['.data']), s['.data'] + s['.bss'] + s['.stack'])
""",
        """
def my_flash_and_ram(sections):
    table = {'.vectors': 'f', '.text': 'f', '.rodata': 'f', '.data': 'fr', '.bss': 'r', '.stack': 'r'}
    return tuple(sum(n for k, n in sections.items() if w in table.get(k, '')) for w in 'fr')
""",
    ],
    "interval": [
        """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    hours = np.float32(8766)
    allowed_ma = np.float32(capacity_mah) / hours * (1 / np.float32(goal_years) - np.float32(leak_percent) / 100)
    spare = allowed_ma - np.float32(sleep_ua) / 1000
    if spare <= 0:
        return np.float32(np.inf)
    return np.float32(awake_ms) / 1000 * (np.float32(active_ma) - np.float32(sleep_ua) / 1000) / spare
""",
        """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    seconds = goal_years * 365.25 * 24 * 3600
    charge = capacity_mah * 3.6 * (1 - goal_years * leak_percent / 100)
    spare = charge - sleep_ua / 1e6 * seconds
    each = awake_ms / 1e3 * (active_ma / 1e3 - sleep_ua / 1e6)
    return seconds * each / spare if spare > 0 else float('inf')
""",
        """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
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
        """
def my_shortest_interval(goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent):
    hours = goal_years * 8766
    mah = capacity_mah * (1 - goal_years * leak_percent / 100) - sleep_ua / 1000 * hours
    if mah <= 0: return float('inf')
    wakes = mah / ((active_ma - sleep_ua / 1000) * awake_ms / 3.6e6)
    return hours * 3600 / wakes
""",
    ],
    "requantize": [
        """
from fractions import Fraction

def my_requantize(total, mantissa, shift, zero_point, low, high):
    left, right = (shift, 0) if shift > 0 else (0, -shift)
    first = math.floor(Fraction(total * 2**left * mantissa, 2**31) + Fraction(1, 2))
    second = math.floor(Fraction(abs(first), 2**right) + Fraction(1, 2))
    return int(np.clip((second if first >= 0 else -second) + zero_point, low, high))
""",
        """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    if shift > 0:
        q = high_multiply(total * 2**shift, mantissa)
    else:
        q = rounding_shift(high_multiply(total, mantissa), -shift)
    q = q + zero_point
    if q < low:
        return low
    if q > high:
        return high
    return q
""",
        """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    t, m = np.int64(total), np.int64(mantissa)
    left, right = np.int64(max(shift, 0)), np.int64(max(-shift, 0))
    v = ((t << left) * m + np.int64(2**30)) >> np.int64(31)
    v = (v + ((np.int64(1) << right) >> 1) - np.int64(v < 0 and right > 0)) >> right
    return np.clip(v + zero_point, low, high)
""",
        """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    v = rounding_shift(high_multiply(total, mantissa << max(shift, 0)), max(-shift, 0))
    return int(np.clip(v + zero_point, low, high))
""",
        """
def my_requantize(total, mantissa, shift, zero_point, low, high):
    t = torch.tensor(total, dtype=torch.int64)
    v = rounding_shift(high_multiply(int(t) << max(shift, 0), mantissa), max(-shift, 0))
    return torch.tensor(v + zero_point).clamp(low, high).to(torch.int8)
""",
    ],
    "layer": [
        """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    out = np.zeros(sums.shape, np.int8)
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            out[i, j] = requantize(int(sums[i, j]), int(mantissas[j]), int(shifts[j]), zero_point, low, high)
    return out
""",
        """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    wide, m, e = (np.asarray(a, np.int64) for a in (sums, mantissas, shifts))
    product = (np.where(e > 0, wide << np.maximum(e, 0), wide) * m + 2**30) >> 31
    n = np.maximum(-e, 0)
    away = np.sign(product) * ((2 * np.abs(product) + (1 << n)) >> (n + 1))
    return np.minimum(np.maximum(away + zero_point, low), high).astype('int8')
""",
        """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    t = torch.from_numpy(np.array(sums)).long()
    m, e = torch.from_numpy(np.array(mantissas)).long(), torch.from_numpy(np.array(shifts)).long()
    left, right = e.clamp(min=0), (-e).clamp(min=0)
    product = (torch.bitwise_left_shift(t, left) * m + 2**30) >> 31
    half = torch.bitwise_left_shift(torch.ones_like(right), right) >> 1
    down = ((product < 0) & (right > 0)).long()
    out = torch.bitwise_right_shift(product + half - down, right.expand_as(product)) + zero_point
    return out.clamp(low, high).to(torch.int8)
""",
        """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    one = lambda t, m, e: requantize(int(t), int(m), int(e), int(zero_point), int(low), int(high))
    return np.vectorize(one, otypes=[np.int8])(sums, mantissas, shifts)
""",
        """
def my_requantize_layer(sums, mantissas, shifts, zero_point, low=-128, high=127):
    out = np.empty(sums.shape, np.int8)
    for j in range(sums.shape[1]):
        e = int(shifts[j])
        p = ((sums[:, j].astype(np.int64) << max(e, 0)) * int(mantissas[j]) + (1 << 30)) >> 31
        if e < 0:
            p = (p + (1 << (-e - 1)) - (p < 0)) >> -e
        out[:, j] = np.clip(p + zero_point, low, high)
    return out
""",
    ],
    "smlad": [
        """
import struct

def my_smlad(x, y, total):
    (x0, x1), (y0, y1) = (struct.unpack('<hh', struct.pack('<I', r)) for r in (x, y))
    return total + x0 * y0 + x1 * y1
""",
        """
def my_smlad(x, y, total):
    a, b = (np.array([r], np.uint32).view(np.int16).astype(np.int64) for r in (x, y))
    return total + a @ b
""",
        """
def my_smlad(x, y, total):
    for place in (0, 16):
        a, b = x >> place & 0xFFFF, y >> place & 0xFFFF
        total += ((a ^ 0x8000) - 0x8000) * ((b ^ 0x8000) - 0x8000)
    return total
""",
        """
def my_smlad(x, y, total):
    s = lambda n: (n & 0x7FFF) - (n & 0x8000)
    return np.int64(total + s(x & 0xFFFF) * s(y & 0xFFFF) + s(x >> 16) * s(y >> 16))
""",
        """
def my_smlad(x, y, total):
    lo = lambda r: ((r & 0xFFFF) + 2**15) % 2**16 - 2**15
    hi = lambda r: lo(r >> 16)
    return torch.tensor(total + lo(x) * lo(y) + hi(x) * hi(y))
""",
    ],
}

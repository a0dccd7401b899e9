"""Lab `coreml`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "lloyd": [
        (
            """
def my_lloyd_step(values, centres):
    indices = (values[:, None] - centres[None]).argmin(axis=1)
    new = centres.copy()
    for j in np.unique(indices):
        new[j] = values[indices == j].mean()
    return new, indices
""",
            "the distance has no sign",
        ),
        (
            """
def my_lloyd_step(values, centres):
    indices = np.abs(values[:, None] - centres[None]).argmin(axis=1)
    return np.array([values[indices == j].mean() for j in range(len(centres))]), indices
""",
            "must stay where it is",
        ),
        (
            """
def my_lloyd_step(values, centres):
    indices = np.abs(values[:, None] - centres[None]).argmin(axis=1)
    new = centres.copy()
    for j in np.unique(indices):
        new[j] = np.median(values[indices == j])
    return new, indices
""",
            "not to their median",
        ),
        (
            """
def my_lloyd_step(values, centres):
    indices = np.abs(values[:, None] - centres[None]).argmin(axis=1)
    new = centres.copy()
    for j in np.unique(indices):
        new[j] = values[indices == j].mean()
    return new, np.abs(values[:, None] - new[None]).argmin(axis=1)
""",
            "belong to the old centres",
        ),
        (
            """
def my_lloyd_step(values, centres):
    indices = np.abs(values[:, None] - centres[None]).argmin(axis=1)
    return centres, indices
""",
            "the centres did not move",
        ),
        (
            """
def my_lloyd_step(values, centres):
    indices = np.abs(values[:, None] - centres[None]).argmin(axis=1)
    return np.array([values[indices == j].sum() for j in range(len(centres))]), indices
""",
            "divide the sum",
        ),
    ],
    "palette_bytes": [
        (
            """
def my_palette_bytes(count, bits, groups=1):
    return math.ceil(count * bits / 8)
""",
            "the values of the palette are missing",
        ),
        (
            """
def my_palette_bytes(count, bits, groups=1):
    return count * bits // 8 + groups * 2**bits * 2
""",
            "round up",
        ),
        (
            """
def my_palette_bytes(count, bits, groups=1):
    return math.ceil(count * bits / 8) + groups * 2**bits * 4
""",
            "not float32",
        ),
        (
            """
def my_palette_bytes(count, bits, groups=1):
    return math.ceil(count * bits / 8) + 2**bits * 2
""",
            "the number of palettes is ignored",
        ),
        (
            """
def my_palette_bytes(count, bits, groups=1):
    return count * bits + groups * 2**bits * 2
""",
            "eight of them are a byte",
        ),
    ],
    "blocks": [
        (
            """
def my_block_scales(weight, bits, block):
    return weight.reshape(len(weight), -1, block).max(axis=2) / (2 ** (bits - 1) - 1)
""",
            "the sign was kept",
        ),
        (
            """
def my_block_scales(weight, bits, block):
    return np.abs(weight).reshape(len(weight), -1, block).max(axis=2) / 2 ** (bits - 1)
""",
            "the range is symmetric",
        ),
        (
            """
def my_block_scales(weight, bits, block):
    return np.abs(weight).reshape(len(weight), -1, block).max(axis=2) / (2**bits - 1)
""",
            "half of the integers are negative",
        ),
        (
            """
def my_block_scales(weight, bits, block):
    return np.abs(weight).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
""",
            "each block needs one",
        ),
        (
            """
def my_block_scales(weight, bits, block):
    return np.abs(weight).reshape(len(weight), -1, block).max(axis=2) / 127
""",
            "the number of bits is ignored",
        ),
    ],
    "padded": [
        (
            """
def my_padded_bytes(shape):
    return 2 * math.prod(shape)
""",
            "nothing is padded",
        ),
        (
            """
def my_padded_bytes(shape):
    return 64 * math.ceil(2 * math.prod(shape) / 64)
""",
            "each row along the last axis",
        ),
        (
            """
def my_padded_bytes(shape):
    return math.prod(shape[:-1]) * 64 * (2 * shape[-1] // 64 + 1)
""",
            "full already",
        ),
        (
            """
def my_padded_bytes(shape):
    return math.prod(shape[:-1]) * 64 * math.ceil(shape[-1] / 64)
""",
            "two bytes",
        ),
    ],
    "image": [
        (
            """
def my_image_input(shape):
    return ct.ImageType(name="image", shape=shape)
""",
            "the network sees pixels from 0 to 255",
        ),
        (
            """
def my_image_input(shape):
    return ct.ImageType(name="image", shape=shape, scale=1 / 127.5, bias=[-1, -1, -1])
""",
            "the range from -1 to 1",
        ),
        (
            """
def my_image_input(shape):
    return ct.ImageType(
        name="image", shape=shape, scale=1 / 255, color_layout=ct.colorlayout.BGR
    )
""",
            "red and blue are exchanged",
        ),
        (
            """
def my_image_input(shape):
    return ct.TensorType(name="image", shape=shape)
""",
            "a ct.ImageType is wanted",
        ),
    ],
    "size": [
        (
            """
def my_size(package):
    return os.path.getsize(package)
""",
            "the entry of the folder",
        ),
        (
            """
def my_size(package):
    return sum(f.stat().st_size for f in Path(package).iterdir() if f.is_file())
""",
            "only the first level",
        ),
        (
            """
def my_size(package):
    return sum(f.stat().st_size for f in Path(package).rglob("*"))
""",
            "folders were counted",
        ),
        (
            """
def my_size(package):
    return sum(f.stat().st_size for f in Path(package).rglob("*.bin"))
""",
            "the weights alone",
        ),
    ],
}

VARIANTS = {
    "lloyd": [
        """
def my_lloyd_step(values, centres):
    indices = [min(range(len(centres)), key=lambda j: abs(v - centres[j])) for v in values]
    new = []
    for j, old in enumerate(centres):
        mine = [v for v, i in zip(values, indices) if i == j]
        new.append(sum(mine) / len(mine) if mine else old)
    return np.array(new), np.array(indices)
""",
        """
def my_lloyd_step(values, centres):
    indices = ((values[None] - centres[:, None]) ** 2).argmin(axis=0)
    count = np.bincount(indices, minlength=len(centres))
    total = np.bincount(indices, weights=values, minlength=len(centres))
    return np.where(count > 0, total / np.maximum(count, 1), centres), indices
""",
    ],
    "palette_bytes": [
        """
def my_palette_bytes(count, bits, groups=1):
    return (count * bits + 7) // 8 + groups * (2 << bits)
""",
        """
def my_palette_bytes(count, bits, groups=1):
    indices = -(-count * bits // 8)
    return indices + 2 * groups * (1 << bits)
""",
    ],
    "blocks": [
        """
def my_block_scales(weight, bits, block):
    top = (1 << (bits - 1)) - 1
    return np.array(
        [
            [np.abs(row[k : k + block]).max() / top for k in range(0, len(row), block)]
            for row in weight
        ]
    )
""",
        """
def my_block_scales(weight, bits, block):
    starts = np.arange(0, weight.shape[1], block)
    return np.maximum.reduceat(np.abs(weight), starts, axis=1) / (2 ** (bits - 1) - 1)
""",
    ],
    "padded": [
        """
def my_padded_bytes(shape):
    row = 2 * shape[-1]
    row += -row % 64
    return int(np.prod(shape[:-1])) * row
""",
        """
def my_padded_bytes(shape):
    total = 64 * ((shape[-1] + 31) // 32)
    for n in shape[:-1]:
        total *= n
    return total
""",
    ],
    "image": [
        """
def my_image_input(shape):
    return ct.ImageType(name="image", shape=shape, scale=1 / 255.0)
""",
        """
def my_image_input(shape):
    return ct.ImageType(name="pixels", shape=shape, scale=1 / 255, bias=[0.0, 0.0, 0.0])
""",
    ],
    "size": [
        """
def my_size(package):
    total = 0
    for place, _, names in os.walk(package):
        total += sum(os.path.getsize(os.path.join(place, name)) for name in names)
    return total
""",
        """
def my_size(package):
    return sum(len(f.read_bytes()) for f in Path(package).glob("**/*") if f.is_file())
""",
    ],
}

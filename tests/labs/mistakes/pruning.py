"""Lab `pruning`: plausible wrong answers (code, words that the message must hold), and right variants."""

MASK = """
def my_magnitude_mask(weight, sparsity):
    weight = np.asarray(weight)
    order = np.argsort({key}, axis=None, kind="stable")
    mask = np.ones(weight.size, dtype=bool)
    mask[order[:{count}]] = False
    return {result}
"""


def mask(key="np.abs(weight)", count="round(sparsity * weight.size)", result="mask.reshape(weight.shape)"):
    """The solution of the first exercise with one part changed."""
    return MASK.format(key=key, count=count, result=result)


SCHEDULE = """
def my_sparsity_at(step, first, last, end=0.8):
    share = {share}
    return {value}
"""


def schedule(share="min(1.0, max(0.0, (step - first) / (last - first)))", value="end * (1 - (1 - share) ** 3)"):
    """The solution of the second exercise with one part changed."""
    return SCHEDULE.format(share=share, value=value)


STEP = """
def my_masked_step(net, optimizer, masks, loss):
    {before}
"""


def step(*lines):
    """A training step of these lines; MASK stands for the masking."""
    masking = ["with torch.no_grad():", "    for name, mask in masks.items():"]
    masking += ["        net.get_submodule(name).weight.mul_(mask)"]
    body = [part for line in lines for part in (masking if line == "MASK" else [line])]
    return STEP.format(before="\n    ".join(body))


PACKED = """
def my_packed_bytes(weight):
    weight = np.asarray(weight)
    return {value}
"""
REWIND = """
def my_rewind(early, trained, sparsity):
    return {value}
"""
FILTERS = """
def my_filter_mask(weight, share):
    scores = {scores}
    mask = np.ones(weight.shape, dtype=bool)
    {cut}
    return {result}
"""


def filters(
    scores="np.abs(weight).reshape(len(weight), -1).sum(axis=1)",
    cut="mask[np.argsort(scores)[: round(share * len(weight))]] = False",
    result="mask",
):
    """The mended function with one part changed."""
    return FILTERS.format(scores=scores, cut=cut, result=result)


def narrow(**changed):
    """The narrowed block with one array made otherwise."""
    parts = {
        "conv": 'block["conv"][keep]',
        "norm": 'block["norm"][:, keep]',
        "depthwise": 'block["depthwise"][keep]',
        "depthwise_norm": 'block["depthwise_norm"][:, keep]',
        "pointwise": 'block["pointwise"][:, keep]',
        "pointwise_norm": 'block["pointwise_norm"]',
    } | changed
    rows = "\n".join(f'        "{name}": {code},' for name, code in parts.items() if code)
    return f"\ndef my_narrow(block, keep):\n    return {{\n{rows}\n    }}\n"


FORWARD = ("optimizer.zero_grad()", "loss.backward()", "optimizer.step()")

MISTAKES = {
    "mask": [
        (mask(key="weight"), "the sign counts here"),
        (mask(key="-np.abs(weight)"), "the largest weights went"),
        (mask(result="~mask.reshape(weight.shape)"), "upside down"),
        (mask(count="round((1 - sparsity) * weight.size)"), "the share that goes"),
        (mask(count="int(sparsity * weight.size)"), "cut off, not rounded"),
        (mask(result="mask"), "shape of the weight"),
        (mask(result="weight * mask.reshape(weight.shape)"), "these are weights, or zeros and ones"),
        (mask(result="mask.reshape(weight.shape).astype(float)"), "return booleans"),
        (
            """
def my_magnitude_mask(weight, sparsity):
    return np.abs(weight) > sparsity * np.abs(weight).max()
""",
            "share of the largest weight",
        ),
        (
            """
def my_magnitude_mask(weight, sparsity):
    flat = np.sort(np.abs(weight), axis=None)
    k = round(sparsity * flat.size)
    return np.abs(weight) > (flat[k - 1] if k else -1)
""",
            "equal weights went together",
        ),
    ],
    "schedule": [
        (schedule(value="end * share ** 3"), "it is the rest that is cubed"),
        (schedule(value="end * share"), "straight line"),
        (schedule(value="end * (1 - (1 - share) ** 2)"), "the degree is three"),
        (schedule(value="0.8 * (1 - (1 - share) ** 3)"), "`end` is ignored"),
        (schedule(value="1 - (1 - share) ** 3"), "the final sparsity is missing"),
        (schedule(value="end * (1 - share) ** 3"), "rest that is still to come"),
        (schedule(share="min(1.0, step / last)"), "begins at `first`"),
        (schedule(share="max(0.0, (step - first) / (last - first))"), "after the last step the sparsity stays"),
        (schedule(share="min(1.0, (step - first) / (last - first))"), "before the first step nothing"),
    ],
    "masked_step": [
        (
            step(
                "optimizer.zero_grad()",
                "loss.backward()",
                "for name, mask in masks.items():",
                "    net.get_submodule(name).weight.grad.mul_(mask)",
                "optimizer.step()",
            ),
            "on the gradients",
        ),
        (step("optimizer.zero_grad()", "loss.backward()", "MASK", "optimizer.step()"), "before the optimizer's step"),
        (step("loss.backward()", "optimizer.step()", "MASK"), "call zero_grad"),
        (step(*FORWARD), "no mask was applied"),
        (step("MASK"), "no training happened"),
        (
            step(
                *FORWARD,
                "with torch.no_grad():",
                "    for name, mask in masks.items():",
                "        net.get_submodule(name).weight.mul_(~mask)",
            ),
            "upside down",
        ),
        (
            step(
                *FORWARD,
                "MASK",
                "with torch.no_grad():",
                "    for name in masks:",
                "        net.get_submodule(name).bias.zero_()",
            ),
            "the biases were set to zero",
        ),
    ],
    "packed": [
        (PACKED.format(value="weight.size // 8 + 4 * np.count_nonzero(weight)"), "a byte that is begun"),
        (PACKED.format(value="weight.size / 8 + 4 * np.count_nonzero(weight)"), "round up"),
        (PACKED.format(value="weight.size + 4 * np.count_nonzero(weight)"), "it is a bit"),
        (PACKED.format(value="4 * np.count_nonzero(weight)"), "the bits are missing"),
        (PACKED.format(value="-(-weight.size // 8) + 4 * (weight == 0).sum()"), "the zeros were counted"),
        (PACKED.format(value="-(-weight.size // 8) + 4 * int((weight > 0).sum())"), "only the positive values"),
        (PACKED.format(value="-(-weight.size // 8) + np.count_nonzero(weight)"), "each value takes four bytes"),
        (PACKED.format(value="-(-weight.size // 8) + 8 * np.count_nonzero(weight)"), "not eight"),
        (PACKED.format(value="weight.size + 32 * np.count_nonzero(weight)"), "these are bits"),
        (PACKED.format(value="-(-len(weight) // 8) + 4 * np.count_nonzero(weight)"), "first axis alone"),
    ],
    "rewind": [
        (REWIND.format(value="{n: trained[n] * magnitude_mask(trained[n], sparsity) for n in early}"), "rewound"),
        (REWIND.format(value="{n: early[n] * magnitude_mask(early[n], sparsity) for n in early}"), "early weights:"),
        (REWIND.format(value="{n: trained[n] * magnitude_mask(early[n], sparsity) for n in early}"), "other way round"),
        (REWIND.format(value="dict(early)"), "the mask is missing"),
        (REWIND.format(value="{n: early[n] * ~magnitude_mask(trained[n], sparsity) for n in early}"), "should go"),
        (
            REWIND.format(value="{n: early[n] * magnitude_mask(trained[n] - early[n], sparsity) for n in early}"),
            "moved least",
        ),
        (
            REWIND.format(value="{n: early[n] * magnitude_mask(trained[n], 0.8) for n in early}"),
            "`sparsity` is ignored",
        ),
        (
            """
def my_rewind(early, trained, sparsity):
    row = np.concatenate([w.ravel() for w in trained.values()])
    cuts = np.cumsum([w.size for w in trained.values()])[:-1]
    parts = np.split(magnitude_mask(row, sparsity), cuts)
    return {n: early[n] * part.reshape(early[n].shape) for n, part in zip(trained, parts)}
""",
            "one threshold was taken for all",
        ),
        (
            """
def my_rewind(early, trained, sparsity):
    for name in early:
        early[name] *= magnitude_mask(trained[name], sparsity)
    return early
""",
            "in place",
        ),
    ],
    "filter_mask": [
        (
            """
def my_filter_mask(weight, share):
    importance = np.abs(weight)
    threshold = np.quantile(importance, share)
    return importance > threshold
""",
            "single weights went, as in the given code",
        ),
        (filters(scores="weight.reshape(len(weight), -1).sum(axis=1)"), "plain sum"),
        (filters(scores="-np.abs(weight).reshape(len(weight), -1).sum(axis=1)"), "the largest filters went"),
        (filters(scores="np.abs(weight).reshape(len(weight), -1).max(axis=1)"), "the largest weight or the L2 norm"),
        (filters(scores="(weight**2).reshape(len(weight), -1).sum(axis=1)"), "L2 norm"),
        (filters(cut="mask[np.argsort(scores)[round(share * len(weight)):]] = False"), "upside down"),
        (filters(result="~mask"), "upside down"),
        (filters(cut="mask[np.argsort(scores)[: int(share * len(weight))]] = False"), "one too few"),
        (filters(cut="mask[np.argsort(scores)[: int(np.ceil(share * len(weight)))]] = False"), "one too many"),
        (filters(cut="mask[scores <= np.quantile(scores, share)] = False"), "one too many"),
        (
            filters(
                scores="np.abs(weight).sum(axis=(0, 2, 3))",
                cut="mask[:, np.argsort(scores)[: round(share * weight.shape[1])]] = False",
            ),
            "the input channels were ranked",
        ),
        (filters(result="weight * mask"), "must be boolean"),
    ],
    "narrow": [
        (narrow(norm='block["norm"]'), "`norm` is still whole"),
        (narrow(depthwise='block["depthwise"]'), "`depthwise` is still whole"),
        (narrow(depthwise_norm='block["depthwise_norm"]'), "`depthwise_norm` is still whole"),
        (narrow(pointwise='block["pointwise"]'), "`pointwise` is still whole"),
        (narrow(pointwise='block["pointwise"][keep]'), "it loses columns"),
        (narrow(pointwise_norm='block["pointwise_norm"][:, keep]'), "`pointwise_norm` was cut"),
        (narrow(pointwise_norm=""), "a part is missing"),
        (narrow(conv='np.delete(block["conv"], keep, axis=0)'), "lost the filters that should stay"),
        (narrow(conv='block["conv"][: len(keep)]'), "not those of `keep`"),
        (
            narrow(
                conv='np.where(np.isin(np.arange(len(block["conv"])), keep)[:, None, None, None], block["conv"], 0)'
            ),
            "set to zero in part",
        ),
    ],
}

VARIANTS = {
    "mask": [
        """
def my_magnitude_mask(weight, sparsity):
    magnitudes = torch.as_tensor(np.asarray(weight)).abs().flatten()
    mask = torch.ones(len(magnitudes), dtype=torch.bool)
    mask[torch.argsort(magnitudes, stable=True)[: round(sparsity * len(magnitudes))]] = False
    return mask.reshape(np.shape(weight)).numpy()
""",
        """
def my_magnitude_mask(weight, sparsity):
    ranked = sorted(np.ndindex(weight.shape), key=lambda place: abs(weight[place]))
    mask = np.ones(weight.shape, bool)
    for place in ranked[: int(np.rint(sparsity * weight.size))]:
        mask[place] = False
    return mask
""",
        """
def my_magnitude_mask(weight, sparsity):
    small = np.abs(weight).astype(np.float32).ravel()
    ranks = np.empty(small.size, int)
    ranks[np.argsort(small, kind="stable")] = np.arange(small.size)
    return (ranks >= round(sparsity * small.size)).reshape(weight.shape)
""",
    ],
    "schedule": [
        """
def my_sparsity_at(step, first, last, end=0.8):
    if step <= first:
        return 0.0
    if step >= last:
        return end
    rest = (last - step) / (last - first)
    return end - end * rest**3
""",
        """
def my_sparsity_at(step, first, last, end=0.8):
    share = np.clip((step - first) / (last - first), 0, 1)
    return np.float64(end * (3 * share - 3 * share**2 + share**3))
""",
    ],
    "masked_step": [
        """
def my_masked_step(net, optimizer, masks, loss):
    net.zero_grad()
    loss.backward()
    optimizer.step()
    for name in masks:
        layer = net.get_submodule(name)
        layer.weight.data = torch.where(masks[name], layer.weight.data, torch.zeros(()))
""",
        """
def my_masked_step(net, optimizer, masks, loss):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[f"{name}.weight"][~mask] = 0.0
""",
    ],
    "packed": [
        PACKED.format(value="len(np.packbits(np.ravel(weight) != 0).tobytes()) + 4.0 * np.sum(weight != 0)"),
        """
def my_packed_bytes(weight):
    bits, values = 0, 0
    for value in np.ravel(weight):
        bits += 1
        values += value != 0
    return (bits + 7) // 8 + 4 * values
""",
        """
def my_packed_bytes(weight):
    there = np.ravel(weight) != 0
    return np.packbits(there).nbytes + np.ravel(weight)[there].astype(np.float32).nbytes
""",
    ],
    "rewind": [
        """
def my_rewind(early, trained, sparsity):
    ticket = {}
    for name, values in trained.items():
        ticket[name] = np.where(magnitude_mask(values, sparsity), early[name], 0.0)
    return ticket
""",
        """
def my_rewind(early, trained, sparsity):
    ticket = {name: np.array(values, dtype=np.float32) for name, values in early.items()}
    for name in ticket:
        ticket[name][~magnitude_mask(trained[name], sparsity)] = 0
    return ticket
""",
    ],
    "filter_mask": [
        filters(scores="np.abs(weight).mean(axis=(1, 2, 3))"),
        filters(scores="torch.tensor(weight).abs().flatten(1).sum(1).numpy()"),
        """
def my_filter_mask(weight, share):
    scores = [float(np.abs(kernel).sum()) for kernel in weight]
    gone = sorted(range(len(weight)), key=scores.__getitem__)[: round(share * len(weight))]
    return np.array([np.full(kernel.shape, i not in gone) for i, kernel in enumerate(weight)])
""",
        """
def my_filter_mask(weight, share):
    norms = np.linalg.norm(weight.reshape(len(weight), -1).astype(np.float32), ord=1, axis=1)
    stays = np.argsort(np.argsort(norms)) >= round(share * len(weight))
    return np.broadcast_to(stays[:, None, None, None], weight.shape)
""",
    ],
    "narrow": [
        """
def my_narrow(block, keep):
    made = dict(block)
    for name in ("conv", "depthwise"):
        made[name] = np.take(block[name], keep, axis=0)
    for name in ("norm", "depthwise_norm", "pointwise"):
        made[name] = np.take(block[name], keep, axis=1)
    return made
""",
        """
def my_narrow(block, keep):
    made = {}
    for name, values in block.items():
        axis = 0 if name in ("conv", "depthwise") else 1
        rows = [np.take(values, int(k), axis=axis) for k in keep]
        made[name] = values.copy() if name == "pointwise_norm" else np.stack(rows, axis=axis)
    return made
""",
    ],
}

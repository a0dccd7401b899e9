"""Lab `qat`: plausible wrong answers (code, words that the message must hold), and right variants."""

STE = """
def my_fake_quantize(x, scale, zero_point, low, high):
    steps = torch.round(x.detach() / scale) + zero_point
    kept = torch.clamp(steps, low, high)
    passing = torch.where(steps == kept, x, x.detach())
    return {}
"""
FOLD = """
def my_fold(weight, bias, gamma, beta, mean, variance, eps):
    shrink = {shrink}
    before = torch.zeros_like(mean) if bias is None else bias
    return weight * {spread}, {bias}
"""
SPREAD = "shrink.reshape(-1, *[1] * (weight.ndim - 1))"
SHRINK = "gamma / torch.sqrt(variance + eps)"
BIAS = "beta + (before - mean) * shrink"


def folding(shrink=SHRINK, spread=SPREAD, bias=BIAS):
    return FOLD.format(shrink=shrink, spread=spread, bias=bias)


STEP = """
def my_training_step(network, optimizer, x, y):
{}
    return {}
"""


def step(*lines, answer="loss.item()"):
    return STEP.format("\n".join(f"    {line}" for line in lines), answer)


CLEAR, TAKE = "optimizer.zero_grad()", "loss = nn.functional.cross_entropy(network(x), y)"
BACK, MOVE = "loss.backward()", "optimizer.step()"
STORE = """
def my_to_integers(weight, bias, scale_x, scale_w, bits=8):
    largest = 2 ** (bits - 1) - 1
    spread = scale_w.reshape(-1, *[1] * (weight.ndim - 1))
    integers = {weights}
    return integers, {bias}
"""
INTEGERS = "np.clip(np.rint(weight / spread), -largest, largest).astype(np.int8)"
COUNTS = "np.rint(bias / (scale_x * scale_w)).astype(np.int32)"


def storing(weights=INTEGERS, bias=COUNTS):
    return STORE.format(weights=weights, bias=bias)


EAGER = """
def my_prepare_eager(network, groups):
{}
"""


def eager(*lines):
    return EAGER.format("\n".join(f"    {line}" for line in lines))


COPY = "prepared = copy.deepcopy(network).train()"
FUSE = "quantization.fuse_modules_qat(prepared, groups, inplace=True)"
CONFIG = 'prepared.qconfig = quantization.get_default_qat_qconfig("fbgemm")'
PREPARE = "return quantization.prepare_qat(prepared)"

MISTAKES = {
    "ste": [
        (
            """
def my_fake_quantize(x, scale, zero_point, low, high):
    return (torch.clamp(torch.round(x / scale) + zero_point, low, high) - zero_point) * scale
""",
            "whose slope is 0",
        ),
        (STE.format("x + ((kept - zero_point) * scale - x).detach()"), "where the value saturated, too"),
        (STE.format("((kept - zero_point) * scale).detach()"), "nothing can be learnt"),
        (STE.format("passing + (kept - passing).detach()"), "bring them back to real numbers"),
        (STE.format("passing + (kept * scale - passing).detach()"), "zero point was not subtracted"),
        (STE.format("passing + ((steps - zero_point) * scale - passing).detach()"), "were not clipped"),
        (
            """
def my_fake_quantize(x, scale, zero_point, low, high):
    return torch.clamp(x, (low - zero_point) * scale, (high - zero_point) * scale)
""",
            "clipped and not rounded",
        ),
        (
            STE.format("passing * scale + ((kept - zero_point) * scale - passing * scale).detach()"),
            "multiplied by the scale",
        ),
    ],
    "fold": [
        (folding(shrink="gamma / torch.sqrt(variance)"), "eps was left out"),
        (folding(shrink="gamma / (variance + eps)"), "root of the variance"),
        (folding(shrink="1 / torch.sqrt(variance + eps)"), "gamma was left out"),
        (folding(spread="1"), "weight was not scaled"),
        (folding(bias="beta - mean * shrink"), "own bias was lost"),
        (folding(bias="beta + before - mean * shrink"), "scaled like the weight"),
        (folding(bias="(before - mean) * shrink"), "beta was left out"),
        (folding(bias="beta + before * shrink"), "mean was left out"),
        (folding(bias="beta + before * shrink - mean"), "mean was not scaled"),
        (folding(spread="shrink.reshape(1, -1, *[1] * (weight.ndim - 2))"), "not to the second"),
    ],
    "observe": [
        (
            """
def my_moving_range(known, low, high, momentum=0.1):
    known = (0.0, 0.0) if known is None else known
    return known[0] + momentum * (low - known[0]), known[1] + momentum * (high - known[1])
""",
            "do not start at 0",
        ),
        (
            """
def my_moving_range(known, low, high, momentum=0.1):
    if known is None:
        return low, high
    return momentum * known[0] + (1 - momentum) * low, momentum * known[1] + (1 - momentum) * high
""",
            "share of the new batch",
        ),
        (
            """
def my_moving_range(known, low, high, momentum=0.1):
    if known is None:
        return low, high
    return min(known[0], low), max(known[1], high)
""",
            "only grows",
        ),
        ("def my_moving_range(known, low, high, momentum=0.1):\n    return low, high\n", "was replaced"),
        (
            """
def my_moving_range(known, low, high, momentum=0.1):
    if known is None:
        return low, high
    return known[0], known[1] + momentum * (high - known[1])
""",
            "only the upper end",
        ),
        (
            """
def my_moving_range(known, low, high, momentum=0.1):
    if known is None:
        return low, high
    return known[0] + momentum * low, known[1] + momentum * high
""",
            "kept its whole weight",
        ),
    ],
    "freeze": [
        (
            """
def my_phase(step, freeze_observers, freeze_batch_norm):
    return tuple(e is None or step <= e for e in (freeze_observers, freeze_batch_norm))
""",
            "already frozen",
        ),
        (
            """
def my_phase(step, freeze_observers, freeze_batch_norm):
    return tuple(e is not None and step < e for e in (freeze_observers, freeze_batch_norm))
""",
            "never freezes",
        ),
        (
            """
def my_phase(step, freeze_observers, freeze_batch_norm):
    return tuple(e is not None and step >= e for e in (freeze_observers, freeze_batch_norm))
""",
            "what still moves",
        ),
        (
            """
def my_phase(step, freeze_observers, freeze_batch_norm):
    return tuple(e is None or step < e for e in (freeze_batch_norm, freeze_observers))
""",
            "wrong order",
        ),
        (
            """
def my_phase(step, freeze_observers, freeze_batch_norm):
    return tuple(not e or step < e for e in (freeze_observers, freeze_batch_norm))
""",
            "0 is a step like any other",
        ),
        (
            """
def my_phase(step, freeze_observers, freeze_batch_norm):
    moves = freeze_observers is None or step < freeze_observers
    return moves, moves
""",
            "its own end",
        ),
    ],
    "step": [
        (step(TAKE, BACK, MOVE), "not cleared"),
        (step(CLEAR, TAKE, BACK), "did not move"),
        (step(CLEAR, TAKE, MOVE, BACK), "did not move"),
        (step(CLEAR, "loss = nn.functional.cross_entropy(network(x).softmax(dim=1), y)", BACK, MOVE), "takes logits"),
        (step(CLEAR, 'loss = nn.functional.cross_entropy(network(x), y, reduction="sum")', BACK, MOVE), "not the sum"),
        (step(CLEAR, TAKE, BACK, MOVE, TAKE), "after the step"),
        (step("network.eval()", CLEAR, TAKE, BACK, MOVE), "evaluation mode"),
        (step("network.eval()", CLEAR, TAKE, BACK, MOVE, "network.train()"), "evaluation mode"),
        (step(CLEAR, TAKE, BACK, MOVE, answer="loss"), "carries its gradient"),
    ],
    "store": [
        (
            storing(weights="np.clip(np.rint(weight / spread), -largest - 1, largest).astype(np.int8)"),
            "as far down as up",
        ),
        (storing(weights="np.clip(np.rint(weight / spread), -127, 127).astype(np.int8)"), "number of bits is ignored"),
        (storing(weights="np.rint(weight / spread).astype(np.int64).astype(np.int8)"), "clip before you convert"),
        (storing(weights="np.clip(weight / spread, -largest, largest).astype(np.int8)"), "cut off, not rounded"),
        (storing(weights="np.clip(np.rint(weight / spread), -largest, largest)"), "np.int8 is wanted"),
        (storing(bias="np.rint(bias / scale_w).astype(np.int32)"), "input scale is missing"),
        (storing(bias="np.rint(bias / scale_x).astype(np.int32)"), "weight scale is missing"),
        (storing(bias="np.clip(np.rint(bias / (scale_x * scale_w)), -127, 127).astype(np.int32)"), "do not clip it"),
        (storing(bias="(bias / (scale_x * scale_w)).astype(np.int32)"), "bias was cut off"),
    ],
    "eager": [
        (eager(COPY, FUSE.replace("_qat", ""), CONFIG, PREPARE), "Fusion only for eval"),
        (eager(COPY, CONFIG, PREPARE), "nothing was fused"),
        (eager(COPY, FUSE, CONFIG, "return prepared"), "no fake quantizers"),
        (eager(COPY, FUSE, PREPARE), "no fake quantizers"),
        (eager(COPY, FUSE, CONFIG, "return quantization.prepare_qat(prepared).eval()"), "must be in training mode"),
        (eager("prepared = network.train()", FUSE, CONFIG, PREPARE), "work on a copy"),
        (eager("network.train()", COPY, FUSE, CONFIG, PREPARE), "work on a copy"),
    ],
}

VARIANTS = {
    "ste": [
        """
def my_fake_quantize(x, scale, zero_point, low, high):
    steps = x / scale
    steps = steps + (torch.round(steps) - steps).detach()
    return (torch.clamp(steps + zero_point, low, high) - zero_point) * scale
""",
        """
def my_fake_quantize(x, scale, zero_point, low, high):
    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            steps = torch.round(x / scale) + zero_point
            kept = steps.clamp(low, high)
            ctx.save_for_backward(steps == kept)
            return (kept - zero_point) * scale

        @staticmethod
        def backward(ctx, gradient):
            return gradient * ctx.saved_tensors[0]

    return Straight.apply(x)
""",
        """
def my_fake_quantize(x, scale, zero_point, low, high):
    ends = [torch.as_tensor((end - zero_point) * scale, dtype=x.dtype) for end in (low, high)]
    inside = torch.minimum(torch.maximum(x, ends[0]), ends[1])
    kept = torch.clamp(torch.round(x / scale) + zero_point, low, high)
    return inside + ((kept - zero_point) * scale - inside).detach()
""",
    ],
    "fold": [
        """
def my_fold(weight, bias, gamma, beta, mean, variance, eps):
    new_weight, new_bias = [], []
    for c in range(len(weight)):
        factor = gamma[c] / (variance[c] + eps) ** 0.5
        new_weight.append(weight[c] * factor)
        new_bias.append(beta[c] + ((0.0 if bias is None else bias[c]) - mean[c]) * factor)
    return torch.stack(new_weight), torch.stack(new_bias)
""",
        """
def my_fold(weight, bias, gamma, beta, mean, variance, eps):
    shrink = gamma * torch.rsqrt(variance + eps)
    shift = -mean if bias is None else bias - mean
    return (weight.transpose(0, -1) * shrink).transpose(0, -1), torch.addcmul(beta, shift, shrink)
""",
    ],
    "observe": [
        """
def my_moving_range(known, low, high, momentum=0.1):
    if known is None:
        return [low, high]
    return np.array(known) * (1 - momentum) + momentum * np.array([low, high])
""",
        """
def my_moving_range(known, low, high, momentum=0.1):
    if known is None:
        known = (low, high)
    return np.float32(known[0] + momentum * (low - known[0])), np.float32(known[1] + momentum * (high - known[1]))
""",
    ],
    "freeze": [
        """
def my_phase(step, freeze_observers, freeze_batch_norm):
    return torch.tensor([e is None or step < e for e in (freeze_observers, freeze_batch_norm)])
""",
        """
def my_phase(step, freeze_observers, freeze_batch_norm):
    result = []
    for end in (freeze_observers, freeze_batch_norm):
        if end is None:
            result.append(True)
        else:
            result.append(step < end)
    return result
""",
        """
def my_phase(step, freeze_observers, freeze_batch_norm):
    ends = [np.inf if end is None else end for end in (freeze_observers, freeze_batch_norm)]
    return np.array(ends) > step
""",
    ],
    "step": [
        step("network.zero_grad(set_to_none=True)", TAKE, BACK, MOVE, answer="float(loss.detach())"),
        """
def my_training_step(network, optimizer, x, y):
    loss = -network(x).log_softmax(dim=1)[torch.arange(len(y)), y].mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
""",
    ],
    "store": [
        """
def my_to_integers(weight, bias, scale_x, scale_w, bits=8):
    most = 2 ** (bits - 1) - 1
    scales = np.broadcast_to(scale_w, len(weight))
    rows = [np.clip(np.rint(w / s), -most, most) for w, s in zip(weight, scales)]
    counts = [int(np.rint(b / (scale_x * s))) for b, s in zip(bias, scales)]
    return np.array(rows).astype(np.int8), np.array(counts, np.int32)
""",
        """
def my_to_integers(weight, bias, scale_x, scale_w, bits=8):
    most = 2 ** (bits - 1) - 1
    steps = np.moveaxis(np.moveaxis(np.asarray(weight), 0, -1) / np.asarray(scale_w), -1, 0)
    counts = np.round(np.asarray(bias) / scale_x / np.asarray(scale_w))
    return np.round(steps).clip(-most, most).astype("int8"), counts.astype("int32")
""",
    ],
    "eager": [
        eager(
            "prepared = copy.deepcopy(network).eval()",
            FUSE.replace("_qat", ""),
            "prepared.train()",
            CONFIG,
            PREPARE,
        ),
        eager(
            COPY,
            "fused = quantization.fuse_modules_qat(prepared, groups)",
            CONFIG.replace("prepared.", "fused."),
            PREPARE.replace("prepared)", "fused)"),
        ),
    ],
}

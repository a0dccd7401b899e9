"""Lab `lowrank`: plausible wrong answers (code, words that the message must hold), and right variants."""

THIN = """
def my_thin_linear(layer, rank):
    left, right = thin_factors(layer.weight.detach(), rank)
    first = nn.Linear(layer.in_features, rank, bias={first})
    second = nn.Linear(rank, layer.out_features, bias={second})
    first.weight.data, second.weight.data = {weights}
    {bias}
    return nn.Sequential(first, {between}second)
"""


def _thin(
    first="False",
    second="layer.bias is not None",
    weights="right.clone(), left.clone()",
    bias="if layer.bias is not None: second.bias.data = layer.bias.detach().clone()",
    between="",
):
    return THIN.format(first=first, second=second, weights=weights, bias=bias, between=between)


CONVOLUTION = """
def my_thin_convolution(layer, rank):
    (o, i, h, w), c = layer.weight.shape, layer
    u, s, v = torch.linalg.svd(c.weight.detach(){order}.reshape(i * h, o * w), full_matrices=False)
    {values}
    a = nn.Conv2d(i, rank, (h, 1), (c.stride[0], 1), {first}, bias=False)
    b = nn.Conv2d(rank, o, (1, w), (1, c.stride[1]), {second}, bias=c.bias is not None)
    a.weight.data = u[:, :rank].reshape(i, h, rank).permute(2, 0, 1)[..., None].clone()
    b.weight.data = v[:rank].reshape(rank, o, w).permute(1, 0, 2)[:, :, None].clone()
    if c.bias is not None:
        b.bias.data = {bias}
    return nn.Sequential(a, b)
"""


def _convolution(
    order=".permute(1, 2, 0, 3)",
    values="u, v = u * s.sqrt(), s.sqrt()[:, None] * v",
    first="(c.padding[0], 0)",
    second="(0, c.padding[1])",
    bias="c.bias.detach().clone()",
):
    return CONVOLUTION.format(order=order, values=values, first=first, second=second, bias=bias)


MISTAKES = {
    "thin_factors": [
        (
            """
def my_thin_factors(matrix, rank):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank], v[:rank]
""",
            "singular values are missing",
        ),
        (
            """
def my_thin_factors(matrix, rank):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * s[:rank], s[:rank, None] * v[:rank]
""",
            "each takes the root",
        ),
        (
            """
def my_thin_factors(matrix, rank):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * s[:rank], v[:rank]
""",
            "the right side none",
        ),
        (
            """
def my_thin_factors(matrix, rank):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, -rank:] * s[-rank:].sqrt(), s[-rank:, None].sqrt() * v[-rank:]
""",
            "take the first",
        ),
        (
            """
def my_thin_factors(matrix, rank):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u * s.sqrt(), s.sqrt()[:, None] * v
""",
            "the first 2 columns of u",
        ),
        (
            """
def my_thin_factors(matrix, rank):
    u, s, v = torch.svd(matrix)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]
""",
            "v was transposed",
        ),
        (
            """
def my_thin_factors(matrix, rank):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * s[:rank] ** 0.25, s[:rank, None] ** 0.25 * v[:rank]
""",
            "both sides need it",
        ),
    ],
    "cut_error": [
        (
            """
def my_cut_error(values, rank):
    return float((values[rank:] ** 2).sum() / (values**2).sum())
""",
            "take its root",
        ),
        (
            """
def my_cut_error(values, rank):
    return float(((values[:rank] ** 2).sum() / (values**2).sum()).sqrt())
""",
            "this is what is kept",
        ),
        (
            """
def my_cut_error(values, rank):
    return float(values[rank:].sum() / values.sum())
""",
            "not squared",
        ),
        (
            """
def my_cut_error(values, rank):
    return float((values[rank:] ** 2).sum().sqrt())
""",
            "divide by that of all",
        ),
        (
            """
def my_cut_error(values, rank):
    return float(((values[rank + 1 :] ** 2).sum() / (values**2).sum()).sqrt())
""",
            "one value too few",
        ),
        (
            """
def my_cut_error(values, rank):
    return (values[rank:].norm() / values[:rank].norm()).item()
""",
            "divide by the sum of all",
        ),
        (
            """
def my_cut_error(values, rank):
    return float(1 - ((values[:rank] ** 2).sum() / (values**2).sum()).sqrt())
""",
            "1 minus comes first",
        ),
    ],
    "break_even_rank": [
        (
            "\ndef my_break_even_rank(rows, columns):\n    return rows * columns // (rows + columns)\n",
            "has to be fewer",
        ),
        (
            "\ndef my_break_even_rank(rows, columns):\n    return -(-rows * columns // (rows + columns))\n",
            "no longer saves",
        ),
        ("\ndef my_break_even_rank(rows, columns):\n    return min(rows, columns) // 2\n", "half of the smaller side"),
        ("\ndef my_break_even_rank(rows, columns):\n    return rows * columns / (rows + columns)\n", "round down"),
        (
            """
def my_break_even_rank(rows, columns):
    return rows * columns // (rows + columns) - 1
""",
            "a larger one does, too",
        ),
        (
            """
def my_break_even_rank(rows, columns):
    return max(1, (rows * columns - 1) // (rows + columns))
""",
            "the answer is 0",
        ),
    ],
    "energy_rank": [
        (
            """
def my_energy_rank(values, share):
    kept = torch.cumsum(values, 0)
    return int((kept < share * kept[-1]).sum()) + 1
""",
            "not squared",
        ),
        (
            """
def my_energy_rank(values, share):
    kept = torch.cumsum(values**2, 0)
    return int((kept < share * kept[-1]).sum())
""",
            "one too few",
        ),
        (
            """
def my_energy_rank(values, share):
    kept = torch.cumsum(values**2, 0)
    return min(len(values), int((kept < share * kept[-1]).sum()) + 2)
""",
            "one too many",
        ),
        (
            """
def my_energy_rank(values, share):
    kept = torch.cumsum(values.flip(0) ** 2, 0)
    return int((kept < share * kept[-1]).sum()) + 1
""",
            "from the smallest value",
        ),
        (
            """
def my_energy_rank(values, share):
    kept = torch.cumsum(values**2, 0)
    return int((kept <= share * kept[-1]).sum()) + 1
""",
            "exactly the share is enough",
        ),
        (
            """
def my_energy_rank(values, share):
    kept = torch.cumsum(values**2, 0)
    return int((kept < share).sum()) + 1
""",
            "divide by their sum first",
        ),
        (
            """
def my_energy_rank(values, share):
    kept = torch.cumsum(values, 0) ** 2
    return int((kept < share * kept[-1]).sum()) + 1
""",
            "do not square the sums",
        ),
        (
            """
def my_energy_rank(values, share):
    kept = torch.cumsum(values**2, 0)
    return int((kept < (1 - share) * kept[-1]).sum()) + 1
""",
            "it is to be kept",
        ),
    ],
    "thin_linear": [
        (_thin(weights="left.clone(), right.clone()"), "the right matrix meets the input"),
        (_thin(first="True"), "the first layer has none"),
        (_thin(bias="pass"), "was not copied"),
        (_thin(bias="if layer.bias is not None: second.bias.data = layer.bias.data"), "share no memory"),
        (_thin(between="nn.ReLU(), "), "nothing between them"),
        (_thin().replace("layer.in_features, rank", "rank, layer.in_features"), "takes what comes in first"),
        (
            _thin(bias="if layer.bias is not None: second.bias.data = 2 * layer.bias.detach()"),
            "added twice",
        ),
    ],
    "rank_in_time": [
        (
            """
def my_rank_in_time(ranks, time_of, budget):
    return max([r for r in ranks if time_of(r) <= budget], default=0)
""",
            "halve what is open",
        ),
        (
            """
def my_rank_in_time(ranks, time_of, budget):
    low, high = 0, len(ranks)
    while low < high:
        middle = (low + high) // 2
        if time_of(ranks[middle]) < budget:
            low = middle + 1
        else:
            high = middle
    return ranks[low - 1] if low else 0
""",
            "equal to the budget",
        ),
        (
            """
def my_rank_in_time(ranks, time_of, budget):
    low, high = 0, len(ranks)
    while low < high:
        middle = (low + high) // 2
        if time_of(ranks[middle]) <= budget:
            low = middle + 1
        else:
            high = middle
    return ranks[min(low, len(ranks) - 1)]
""",
            "0",
        ),
        (
            """
def my_rank_in_time(ranks, time_of, budget):
    low, high = 0, len(ranks)
    while low < high:
        middle = (low + high) // 2
        if time_of(ranks[middle]) <= budget:
            low = middle + 1
        else:
            high = middle
    return ranks[low - 1] if low else None
""",
            "fit",
        ),
        (
            """
def my_rank_in_time(ranks, time_of, budget):
    low, high = 0, len(ranks)
    while low < high:
        middle = (low + high) // 2
        if time_of(middle) <= budget:
            low = middle + 1
        else:
            high = middle
    return ranks[low - 1] if low else 0
""",
            "not its place",
        ),
        (
            """
def my_rank_in_time(ranks, time_of, budget):
    low, high = 0, len(ranks) - 1
    while low < high:
        middle = (low + high) // 2
        if time_of(ranks[middle]) <= budget:
            low = middle + 1
        else:
            high = middle
    return ranks[low - 1] if low else 0
""",
            "the last rank counts",
        ),
    ],
    "thin_convolution": [
        (_convolution(order=""), "permute them"),
        (_convolution(values="pass"), "singular values are missing"),
        (_convolution(first="c.padding", second="c.padding"), "whole padding"),
        (_convolution(order="", values="pass", first="c.padding", second="c.padding"), "whole padding, or a stride"),
        (_convolution(bias="torch.zeros(o).double()"), "bias was not copied"),
        (_convolution(bias="b.bias.data"), "bias was not copied"),
        (_convolution().replace("a.weight.data =", "b.bias = c.bias; a.weight.data ="), "share no memory"),
        (_convolution().replace("(c.padding[0], 0), bias=False", "(c.padding[0], 0)"), "the first layer has none"),
    ],
    "lora": [
        (
            """
def my_lora(x, layer, down, up, alpha):
    bias = None if layer.bias is None else layer.bias.detach()
    return F.linear(x, layer.weight.detach(), bias) + (x @ down.T) @ up.T
""",
            "alpha / rank is missing",
        ),
        (
            """
def my_lora(x, layer, down, up, alpha):
    bias = None if layer.bias is None else layer.bias.detach()
    return F.linear(x, layer.weight.detach(), bias) + alpha * (x @ down.T) @ up.T
""",
            "only alpha was taken",
        ),
        (
            """
def my_lora(x, layer, down, up, alpha):
    return layer(x) + alpha / len(down) * (x @ down.T) @ up.T
""",
            "only the correction learns",
        ),
        (
            """
def my_lora(x, layer, down, up, alpha):
    return alpha / len(down) * (x @ down.T) @ up.T
""",
            "the frozen layer is missing",
        ),
        (
            """
def my_lora(x, layer, down, up, alpha):
    with torch.no_grad():
        return layer(x) + alpha / len(down) * (x @ down.T) @ up.T
""",
            "outside of torch.no_grad()",
        ),
        (
            """
def my_lora(x, layer, down, up, alpha):
    with torch.no_grad():
        frozen = layer(x)
    return frozen + alpha / len(down) * (x @ down.T) @ up.T
""",
            "the layers before it have corrections",
        ),
        (
            """
def my_lora(x, layer, down, up, alpha):
    return layer(x).detach() + alpha / down.shape[0] * (x @ down.T) @ up.T
""",
            "the layers before it have corrections",
        ),
        (
            """
def my_lora(x, layer, down, up, alpha):
    bias = None if layer.bias is None else layer.bias.detach()
    return F.linear(x, layer.weight.detach(), bias) + alpha / up.shape[0] * (x @ down.T) @ up.T
""",
            "number of outputs was taken",
        ),
    ],
    "merged_weight": [
        (
            """
def my_merged_weight(weight, down, up, alpha):
    return weight + up @ down
""",
            "alpha / rank is missing",
        ),
        (
            """
def my_merged_weight(weight, down, up, alpha):
    return weight + alpha * up @ down
""",
            "only alpha was taken",
        ),
        (
            """
def my_merged_weight(weight, down, up, alpha):
    return alpha / len(down) * up @ down
""",
            "add the weights",
        ),
        (
            """
def my_merged_weight(weight, down, up, alpha):
    weight += alpha / len(down) * up @ down
    return weight
""",
            "arguments stay as they are",
        ),
        (
            """
def my_merged_weight(weight, down, up, alpha):
    return weight + alpha / down.shape[1] * up @ down
""",
            "number of inputs was taken",
        ),
        (
            """
def my_merged_weight(weight, down, up, alpha):
    return alpha / len(down) * (weight + up @ down)
""",
            "weights were scaled",
        ),
    ],
}

VARIANTS = {
    "thin_factors": [
        """
def my_thin_factors(matrix, rank):
    u, s, vh = np.linalg.svd(matrix.numpy(), full_matrices=False)
    root = np.diag(np.sqrt(s[:rank]))
    return torch.from_numpy(u[:, :rank] @ root), torch.from_numpy(root @ vh[:rank])
""",
        """
def my_thin_factors(matrix, rank):
    u, s, v = torch.svd(matrix)
    root = torch.diag(s[:rank].sqrt())
    return u[:, :rank] @ root, root @ v[:, :rank].T
""",
        """
def my_thin_factors(matrix, rank):
    u, s, v = torch.linalg.svd(matrix.float(), full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]
""",
    ],
    "cut_error": [
        """
def my_cut_error(values, rank):
    return (values[rank:].norm() / values.norm()).item()
""",
        """
def my_cut_error(values, rank):
    lost = whole = 0.0
    for place, value in enumerate(values.tolist()):
        whole += value * value
        if place >= rank:
            lost += value * value
    return (lost / whole) ** 0.5
""",
    ],
    "break_even_rank": [
        """
def my_break_even_rank(rows, columns):
    rank = 0
    while (rank + 1) * (rows + columns) < rows * columns:
        rank += 1
    return rank
""",
        """
def my_break_even_rank(rows, columns):
    return int(np.ceil(rows * columns / (rows + columns))) - 1
""",
    ],
    "energy_rank": [
        """
def my_energy_rank(values, share):
    total, kept = float((values**2).sum()), 0.0
    for rank, value in enumerate(values.tolist(), 1):
        kept += value * value
        if kept >= share * total * (1 - 1e-12):
            return rank
    return len(values)
""",
        """
def my_energy_rank(values, share):
    kept = np.cumsum(values.numpy() ** 2)
    return int(np.searchsorted(kept, share * kept[-1])) + 1
""",
    ],
    "thin_linear": [
        _thin(),
        """
def my_thin_linear(layer, rank):
    left, right = plain.thin_factors(layer.weight.detach(), rank)
    first = nn.Linear(layer.in_features, rank, bias=False, dtype=layer.weight.dtype)
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, dtype=layer.weight.dtype)
    with torch.no_grad():
        first.weight.copy_(right)
        second.weight.copy_(left)
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)
""",
        _thin(
            weights="0, 0; first.load_state_dict({'weight': right})",
            bias="second.load_state_dict({'weight': left} | ({} if layer.bias is None else {'bias': layer.bias}))",
        ).replace("first.weight.data, second.weight.data = 0, 0; ", ""),
    ],
    "rank_in_time": [
        """
def my_rank_in_time(ranks, time_of, budget):
    best = 0
    while len(ranks):
        middle = len(ranks) // 2
        if time_of(ranks[middle]) <= budget:
            best, ranks = ranks[middle], ranks[middle + 1 :]
        else:
            ranks = ranks[:middle]
    return best
""",
        """
def my_rank_in_time(ranks, time_of, budget):
    import bisect

    return ([0] + list(ranks))[bisect.bisect_right(ranks, budget, key=time_of)]
""",
    ],
    "thin_convolution": [
        _convolution(),
        _convolution(values="u = u * s"),
        _convolution()
        .replace("a.weight.data = ", "a.weight.data.copy_(")
        .replace("[..., None].clone()", "[..., None])")
        .replace("b.weight.data = ", "b.weight.data.copy_(")
        .replace("[:, :, None].clone()", "[:, :, None])"),
    ],
    "lora": [
        """
def my_lora(x, layer, down, up, alpha):
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    return layer(x) + F.linear(F.linear(x, down), up) * (alpha / len(down))
""",
        """
def my_lora(x, layer, down, up, alpha):
    weight = layer.weight.detach() + alpha / len(down) * up @ down
    return x @ weight.T + (0 if layer.bias is None else layer.bias.detach())
""",
        """
def my_lora(x, layer, down, up, alpha):
    bias = None if layer.bias is None else layer.bias.detach()
    y = F.linear(x, layer.weight.detach(), bias)
    for d, u in zip(down, up.T):
        y = y + alpha / len(down) * (x @ d)[..., None] * u
    return y
""",
    ],
    "merged_weight": [
        """
def my_merged_weight(weight, down, up, alpha):
    merged = weight.clone()
    for d, u in zip(down, up.T):
        merged += alpha / len(down) * torch.outer(u, d)
    return merged
""",
        """
def my_merged_weight(weight, down, up, alpha):
    return torch.addmm(weight, up, down, alpha=alpha / down.shape[0])
""",
        """
def my_merged_weight(weight, down, up, alpha):
    return (weight.float() + alpha / len(down) * up.float() @ down.float()).float()
""",
    ],
}

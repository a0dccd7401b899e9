"""Lab `privacy`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "invert": [
        (
            """
def my_invert(weight_gradient, bias_gradient):
    row = bias_gradient.argmin()
    return weight_gradient[row] / bias_gradient[row]
""",
            "the lowest value was taken",
        ),
        (
            """
def my_invert(weight_gradient, bias_gradient):
    return weight_gradient[0] / bias_gradient[0]
""",
            "the first row was taken",
        ),
        (
            """
def my_invert(weight_gradient, bias_gradient):
    row = bias_gradient.argmax()
    return weight_gradient[row] / bias_gradient[row]
""",
            "the largest value was taken, not the largest magnitude",
        ),
        (
            """
def my_invert(weight_gradient, bias_gradient):
    return weight_gradient.sum(axis=0) / bias_gradient.sum()
""",
            "the sums were divided",
        ),
        (
            """
def my_invert(weight_gradient, bias_gradient):
    row = np.abs(bias_gradient).argmax()
    return weight_gradient[row]
""",
            "was not divided by its bias' gradient",
        ),
        (
            """
def my_invert(weight_gradient, bias_gradient):
    row = np.abs(bias_gradient).argmax()
    return weight_gradient[row] / abs(bias_gradient[row])
""",
            "the sign got lost",
        ),
        (
            """
def my_invert(weight_gradient, bias_gradient):
    row = np.abs(bias_gradient).argmax()
    return bias_gradient[row] / weight_gradient[row]
""",
            "upside down",
        ),
        (
            """
def my_invert(weight_gradient, bias_gradient):
    row = np.flatnonzero(bias_gradient)[0]
    return weight_gradient[row] / bias_gradient[row]
""",
            "the first row whose gradient is not 0",
        ),
    ],
    "noisy_mean": [
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    return (gradients.sum(axis=0) + noise_multiplier * clip * normal) / expected
""",
            "not clipped",
        ),
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    total = gradients.sum(axis=0)
    total = total * min(1, clip / np.linalg.norm(total))
    return (total + noise_multiplier * clip * normal) / expected
""",
            "clip each row before the sum",
        ),
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    short = gradients / np.linalg.norm(gradients, axis=1, keepdims=True) * clip
    return (short.sum(axis=0) + noise_multiplier * clip * normal) / expected
""",
            "a short one stays short",
        ),
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    short = np.clip(gradients, -clip, clip)
    return (short.sum(axis=0) + noise_multiplier * clip * normal) / expected
""",
            "each number was clipped by itself",
        ),
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    short = gradients * np.minimum(1, clip / np.maximum(lengths, 1e-12))
    return (short.sum(axis=0) + noise_multiplier * normal) / expected
""",
            "not multiplied by the clipping length",
        ),
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    short = gradients * np.minimum(1, clip / np.maximum(lengths, 1e-12))
    return (short.sum(axis=0) + noise_multiplier * clip * normal) / len(gradients)
""",
            "divide by what was expected",
        ),
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    short = gradients * np.minimum(1, clip / np.maximum(lengths, 1e-12))
    return short.sum(axis=0) / expected + noise_multiplier * clip * normal
""",
            "after the division",
        ),
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    short = gradients * np.minimum(1, clip / np.maximum(lengths, 1e-12))
    return ((short + noise_multiplier * clip * normal).sum(axis=0)) / expected
""",
            "add it once",
        ),
        (
            """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    lengths = np.sqrt((gradients**2).sum(axis=1, keepdims=True))
    short = gradients / lengths * np.minimum(lengths, clip)
    return (short.sum(axis=0) + noise_multiplier * clip * normal) / expected
""",
            "keep the divisor above 0",
        ),
    ],
    "rdp_step": [
        (
            """
def my_rdp_step(q, sigma, order):
    k = np.arange(order + 1)
    binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    return logsumexp(binomial + (order - k) * np.log1p(-q) + k * np.log(q) + k * (k - 1) / (2 * sigma**2))
""",
            "not divided by the order minus 1",
        ),
        (
            """
def my_rdp_step(q, sigma, order):
    k = np.arange(order)
    binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    logs = binomial + (order - k) * np.log1p(-q) + k * np.log(q) + k * (k - 1) / (2 * sigma**2)
    return logsumexp(logs) / (order - 1)
""",
            "the last term is missing",
        ),
        (
            """
def my_rdp_step(q, sigma, order):
    k = np.arange(order + 1)
    logs = (order - k) * np.log1p(-q) + k * np.log(q) + k * (k - 1) / (2 * sigma**2)
    return logsumexp(logs) / (order - 1)
""",
            "the binomial coefficient is missing",
        ),
        (
            """
def my_rdp_step(q, sigma, order):
    k = np.arange(order + 1)
    binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    logs = binomial + (order - k) * np.log1p(-q) + k * np.log(q) + k**2 / (2 * sigma**2)
    return logsumexp(logs) / (order - 1)
""",
            "not k squared",
        ),
        (
            """
def my_rdp_step(q, sigma, order):
    k = np.arange(order + 1)
    binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    logs = binomial + (order - k) * np.log(q) + k * np.log1p(-q) + k * (k - 1) / (2 * sigma**2)
    return logsumexp(logs) / (order - 1)
""",
            "q and 1 - q were swapped",
        ),
        (
            """
def my_rdp_step(q, sigma, order):
    return order / (2 * sigma**2)
""",
            "the sampling is missing",
        ),
        (
            """
def my_rdp_step(q, sigma, order):
    k = np.arange(order + 1.0)
    binomial = np.exp(gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1))
    terms = binomial * (1 - q) ** (order - k) * q**k * np.exp(k * (k - 1) / (2 * sigma**2))
    return np.log(terms.sum()) / (order - 1)
""",
            "take logarithms first",
        ),
    ],
    "auc": [
        (
            """
def my_auc(members, others):
    return (members[:, None] > others[None]).mean()
""",
            "each counts half",
        ),
        (
            """
def my_auc(members, others):
    return (members[:, None] >= others[None]).mean()
""",
            "a tie counts half, not whole",
        ),
        (
            """
def my_auc(members, others):
    below = members[:, None] < others[None]
    return below.mean() + (members[:, None] == others[None]).mean() / 2
""",
            "the member has to be above",
        ),
        (
            """
def my_auc(members, others):
    above = members[:, None] > others[None]
    return above.sum() + (members[:, None] == others[None]).sum() / 2
""",
            "divide by the number of pairs",
        ),
        (
            """
def my_auc(members, others):
    n = min(len(members), len(others))
    a, b = members[:n], others[:n]
    return (a > b).mean() + (a == b).mean() / 2
""",
            "compare all pairs",
        ),
        (
            """
def my_auc(members, others):
    return members.mean() - others.mean()
""",
            "difference of means",
        ),
    ],
    "masked": [
        (
            """
def my_masked(update, client, pads):
    hidden = update
    for other, pad in pads.items():
        if client < other:
            hidden += pad
        else:
            hidden -= pad
    return hidden
""",
            "in place",
        ),
        (
            """
def my_masked(update, client, pads):
    return update + sum(pads.values())
""",
            "they do not cancel",
        ),
        (
            """
def my_masked(update, client, pads):
    hidden = update.copy()
    for other, pad in pads.items():
        hidden = hidden + pad if client > other else hidden - pad
    return hidden
""",
            "the lower number adds",
        ),
        (
            """
def my_masked(update, client, pads):
    hidden = np.zeros_like(update)
    for other, pad in pads.items():
        hidden = hidden + pad if client < other else hidden - pad
    return hidden
""",
            "the update itself is missing",
        ),
        (
            """
def my_masked(update, client, pads):
    hidden = update.astype(np.int64)
    for other, pad in pads.items():
        hidden = hidden + pad if client < other else hidden - pad
    return hidden
""",
            "left the ring",
        ),
        (
            """
def my_masked(update, client, pads):
    hidden = update.copy()
    for pad in pads.values():
        hidden = hidden ^ pad
    return hidden
""",
            "does not cancel in a sum",
        ),
        (
            """
def my_masked(update, client, pads):
    for other, pad in pads.items():
        if client < other:
            update += pad
        else:
            update -= pad
    return update
""",
            "changed its argument",
        ),
    ],
    "join_shares": [
        (
            """
def my_join_shares(shares, prime):
    return sum(shares.values()) % prime
""",
            "without weights",
        ),
        (
            """
def my_join_shares(shares, prime):
    secret = 0
    for x, y in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = weight * pow(other - x, -1, prime) % prime
        secret += y * weight
    return secret % prime
""",
            "the numerators are missing",
        ),
        (
            """
def my_join_shares(shares, prime):
    secret = 0
    for x, y in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = weight * other / (other - x)
        secret += y * weight
    return round(secret) % prime
""",
            "division of floats",
        ),
        (
            """
def my_join_shares(shares, prime):
    secret = 0
    for x, y in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = weight * other * pow(other - x, -1, prime) % prime
        secret += y * weight
    return secret
""",
            "not taken modulo the prime",
        ),
        (
            """
def my_join_shares(shares, prime):
    secret = 0
    for x, y in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = weight * other * pow(other - x, -1, prime) % prime
        secret += weight
    return secret % prime
""",
            "the values are missing",
        ),
        (
            """
def my_join_shares(shares, prime):
    secret = 0
    for x, y in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = weight * other * pow(x - other, -1, prime) % prime
        secret += y * weight
    return secret % prime
""",
            "the wrong way round",
        ),
    ],
    "draw_mask": [
        (
            """
def my_draw_mask(key, words):
    draw = np.random.default_rng(list(key))
    return draw.integers(0, 2**32, words, dtype=np.uint32)
""",
            "made for simulations",
        ),
        (
            """
def my_draw_mask(key, words):
    draw = np.random.Generator(np.random.Philox(int.from_bytes(key, 'big')))
    return draw.integers(0, 2**32, words, dtype=np.uint32)
""",
            "made for simulations",
        ),
        (
            """
def my_draw_mask(key, words):
    draw = random.Random(int.from_bytes(key, "big"))
    return np.array([draw.getrandbits(32) for _ in range(words)], np.uint32)
""",
            "Mersenne Twister",
        ),
        (
            """
def my_draw_mask(key, words):
    import zlib
    return np.random.default_rng(zlib.crc32(key)).integers(0, 2**32, words, dtype=np.uint32)
""",
            "folded into fewer bits",
        ),
        (
            """
def my_draw_mask(key, words):
    seed = int.from_bytes(key, "big")
    return np.random.default_rng(seed).integers(0, 2**32, words, dtype=np.uint32)
""",
            "made for simulations",
        ),
        (
            """
def my_draw_mask(key, words):
    return np.frombuffer(secrets.token_bytes(4 * words), np.uint32)
""",
            "two masks of one key",
        ),
        (
            """
def my_draw_mask(key, words):
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(words)), np.uint8).astype(np.uint32)
""",
            "all bytes come up",
        ),
        (
            """
def my_draw_mask(key, words):
    return np.resize(np.frombuffer(key, np.uint32), words)
""",
            "the mask repeats",
        ),
        (
            """
def my_draw_mask(key, words):
    key = key[:4] + bytes(28)
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(4 * words)), np.uint32)
""",
            "folded into fewer bits",
        ),
        (
            """
def my_draw_mask(key, words):
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(4 * words)), np.uint8)
""",
            "four bytes make a word",
        ),
    ],
    "trimmed_mean": [
        (
            """
def my_trimmed_mean(updates, cut):
    return updates[cut : len(updates) - cut].mean(axis=0)
""",
            "sort first",
        ),
        (
            """
def my_trimmed_mean(updates, cut):
    return np.sort(updates, axis=0)[: len(updates) - cut].mean(axis=0)
""",
            "only the highest were cut",
        ),
        (
            """
def my_trimmed_mean(updates, cut):
    return np.sort(updates, axis=0)[cut:-cut].mean(axis=0)
""",
            "is empty",
        ),
        (
            """
def my_trimmed_mean(updates, cut):
    return np.sort(updates, axis=1)[cut : len(updates) - cut].mean(axis=0)
""",
            "sort over the clients",
        ),
        (
            """
def my_trimmed_mean(updates, cut):
    return np.median(updates, axis=0)
""",
            "this is the median",
        ),
        (
            """
def my_trimmed_mean(updates, cut):
    return np.sort(updates, axis=0)[cut : len(updates) - cut].sum(axis=0) / len(updates)
""",
            "by those that are left",
        ),
        (
            """
def my_trimmed_mean(updates, cut):
    order = np.argsort(np.linalg.norm(updates, axis=1))
    return updates[order[: len(updates) - cut]].mean(axis=0)
""",
            "each weight is sorted by itself",
        ),
    ],
    "guarded_mean": [
        (
            """
def my_guarded_mean(total, many, scale, limit):
    mean = total.astype(np.int32) / scale / many
    return mean if (mean**2).sum() <= limit else None
""",
            "the root is missing",
        ),
        (
            """
def my_guarded_mean(total, many, scale, limit):
    mean = total.astype(np.int32) / scale / many
    return mean if np.abs(mean).sum() <= limit else None
""",
            "the Euclidean length counts",
        ),
        (
            """
def my_guarded_mean(total, many, scale, limit):
    mean = total / scale / many
    return mean if np.linalg.norm(mean) <= limit * (1 + 1e-6) else None
""",
            "read the words as signed",
        ),
        (
            """
def my_guarded_mean(total, many, scale, limit):
    return total.astype(np.int32) / scale / many
""",
            "above the limit it is None",
        ),
        (
            """
def my_guarded_mean(total, many, scale, limit):
    mean = total.astype(np.int32) / scale / many
    return mean if np.abs(mean).max() <= limit * (1 + 1e-6) else None
""",
            "not its largest",
        ),
        (
            """
def my_guarded_mean(total, many, scale, limit):
    mean = total.astype(np.int32) / scale / many
    return mean if np.linalg.norm(mean) <= 1 + 1e-6 else None
""",
            "the limit is an argument",
        ),
        (
            """
def my_guarded_mean(total, many, scale, limit):
    whole = total.astype(np.int32) / scale
    return whole if np.linalg.norm(whole) <= limit * many else None
""",
            "not divided by the number of clients",
        ),
        (
            """
def my_guarded_mean(total, many, scale, limit):
    whole = total.astype(np.int32) / scale
    return whole / many if np.linalg.norm(whole) <= limit else None
""",
            "the limit holds for the mean",
        ),
    ],
}

VARIANTS = {
    "invert": [
        """
def my_invert(weight_gradient, bias_gradient):
    best = max(range(len(bias_gradient)), key=lambda i: abs(bias_gradient[i]))
    return [value / bias_gradient[best] for value in weight_gradient[best]]
""",
        """
def my_invert(weight_gradient, bias_gradient):
    row = (bias_gradient**2).argmax()
    return (weight_gradient[row] / bias_gradient[row]).astype(np.float32)
""",
    ],
    "noisy_mean": [
        """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    total = np.zeros(len(normal))
    for row in gradients:
        length = np.linalg.norm(row)
        total += row if length <= clip else row * clip / length
    return (total + noise_multiplier * clip * normal) / expected
""",
        """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    lengths = np.sqrt((gradients**2).sum(axis=1))
    factor = clip / np.maximum(lengths, clip)
    return factor @ gradients / expected + noise_multiplier * clip / expected * normal
""",
        """
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    rows = torch.as_tensor(gradients)
    lengths = rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    total = (rows * (clip / lengths).clamp(max=1)).sum(dim=0)
    return (total + noise_multiplier * clip * torch.as_tensor(normal)) / expected
""",
    ],
    "rdp_step": [
        """
def my_rdp_step(q, sigma, order):
    logs = []
    for k in range(order + 1):
        log = math.log(math.comb(order, k)) + (order - k) * math.log(1 - q) + k * math.log(q)
        logs.append(log + k * (k - 1) / (2 * sigma**2))
    top = max(logs)
    return (top + math.log(sum(math.exp(v - top) for v in logs))) / (order - 1)
""",
        """
def my_rdp_step(q, sigma, order):
    from scipy.special import binom
    k = np.arange(order + 1)
    weights = binom(order, k) * (1 - q) ** (order - k) * q ** k.astype(float)
    return logsumexp(k * (k - 1) / (2 * sigma**2), b=weights) / (order - 1)
""",
    ],
    "auc": [
        """
def my_auc(members, others):
    won = 0.0
    for m in members:
        for o in others:
            won += 1.0 if m > o else 0.5 if m == o else 0.0
    return won / (len(members) * len(others))
""",
        """
def my_auc(members, others):
    return ((np.sign(members[:, None] - others[None]) + 1) / 2).mean()
""",
        """
def my_auc(members, others):
    from scipy.stats import rankdata
    ranks = rankdata(np.concatenate([members, others]))[: len(members)]
    m, n = len(members), len(others)
    return (ranks.sum() - m * (m + 1) / 2) / (m * n)
""",
    ],
    "masked": [
        """
def my_masked(update, client, pads):
    above = sum((p.astype(np.int64) for o, p in pads.items() if o > client), np.int64(0))
    below = sum((p.astype(np.int64) for o, p in pads.items() if o < client), np.int64(0))
    return ((update.astype(np.int64) + above - below) % 2**32).astype(np.uint32)
""",
        """
def my_masked(update, client, pads):
    words = [int(w) for w in update]
    for other, pad in pads.items():
        sign = 1 if client < other else -1
        words = [(w + sign * int(p)) % 2**32 for w, p in zip(words, pad)]
    return np.array(words, dtype=np.uint32)
""",
    ],
    "join_shares": [
        """
def my_join_shares(shares, prime):
    secret = 0
    for x, y in shares.items():
        above, below = 1, 1
        for other in shares:
            if other != x:
                above = above * -other
                below = below * (x - other)
        secret += y * above * pow(below, -1, prime)
    return secret % prime
""",
        """
def my_join_shares(shares, prime):
    places = list(shares)
    weights = [
        math.prod(o * pow(o - x, -1, prime) for o in places if o != x) for x in places
    ]
    return sum(shares[x] * w for x, w in zip(places, weights)) % prime
""",
    ],
    "draw_mask": [
        """
def my_draw_mask(key, words):
    encryptor = Cipher(algorithms.ChaCha20(key, b"edgelab-13-mask!"), mode=None).encryptor()
    return np.frombuffer(encryptor.update(b"\\x00" * (4 * words)), dtype=np.uint32).copy()
""",
        """
def my_draw_mask(key, words):
    import hashlib
    blocks = [hashlib.sha256(key + n.to_bytes(8, "big")).digest() for n in range(words // 8 + 1)]
    return np.frombuffer(b"".join(blocks)[: 4 * words], np.uint32)
""",
    ],
    "trimmed_mean": [
        """
def my_trimmed_mean(updates, cut):
    found = []
    for column in updates.T:
        kept = sorted(column)[cut : len(column) - cut]
        found.append(sum(kept) / len(kept))
    return np.array(found)
""",
        """
def my_trimmed_mean(updates, cut):
    from scipy.stats import trim_mean
    return trim_mean(updates, (cut + 0.5) / len(updates), axis=0)
""",
        """
def my_trimmed_mean(updates, cut):
    ordered = torch.sort(torch.as_tensor(updates), dim=0).values
    return ordered[cut : len(updates) - cut].mean(dim=0).float()
""",
    ],
    "guarded_mean": [
        """
def my_guarded_mean(total, many, scale, limit):
    signed = [int(w) - 2**32 if w >= 2**31 else int(w) for w in total]
    mean = np.array(signed) / (scale * many)
    if (mean**2).sum() > (limit + 1e-6) ** 2:
        return None
    return mean
""",
        """
def my_guarded_mean(total, many, scale, limit):
    mean = total.view(np.int32).astype(np.float32) / np.float32(scale * many)
    return mean if math.sqrt(float(mean @ mean)) <= limit + 1e-4 else None
""",
    ],
}

"""Lab `search`: plausible wrong answers (code, words that the message must hold), and right variants."""

_MACS = """
def my_block_macs(c_in, c_out, side, stride):
    out = -(-side // stride)
    return {}
"""
_FIT = """
def my_fit_predictor(counts, ms):
    counts, ms = np.asarray(counts), np.asarray(ms)
    return {}
"""
_NORM = """
def my_grad_norm(net, images, labels):
    loss = F.cross_entropy(net(images), labels)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    return {}
"""
_BEST = """
def my_expected_best(values, n):
    v = {}
    return sum(x * ({}) for i, x in enumerate(v))
"""
_FAIR = """
def my_fair_best(asked, budget, validation, test):
    first = {}
    return {}
"""
_STEP = """
def my_evolution_step(population, rng, sample):
    drawn = {}
    parent = {}(drawn, key=lambda member: member.accuracy)
    return {}, {}
"""
_DRAWN = "[population[i] for i in rng.choice(len(population), sample, replace=False)]"
_CHILD, _REST = "mutate(parent.arch, rng)", "list(population[1:])"
_FRONT = """
def my_pareto(costs, values):
    c, v = np.asarray(costs), np.asarray(values)
    no_worse = {}
    better = {}
    return {}
"""
_NO_WORSE = "(c <= c[:, None]) & (v >= v[:, None])"
_BETTER = "(c < c[:, None]) | (v > v[:, None])"
_LEFT = "~(no_worse & better).any(axis=1)"

MISTAKES = {
    "block_macs": [
        (_MACS.format("side * side * (9 * c_in + c_in * c_out)"), "places of the input were counted"),
        (_MACS.format("(side // stride) ** 2 * (9 * c_in + c_in * c_out)"), "rounded up"),
        (_MACS.format("round(side / stride) ** 2 * (9 * c_in + c_in * c_out)"), "half to the even"),
        (_MACS.format("out * out * (9 * c_in * c_in + c_in * c_out)"), "one channel alone"),
        (_MACS.format("-(-side * side // stride) * (9 * c_in + c_in * c_out)"), "in both directions"),
        (_MACS.format("out * out * 9 * c_in * c_out"), "standard 3x3"),
        (_MACS.format("out * out * (9 * c_out + c_in * c_out)"), "works on the input"),
        (_MACS.format("out * (9 * c_in + c_in * c_out)"), "one side was counted"),
        (_MACS.format("out * out * c_in * c_out"), "depthwise filter is missing"),
        (_MACS.format("9 * c_in * out * out + c_in * c_out * side * side"), "pointwise filter was counted at"),
        (_MACS.format("2 * out * out * (9 * c_in + c_in * c_out)"), "counts once"),
    ],
    "fits": [
        (
            """
def my_fits(costs, budgets):
    return any(costs[name] <= most for name, most in budgets.items() if name in costs)
""",
            "all of them",
        ),
        (
            """
def my_fits(costs, budgets):
    return all(name in costs and costs[name] < most for name, most in budgets.items())
""",
            "<= and not <",
        ),
        (
            """
def my_fits(costs, budgets):
    return all(costs.get(name, 0) <= most for name, most in budgets.items())
""",
            "missing cost is no cost of 0",
        ),
        (
            """
def my_fits(costs, budgets):
    return all(cost <= budgets[name] for name, cost in costs.items())
""",
            "KeyError",
        ),
        (
            """
def my_fits(costs, budgets):
    return sum(costs.values()) <= sum(budgets.values())
""",
            "added up",
        ),
        (
            """
def my_fits(costs, budgets):
    return all(name in costs and costs[name] >= most for name, most in budgets.items())
""",
            "wrong way round",
        ),
    ],
    "predictor": [
        (_FIT.format("optimize.nnls(counts, ms)[0]"), "counted in ms"),
        (
            _FIT.format("np.linalg.lstsq(counts / ms[:, None], np.ones(len(ms)), rcond=None)[0]"),
            "below 0",
        ),
        (
            _FIT.format("np.maximum(np.linalg.lstsq(counts / ms[:, None], np.ones(len(ms)), rcond=None)[0], 0)"),
            "cut off afterwards",
        ),
        (_FIT.format("optimize.nnls(counts / ms[:, None], ms)[0]"), "becomes ones"),
        (_FIT.format("optimize.nnls(counts, np.ones(len(ms)))[0]"), "rows were not divided"),
        (_FIT.format("np.linalg.lstsq(counts, ms, rcond=None)[0]"), "counted in ms"),
        (_FIT.format("optimize.nnls(counts / ms[:, None], np.ones(len(ms)))"), "Found"),
    ],
    "grad_norm": [
        (_NORM.format("math.sqrt(sum(g.norm().item() ** 2 for g in gradients))"), "norm of all gradients together"),
        (_NORM.format("sum(g.norm().item() ** 2 for g in gradients)"), "take the root"),
        (_NORM.format("np.mean([g.norm().item() for g in gradients])"), "averaged"),
        (_NORM.format("sum(g.abs().sum().item() for g in gradients)"), "absolute values"),
        (_NORM.format("sum(g.norm().item() for g in gradients[::2])"), "biases were left out"),
        (_NORM.format("loss.item()"), "this is the loss"),
        (_NORM.format("sum(p.norm().item() for p in net.parameters())"), "not of their gradients"),
        (
            """
def my_grad_norm(net, images, labels):
    F.cross_entropy(net(images), labels).backward()
    return sum(p.grad.norm().item() for p in net.parameters())
""",
            "still there",
        ),
        (
            """
def my_grad_norm(net, images, labels):
    net.zero_grad()
    F.cross_entropy(net(images), labels).backward()
    return sum(p.grad.norm().item() for p in net.parameters())
""",
            "backward() leaves gradients behind",
        ),
        (
            """
def my_grad_norm(net, images, labels):
    loss = F.cross_entropy(net.eval()(images), labels)
    return sum(g.norm().item() for g in torch.autograd.grad(loss, list(net.parameters())))
""",
            "evaluation mode",
        ),
    ],
    "expected_best": [
        (
            _BEST.format("list(values)", "math.comb(i, n - 1) / math.comb(len(v), n)"),
            "were not sorted",
        ),
        (
            _BEST.format("sorted(values, reverse=True)", "math.comb(i, n - 1) / math.comb(len(v), n)"),
            "worst of the draw",
        ),
        (
            _BEST.format("sorted(values)", "((i + 1) / len(v)) ** n - (i / len(v)) ** n"),
            "nothing is put back",
        ),
        (
            _BEST.format("sorted(values)", "math.comb(i + 1, n - 1) / math.comb(len(v), n)"),
            "counts from 0",
        ),
        (_BEST.format("sorted(values)", "1 / len(v)"), "this is the mean"),
        (_BEST.format("sorted(values)", "math.comb(i, n - 1)"), "divide by all"),
        (_BEST.format("sorted(values)[-n:]", "1 / n"), "mean of the best n"),
        (
            """
def my_expected_best(values, n):
    return max(values)
""",
            "best of all",
        ),
    ],
    "mutate": [
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    name = list(choices)[rng.integers(len(choices))]
    return arch._replace(**{name: choices[name][rng.integers(len(choices[name]))]})
""",
            "drawn again",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    def other(n):
        return [v for v in choices[n] if v != getattr(arch, n)]
    return arch._replace(**{n: other(n)[rng.integers(len(other(n)))] for n in choices})
""",
            "one field",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    pairs = [(n, v) for n, vs in choices.items() for v in vs if v != getattr(arch, n)]
    name, value = pairs[rng.integers(len(pairs))]
    return tuple(arch._replace(**{name: value}))
""",
            "keeps the type",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    name = list(choices)[np.random.randint(len(choices))]
    others = [v for v in choices[name] if v != getattr(arch, name)]
    return arch._replace(**{name: others[np.random.randint(len(others))]})
""",
            "can be repeated",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    name = list(choices)[rng.integers(len(choices))]
    return arch._replace(**{name: getattr(arch, name) + 1})
""",
            "outside of the space",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    name = list(choices)[rng.integers(len(choices))]
    values = choices[name]
    return arch._replace(**{name: values[(values.index(getattr(arch, name)) + 1) % len(values)]})
""",
            "not only the next one",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    name = list(choices)[rng.integers(3)]
    others = [v for v in choices[name] if v != getattr(arch, name)]
    return arch._replace(**{name: others[rng.integers(len(others))]})
""",
            "same chance",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    name = list(CHOICES)[rng.integers(len(CHOICES))]
    others = [v for v in CHOICES[name] if v != getattr(arch, name)]
    return arch._replace(**{name: others[rng.integers(len(others))]})
""",
            "from the argument choices",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    pairs = [(n, v) for n, vs in choices.items() for v in vs if v != getattr(arch, n)]
    name, value = pairs[rng.integers(len(pairs))]
    return arch._replace(**{name: value})
""",
            "field first",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    name = list(choices)[rng.integers(len(choices))]
    others = [v for v in choices[name] if v > getattr(arch, name)] or [min(choices[name])]
    return arch._replace(**{name: others[rng.integers(len(others))]})
""",
            "larger ones",
        ),
        (
            """
def my_mutate(arch, rng, choices=CHOICES):
    rng = np.random.default_rng(0)
    name = list(choices)[rng.integers(len(choices))]
    others = [v for v in choices[name] if v != getattr(arch, name)]
    return arch._replace(**{name: others[rng.integers(len(others))]})
""",
            "fixed seed",
        ),
    ],
    "evolution_step": [
        (
            _STEP.format(_DRAWN, "max", _CHILD, "sorted(population, key=lambda m: m.accuracy)[1:]"),
            "oldest dies",
        ),
        (_STEP.format(_DRAWN, "max", _CHILD, "list(population[:-1])"), "oldest dies"),
        (_STEP.format(_DRAWN, "max", _CHILD, "[m for m in population if m is not parent]"), "not the parent"),
        (_STEP.format(_DRAWN, "max", _REST, _CHILD), "comes first"),
        (_STEP.format(_DRAWN, "max", _CHILD, "list(population)"), "nobody died"),
        (_STEP.format("population", "max", _CHILD, _REST), "come"),
        (_STEP.format(_DRAWN, "min", _CHILD, _REST), "look at the accuracy"),
        (_STEP.format(_DRAWN, "max", "parent.arch", _REST), "mutate it"),
        (_STEP.format("population[:sample]", "max", _CHILD, _REST), "come"),
        (
            _STEP.format("[population[i] for i in rng.choice(len(population), sample)]", "max", _CHILD, _REST),
            "without putting back",
        ),
        (
            _STEP.format(_DRAWN, "max", "Member(mutate(parent.arch, rng), 0.0)", _REST),
            "not a member",
        ),
        (
            """
def my_evolution_step(population, rng, sample):
    drawn = [population[i] for i in rng.choice(len(population), sample, replace=False)]
    parent = max(drawn, key=lambda member: member.accuracy)
    population.pop(0)
    return mutate(parent.arch, rng), population
""",
            "in place",
        ),
    ],
    "fair_best": [
        (
            """
def my_fair_best(asked, budget, validation, test):
    start = 8
    return max(test[arch] for arch in asked[start : start + budget])
""",
            "nothing is mended yet",
        ),
        (_FAIR.format("list(dict.fromkeys(asked))[:budget]", "max(test[a] for a in first)"), "on the test set"),
        (
            _FAIR.format("list(dict.fromkeys(asked))[:budget]", "max(validation[a] for a in first)"),
            "validation accuracy",
        ),
        (_FAIR.format("asked[:budget]", "test[max(first, key=validation.get)]"), "counted twice"),
        (_FAIR.format("list(dict.fromkeys(asked))", "test[max(first, key=validation.get)]"), "budget ends it"),
        (
            _FAIR.format("list(dict.fromkeys(asked))[8:8 + budget]", "test[max(first, key=validation.get)]"),
            "were paid",
        ),
        (
            _FAIR.format("list(dict.fromkeys(asked))[:budget]", "test[min(first, key=validation.get)]"),
            "take the largest",
        ),
        (
            _FAIR.format("list(dict.fromkeys(asked))[:budget + 1]", "test[max(first, key=validation.get)]"),
            "network more",
        ),
        (
            _FAIR.format("list(dict.fromkeys(asked))[:budget - 1]", "test[max(first, key=validation.get)]"),
            "network less",
        ),
        (_FAIR.format("list(dict.fromkeys(asked))[:budget]", "test[first[-1]]"), "last one that was paid"),
    ],
    "pareto": [
        (_FRONT.format(_NO_WORSE, _BETTER, "(no_worse & better).any(axis=1)"), "turn it round"),
        (_FRONT.format("(c < c[:, None]) & (v > v[:, None])", _BETTER, _LEFT), "asks for both"),
        (_FRONT.format(_NO_WORSE, "~np.eye(len(c), dtype=bool)", _LEFT), "twins threw each other out"),
        (_FRONT.format(_NO_WORSE, "v > v[:, None]", _LEFT), "as good at a lower cost"),
        (_FRONT.format(_NO_WORSE, "c < c[:, None]", _LEFT), "better at the same cost"),
        (
            _FRONT.format("(c >= c[:, None]) & (v >= v[:, None])", "(c > c[:, None]) | (v > v[:, None])", _LEFT),
            "costs are the wrong way round",
        ),
        (
            _FRONT.format("(c <= c[:, None]) & (v <= v[:, None])", "(c < c[:, None]) | (v < v[:, None])", _LEFT),
            "wrong way round",
        ),
        (
            _FRONT.format("(c >= c[:, None]) & (v <= v[:, None])", "(c > c[:, None]) | (v < v[:, None])", _LEFT),
            "both are the wrong way round",
        ),
    ],
}

VARIANTS = {
    "block_macs": [
        """
def my_block_macs(c_in, c_out, side, stride):
    out = math.ceil(side / stride)
    return 9 * c_in * out**2 + c_in * c_out * out**2
""",
        """
def my_block_macs(c_in, c_out, side, stride):
    places = ((side - 1) // stride + 1) ** 2
    return np.int64(places * c_in * (9 + c_out))
""",
    ],
    "fits": [
        """
def my_fits(costs, budgets):
    for name, most in budgets.items():
        if name not in costs or costs[name] > most:
            return False
    return True
""",
        """
def my_fits(costs, budgets):
    return np.all([costs.get(name, np.inf) <= most for name, most in budgets.items()])
""",
    ],
    "predictor": [
        """
def my_fit_predictor(counts, ms):
    weights, rest = optimize.nnls(counts / ms[:, None], np.ones(len(ms)))
    return weights
""",
        """
def my_fit_predictor(counts, ms):
    shares = np.array([row / t for row, t in zip(counts, ms)])
    return optimize.lsq_linear(shares, np.ones(len(ms)), (0, np.inf), method="bvls", tol=1e-14).x
""",
    ],
    "grad_norm": [
        """
def my_grad_norm(net, images, labels):
    trial = copy.deepcopy(net)
    F.cross_entropy(trial(images), labels).backward()
    return sum(p.grad.norm() for p in trial.parameters()).item()
""",
        """
def my_grad_norm(net, images, labels):
    F.cross_entropy(net(images), labels).backward()
    total = sum(float((p.grad**2).sum()) ** 0.5 for p in net.parameters())
    net.zero_grad(set_to_none=True)
    return total
""",
    ],
    "expected_best": [
        """
def my_expected_best(values, n):
    v = np.sort(values)
    return float(v @ [math.comb(i, n - 1) / math.comb(len(v), n) for i in range(len(v))])
""",
        """
def my_expected_best(values, n):
    v = sorted(values)
    return sum(v[i - 1] * math.comb(i - 1, n - 1) for i in range(n, len(v) + 1)) / math.comb(len(v), n)
""",
        """
def my_expected_best(values, n):
    v = np.sort(np.asarray(values, dtype=float))
    return np.sum(v * special.comb(np.arange(len(v)), n - 1) / special.comb(len(v), n))
""",
    ],
    "mutate": [
        """
def my_mutate(arch, rng, choices=CHOICES):
    name = rng.choice(list(choices))
    return arch._replace(**{name: int(rng.choice([v for v in choices[name] if v != getattr(arch, name)]))})
""",
        """
def my_mutate(arch, rng, choices=CHOICES):
    place = int(rng.integers(len(arch)))
    others = [v for v in list(choices.values())[place] if v != arch[place]]
    values = list(arch)
    values[place] = others[int(rng.integers(len(others)))]
    return Architecture(*values)
""",
    ],
    "evolution_step": [
        """
def my_evolution_step(population, rng, sample):
    order = rng.permutation(len(population))[:sample]
    best = max(order, key=lambda i: population[i].accuracy)
    return mutate(population[best].arch, rng), population[1:]
""",
        """
def my_evolution_step(population, rng, sample):
    places = sorted(rng.choice(len(population), sample, replace=False), key=lambda i: -population[i][1])
    child = mutate(population[places[0]][0], rng)
    return [child, population[1:]]
""",
    ],
    "fair_best": [
        """
def my_fair_best(asked, budget, validation, test):
    seen = []
    for arch in asked:
        if arch not in seen:
            seen.append(arch)
    best = sorted(seen[:budget], key=lambda arch: validation[arch])[-1]
    return test[best]
""",
        """
def my_fair_best(asked, budget, validation, test):
    best, seen = None, set()
    for arch in asked:
        if arch in seen:
            continue
        if len(seen) == budget:
            break
        seen.add(arch)
        if best is None or validation[arch] > validation[best]:
            best = arch
    return test[best]
""",
    ],
    "pareto": [
        """
def my_pareto(costs, values):
    found = []
    for c, v in zip(costs, values):
        beaten = any(
            d <= c and w >= v and (d < c or w > v) for d, w in zip(costs, values)
        )
        found.append(not beaten)
    return found
""",
        """
def my_pareto(costs, values):
    c, v = np.asarray(costs), np.asarray(values)
    return np.array([not (((c < a) & (v >= b)) | ((c <= a) & (v > b))).any() for a, b in zip(c, v)])
""",
    ],
}

"""Lab `federated`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "average": [
        (
            """
def my_average(models, sizes):
    return {k: sum(m[k] for m in models) / len(models) for k in models[0]}
""",
            "every client counts the same",
        ),
        (
            """
def my_average(models, sizes):
    return {k: sum(m[k] * n for m, n in zip(models, sizes)) for k in models[0]}
""",
            "was not divided by all items",
        ),
        (
            """
def my_average(models, sizes):
    return {k: sum(m[k] * n for m, n in zip(models, sizes)) / len(models) for k in models[0]}
""",
            "divided by the number of clients",
        ),
        (
            """
def my_average(models, sizes):
    return {k: sum(m[k] for m in models) for k in models[0]}
""",
            "this is the sum",
        ),
        (
            """
def my_average(models, sizes):
    return {k: sum(m[k] * (n / max(sizes)) for m, n in zip(models, sizes)) for k in models[0]}
""",
            "divided by the largest client",
        ),
        (
            """
def my_average(models, sizes):
    parts = [1 / n for n in sizes]
    return {k: sum(m[k] * (p / sum(parts)) for m, p in zip(models, parts)) for k in models[0]}
""",
            "small clients count more",
        ),
        (
            """
def my_average(models, sizes):
    total = sum(sizes)
    for k in models[0]:
        return {k: sum(m[k] * (n / total) for m, n in zip(models, sizes))}
""",
            "every name of the models",
        ),
        (
            """
def my_average(models, sizes):
    total = sum(sizes)
    mean = models[0]
    for k in mean:
        mean[k] *= sizes[0] / total
        for m, n in zip(models[1:], sizes[1:]):
            mean[k] += m[k] * (n / total)
    return mean
""",
            "changed its argument 1 in place",
        ),
    ],
    "client_round": [
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w + config.learning_rate * gradient[k] for k, w in weights.items()}
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "the sign is wrong",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total, now = 0.0, weights
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        now = {k: w - config.learning_rate * gradient[k] for k, w in now.items()}
        total = total + loss * mask.sum()
    return now, state, {"loss": total / data.mask.sum()}
""",
            "each step starts where the last one ended",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - gradient[k] for k, w in weights.items()}
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "the learning rate is missing",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        return weights, state, {"loss": loss}
""",
            "only the first batch",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, torch.ones_like(mask))
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "the fillers were counted",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        for k in weights:
            weights[k] -= config.learning_rate * gradient[k]
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "changed its argument 1 in place",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total, now = 0.0, weights
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(now, x, y, mask)
        now = {k: w - config.learning_rate * gradient[k] for k, w in now.items()}
        total = total + loss * mask.sum()
    return {k: now[k] - weights[k] for k in now}, state, {"loss": total / data.mask.sum()}
""",
            "this is the update",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    losses = []
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        losses.append(loss)
    return weights, state, {"loss": sum(losses) / len(losses)}
""",
            "every step counts the same",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
    return weights, state, {"loss": loss}
""",
            "the loss of the last step",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        total += loss.item() * mask.sum().item()
    return weights, state, {"loss": torch.tensor(total / data.mask.sum().item())}
""",
            "end a batched run",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
    return weights
""",
            "weights, state and metrics",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        total = total + loss * mask.sum()
    return weights, {}, {"loss": total / data.mask.sum()}
""",
            "return the state that came in",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        total = total + loss
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "a step's loss is a mean",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / len(data.x)}
""",
            "items were summed and divided by steps",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        total = total + loss * len(x)
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "each step counted with its fillers",
        ),
        (
            """
def my_client_round(weights, state, data, config):
    weights = dict(start)
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "begin at the weights that came in",
        ),
    ],
    "one_round": [
        (
            """
def my_one_round(weights, chosen, train, sizes):
    models = []
    for k in chosen:
        weights = train(weights, k)
        models.append(weights)
    return average(models, [sizes[k] for k in chosen])
""",
            "each client went on where the one before it ended",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    for k in chosen:
        weights = train(weights, k)
    return weights
""",
            "the client that came last",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    return average([train(weights, k) for k in chosen], [1 for k in chosen])
""",
            "every client counts the same",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    return average([train(weights, k) for k in range(len(sizes))], sizes)
""",
            "only the chosen ones do",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    return average([train(weights, k) for k in chosen], sizes[: len(chosen)])
""",
            "the sizes of the first clients were taken",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    models = [train(weights, k) if k in chosen else weights for k in range(len(sizes))]
    return average(models, sizes)
""",
            "did not train were averaged in",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    models = [train(weights, k) for k in chosen]
    return {name: sum(m[name] * (sizes[k] / sum(sizes)) for k, m in zip(chosen, models)) for name in weights}
""",
            "divided by the items of all clients",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    for k in chosen:
        models = [train(weights, k)]
    return average(models, [sizes[k]])
""",
            "only the last client was kept",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    everybody = [train(weights, k) for k in range(len(sizes))]
    return average([everybody[k] for k in chosen], [sizes[k] for k in chosen])
""",
            "call train once for each chosen client",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    return average([train(weights, k) for k in chosen], sizes)
""",
            "the sizes of all clients were given to average",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    return average([train(weights, i) for i, k in enumerate(chosen)], [sizes[k] for k in chosen])
""",
            "clients were counted from 0",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    return average([train(weights, k) for k in sorted(chosen)], [sizes[k] for k in chosen])
""",
            "stand in different orders",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    models = [train(weights, k) for k in chosen]
    return {n: average(models, [sizes[k] for k in chosen])[n] - weights[n] for n in weights}
""",
            "this is the update",
        ),
        (
            """
def my_one_round(weights, chosen, train, sizes):
    models = [train(weights, k) for k in chosen]
    return {n: weights[n] + average(models, [sizes[k] for k in chosen])[n] for n in weights}
""",
            "they take their place",
        ),
    ],
    "mended": [
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(weights, k)
    return average(local, sizes)
""",
            "did not train are still in the mean",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(weights, k)
    return average([local[k] for k in chosen], [1] * len(chosen))
""",
            "the right clients, but each counts the same",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(weights, k)
    return {name: sum(local[k][name] for k in chosen) / len(local) for name in weights}
""",
            "divided by ten",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(weights, k)
    total = sum(sizes)
    return {name: sum(local[k][name] * (sizes[k] / total) for k in chosen) for name in weights}
""",
            "divided by the items of all ten",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in range(len(local)):
        local[k] = train(weights, k)
    return average(local, sizes)
""",
            "all ten clients trained",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(weights, k)
    return average([local[k] if k in chosen else weights for k in range(len(local))], sizes)
""",
            "leave them out",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    return average([train(weights, k) for k in chosen], [sizes[k] for k in chosen])
""",
            "were not kept in the list",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    mean = average([train(weights, k) for k in chosen], [sizes[k] for k in chosen])
    for k in range(len(local)):
        local[k] = mean
    return mean
""",
            "every client got the average",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        weights = train(weights, k)
        local[k] = weights
    return average([local[k] for k in chosen], [sizes[k] for k in chosen])
""",
            "each client went on where the one before it ended",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(local[k], k)
    return average([local[k] for k in chosen], [sizes[k] for k in chosen])
""",
            "trained from its own last model",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    new = average([local[k] for k in chosen], [sizes[k] for k in chosen])
    for k in chosen:
        local[k] = train(weights, k)
    return new
""",
            "the old models were averaged",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(weights, k)
    return {n: sum(m[n] for m in local) / len(chosen) for n in weights}
""",
            "divided by the trained ones",
        ),
        (
            """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(weights, k)
    return average([local[k] for k in chosen], sizes)
""",
            "the sizes of all ten were given to average",
        ),
    ],
    "prox_round": [
        (
            """
def my_prox_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * gradient[k] for k, w in weights.items()}
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "there is no pull",
        ),
        (
            """
def my_prox_round(weights, state, data, config):
    began, total = weights, 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {
            k: w - config.learning_rate * (gradient[k] - config.proximal * (w - began[k])) for k, w in weights.items()
        }
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "the pull has the wrong sign",
        ),
        (
            """
def my_prox_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: w - config.learning_rate * (gradient[k] + config.proximal * w) for k, w in weights.items()}
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "this pulls towards 0",
        ),
        (
            """
def my_prox_round(weights, state, data, config):
    began, total = weights, 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        before = weights
        weights = {
            k: w - config.learning_rate * (gradient[k] + config.proximal * (w - began[k])) for k, w in weights.items()
        }
        began = before
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "the weights of the step before",
        ),
        (
            """
def my_prox_round(weights, state, data, config):
    began, total = weights, 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {
            k: w - config.learning_rate * gradient[k] - config.proximal * (w - began[k]) for k, w in weights.items()
        }
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "not multiplied by the learning rate",
        ),
        (
            """
def my_prox_round(weights, state, data, config):
    began, total = weights, 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {
            k: w - config.learning_rate * (gradient[k] + config.proximal / 2 * (w - began[k]))
            for k, w in weights.items()
        }
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "the factor one half",
        ),
        (
            """
def my_prox_round(weights, state, data, config):
    began, total = weights, 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {
            k: w - config.learning_rate * (gradient[k] + config.proximal * (w - began[k]) ** 2)
            for k, w in weights.items()
        }
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "not its square",
        ),
        (
            """
def my_prox_round(weights, state, data, config):
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {
            k: w - config.learning_rate * (gradient[k] + config.proximal * (w - start[k])) for k, w in weights.items()
        }
        total = total + loss * mask.sum()
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "pull towards the weights that came in",
        ),
        (
            """
def my_prox_round(weights, state, data, config):
    began = weights
    total = 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        apart = sum(((w - began[k]) ** 2).sum() for k, w in weights.items())
        total = total + (loss + config.proximal / 2 * apart) * mask.sum()
        weights = {
            k: w - config.learning_rate * (gradient[k] + config.proximal * (w - began[k])) for k, w in weights.items()
        }
    return weights, state, {"loss": total / data.mask.sum()}
""",
            "the pull was added to the loss",
        ),
    ],
    "top_k": [
        (
            """
def my_top_k(update, kept, share):
    whole = update + kept
    largest = np.argsort(-whole)[: max(1, round(share * len(whole)))]
    sent = np.zeros_like(whole)
    sent[largest] = whole[largest]
    return sent, whole - sent
""",
            "without their magnitude",
        ),
        (
            """
def my_top_k(update, kept, share):
    whole = update + kept
    largest = np.argsort(np.abs(whole))[: max(1, round(share * len(whole)))]
    sent = np.zeros_like(whole)
    sent[largest] = whole[largest]
    return sent, whole - sent
""",
            "the smallest magnitudes",
        ),
        (
            """
def my_top_k(update, kept, share):
    largest = np.argsort(-np.abs(update))[: max(1, round(share * len(update)))]
    sent = np.zeros_like(update)
    sent[largest] = update[largest]
    return sent, update - sent
""",
            "what was kept before is missing",
        ),
        (
            """
def my_top_k(update, kept, share):
    whole = update + kept
    largest = np.argsort(-np.abs(update))[: max(1, round(share * len(update)))]
    sent = np.zeros_like(whole)
    sent[largest] = whole[largest]
    return sent, whole - sent
""",
            "chosen before what was kept was added",
        ),
        (
            """
def my_top_k(update, kept, share):
    whole = update + kept
    largest = np.argsort(-np.abs(whole))[: max(1, round(share * len(whole)))]
    sent = np.zeros_like(whole)
    sent[largest] = whole[largest]
    return sent, update - sent
""",
            "what was kept before is lost",
        ),
        (
            """
def my_top_k(update, kept, share):
    whole = update + kept
    largest = np.argsort(-np.abs(whole))[: max(1, round(share * len(whole)))]
    sent = np.zeros_like(whole)
    sent[largest] = whole[largest]
    return sent, np.zeros_like(whole)
""",
            "the rest is lost for ever",
        ),
        (
            """
def my_top_k(update, kept, share):
    whole = update + kept
    largest = np.argsort(-np.abs(whole))[: max(1, round(share * len(whole)))]
    sent = np.zeros_like(whole)
    sent[largest] = whole[largest]
    return whole - sent, sent
""",
            "were swapped",
        ),
        (
            """
def my_top_k(update, kept, share):
    whole = update + kept
    largest = np.argsort(-np.abs(whole))[: round(share * len(whole))]
    sent = np.zeros_like(whole)
    sent[largest] = whole[largest]
    return sent, whole - sent
""",
            "at least one value goes",
        ),
        (
            """
def my_top_k(update, kept, share):
    whole = update + kept
    largest = np.argsort(-np.abs(whole))[: max(1, round(share * len(whole)))]
    sent = np.zeros_like(whole)
    sent[largest] = np.abs(whole)[largest]
    return sent, whole - sent
""",
            "the signs are lost",
        ),
        (
            """
def my_top_k(update, kept, share):
    update += kept
    largest = np.argsort(-np.abs(update))[: max(1, round(share * len(update)))]
    sent = np.zeros_like(update)
    sent[largest] = update[largest]
    return sent, update - sent
""",
            "changed its argument 1 in place",
        ),
        (
            """
def my_top_k(update, kept, share):
    v = update + kept
    n = max(1, round((1 - share) * len(v)))
    i = np.argsort(-np.abs(v))[:n]
    s = np.zeros_like(v)
    s[i] = v[i]
    return s, v - s
""",
            "the share was kept back and the rest sent",
        ),
        (
            """
def my_top_k(update, kept, share):
    v = update + kept
    n = max(1, round(share * len(v)))
    i = np.argsort(-np.abs(v))[:n]
    s = np.zeros_like(v)
    s[i] = v[i]
    return s, np.abs(v - s)
""",
            "the magnitudes are kept",
        ),
        (
            """
def my_top_k(update, kept, share):
    v = update + kept
    n = max(1, round(share * len(v)))
    i = np.argsort(-np.abs(v))[:n]
    s = np.zeros_like(v)
    s[i] = v[i]
    return s, kept + (v - s)
""",
            "added twice",
        ),
    ],
}

VARIANTS = {
    "average": [
        """
def my_average(models, sizes):
    mean = {}
    for name in models[0]:
        mean[name] = torch.zeros_like(models[0][name])
        for model, n in zip(models, sizes):
            mean[name] = mean[name] + model[name] * n / sum(sizes)
    return mean
""",
        """
def my_average(models, sizes):
    share = torch.tensor(sizes) / sum(sizes)
    return {k: torch.einsum("k,k...->...", share.to(models[0][k].dtype), torch.stack([m[k] for m in models]))
            for k in models[0]}
""",
        """
def my_average(models, sizes):
    return {k: sum(m[k].float() * n for m, n in zip(models, sizes)) / sum(sizes) for k in models[0]}
""",
        """
def my_average(models, sizes):
    return {k: torch.from_numpy(np.average([m[k].numpy() for m in models], axis=0, weights=sizes)) for k in models[0]}
""",
    ],
    "client_round": [
        """
def my_client_round(weights, state, data, config):
    now, losses = dict(weights), []
    for i in range(len(data.x)):
        gradient, loss = slope(now, data.x[i], data.y[i], data.mask[i])
        now = {name: now[name] - gradient[name] * config.learning_rate for name in now}
        losses.append(loss)
    counts = data.mask.sum(dim=1)
    return now, state, {"loss": (torch.stack(losses) * counts).sum() / counts.sum()}
""",
        """
def my_client_round(weights, state, data, config):
    total = 0
    weights = {k: w.clone() for k, w in weights.items()}
    for batch in zip(*data):
        gradient, loss = slope(weights, *batch)
        for k in weights:
            weights[k] = weights[k] - config.learning_rate * gradient[k]
        total += loss * batch[2].sum()
    return weights, dict(state), {"loss": total / data.mask.sum()}
""",
        """
def my_client_round(weights, state, data, config):
    losses, counts = [], []
    for i in range(len(data.x)):
        g, l = slope(weights, data.x[i], data.y[i], data.mask[i])
        weights = {k: torch.sub(weights[k], g[k], alpha=config.learning_rate) for k in weights}
        losses.append(l); counts.append(data.mask[i].sum())
    losses, counts = torch.stack(losses), torch.stack(counts)
    return weights, state, {'loss': (losses * counts).sum() / counts.sum()}
""",
    ],
    "one_round": [
        """
def my_one_round(weights, chosen, train, sizes):
    models, counts = [], []
    for k in chosen:
        models.append(train(weights, k))
        counts.append(sizes[k])
    return average(models, counts)
""",
        """
def my_one_round(weights, chosen, train, sizes):
    total = sum(sizes[k] for k in chosen)
    news = {name: 0 for name in weights}
    for k in chosen:
        model = train(dict(weights), int(k))
        news = {name: news[name] + model[name] * (sizes[k] / total) for name in news}
    return news
""",
        """
def my_one_round(weights, chosen, train, sizes):
    total = sum(sizes[k] for k in chosen)
    new = {k: v.clone() for k, v in weights.items()}
    for c in reversed(list(chosen)):
        m = train(weights, c)
        new = {k: new[k] + sizes[c] / total * (m[k] - weights[k]) for k in new}
    return new
""",
    ],
    "mended": [
        """
def my_mended(weights, local, chosen, train, sizes):
    fresh = {k: train(weights, k) for k in chosen}
    for k, model in fresh.items():
        local[k] = model
    return average(list(fresh.values()), [sizes[k] for k in fresh])
""",
        """
def my_mended(weights, local, chosen, train, sizes):
    for k in chosen:
        local[k] = train(weights, k)
    n = sum(sizes[k] for k in chosen)
    total = {name: sum(local[k][name] * sizes[k] for k in chosen) for name in weights}
    return {name: value / n for name, value in total.items()}
""",
        """
def my_mended(weights, local, chosen, train, sizes):
    def t(w, k):
        local[k] = train(w, k)
        return local[k]
    return one_round(weights, chosen, t, sizes)
""",
    ],
    "prox_round": [
        """
def my_prox_round(weights, state, data, config):
    now, total = dict(weights), 0.0
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(now, x, y, mask)
        for k in now:
            pull = config.proximal * (now[k] - weights[k])
            now[k] = now[k] - config.learning_rate * gradient[k] - config.learning_rate * pull
        total = total + loss * mask.sum()
    return now, state, {"loss": total / data.mask.sum()}
""",
        """
def my_prox_round(weights, state, data, config):
    began, losses = weights, []
    rate, mu = config.learning_rate, config.proximal
    for x, y, mask in zip(data.x, data.y, data.mask):
        gradient, loss = slope(weights, x, y, mask)
        weights = {k: (1 - rate * mu) * w + rate * mu * began[k] - rate * gradient[k] for k, w in weights.items()}
        losses.append(loss * mask.sum())
    return weights, state, {"loss": sum(losses) / data.mask.sum()}
""",
        """
def my_prox_round(weights, state, data, config):
    now = {k: v.clone() for k, v in weights.items()}
    s = 0.0
    a = 1 - config.learning_rate * config.proximal
    for x, y, m in zip(data.x, data.y, data.mask):
        g, l = slope(now, x, y, m)
        now = {k: a * now[k] + (1 - a) * weights[k] - config.learning_rate * g[k] for k in now}
        s = s + l * m.sum()
    return now, state, {'loss': s / data.mask.sum()}
""",
    ],
    "top_k": [
        """
def my_top_k(update, kept, share):
    whole = update + kept
    count = max(1, round(share * len(whole)))
    least = np.sort(np.abs(whole))[-count]
    sent = np.where(np.abs(whole) >= least, whole, 0)
    return sent, whole - sent
""",
        """
def my_top_k(update, kept, share):
    sent, rest = [0.0] * len(update), [float(u + r) for u, r in zip(update, kept)]
    for _ in range(max(1, round(share * len(update)))):
        k = max(range(len(rest)), key=lambda i: abs(rest[i]))
        sent[k], rest[k] = rest[k], 0.0
    return np.array(sent), np.array(rest)
""",
        """
def my_top_k(update, kept, share):
    whole = (update + kept).astype(np.float32)
    count = max(1, round(share * len(whole)))
    places = np.argpartition(np.abs(whole), len(whole) - count)[len(whole) - count :]
    sent = np.zeros_like(whole)
    sent[places] = whole[places]
    return sent, whole - sent
""",
        """
def my_top_k(update, kept, share):
    v = torch.as_tensor(update) + torch.as_tensor(kept)
    n = max(1, round(share * len(v)))
    i = v.abs().topk(n).indices
    s = torch.zeros_like(v)
    s[i] = v[i]
    return s.numpy(), (v - s).numpy()
""",
    ],
}

"""Lab `ota`: plausible wrong answers (code, words that the message must hold), and right variants."""

REFUSAL = """
def my_refusal(stated, content, committed, signed):
    {first}
    if {size}:
        return "size"
    if {hash}:
        return "hash"
    {last}
"""


def refusal(
    first='if not signed:\n        return "signature"',
    size='len(content) != stated["bytes"]',
    hash='sha256(content) != stated["sha256"]',  # noqa: A002 - the place in the template
    last='return "older" if stated["release"] < committed else None',
):
    """The solution of the first exercise with one part changed."""
    return REFUSAL.format(first=first, size=size, hash=hash, last=last)


STEPS = {
    "create": 'storage.create(name + ".part")',
    "write": 'storage.write(name + ".part", 0, content)',
    "fsync": 'storage.fsync(name + ".part")',
    "rename": 'storage.rename(name + ".part", name)',
    "folder": 'storage.fsync_folder("")',
    "unlink": "storage.unlink(name)",
}


def replace(*steps):
    """These operations in this order."""
    return "\ndef my_replace(storage, name, content):\n    " + "\n    ".join(STEPS.get(s, s) for s in steps) + "\n"


START = """
def my_next_start(state):
    if state["trial"] is None:
        return {none}
    if {out}:
        return {back}
    return {trial}
"""


def start(
    none='state["active"], dict(state)',
    out='state["starts_left"] < 1',
    back='state["active"], {**state, "trial": None}',
    trial='state["trial"], {**state, "starts_left": state["starts_left"] - 1}',
):
    """The solution of the third exercise with one part changed."""
    return START.format(none=none, out=out, back=back, trial=trial)


def line(name, arguments, value):
    """A function of one line."""
    return f"\ndef {name}({arguments}):\n    return {value}\n"


def difference(value):
    """The fourth exercise."""
    return line("my_difference", "old, new", value)


def bound(value):
    """The fifth exercise."""
    return line("my_rate_bound", "trials, confidence=0.95", value)


MISTAKES = {
    "refusal": [
        (refusal(first="pass"), "must not be"),
        (refusal(size="False"), "the size not at all"),
        (refusal(hash="False"), "must not be"),
        (refusal(last="return None"), "must not be"),
        (refusal(last='return "older" if stated["release"] <= committed else None'), "the number may be equal"),
        (refusal(last='return "older" if stated["release"] > committed else None'), "the other way round"),
        (refusal(first='if signed:\n        return "signature"'), "signed is True"),
        (
            refusal(
                first="pass",
                last='return "signature" if not signed else "older" if stated["release"] < committed else None',
            ),
            "the signature comes first",
        ),
    ],
    "replace": [
        (replace("storage.create(name)", "storage.write(name, 0, content)", "storage.fsync(name)", "folder"), "over"),
        (replace("create", "write", "rename", "folder"), "before the rename"),
        (replace("create", "write", "rename", "storage.fsync(name)", "folder"), "before the rename"),
        (replace("create", "write", "fsync", "rename"), "fsync the folder last"),
        (replace("create", "write", "fsync", "folder", "rename"), "fsync the folder last"),
        (replace("create", "write", "fsync", "unlink", "rename", "folder"), "rename replaces it"),
        (replace("create", "write", "fsync", "folder"), "under the name that was given"),
    ],
    "start": [
        (start(trial='state["trial"], dict(state)'), "the start was not counted"),
        (start(out='state["starts_left"] < 0'), "once too often"),
        (start(out='state["starts_left"] <= 1'), "was not run"),
        (start(back='state["active"], dict(state)'), "the start was not counted"),
        (start(none='state["trial"], dict(state)'), "None was run"),
        (start(trial='state["trial"], {**state, "active": state["trial"], "trial": None}'), "only health may commit"),
        (
            """
def my_next_start(state):
    if state["trial"] is not None and state["starts_left"] < 1:
        state["trial"] = None
    if state["trial"] is None:
        return state["active"], state
    state["starts_left"] -= 1
    return state["trial"], state
""",
            "in place",
        ),
    ],
    "difference": [
        (difference("old - new"), "exchanged"),
        (difference("np.clip(new.astype(int) - old, -128, 127).astype(np.int8)"), "clipped"),
        (difference("new.astype(np.int16) - old"), "int8"),
        (difference("np.abs(new.astype(int) - old).astype(np.uint8).view(np.int8)"), "the sign is lost"),
        (difference("new ^ old"), "exclusive or"),
    ],
    "fleet_percentile": [
        (
            """
def my_fleet_percentile(counts, q):
    each = []
    for row in counts:
        up_to = row.cumsum()
        each.append(np.argmax(up_to >= q / 100 * up_to[-1]))
    return int(round(np.mean(each)))
""",
            "the mean of the devices' percentiles",
        ),
        (
            """
def my_fleet_percentile(counts, q):
    up_to = counts.sum(axis=0).cumsum()
    return int(np.argmax(up_to > q / 100 * up_to[-1]))
""",
            "exactly q percent is enough",
        ),
        (
            """
def my_fleet_percentile(counts, q):
    up_to = counts.sum(axis=0).cumsum()
    return int(np.argmax(up_to >= q / 100 * up_to[-1])) + 1
""",
            "one bin too far",
        ),
        (
            """
def my_fleet_percentile(counts, q):
    return int(counts.sum(axis=0).argmax())
""",
            "the bin with the most counts",
        ),
        (
            """
def my_fleet_percentile(counts, q):
    up_to = counts.sum(axis=0).cumsum()
    return up_to >= q / 100 * up_to[-1]
""",
            "the number of one bin",
        ),
        (
            """
def my_fleet_percentile(counts, q):
    return int(q / 100 * counts.shape[1])
""",
            "q percent of the inferences",
        ),
    ],
    "e_process": [
        (
            """
def my_e_process(new, old, share, ratios):
    return np.mean([r**new / (1 + (r - 1) * share) ** (new + old) for r in ratios], axis=0)
""",
            "not multiplied up",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    return np.mean([np.cumprod(r**new / (1 + (r - 1) * share) ** old) for r in ratios], axis=0)
""",
            "all crashes",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    return np.mean([np.cumprod(r**new / (1 + r * share) ** (new + old)) for r in ratios], axis=0)
""",
            "1 + (r - 1) s",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    return np.max([np.cumprod(r**new / (1 + (r - 1) * share) ** (new + old)) for r in ratios], axis=0)
""",
            "that is no bet",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    factors = np.mean([r**new / (1 + (r - 1) * share) ** (new + old) for r in ratios], axis=0)
    return np.cumprod(factors)
""",
            "each bet keeps its own coin",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    return np.prod([np.cumprod(r**new / (1 + (r - 1) * share) ** (new + old)) for r in ratios], axis=0)
""",
            "the bets were multiplied",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    logs = [new * np.log(r) - (new + old) * np.log(1 + (r - 1) * share) for r in ratios]
    return np.exp(np.mean(np.cumsum(logs, axis=1), axis=0))
""",
            "the mean of the money",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    return np.mean([np.cumprod(r**new / (1 + (r - 1) * share.mean()) ** (new + old)) for r in ratios], axis=0)
""",
            "each hour has its own",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    share = 1 - share
    return np.mean([np.cumprod(r**new / (1 + (r - 1) * share) ** (new + old)) for r in ratios], axis=0)
""",
            "share of the old release",
        ),
        (
            """
def my_e_process(new, old, share, ratios):
    return np.mean([np.cumprod(r**new) for r in ratios], axis=0)
""",
            "must cost something",
        ),
    ],
    "bound": [
        (bound("3 / trials"), "approximation"),
        (bound("1 - confidence ** (1 / trials)"), "exchanged"),
        (bound("(1 - confidence) ** (1 / trials)"), "not the rate"),
        (bound("(1 - confidence) / trials"), "n-th root"),
        (bound("1 - (1 - confidence) ** trials"), "n-th root"),
        (bound("-np.log(1 - confidence) / trials"), "for many trials"),
        (bound("0.0"), "does not make the rate zero"),
        (bound("1 / trials"), "is a guess"),
        (bound("1 - ((1 - confidence) / 2) ** (1 / trials)"), "one side"),
        (bound("100 * (1 - (1 - confidence) ** (1 / trials))"), "in percent"),
    ],
}

VARIANTS = {
    "refusal": [
        """
def my_refusal(stated, content, committed, signed):
    asked = {
        "signature": signed,
        "size": len(content) == stated["bytes"],
        "hash": sha256(content) == stated["sha256"],
        "older": stated["release"] >= committed,
    }
    return next((reason for reason, holds in asked.items() if not holds), None)
""",
        """
import hashlib


def my_refusal(stated, content, committed, signed):
    if signed:
        if len(content) == stated["bytes"]:
            if hashlib.sha256(content).hexdigest() == stated["sha256"]:
                return None if committed <= stated["release"] else "older"
            return "hash"
        return "size"
    return "signature"
""",
    ],
    "replace": [
        """
def my_replace(storage, name, content):
    other = "temporary"
    storage.create(other)
    for start in range(0, len(content), 100):
        storage.write(other, start, content[start : start + 100])
    storage.fsync(other)
    storage.fsync_folder("")
    storage.rename(other, name)
    storage.fsync_folder("")
""",
        """
def my_replace(storage, name, content):
    write_file(storage, name, content)
""",
    ],
    "start": [
        """
def my_next_start(state):
    after = dict(state)
    if after["trial"] is not None and after["starts_left"] > 0:
        after["starts_left"] = after["starts_left"] - 1
        return after["trial"], after
    after["trial"] = None
    return after["active"], after
""",
        """
def my_next_start(state):
    active, trial, left = state["active"], state["trial"], state["starts_left"]
    if trial is None or not left:
        return [active, {"active": active, "trial": None, "starts_left": left}]
    return [trial, {"active": active, "trial": trial, "starts_left": left - 1}]
""",
    ],
    "difference": [
        difference("new - old"),
        difference("((new.astype(int) - old.astype(int) + 128) % 256 - 128).astype(np.int8)"),
        """
def my_difference(old, new):
    made = np.zeros_like(new)
    for place in np.ndindex(new.shape):
        wide = (int(new[place]) - int(old[place])) % 256
        made[place] = wide - 256 if wide > 127 else wide
    return made
""",
    ],
    "fleet_percentile": [
        """
def my_fleet_percentile(counts, q):
    total, seen = counts.sum(), 0
    for bin in range(counts.shape[1]):
        seen += sum(row[bin] for row in counts)
        if seen * 100 >= q * total:
            return bin
""",
        """
def my_fleet_percentile(counts, q):
    every = np.repeat(np.arange(counts.shape[1]), counts.sum(axis=0))
    return np.percentile(every, q, method="inverted_cdf")
""",
        """
def my_fleet_percentile(counts, q):
    up_to = np.cumsum(np.add.reduce(counts))
    return np.searchsorted(up_to, q / 100 * up_to[-1])
""",
    ],
    "e_process": [
        """
def my_e_process(new, old, share, ratios):
    r = np.array(ratios)[:, None]
    logs = new * np.log(r) - (new + old) * np.log1p((r - 1) * share)
    return np.exp(logs.cumsum(axis=1)).mean(axis=0)
""",
        """
def my_e_process(new, old, share, ratios):
    bets, money = [1.0] * len(ratios), []
    for x, y, s in zip(new, old, share):
        bets = [b * r**x / (1 + (r - 1) * s) ** (x + y) for b, r in zip(bets, ratios)]
        money.append(sum(bets) / len(bets))
    return money
""",
    ],
    "bound": [
        bound("-np.expm1(np.log(1 - confidence) / trials)"),
        """
def my_rate_bound(trials, confidence=0.95):
    from scipy.stats import beta
    return float(beta.ppf(confidence, 1, trials))
""",
        bound("1.0 - pow(1.0 - confidence, 1.0 / trials)"),
        bound("np.float64(1 - (1 - confidence) ** (1 / trials))"),
    ],
}

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
    "bound": [
        (bound("3 / trials"), "approximation"),
        (bound("1 - confidence ** (1 / trials)"), "exchanged"),
        (bound("(1 - confidence) ** (1 / trials)"), "not the rate"),
        (bound("(1 - confidence) / trials"), "n-th root"),
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
    "bound": [
        bound("-np.expm1(np.log(1 - confidence) / trials)"),
        bound("1.0 - pow(1.0 - confidence, 1.0 / trials)"),
        bound("np.float64(1 - (1 - confidence) ** (1 / trials))"),
    ],
}

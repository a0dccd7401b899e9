"""Device logs, written by a procedure: which fault started the trouble? Offline, and ambiguous where real logs are.

A window holds some fifteen lines of a device. One fault happens first; another may follow from it, so that its lines
stand there as well, and order decides. Symptoms are shared between causes, most lines say nothing, and some windows
begin too late: the line that names the cause is gone, and only what followed is left.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.data.dataset import Dataset, Split
from edgelab.errors import BadInput

LENGTH = 128
"""Tokens of a window; shorter ones are padded with 0 at the end."""
CAUSES = ("power", "network", "storage", "sensor", "firmware", "overload")
DEVICES = ("camera", "meter", "gateway")
_LATE_SHARE = 0.2
_SPLITS = {"train": 0, "validation": 1, "test": 2}

# What each cause writes when it happens; a slash separates templates, # is a number.
_FIRST = {
    "power": "supply voltage dropped to # mv/brownout detector fired at # mv/battery below # percent",
    "network": "link lost on interface eth #/access point gone after # s/no answer from gateway in # ms",
    "storage": "bad block # on flash/write to sector # failed/filesystem check found # errors",
    "sensor": "channel # stuck at one value/reading # out of range/calibration of channel # lost",
    "firmware": "assertion failed in task #/stack overflow in task #/image checksum differs at block #",
    "overload": "queue # is full/cpu at # percent for one minute/deadline of task # missed",
}
# Symptoms that several causes share: they follow, and do not tell alone which it was.
_SHARED = {
    ("power", "firmware", "overload"): "watchdog reset after # ms/restart number # today",
    ("power", "sensor"): "reading # is noisy/reference voltage drifts by # mv",
    ("network", "storage"): "retry # of 5/timeout after # ms",
    ("storage", "firmware"): "update of block # failed/configuration # could not be read",
    ("network", "overload"): "# messages dropped/answer took # ms",
    ("sensor", "overload"): "sample # skipped/value of channel # is old",
}
_LEADS_TO = {
    "power": ("storage", "sensor"),
    "network": ("overload", "storage"),
    "storage": ("firmware", "overload"),
    "sensor": ("overload", "firmware"),
    "firmware": ("network", "sensor"),
    "overload": ("network", "power"),
}
_IDLE = (
    "heartbeat # sent/time synchronised to # ms/temperature # degrees/free memory # kb/user session # opened/"
    "report # queued/self test # passed/clock adjusted by # ms/led set to #/door contact # closed"
)
_DEVICE_WORDS = {"camera": "frame # stored", "meter": "counter at # wh", "gateway": "# nodes joined"}
_NUMBERS = tuple(str(n) for n in range(10))


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """The words; the token of a word is its place, from 1. Token 0 is padding.

    Examples
    --------
    >>> vocabulary()[:2], len(vocabulary()) < 256
    (('info', 'warn'), True)
    """
    texts = [*_FIRST.values(), *_SHARED.values(), _IDLE, *_DEVICE_WORDS.values()]
    words = {word for text in texts for line in text.split("/") for word in line.split()} - {"#"}
    return ("info", "warn", "error", "boot", *DEVICES, *_NUMBERS, *sorted(words - set(_NUMBERS)))


def encode(text: str) -> NDArray[np.float32]:
    """The tokens of a text as float32 (128,), cut off or padded with 0. Numbers are written digit by digit.

    Raises
    ------
    BadInput
        If a word is not in the vocabulary.

    Examples
    --------
    >>> int((encode("warn retry 3 of 5") > 0).sum())
    5
    """
    places = {word: place for place, word in enumerate(vocabulary(), 1)}
    words = [part for word in text.split() for part in (list(word) if word.isdigit() else [word])]
    strangers = [word for word in words if word not in places]
    if strangers:
        raise BadInput(f"The word '{strangers[0]}' is not in the vocabulary of the device logs.")
    tokens = np.zeros(LENGTH, dtype=np.float32)
    known = [places[word] for word in words][:LENGTH]
    tokens[: len(known)] = known
    return tokens


def decode(tokens: NDArray[np.float32]) -> str:
    """The text of tokens (128,), words separated by blanks.

    Examples
    --------
    >>> decode(encode("error retry 3 of 5"))
    'error retry 3 of 5'
    """
    return " ".join(vocabulary()[int(token) - 1] for token in tokens if token > 0)


def device_logs(train: int = 4000, validation: int = 600, test: int = 1500, seed: int = 0) -> Dataset:
    """Windows of device logs in six classes: which fault came first. A second, nothing downloaded.

    Parameters
    ----------
    train, validation, test
        Items of each split, at least 60.
    seed
        Of everything that is drawn.

    Returns
    -------
    Dataset
        x (N, 128): numbers of words as float32, 0 is padding. Groups: ``device`` (camera, meter, gateway), ``start``
        (whole, or late: the line that names the cause is gone); see ``datasets/device_logs.md``.

    Raises
    ------
    BadInput
        If a split is too small to hold every class.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    for part, items in sizes.items():
        if items < 10 * len(CAUSES):
            raise BadInput(f"{part}={items}: a split of device_logs needs at least {10 * len(CAUSES)} items.")
    parts: dict[str, Any] = {part: _split(items, part, seed) for part, items in sizes.items()}
    return Dataset(
        name="device_logs",
        **parts,
        class_names=CAUSES,
        source=f"written by edgelab.data.device_logs with seed {seed}",
        licence="Apache-2.0",
        card="datasets/device_logs.md",
        scaling="numbers of words, 0 is padding",
    )


def _split(items: int, part: str, seed: int) -> Split:
    rng = np.random.default_rng([seed, _SPLITS[part]])
    causes = rng.permutation(np.resize(np.arange(len(CAUSES)), items))
    devices = rng.choice(DEVICES, items)
    late = rng.random(items) < _LATE_SHARE
    rows = [
        encode(_window(rng, CAUSES[c], str(d), late=bool(w))) for c, d, w in zip(causes, devices, late, strict=True)
    ]
    groups = {"device": devices, "start": np.where(late, "late", "whole")}
    return Split(np.stack(rows), causes.astype(np.int64), groups)


def _window(rng: np.random.Generator, cause: str, device: str, *, late: bool) -> str:
    """A window: idle lines, the cause, symptoms of the cause, then what followed from it, idle lines in between."""
    follows = str(rng.choice(_LEADS_TO[cause]))
    story = [] if late else [("error", _FIRST[cause])]
    story += [("warn", _symptom(rng, cause)) for _ in range(rng.integers(1, 4))]
    if rng.random() < 0.7:
        story.append(("error", _FIRST[follows]))
        story += [("warn", _symptom(rng, follows)) for _ in range(rng.integers(0, 3))]
    lines = [(level, _line(rng, text)) for level, text in story]
    for _ in range(max(0, 15 - len(lines))):
        text = _DEVICE_WORDS[device] if rng.random() < 0.3 else _IDLE
        lines.insert(int(rng.integers(0, len(lines) + 1)), ("info", _line(rng, text)))
    return " ".join([device, *(f"{level} {text}" for level, text in lines)])


def _symptom(rng: np.random.Generator, cause: str) -> str:
    return str(rng.choice([text for causes, text in _SHARED.items() if cause in causes]))


def _line(rng: np.random.Generator, templates: str) -> str:
    line = str(rng.choice(templates.split("/")))
    while "#" in line:
        line = line.replace("#", str(rng.integers(1, 1000)), 1)
    return line

"""Figures of privacy that take longer than a lab may: made ahead, kept as JSON, made again on demand.

``python -m edgelab.privacy.figures`` makes every run that the file does not hold yet and saves after each;
with ``--anew`` it forgets them first. The **dial** trains with several budgets and seeds, at the level of examples and
of clients, and counts the test items that came out right. **Membership** trains networks on random halves of a pool
and keeps how confident each is on every item of it, so that any of them can be attacked with the others as shadows.
"""

from __future__ import annotations

import base64
import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab import data, nets
from edgelab.data.dataset import Dataset
from edgelab.errors import BadInput
from edgelab.federated.client import ClientConfig
from edgelab.federated.engines import one_thread
from edgelab.federated.evaluate import network_with
from edgelab.federated.partition import iid
from edgelab.files import write_json
from edgelab.measure.machine import machine
from edgelab.measure.seeds import half_width
from edgelab.nets import ahead, steppers
from edgelab.privacy import accountant
from edgelab.privacy.membership import confidence
from edgelab.privacy.training import PrivacyConfig, private_rounds, private_sgd
from edgelab.reading import Reading

FILE = Path(__file__).parent / "made" / "privacy.json"
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
SEEDS = (0, 1, 2, 3, 4)
LEVELS: dict[str, dict[str, float]] = {
    "example": {"clip": 1.0, "sampling_rate": 0.1, "steps": 150, "learning_rate": 2.0, "delta": 1e-4},
    "client": {"clip": 0.5, "sampling_rate": 0.2, "steps": 60, "learning_rate": 0.3, "delta": 1e-3, "clients": 100},
}
"""What all runs of a level share, unless `TRIED` says otherwise. Delta is below one over the items, or the clients."""
TRIED: dict[str, tuple[str, tuple[float, ...]]] = {
    "example": ("learning_rate", (0.5, 1.0, 2.0)),
    "client": ("clip", (0.25, 0.5, 1.0)),
}
"""The setting of a level that is chosen for each budget on the validation items, with a seed of its own."""
CHOOSING_SEED = 100
MEMBERS, MODELS = 200, 16
ATTACKED: dict[str, float] = {"clip": 1.0, "sampling_rate": 0.1, "steps": 150, "learning_rate": 1.0, "delta": 1e-3}
ATTACKED_EPSILONS = (None, 8.0, 1.0)

Run = dict[str, Any]


def planned() -> list[Run]:
    """Every run that belongs into the file: what identifies it, without results."""
    runs: list[Run] = [
        {"what": "dial", "level": level, "epsilon": epsilon, "seed": seed}
        for level in LEVELS
        for epsilon in (*EPSILONS, None)
        for seed in SEEDS
    ]
    choices: list[Run] = [
        {"what": "choice", "level": level, "epsilon": epsilon, "seed": CHOOSING_SEED, "setting": value}
        for level, (_, values) in TRIED.items()
        for epsilon in (*EPSILONS, None)
        for value in values
    ]
    return (
        choices
        + runs
        + [
            {"what": "membership", "epsilon": epsilon, "seed": seed}
            for epsilon in ATTACKED_EPSILONS
            for seed in range(MODELS)
        ]
    )


def new_network(seed: int, hidden: int = 32) -> nn.Sequential:
    """The network of the figures, with the weights of a seed; the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Sequential = nets.mlp(64, 10, hidden=(hidden,))
        return net


@lru_cache(maxsize=64)
def noise_of(epsilon: float | None, sampling_rate: float, steps: int, delta: float) -> float:
    """The noise multiplier of a budget; 0 for None."""
    return 0.0 if epsilon is None else accountant.noise_for(epsilon, sampling_rate, steps, delta)


def chosen_setting(runs: Sequence[Run], level: str, epsilon: float | None) -> float:
    """The value tried for a budget that came out best on the validation items.

    Raises
    ------
    BadInput
        If none was tried.
    """
    tried = [r for r in runs if r["what"] == "choice" and (r["level"], r["epsilon"]) == (level, epsilon)]
    if not tried:
        raise BadInput(f"No setting was tried for epsilon {epsilon} at the {level} level.")
    return float(max(tried, key=lambda run: run["right"])["setting"])


def train_dial(digits: Dataset, level: str, epsilon: float | None, seed: int, setting: float) -> nn.Module:
    """The network of one run of the dial; ``setting`` is the value of what `TRIED` names."""
    told = LEVELS[level] | {TRIED[level][0]: setting}
    steps, rate = int(told["steps"]), told["sampling_rate"]
    config = PrivacyConfig(told["clip"], noise_of(epsilon, rate, steps, told["delta"]), rate, steps)
    net = new_network(seed)
    if level == "example":
        learning_rate = told["learning_rate"]
        run = private_sgd(net, digits.train, config, learning_rate=learning_rate, delta=told["delta"], seed=seed)
    else:
        holders = iid(digits.train, int(told["clients"]), seed=0)
        client = ClientConfig(learning_rate=told["learning_rate"], epochs=3, batch_size=None)
        run = private_rounds(net, digits.train, holders, config, client, delta=told["delta"], seed=seed)
    return network_with(net, run.weights)


def train_attacked(digits: Dataset, epsilon: float | None, seed: int) -> tuple[nn.Module, NDArray[np.bool_]]:
    """A network trained on a random half of the pool, and which items that half holds."""
    pool = digits.train.take(np.arange(2 * MEMBERS))
    inside = np.zeros(2 * MEMBERS, bool)
    inside[np.random.default_rng([seed // 2, 7]).permutation(2 * MEMBERS)[:MEMBERS]] = True
    if seed % 2:  # the other half, so that every item is in half of the networks
        inside = ~inside
    held = pool.take(np.flatnonzero(inside))
    net = new_network(seed, 64)
    if epsilon is None:
        return train_plain(net, held.x, held.y), inside
    steps, rate = int(ATTACKED["steps"]), ATTACKED["sampling_rate"]
    noise = noise_of(epsilon, rate, steps, ATTACKED["delta"])
    config = PrivacyConfig(ATTACKED["clip"], noise, rate, steps)
    run = private_sgd(net, held, config, learning_rate=ATTACKED["learning_rate"], delta=ATTACKED["delta"], seed=seed)
    return network_with(net, run.weights), inside


def train_plain(net: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], steps: int = 400) -> nn.Module:
    """Gradient descent on all items at once until they are learnt by heart."""
    stepper = steppers.sgd(net.parameters(), 0.5, momentum=0.9)
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    with one_thread():
        for _ in range(steps):
            stepper.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
            stepper.step()
    return net.eval()


def made(wanted: Run, digits: Dataset, known: Sequence[Run]) -> Run:
    """A run with its results; those of the dial take their setting from the choices among the known runs."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    when = {"date": today, "machine": f"{machine().cpu}, {machine().cores} cores"}
    if wanted["what"] in ("dial", "choice"):
        level, epsilon = wanted["level"], wanted["epsilon"]
        part = digits.test if wanted["what"] == "dial" else digits.validation
        setting = wanted.get("setting") or chosen_setting(known, level, epsilon)
        net = train_dial(digits, level, epsilon, wanted["seed"], setting)
        right = nets.predict_logits(net, part.x).argmax(axis=1) == part.y
        return {**wanted, "setting": setting, "right": int(right.sum()), "items": len(right), **when}
    net, inside = train_attacked(digits, wanted["epsilon"], wanted["seed"])
    pool = digits.train.take(np.arange(2 * MEMBERS))
    sure = confidence(nets.predict_logits(net, pool.x), pool.y).astype("<f4")
    right = nets.predict_logits(net, digits.test.x).argmax(axis=1) == digits.test.y
    kept = {"inside": _text(np.packbits(inside)), "confidence": _text(sure)}
    return {**wanted, "right": int(right.sum()), "items": len(right), **kept, **when}


def read(path: Path = FILE) -> dict[str, Any]:
    """What the file holds: ``recipe``, ``runs`` and ``judged``.

    Raises
    ------
    BadFile
        If there is no such file, or it is no JSON of this kind.
    """
    return ahead.read(path, "privacy", ("runs", "judged"))


def make(path: Path = FILE, *, anew: bool = False, runs: Sequence[Run] | None = None) -> Iterator[Run]:
    """Make the runs that ``path`` lacks, one a step of the iterator, and save after each."""
    known: list[Run] = [] if anew or not path.is_file() else read(path)["runs"]
    digits = data.digits(seed=0)
    recipe = {"levels": LEVELS, "tried": TRIED, "attacked": ATTACKED, "members": MEMBERS, "data": "digits, seed 0"}
    yield from ahead.complete(
        known,
        planned() if runs is None else runs,
        lambda wanted: [made(wanted, digits, known)],
        lambda every: write_json(path, {"recipe": recipe, "judged": judged(every), "runs": every}),
    )


def judged(runs: list[Run]) -> list[dict[str, Any]]:
    """For each budget and level what it costs, and whether claim F4 held: at most 5 points."""
    found = []
    for level in LEVELS:
        for epsilon in EPSILONS:
            points = losses(runs, level, epsilon)
            if len(points) > 1:
                value, low, high = mean_of(points)
                held = high <= 5.0
                entry = {"claim": "F4", "level": level, "epsilon": epsilon, "loss": value, "low": low, "high": high}
                found.append({**entry, "seeds": len(points), "held": held})
    return found


def losses(runs: list[Run], level: str, epsilon: float) -> NDArray[np.float64]:
    """Points of accuracy that a budget costs, seed by seed against the run without noise of the same seed."""
    dial = [run for run in runs if run["what"] == "dial" and run["level"] == level]
    share = {(run["epsilon"], run["seed"]): 100 * run["right"] / run["items"] for run in dial}
    seeds = sorted({seed for _, seed in share if (epsilon, seed) in share and (None, seed) in share})
    return np.array([share[None, seed] - share[epsilon, seed] for seed in seeds])


def mean_of(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean over seeds with Student's 95 percent interval."""
    mean, half = round(float(values.mean()), 9) + 0.0, half_width(values)  # no minus before a zero
    return mean, mean - half, mean + half


class Ahead:
    """The figures of a file as readings."""

    def __init__(self, path: Path = FILE) -> None:
        self.runs: list[Run] = read(path)["runs"]

    def loss(self, level: str, epsilon: float) -> Reading:
        """Points of accuracy that a budget costs, mean over the seeds."""
        points = losses(self.runs, level, epsilon)
        value, low, high = mean_of(points)
        by = f"{len(points)} seeds of digits, {level} level, epsilon {epsilon:g}"
        return Reading(value, "points", "measured", by, low=low, high=high, made_on=self._made("dial"))

    def accuracy(self, level: str, epsilon: float | None) -> Reading:
        """Percent right of the test items, mean over the seeds."""
        chosen = [r for r in self.runs if r["what"] == "dial" and (r["level"], r["epsilon"]) == (level, epsilon)]
        value, low, high = mean_of(np.array([100 * run["right"] / run["items"] for run in chosen]))
        by = f"{len(chosen)} seeds of digits, {level} level"
        made_on = self._made("dial")
        return Reading(value, "%", "measured", by, low=max(low, 0), high=min(high, 100), made_on=made_on)

    def attacked(self, epsilon: float | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Confidence of each network on each item of the pool, and which items it was trained on, (models, items)."""
        chosen = [run for run in self.runs if run["what"] == "membership" and run["epsilon"] == epsilon]
        sure = np.array([np.frombuffer(base64.b64decode(run["confidence"]), "<f4") for run in chosen], np.float64)
        bits = [np.unpackbits(np.frombuffer(base64.b64decode(run["inside"]), np.uint8)) for run in chosen]
        return sure, np.array(bits)[:, : sure.shape[1]].astype(bool)

    def attacked_accuracy(self, epsilon: float | None) -> Reading:
        """Percent right of the attacked networks on the test items, mean over them."""
        chosen = [run for run in self.runs if run["what"] == "membership" and run["epsilon"] == epsilon]
        value, low, high = mean_of(np.array([100 * run["right"] / run["items"] for run in chosen]))
        by, made_on = f"{len(chosen)} networks on {MEMBERS} digits each", self._made("membership")
        return Reading(value, "%", "measured", by, low=max(low, 0), high=min(high, 100), made_on=made_on)

    def mean(self, values: NDArray[np.float64], unit: str, by: str) -> Reading:
        """Figures of several attacked networks as one reading."""
        value, low, high = mean_of(values)
        return Reading(value, unit, "measured", by, low=low, high=high, made_on=self._made("membership"))

    def run(self, level: str, epsilon: float | None, seed: int) -> Run:
        """One run of the dial as it was made."""
        wanted = {"what": "dial", "level": level, "epsilon": epsilon, "seed": seed}
        return next(run for run in self.runs if all(run.get(k) == v for k, v in wanted.items()))

    def _made(self, what: str) -> tuple[str, str]:
        last = max((run for run in self.runs if run["what"] == what), key=lambda run: run["date"])
        return last["date"], last["machine"]


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def main() -> None:
    """Make what is missing."""
    given = ahead.command_line("Make the figures of the lab `privacy` again.", FILE)
    for run in make(given.file, anew=given.anew):
        sys.stderr.write(f"{run['what']} {run.get('level', '')} epsilon {run['epsilon']} seed {run['seed']}\n")


if __name__ == "__main__":
    main()

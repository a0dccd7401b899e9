"""The figures of the lab `capstone` that take longer than a lab may: the order of the steps, three seeds, made ahead.

``python -m edgelab.ahead.capstone_figures`` makes what is missing and writes the file after each run; ``--anew``
starts over. Every order begins with the same large network and ends with `FINAL_MACS` multiply-accumulates or fewer, as
an int8 file, so that only the way differs. The steps are D (a new, narrower network learns from the large one), P
(filters are taken out, and the network is trained on) and Q (int8).
"""

from __future__ import annotations

import base64
import copy
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab import data, nets
from edgelab.compress.modelfile import file_bytes
from edgelab.compress.ptq import quantize_static
from edgelab.compress.weights import fake_quantize_weights
from edgelab.convert.onnx import export
from edgelab.data.dataset import Dataset
from edgelab.engines import open_engine
from edgelab.files import write_bytes, write_json
from edgelab.nets import ahead
from edgelab.nets.ahead import Run, here, keep_weights
from edgelab.posttraining.storage import lean
from edgelab.slim.distill_training import Answers, Recipe, ask, teach
from edgelab.slim.prune_filters import narrowed
from edgelab.slim.prune_train import fine_tune

FILE = Path(__file__).parent / "made" / "capstone.json"
SEEDS = (0, 1, 2)
ORDERS = ("P Q", "D Q", "D P Q", "P D Q", "D Q P")
"""The orders that are compared; a step that comes after Q cannot train, since integers have no gradient."""
TEACHER = "signs_resnet"
WIDE, SLIM = 24, 12
FINAL_MACS = 1_110_000
CALIBRATION_ITEMS = 200
DISTIL: dict[str, Any] = {"learning_rate": 0.02, "weight_decay": 0.05, "batch_size": 32, "threads": 1}
EPOCHS = {"wide": 8, "slim": 12}
"""Of a student: 8 before its filters are taken out, 12 where it is made narrow at once."""
TRAIN_ON: dict[str, Any] = {"steps": 500, "batch_size": 64, "learning_rate": 1e-2}
"""After filters were taken out: 4 epochs, with labels and the large network as the teacher."""
SOFT = Recipe(temperature=4.0, alpha=0.9)
Report = Callable[[int, int], None]
KEPT = ("wide", *ORDERS)
"""The networks of the first seed whose weights are kept beside the file."""


def planned() -> list[Run]:
    """Every run that belongs into the file, seed by seed."""
    return [{"order": order, "seed": seed} for seed in SEEDS for order in ORDERS]


def make(
    path: Path = FILE, *, anew: bool = False, runs: Iterable[Run] | None = None, report: Report | None = None
) -> Iterator[Run]:
    """Make the runs that the file lacks, and save after each.

    Parameters
    ----------
    path
        The JSON file.
    anew
        Forget what it holds first.
    runs
        Some of those `planned`; None takes all.
    report
        Called with how far training after filters were taken out has come, in steps, and how far it goes.
    """
    known: list[Run] = [] if anew or not path.is_file() else read(path)["runs"]
    bench = Bench(report)
    every = planned() if runs is None else list(runs)
    yield from ahead.complete(known, every, lambda run: [bench.run(run, path.parent)], lambda all_: _save(path, all_))


def read(path: Path = FILE) -> dict[str, Any]:
    """What the file holds: ``recipe``, ``runs`` and ``held``; BadFile if it is no such file."""
    return ahead.read(path, "the capstone", ("runs", "held", "recipe"))


class Bench:
    """Data, the large network and its answers, and the wide students, which the orders share."""

    def __init__(self, report: Report | None = None) -> None:
        self.report = report
        self.dataset: Dataset = data.signs(seed=0)
        self.teacher = nets.load(TEACHER)
        self.answers: Answers = ask(self.teacher, self.dataset.train.x)
        self.wide: dict[int, nn.Module] = {}
        self.seconds: dict[int, float] = {}  # that each of them took

    def run(self, wanted: Run, folder: Path) -> Run:
        """Go through the steps of an order; what came out, with the items that the int8 file gets right."""
        started = time.process_time()
        order, seed = wanted["order"], wanted["seed"]
        net, shared = self.network(order, seed)
        seconds = time.process_time() - started + shared
        if seed == SEEDS[0]:
            keep_weights(net, folder / weights_name(order))
            if order.startswith("D") and order != "D Q":
                keep_weights(self.wide[seed], folder / weights_name("wide"))
        with tempfile.TemporaryDirectory(prefix="edgelab-") as work:
            size, logits = int8_answers(net, self.dataset, Path(work))
        parts = {"test": self.dataset.test, "validation": self.dataset.validation}
        right = {name: logits[name].argmax(axis=1) == part.y for name, part in parts.items()}
        floats = nets.predict_logits(net, self.dataset.test.x).argmax(axis=1) == self.dataset.test.y
        return {
            **wanted, **here(), "items": len(right["test"]), "right": packed(right["test"]),
            "validation": round(100 * float(right["validation"].mean()), 2),
            "test": round(100 * float(right["test"].mean()), 2), "float": round(100 * float(floats.mean()), 2),
            "bytes": size, "parameters": nets.count_parameters(net),
            "macs": nets.count_macs(net, (3, 32, 32)).macs, "cpu_seconds": round(seconds, 1),
        }  # fmt: skip

    def network(self, order: str, seed: int) -> tuple[nn.Module, float]:
        """The float network that an order leads to, and the CPU seconds of a wide student made for an earlier run."""
        if order == "P Q":
            return self.narrowed(self.teacher, seed), 0.0
        if order == "D Q":
            return self.student(SLIM, seed, self.teacher, self.answers, EPOCHS["slim"]), 0.0
        if order == "P D Q":
            smaller = self.narrowed(self.teacher, seed)
            answers = ask(smaller, self.dataset.train.x)
            return self.student(SLIM, seed, smaller, answers, EPOCHS["slim"]), 0.0
        shared = 0.0
        if seed in self.wide:
            shared = self.seconds[seed]
        else:
            started = time.process_time()
            self.wide[seed] = self.student(WIDE, seed, self.teacher, self.answers, EPOCHS["wide"])
            self.seconds[seed] = time.process_time() - started
        if order == "D Q P":
            rounded = fake_quantize_weights(self.wide[seed], 8)
            return narrowed(rounded, torch.zeros(1, 3, 32, 32), macs=FINAL_MACS)[0].eval(), shared
        return self.narrowed(self.wide[seed], seed), shared

    def narrowed(self, net: nn.Module, seed: int) -> nn.Module:
        """A copy of a network within the final budget, trained on with the large network as the teacher."""
        return take_out(net, self.teacher, self.dataset, seed=seed, report=self.report)

    def student(self, width: int, seed: int, teacher: nn.Module, answers: Answers, epochs: int) -> nn.Module:
        """A new network of this width that learnt from the teacher's soft targets."""
        net = new_student(width, seed)
        teach(
            teacher, net, self.dataset, SOFT, answers=answers, progress=False, seed=seed, epochs=epochs, **DISTIL
        )  # fmt: skip
        return net


def new_student(width: int, seed: int) -> nn.Module:
    """An untrained depthwise-separable network; the same weights for the same seed, the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + seed)
        net: nn.Module = nets.dscnn(width=width, activation="relu")
    return net


def take_out(
    net: nn.Module, teacher: nn.Module, dataset: Dataset, *, macs: float = FINAL_MACS, seed: int = 0,
    report: Report | None = None, **training: Any,
) -> nn.Module:  # fmt: skip
    """A copy of ``net`` with filters taken out until ``macs`` are left, trained on as `TRAIN_ON` says."""
    smaller, _ = narrowed(net, torch.zeros(1, 3, 32, 32), macs=macs)
    fine_tune(smaller, dataset, teacher=copy.deepcopy(teacher), seed=seed, report=report, **{**TRAIN_ON, **training})
    return smaller.eval()


def int8_file(net: nn.Module, dataset: Dataset, path: Path, samples: NDArray[np.float32] | None = None) -> Path:
    """An int8 ONNX file of a network: a scale for each channel, ranges from training items, no notes inside."""
    floats = export(net, dataset.test.x[:1], path.with_suffix(".float.onnx")).path
    given = dataset.train.x[:CALIBRATION_ITEMS] if samples is None else samples
    made = quantize_static(floats, path, given, per_channel=True)
    write_bytes(made.path, lean(made.path.read_bytes()))
    return made.path


def int8_answers(net: nn.Module, dataset: Dataset, work: Path) -> tuple[int, dict[str, NDArray[np.float32]]]:
    """Bytes of the int8 file of a network, and its logits on the test and on the validation split."""
    file = int8_file(net, dataset, work / "int8.onnx")
    with open_engine(file, threads=1) as engine:
        answers = {name: engine.predict(dataset.splits[name].x) for name in ("test", "validation")}
    return file_bytes(file), answers


def weights_name(order: str) -> str:
    """The file that keeps the weights of the first seed.

    Examples
    --------
    >>> weights_name("D P Q")
    'capstone_dpq.safetensors'
    """
    return f"capstone_{order.replace(' ', '').lower()}.safetensors"


def kept(order: str, folder: Path | None = None) -> nn.Module:
    """The network that an order led to (first seed), or ``"wide"``: the student before filters were taken out."""
    from edgelab.nets.checkpoints import read_weights

    where = (folder or FILE.parent) / weights_name(order)
    if order in ("D Q", "P D Q"):
        return read_weights(new_student(SLIM, SEEDS[0]), where)
    wide = new_student(WIDE, SEEDS[0])
    if order == "wide":
        return read_weights(wide, where)
    whole = nets.load(TEACHER) if order == "P Q" else read_weights(wide, where.with_name(weights_name("wide")))
    if order == "D Q P":
        whole = fake_quantize_weights(whole, 8)
    return read_weights(narrowed(whole, torch.zeros(1, 3, 32, 32), macs=FINAL_MACS)[0], where)


def packed(right: NDArray[np.bool_]) -> str:
    """Which items are right, as text.

    Examples
    --------
    >>> unpacked(packed(np.array([True, False, True])), 3).tolist()
    [True, False, True]
    """
    return base64.b85encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str, items: int) -> NDArray[np.bool_]:
    """The inverse of `packed`."""
    return np.unpackbits(np.frombuffer(base64.b85decode(text), np.uint8))[:items].astype(bool)


def judge(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What the runs say about the order, each with the differences seed by seed and whether it held for every seed."""
    judged = []
    for better, worse in (("D P Q", "P D Q"), ("D P Q", "D Q P"), ("D P Q", "D Q"), ("P Q", "D P Q")):
        ours = {run["seed"]: run["test"] for run in ahead.selected(runs, order=better)}
        theirs = {run["seed"]: run["test"] for run in ahead.selected(runs, order=worse)}
        gains = [round(ours[seed] - theirs[seed], 2) for seed in sorted(ours.keys() & theirs.keys())]
        if gains:
            says = f"{better} ends above {worse} for every seed"
            judged.append({"says": says, "points": gains, "seeds": len(gains), "held": min(gains) > 0})
    return judged


def _save(path: Path, runs: list[Run]) -> None:
    recipe = {
        "teacher": TEACHER, "wide": WIDE, "slim": SLIM, "final_macs": FINAL_MACS, "epochs": EPOCHS, "distil": DISTIL,
        "train_on": TRAIN_ON, "temperature": SOFT.temperature, "alpha": SOFT.alpha, "seeds": list(SEEDS),
        "calibration_items": CALIBRATION_ITEMS, "torch": torch.__version__.split("+")[0],
    }  # fmt: skip
    write_json(path, {"recipe": recipe, "held": judge(runs), "runs": runs})


if __name__ == "__main__":
    given = ahead.command_line("Try the orders of the lab `capstone` again.", FILE)
    torch.set_num_threads(1)
    for done in make(given.file, anew=given.anew):
        print(*(done[key] for key in ("order", "seed", "test", "float", "bytes", "macs", "cpu_seconds")), flush=True)

"""Quantization-aware training for a team's own network: train it as it will run, then freeze and write it.

The float weights are rounded in every pass and moved by the gradient that the rounded network has, through the
straight-through estimator. What comes back is the network, a plain float copy with the ranges that a file needs, and a
report of every layer. Nothing here calls PyTorch's own quantization.

Sources: Jacob et al. (CVPR 2018), https://arxiv.org/abs/1712.05877; Krishnamoorthi (2018),
https://arxiv.org/abs/1806.08342, for freezing batch norm and ranges.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgelab.compress.affine import sqnr_db
from edgelab.errors import BadInput
from edgelab.nets import steppers
from edgelab.nets.trainer import predict_logits
from edgelab.qat.prepare import activations, calibrate, finished, layers, prepare, set_phase
from edgelab.qat.rules import OURS, Range, Rules, training_step
from edgelab.reading import Table

if TYPE_CHECKING:
    from torch import fx, nn

    from edgelab.data.dataset import Dataset

CALIBRATION_ITEMS = 256
Step = Callable[[Any, Any, torch.Tensor, torch.Tensor], float]


@dataclass(frozen=True)
class Freeze:
    """The first steps at which ranges and batch-norm statistics no longer move; None: they always do.

    ``batch_norm=0`` folds batch norm before training, which is the fastest. Torchvision's published recipe holds the
    statistics after 3 epochs and the ranges after 4 of its training.
    """

    observers: int | None = None
    batch_norm: int | None = 0


@dataclass(frozen=True)
class LayerReport:
    """What happened to one layer.

    ``bits`` is None where it stayed in float. ``scales`` counts them, ``moved_percent`` is the share of integers that
    training changed against rounding the untrained weights, ``sqnr_db`` that of the rounded weights.
    """

    layer: str
    kind: str
    weights: int
    bits: int | None
    scales: int
    moved_percent: float
    sqnr_db: float


@dataclass(frozen=True, eq=False)
class Trained:
    """A network that was trained with rounding.

    ``network`` simulates the integer one in float32. ``losses`` has one entry a step. ``bits`` and ``per_channel`` are
    those asked for; the report says what each layer got.
    """

    network: fx.GraphModule
    report: tuple[LayerReport, ...]
    losses: tuple[float, ...]
    bits: int | Mapping[str, int]
    per_channel: bool
    seconds: float
    recipe: dict[str, Any]

    @property
    def in_float(self) -> tuple[str, ...]:
        """The layers that stayed in float."""
        return tuple(layer.layer for layer in self.report if layer.bits is None)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Simulated logits (N, classes)."""
        return predict_logits(self.network, x)

    def plain(self, *, rounded: bool = False) -> tuple[fx.GraphModule, dict[str, Range]]:
        """A plain float network with the trained weights, and the range of each tensor; see `finished`."""
        return finished(self.network, rounded=rounded)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        bits = dict(self.bits) if isinstance(self.bits, Mapping) else self.bits
        return {
            "bits": bits,
            "per_channel": self.per_channel,
            "layers": [vars(layer) for layer in self.report],
            "in_float": list(self.in_float),
            "losses": list(self.losses),
            "seconds": self.seconds,
            "recipe": self.recipe,
        }

    def _repr_markdown_(self) -> str:
        columns = ("layer", "kind", "weights", "bits", "scales", "% of integers moved", "SQNR in dB")
        rows = [
            (r.layer, r.kind, r.weights, r.bits or "float", r.scales, r.moved_percent, r.sqnr_db) for r in self.report
        ]
        note = f"Activations: 8 bits, {len(activations(self.network))} tensors. {len(self.losses)} steps, "
        note += f"{self.seconds:.0f} s. In float: {', '.join(self.in_float) or 'none'}."
        return Table("What training with rounding changed", columns, rows, note)._repr_markdown_()


def qat(
    net: nn.Module,
    data: Dataset,
    bits: int | Mapping[str, int] = 8,
    *,
    per_channel: bool = True,
    steps: int = 250,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    freeze: Freeze | None = None,
    edge_bits: int | None = 8,
    exclude: tuple[str, ...] = (),
    seed: int = 0,
    threads: int | None = None,
    rules: Rules = OURS,
    step: Step = training_step,
    progress: bool = True,
    watch: Callable[[int, fx.GraphModule], None] | None = None,
) -> Trained:
    """Train ``net`` with rounded weights and activations.

    Parameters
    ----------
    net
        The trained float network; it stays as it is.
    data
        Its ``train`` split is trained on and calibrates.
    bits, per_channel, edge_bits, exclude
        As in `edgelab.qat.prepare.prepare`.
    steps, batch_size, learning_rate
        AdamW whose rate falls to 0 by a cosine. No step at all gives the post-training quantized network.
    freeze
        When ranges and batch norm stop to follow the data; by default batch norm is folded first and ranges stop half
        way.
    seed
        Of the order of the items and of dropout.
    threads
        Threads while training; None leaves the number.
    rules, step
        Somebody's own functions in place of the package's.
    watch
        Called before each step with its number and the network, and once at the end.

    Raises
    ------
    BadInput
        If a layer has no integer form, a width is out of range, the data hold one class or NaN, or the loss stops
        being a number.
    """
    from tqdm.auto import tqdm

    started = time.perf_counter()
    _check(data, steps, batch_size, learning_rate, threads)
    freeze = Freeze(steps // 2) if freeze is None else freeze
    if not isinstance(freeze, Freeze):
        raise BadInput(f"freeze={freeze!r} is no Freeze; give Freeze(observers=..., batch_norm=...).")
    keep_norm = freeze.batch_norm != 0
    network = prepare(
        net, bits, per_channel=per_channel, edge_bits=edge_bits, exclude=exclude, batch_norm=keep_norm, rules=rules
    )
    calibrate(network, data.train.x[:CALIBRATION_ITEMS])
    _check_outputs(network, data)
    before = {name: _integers(layer) for name, layer in layers(network).items()}
    losses: list[float] = []
    with _settled(threads, seed):
        x, y = torch.from_numpy(np.ascontiguousarray(data.train.x)), torch.from_numpy(data.train.y)
        order = _batches(len(x), batch_size, seed)
        optimizer = steppers.adamw(network.parameters(), learning_rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        for number in tqdm(range(steps), desc="training with rounding", unit="step", disable=not progress):
            if watch is not None:
                watch(number, network)
            network.train()
            set_phase(network, *rules.phase(number, freeze.observers, freeze.batch_norm))
            index = next(order)
            batch = x[index].to(memory_format=torch.channels_last) if x.ndim == 4 else x[index]
            loss = float(step(network, optimizer, batch, y[index]))
            if not math.isfinite(loss):
                raise BadInput("The loss is no longer a number: lower the learning rate, or look for NaN in the data.")
            losses.append(loss)
            scheduler.step()
    network.eval()
    if watch is not None:
        watch(steps, network)
    recipe = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "freeze_observers": freeze.observers,
        "freeze_batch_norm": freeze.batch_norm,
        "edge_bits": edge_bits,
        "seed": seed,
    }
    report = tuple(_layer_report(name, layer, before[name]) for name, layer in layers(network).items())
    return Trained(network, report, tuple(losses), bits, per_channel, time.perf_counter() - started, recipe)


def _integers(layer: Any) -> NDArray[np.float32]:
    weight, _, scale = layer.stored()
    integers: NDArray[np.float32] = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return integers


def _layer_report(name: str, layer: Any, before: NDArray[np.float32]) -> LayerReport:
    weight, _, scale = layer.stored()
    module = layer.layer
    kind = type(module).__name__.lower()
    if getattr(module, "groups", 1) > 1:
        kind = "depthwise" if module.groups == module.in_channels else "grouped"
    elif set(getattr(module, "kernel_size", ())) == {1}:
        kind = "pointwise"
    if layer.bits is None:
        return LayerReport(name, kind, weight.size, None, 0, 0.0, float("inf"))
    with torch.no_grad():
        rounded = layer.rounded(torch.from_numpy(weight)).numpy()
    moved = 100 * float((_integers(layer) != before).mean())
    return LayerReport(name, kind, weight.size, layer.bits, scale.size, moved, sqnr_db(weight, rounded))


def _check(data: Dataset, steps: int, batch_size: int, learning_rate: float, threads: int | None) -> None:
    for name, value in (("steps", steps), ("batch_size", batch_size), ("threads", threads or 1)):
        if not isinstance(value, int):
            raise BadInput(f"{name}={value!r} is not a whole number.")
    if threads is not None and threads < 1:
        raise BadInput(f"threads={threads} is not 1 or more.")
    if steps < 0 or batch_size < 2 or not learning_rate > 0:
        raise BadInput(f"steps={steps}, batch_size={batch_size}, learning_rate={learning_rate}: too small to train.")
    present = np.unique(data.train.y)
    if len(present) < 2:
        raise BadInput(f"The training data of '{data.name}' hold one class alone; nothing can be learnt from them.")


def _check_outputs(network: Any, data: Dataset) -> None:
    logits = predict_logits(network, data.train.x[:2])
    if logits.ndim != 2 or logits.shape[1] != data.classes:
        raise BadInput(f"The network gives {logits.shape[1:]} outputs for the {data.classes} classes of '{data.name}'.")


def _batches(items: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for index in torch.split(torch.randperm(items, generator=generator), size):
            if len(index) == min(size, items):
                yield index


@contextlib.contextmanager
def _settled(threads: int | None, seed: int) -> Iterator[None]:
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

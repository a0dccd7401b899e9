"""Prune a network of one's own: out come the network, a report that also says what was not pruned, and an ONNX file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgelab.convert.onnx import export
from edgelab.data.dataset import Dataset
from edgelab.engines import open_engine
from edgelab.engines.base import OperatorTime
from edgelab.errors import BadInput
from edgelab.files import expanded
from edgelab.measure import quality
from edgelab.measure.latency import measure_latency
from edgelab.nets.inspection import weighted_layers
from edgelab.nets.trainer import predict_logits
from edgelab.reading import Reading, Table
from edgelab.slim import prune_train
from edgelab.slim.prune import Scope, magnitude_masks
from edgelab.slim.prune_audit import Audit, audit
from edgelab.slim.prune_filters import Criterion, Plan, narrowed
from edgelab.slim.prune_packed import PackedSizes, gzip_bytes, packed_sizes


@dataclass(frozen=True)
class PruneReport:
    """What pruning did: each layer, what was left whole and why, accuracy, who pays, bytes, time, operators as run.

    ``speed_up`` is how many times as fast the file of the pruned network is as that of the whole one, on ONNX Runtime;
    ``operators`` are those that ran. ``file_bytes`` and ``gzip_bytes`` are of both files, before and after.
    """

    audit: Audit
    accuracy: tuple[Reading, Reading]
    loss: quality.Loss
    losses: quality.GroupLosses | None
    file_bytes: tuple[int, int]
    gzip_bytes: tuple[int, int]
    packed: PackedSizes
    speed_up: Reading
    operators: tuple[OperatorTime, ...]

    @property
    def not_pruned(self) -> dict[str, str]:
        """Layers that lost nothing of their own, with the reason."""
        return self.audit.not_pruned

    def table(self) -> Table:
        """The figures of both networks."""
        before, after = self.accuracy
        macs, weights = self.audit.macs, self.audit.weights
        rows = [
            ("right on the test items", before.figure(), after.figure()),
            ("MACs", f"{macs[0]:,}", f"{macs[1]:,}"),
            ("weights that are not zero", f"{weights[0]:,}", f"{self.packed.nonzero:,}"),
            ("file, bytes", f"{self.file_bytes[0]:,}", f"{self.file_bytes[1]:,}"),
            ("file after gzip, bytes", f"{self.gzip_bytes[0]:,}", f"{self.gzip_bytes[1]:,}"),
            ("times as fast", "", self.speed_up.figure()),
        ]
        worst = self.losses.worst if self.losses is not None and any(g.tells for g in self.losses.groups) else None
        pays = "" if worst is None else f" {worst.name} pays most: {worst.loss.figure()}."
        note = f"Measured: {after.by}. {self.loss.verdict.text}{pays} {self.audit.sentence()}"
        return Table("Before and after pruning", ("", "before", "after"), rows, note)

    def operators_table(self) -> Table:
        """A row for each kind of operator that ran in the pruned file, and each type it ran in."""
        kinds = list(dict.fromkeys((operator.type, operator.ran_in) for operator in self.operators))
        rows = []
        for kind, ran_in in kinds:
            times = [o.median_ms for o in self.operators if (o.type, o.ran_in) == (kind, ran_in)]
            rows.append((kind, ran_in, len(times), sum(times)))
        note = "Measured with ONNX Runtime's profiler, batch 1."
        return Table("Operators as they ran", ("operator", "ran in", "times", "ms"), rows, note)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "audit": self.audit.to_dict(),
            "accuracy": [reading.to_dict() for reading in self.accuracy],
            "loss": self.loss.to_dict(),
            "losses": None if self.losses is None else self.losses.to_dict(),
            "file_bytes": list(self.file_bytes),
            "gzip_bytes": list(self.gzip_bytes),
            "packed": self.packed.to_dict(),
            "speed_up": self.speed_up.to_dict(),
            "operators": [vars(operator) for operator in self.operators],
        }

    def _repr_markdown_(self) -> str:
        losses = [] if self.losses is None else [self.losses.table()]
        parts = [self.table(), self.audit.table(), *losses, self.operators_table()]
        return "\n\n".join(part._repr_markdown_() for part in parts)


@dataclass(frozen=True)
class Pruned:
    """The pruned network, the report on it, and the ONNX file."""

    network: nn.Module
    report: PruneReport
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; the network is in the file."""
        return {"path": str(self.path), "report": self.report.to_dict()}

    def _repr_markdown_(self) -> str:
        return self.report._repr_markdown_()


def prune(
    network: nn.Module,
    data: Dataset,
    path: str | Path,
    *,
    macs: float | None = None,
    ratio: float | None = None,
    sparsity: float | None = None,
    criterion: Criterion = "l1",
    scope: Scope = "global",
    round_to: int = 1,
    keep: Sequence[str] = (),
    steps: int = 250,
    learning_rate: float = 5e-3,
    seed: int = 0,
    runs: int = 120,
    progress: bool = True,
) -> Pruned:
    """Prune a copy of ``network``, train it on, write it as ONNX, and measure what that did.

    Parameters
    ----------
    network
        A trained PyTorch network that takes ``data``'s items; it stays as it is.
    data
        Trains on its training split and reports on its test split, by its groups.
    path
        The .onnx file to write.
    macs, ratio, sparsity
        Exactly one of them. ``macs``: filters go until so many multiply-accumulates of one item are left; below 1 it
        is a share of those now. ``ratio``: so large a share of the filters of every group goes. ``sparsity``: so large
        a share of the weights becomes zero, which makes neither the file smaller nor the network faster.
    criterion, round_to, keep
        Which filters go first, of which number each width is a multiple, and layers that stay whole.
    scope
        Of ``sparsity``: one threshold for all layers, or the same share of each.
    steps, learning_rate, seed
        Training afterwards, with the network as it was as the teacher; 0 steps leave it out.
    runs
        Timed inferences of each file.

    Returns
    -------
    Pruned
        ``network``, ``report``, ``path``.

    Raises
    ------
    BadInput
        If the network cannot be traced or has nothing to prune, the request empties a layer or cannot be met, the
        data hold NaN or one class, or a weight is not finite. The sentence names the layer.
    """
    asked = [name for name, value in (("macs", macs), ("ratio", ratio), ("sparsity", sparsity)) if value is not None]
    if len(asked) != 1:
        raise BadInput(f"Give exactly one of macs, ratio and sparsity, not {' and '.join(asked) or 'none'}.")
    if seed < 0:
        raise BadInput(f"seed={seed} is below 0; take 0 or more.")
    prune_train.check_data(data)
    _check_weights(network)
    shape = data.test.x.shape[1:]
    example = torch.from_numpy(np.ascontiguousarray(data.test.x[:1]))
    masks = None
    if sparsity is not None:
        smaller, why = copy.deepcopy(network).eval(), dict[str, str]()
        masks = magnitude_masks(smaller, sparsity, scope, keep)
        why = dict.fromkeys(keep, "it was named in `keep`")
    else:
        budget = macs
        if macs is not None and macs < 1:
            from edgelab.nets.inspection import count_macs

            budget = macs * count_macs(network, shape).macs
        smaller, plan = narrowed(
            network, example, ratio, macs=budget, criterion=criterion, round_to=round_to, keep=tuple(keep), seed=seed
        )
        smaller, why = smaller.eval(), reasons(plan)
    outputs = predict_logits(network, data.test.x[:1]).shape[1:]
    if outputs != (data.classes,):
        raise BadInput(f"The network gives {outputs} outputs for the {data.classes} classes of '{data.name}'.")
    if steps:
        _train(smaller, network, data, masks, steps, learning_rate, seed, progress=progress)
    elif masks is not None:
        from edgelab.slim.prune import apply_masks

        apply_masks(smaller, masks)
    report = _measured(network, smaller, data, expanded(path), why, runs)
    return Pruned(smaller, report, expanded(path))


def reasons(plan: Plan) -> dict[str, str]:
    """For each layer that keeps its filters: why, in words."""
    said = dict(plan.found.kept)
    for name, layer in plan.found.layers.items():
        if layer.kind == "depthwise":
            said.setdefault(name, "its filters go with those of the layer before")
    for group in plan.found.groups:
        for name in group.makers:
            if group.name in plan.notes:
                said.setdefault(name, plan.notes[group.name])
            else:
                said.setdefault(name, "so few filters should go that rounding kept them")
    return said


def _train(
    smaller: nn.Module, network: nn.Module, data: Dataset, masks: Any, steps: int, rate: float, seed: int, *,
    progress: bool,
) -> None:  # fmt: skip
    from tqdm.auto import tqdm

    with tqdm(total=steps, desc="training on", unit="step", disable=not progress, leave=False) as bar:
        prune_train.fine_tune(
            smaller, data, masks, steps=steps, learning_rate=rate, teacher=copy.deepcopy(network), seed=seed,
            report=lambda *_: bar.update(),
        )  # fmt: skip


def _measured(
    network: nn.Module, smaller: nn.Module, data: Dataset, path: Path, why: dict[str, str], runs: int
) -> PruneReport:
    import tempfile

    right = [predict_logits(net, data.test.x).argmax(axis=1) == data.test.y for net in (network, smaller)]
    with tempfile.TemporaryDirectory() as folder:
        whole = export(network, data.test.x[:1], Path(folder) / "whole.onnx")
        small = export(smaller, data.test.x[:1], path)
        with open_engine(whole.path, threads=1) as one, open_engine(small.path, threads=1) as two:
            right[1] = two.predict(data.test.x).argmax(axis=1) == data.test.y
            times = measure_latency({"whole": one, "pruned": two}, data.test.x[:1], runs=runs)
            operators = tuple(two.profile(data.test.x[:1], 20))
        zipped = gzip_bytes(whole.path), gzip_bytes(small.path)
    groups = data.test.groups
    arrays = {name: layer.weight.detach().numpy() for name, layer in weighted_layers(smaller).items()}
    return PruneReport(
        audit=audit(network, smaller, data.test.x.shape[1:], why),
        accuracy=(
            quality.accuracy_reading(right[0], "PyTorch"),
            quality.accuracy_reading(right[1], "ONNX Runtime"),
        ),
        loss=quality.difference(right[0], right[1]),
        losses=quality.group_differences(right[0], right[1], groups) if groups else None,
        file_bytes=(whole.bytes, small.bytes),
        gzip_bytes=zipped,
        packed=packed_sizes(arrays),
        speed_up=times.speed_up("pruned", "whole"),
        operators=operators,
    )


def _check_weights(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BadInput(f"Layer '{name.rpartition('.')[0]}' holds NaN or infinity in its {name.rpartition('.')[2]}.")

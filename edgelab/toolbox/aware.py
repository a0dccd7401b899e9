"""Quantization-aware training from end to end, for a team's own network: network, report, file, and what really ran.

The file is an INT8 ONNX in QDQ form; its answers on the test items are those of ONNX Runtime, and its operators are
listed in the type in which they ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelab.engines import open_engine
from edgelab.measure import quality
from edgelab.measure.losses import GroupLosses, Loss
from edgelab.nets.trainer import predict_logits
from edgelab.qat.onnx_file import QatFile, write_onnx
from edgelab.qat.training import Trained, qat
from edgelab.reading import Table

if TYPE_CHECKING:
    import os

    from torch import nn

    from edgelab.data.dataset import Dataset
    from edgelab.engines.base import OperatorTime

CHECKED_ITEMS = 16


@dataclass(frozen=True, eq=False)
class QuantizedAware:
    """What `quantize_aware` made.

    ``post_training`` is what the same scheme loses without training, ``loss`` with it, both simulated; ``on_runtime``
    is the loss of the file in ONNX Runtime. ``groups`` says who pays, None where the data have no groups.
    """

    trained: Trained
    file: QatFile
    post_training: Loss
    loss: Loss
    on_runtime: Loss
    groups: GroupLosses | None
    operators: tuple[OperatorTime, ...]

    @property
    def ran_in_float(self) -> tuple[str, ...]:
        """The operators with weights that really ran in float32, by name."""
        heavy = ("Conv", "FusedConv", "Gemm", "MatMul")
        return tuple(o.name for o in self.operators if o.type in heavy and o.ran_in.startswith("float"))

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {
            "trained": self.trained.to_dict(),
            "file": self.file.to_dict(),
            "post_training": self.post_training.to_dict(),
            "loss": self.loss.to_dict(),
            "on_runtime": self.on_runtime.to_dict(),
            "groups": None if self.groups is None else self.groups.to_dict(),
            "operators": [vars(o) for o in self.operators],
            "ran_in_float": list(self.ran_in_float),
        }

    def _repr_markdown_(self) -> str:
        losses = {"rounded, not trained": self.post_training, "trained": self.loss, "the file": self.on_runtime}
        rows = [(name, found.loss.figure()) for name, found in losses.items()]
        found = ", ".join(self.ran_in_float) or "none"
        note = f"Layers that ran in float32 in ONNX Runtime: {found}."
        parts: list[Any] = [self.trained._repr_markdown_(), Table("Points lost", ("network", "points"), rows, note)]
        if self.groups is not None:
            parts.append(self.groups)
        parts.append(self.file)
        return "\n\n".join(p if isinstance(p, str) else p._repr_markdown_() for p in parts)


def quantize_aware(
    net: nn.Module,
    data: Dataset,
    path: str | os.PathLike[str],
    bits: int = 8,
    *,
    steps: int = 250,
    threads: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> QuantizedAware:
    """Train ``net`` with rounding on ``data``, write the ONNX file, and hold both against the float network.

    Parameters
    ----------
    net
        The trained float network; it stays as it is.
    data
        ``train`` is trained on, ``test`` is reported on, by its groups.
    path
        The .onnx file.
    bits, steps, threads, progress, **settings
        As in `edgelab.qat.training.qat`.

    Raises
    ------
    BadInput
        As `qat` and `write_onnx` do.
    """
    test = data.test
    before = predict_logits(net, test.x).argmax(axis=1) == test.y
    rounded = qat(net, data, bits, steps=0, threads=threads, progress=False, **settings)
    trained = qat(net, data, bits, steps=steps, threads=threads, progress=progress, **settings)
    file = write_onnx(trained.network, test.x[:CHECKED_ITEMS], path)
    with open_engine(file.path, threads=threads or 1, fresh=False) as engine:
        logits = engine.predict(test.x)
        operators = tuple(engine.profile(test.x[:1], runs=20))

    def loss(answers: Any) -> Loss:
        return quality.difference(before, np.asarray(answers).argmax(axis=1) == test.y)

    after = logits.argmax(axis=1) == test.y
    groups = quality.group_differences(before, after, test.groups) if test.groups else None
    simulated = trained.predict(test.x)
    return QuantizedAware(
        trained, file, loss(rounded.predict(test.x)), loss(simulated), loss(logits), groups, operators
    )

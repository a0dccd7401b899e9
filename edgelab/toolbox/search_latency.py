"""A latency predictor for this machine: a few networks are measured, the time of all others is a weighted sum.

The time of a network is taken as a sum over its layers: so much for each layer that is called, for each
multiply-accumulate of its kind, and for each value that it writes. The weights are fitted to measured networks, none of
them below 0, so that no work is ever predicted to save time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.reading import Reading
from edgelab.toolbox.search_space import Architecture, build, layer_macs, layers

if TYPE_CHECKING:
    from edgelab.measure.times import LatencyReport

FEATURES = ("layers", "standard MACs", "depthwise MACs", "pointwise MACs", "values written")
"""What `features` counts; MACs and values in thousands."""


def features(arch: Architecture, classes: int = 10, in_channels: int = 3, size: int = 32) -> NDArray[np.float64]:
    """The counts of `FEATURES` for one network, (5,); the linear head counts among the pointwise layers.

    Examples
    --------
    >>> features(Architecture(2, 8, 24, 48, 1, 1)).round(1).tolist()
    [6.0, 55.3, 8.1, 31.2, 5.3]
    """
    found = layers(arch, classes, in_channels, size)
    kinds = {"standard": 0.0, "depthwise": 0.0, "pointwise": 0.0, "linear": 0.0}
    written = 0
    for layer in found:
        kinds[layer.kind] += layer_macs(layer) / 1000
        written += (-(-layer.size // layer.stride)) ** 2 * layer.c_out
    pointwise = kinds["pointwise"] + kinds["linear"]
    return np.array([len(found), kinds["standard"], kinds["depthwise"], pointwise, written / 1000])


def fit_predictor(features: ArrayLike, ms: ArrayLike) -> NDArray[np.float64]:
    """Weights (F,), none below 0, that make ``features @ weights`` come as close to ``ms`` as can be, in shares of it.

    Non-negative least squares (Lawson and Hanson 1974) on rows divided by their time, so that 10 percent too much count
    as much for a fast network as for a slow one.

    Parameters
    ----------
    features
        One row of counts a network, (N, F).
    ms
        Measured times (N,), above 0.

    Examples
    --------
    >>> fit_predictor([[1, 0], [1, 2], [1, 4]], [1.0, 2.0, 3.0]).round(3).tolist()
    [1.0, 0.5]
    """
    from scipy.optimize import nnls

    rows, times = np.asarray(features, dtype=np.float64), np.asarray(ms, dtype=np.float64)
    if rows.ndim != 2 or times.shape != rows.shape[:1] or not len(rows):
        raise BadInput(f"One row of counts and one time a network are wanted, not {rows.shape} and {times.shape}.")
    if not (np.isfinite(times).all() and (times > 0).all() and np.isfinite(rows).all()):
        raise BadInput("A predictor needs finite counts, and times above 0.")
    weights, _ = nnls(rows / times[:, None], np.ones(len(rows)))
    return np.asarray(weights)


def relative_errors(predicted: ArrayLike, measured: ArrayLike) -> NDArray[np.float64]:
    """By how many percent each prediction misses its measurement.

    Examples
    --------
    >>> relative_errors([1.1, 1.8], [1.0, 2.0]).round(1).tolist()
    [10.0, 10.0]
    """
    found, truth = np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    if found.shape != truth.shape or not (truth > 0).all():
        raise BadInput(f"A prediction of each time above 0 is wanted, not {found.shape} for {truth.shape}.")
    return np.asarray(100 * np.abs(found / truth - 1))


@dataclass(frozen=True)
class Measured:
    """Networks measured in turn: their medians in ms, (N,), and the report that they come from."""

    architectures: tuple[Architecture, ...]
    ms: NDArray[np.float64]
    report: LatencyReport

    def reading(self, arch: Architecture) -> Reading:
        """The median of one network, with its interval."""
        return self.report.readings[arch.key]["p50"]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {arch.key: float(ms) for arch, ms in zip(self.architectures, self.ms, strict=True)}


def measure(
    architectures: Sequence[Architecture],
    x: NDArray[np.float32],
    folder: Path,
    *,
    classes: int = 10,
    runs: int = 80,
    threads: int = 1,
    seed: int = 0,
    nets: Mapping[Architecture, Any] | None = None,
) -> Measured:
    """Export the networks to ONNX and time them in ONNX Runtime, in turn, on one image each.

    Parameters
    ----------
    architectures
        What is measured; weights do not matter for the time, so that untrained networks will do.
    x
        One image, (1, channels, size, size).
    folder
        Where the files go.
    classes, runs, threads, seed
        Of the task, and as `edgelab.measure.latency.measure_latency` takes them.
    nets
        Trained networks to take in place of untrained ones.
    """
    from edgelab.convert.onnx import export
    from edgelab.engines import open_engine
    from edgelab.measure.latency import measure_latency

    unique = tuple(dict.fromkeys(architectures))
    if not unique:
        raise BadInput("There is nothing to measure: name at least one architecture.")
    if x.ndim != 4 or len(x) != 1:
        raise BadInput(f"One image (1, channels, size, size) is wanted, not {x.shape}.")
    with ExitStack() as stack:
        engines = {}
        for arch in unique:
            net = (nets or {}).get(arch) or build(arch, classes, x.shape[1]).eval()
            file = export(net, x, folder / f"{arch.key}.onnx")
            engines[arch.key] = stack.enter_context(open_engine(file.path, threads=threads))
        report = measure_latency(engines, x, runs=runs, warmup=10, seed=seed)
    ms = np.array([report.readings[arch.key]["p50"].value for arch in unique])
    return Measured(unique, ms, report)


def spread_out(space: Sequence[Architecture], count: int, rng: np.random.Generator) -> list[Architecture]:
    """``count`` networks of a space that lie far apart in what they compute, from the one with the fewest MACs on.

    Each further one is that whose counts, on a logarithmic scale, are farthest from those taken; ties are drawn.
    """
    if not 1 <= count <= len(space):
        raise BadInput(f"count={count}: the space has {len(space)} architectures.")
    counts = np.log1p(np.array([features(arch) for arch in space]))
    counts = (counts - counts.mean(axis=0)) / np.maximum(counts.std(axis=0), 1e-9)
    taken = [int(counts.sum(axis=1).argmin())]
    nearest = np.linalg.norm(counts - counts[taken[0]], axis=1)
    while len(taken) < count:
        taken.append(int((nearest + 1e-9 * rng.random(len(space))).argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(counts - counts[taken[-1]], axis=1))
    return [space[i] for i in taken]

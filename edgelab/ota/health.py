"""Whether a model that was installed works here: golden inputs in a child process under a time limit."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import EdgelabError, EngineDied, EngineLate
from edgelab.ota.manifest import Manifest, Refused
from edgelab.ota.slots import GOLDEN, Installed, folder
from edgelab.ota.storage import Storage

TIME_LIMIT_SECONDS = 30.0
PACKAGES = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}


@dataclass(frozen=True)
class Ran:
    """What a run of golden inputs came to.

    Attributes
    ----------
    latencies_ms
        Of each item.
    right, judged
        Top answers that are the label, of the items that have one; each item counts once, however often it ran.
    """

    latencies_ms: tuple[float, ...]
    right: int = 0
    judged: int = 0


Runner = Callable[[Storage, Installed, int], Ran]
"""Runs an installed model's golden inputs a number of times; Refused if the answers, the time or the runtime are not as
they must be."""


def run_golden(storage: Storage, installed: Installed, times: int = 1) -> Ran:
    """Run the golden inputs through the runtime, which works in a child process under a time limit.

    Returns
    -------
    Ran
        Its latencies without the first one, which pays for the start.

    Raises
    ------
    Refused
        If the runtime refuses the model or dies, or the answers differ from those at the publisher by more than the
        manifest allows; of the kind ``not judged`` if time was short, which a busy device may be to blame for.
    """
    golden = storage.path(f"{folder(installed.slot)}/{GOLDEN}")
    return smoke_test(storage.path(installed.model), golden, installed.manifest, times)


def smoke_test(model: Path, golden: Path, manifest: Manifest, times: int = 1) -> Ran:
    """`run_golden` on files."""
    from edgelab.engines import open_engine
    from edgelab.golden.file import read_golden

    try:
        kept = read_golden(golden)
        taken: list[float] = []
        right = judged = 0
        with open_engine(model, timeout=TIME_LIMIT_SECONDS) as engine:
            for _ in range(times):
                found: list[dict[str, NDArray[Any]]] = []
                for item in range(len(kept.data)):
                    feed = {name: values[item : item + 1] for name, values in kept.data.inputs.items()}
                    started = time.perf_counter()
                    found.append(engine.run(feed))
                    taken.append(1e3 * (time.perf_counter() - started))
                answers = {name: np.concatenate([each[name] for each in found]) for name in kept.outputs}
                judge(answers, dict(kept.outputs), kept.logits, manifest)
                right, judged = _right(answers, kept.logits, kept.data.y)
    except Refused:
        raise
    except EngineLate:
        limit_s = f"{TIME_LIMIT_SECONDS:g} s"
        raise Refused("not judged", f"Release {manifest.release} gave no answer within {limit_s}.") from None
    except EngineDied as error:
        raise Refused("smoke test", f"Release {manifest.release} does not run here ({_line(error)}).", 1) from None
    except (EdgelabError, KeyError, ValueError) as error:
        raise Refused("smoke test", f"Release {manifest.release} does not run here ({_line(error)}).") from None
    limit = manifest.max_latency_ms
    if limit is not None and len(taken) > 1 and float(np.percentile(taken[1:], 95)) > limit:
        raise Refused("not judged", f"Release {manifest.release} takes longer than the {limit:g} ms that it may.")
    return Ran(tuple(taken[1:] or taken), right, judged)


def _right(found: dict[str, NDArray[Any]], logits: str | None, labels: NDArray[Any] | None) -> tuple[int, int]:
    """How many top answers are the label, of how many; none where the labels are no class numbers."""
    if logits is None or labels is None or labels.dtype.kind not in "iu" or labels.ndim != 1:
        return 0, 0
    return int((found[logits].argmax(-1) == labels).sum()), len(labels)


def judge(found: dict[str, NDArray[Any]], due: dict[str, NDArray[Any]], logits: str | None, manifest: Manifest) -> None:
    """Hold answers to golden inputs against those that the publisher got.

    Raises
    ------
    Refused
        If a value is not finite, the error is above the manifest's limit, or too few top answers are the same.

    Examples
    --------
    >>> from edgelab.ota.manifest import Payload
    >>> p = Payload("raw", "m/1.onnx", 9, "0" * 64)
    >>> m = Manifest("m", 1, "2026-01-01T00:00:00+00:00", "onnx", 9, "0" * 64, p, "m/g.npz", 9, "0" * 64)
    >>> judge({"y": np.array([[0.1, 0.9]])}, {"y": np.array([[0.1, 0.9]])}, "y", m)
    >>> judge({"y": np.array([[0.9, 0.1]])}, {"y": np.array([[0.1, 0.9]])}, "y", m)
    Traceback (most recent call last):
    ...
    edgelab.ota.manifest.Refused: Release 1 answers otherwise than at its publisher: output 'y' has an SQNR of -1.9 dB.
    """
    for name, want in due.items():
        have = np.asarray(found[name])
        if have.shape != want.shape or not np.isfinite(have.astype(np.float64)).all():
            raise Refused("smoke test", f"Release {manifest.release} gives no sound output '{name}'.")
        signal = float(np.sum(want.astype(np.float64) ** 2))
        noise = float(np.sum((want.astype(np.float64) - have.astype(np.float64)) ** 2))
        if noise > 0 and (ratio := 10 * np.log10(max(signal, 1e-300) / noise)) < manifest.min_sqnr_db:
            raise Refused(
                "smoke test",
                f"Release {manifest.release} answers otherwise than at its publisher: output '{name}' has an SQNR of "
                f"{ratio:.1f} dB.",
            )
        if name == logits and np.mean(have.argmax(-1) == want.argmax(-1)) < manifest.min_agreement:
            raise Refused("smoke test", f"Release {manifest.release} gives other top answers than at its publisher.")


def runtime_version(format_: str) -> str:
    """The version of the runtime that a format needs; "" where it is not installed."""
    try:
        return importlib.metadata.version(PACKAGES[format_])
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return ""


def older(version: str, minimum: str) -> bool:
    """Whether a version is below another one, by its numbers.

    Examples
    --------
    >>> older("1.9.2", "1.31"), older("1.31.1", "1.31"), older("1.0", "")
    (True, False, False)
    """
    return _numbers(version) < _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+", maxsplit=1)[0].split(".")
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts if part)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")

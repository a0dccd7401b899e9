"""Publishing a model file: held against its golden data set, given golden inputs for devices, and signed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded
from edgelab.ota.health import PACKAGES
from edgelab.ota.manifest import Card
from edgelab.ota.publisher import Published, Publisher

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_GOLDEN_ITEMS = 16
MOST_LABELLED_ITEMS = 32
"""With labels a device also reports how many answers were right, and of a few items that says nothing."""


def publish(
    model: Path,
    repository: Path,
    keys: Path,
    *,
    golden: Path | None = None,
    data: Path | None = None,
    name: str = "model",
    card: Card | None = None,
    hardware: Sequence[str] = (),
    min_runtime: str = "",
    max_latency_ms: float | None = None,
) -> Published:
    """Check a model against its golden data set, then sign it as the next release; what the command does.

    Raises
    ------
    BadInput
        If there is neither a golden file nor data to make one of, or the model fails the golden file's limits.
    BadFile
        If a file cannot be read or written.
    """
    from edgelab.measure.inspect import inspect_model

    publisher = Publisher(repository, keys)
    model = expanded(model)
    content = _content(model)
    answers = golden_for(model, golden, data)
    facts = inspect_model(model).to_dict()
    return publisher.publish(
        content,
        answers,
        kind=_format(model),
        name=name,
        facts=facts,
        card=card,
        hardware=hardware,
        min_runtime=min_runtime,
        max_latency_ms=max_latency_ms,
    )


def golden_for(model: Path, golden: Path | None = None, data: Path | None = None) -> bytes:
    """A small golden file with a model's own answers, for the smoke test of devices.

    Raises
    ------
    BadInput
        If there is neither a golden file nor data, or the model does not keep the golden file's limits.
    """
    from edgelab import golden as golden_sets
    from edgelab.feeding.arrays import Arrays, load_arrays
    from edgelab.golden.file import read_golden

    if golden is not None:
        report = golden_sets.check(golden, model)
        if not report.passed:
            raise BadInput(f"{model} is not published: {' '.join(report.models[0].reasons)}")
        kept = read_golden(golden).data
        inputs, labels = dict(kept.inputs), kept.y
    elif data is not None:
        given = load_arrays(data)
        inputs, labels = dict(given.inputs), given.y
    else:
        raise BadInput(
            "Without golden inputs no device can test a release before it runs it; name --golden GOLDEN or --data "
            "FILE.npz."
        )
    if labels is not None and (labels.dtype.kind not in "iu" or labels.ndim != 1):
        labels = None
    most = MOST_GOLDEN_ITEMS if labels is None else MOST_LABELLED_ITEMS
    count = min(most, *(len(values) for values in inputs.values()))
    with tempfile.TemporaryDirectory(prefix="edgelab-ota-") as folder:
        out = Path(folder) / "golden.npz"
        golden_sets.make(model, Arrays.by_name({n: v[:count] for n, v in inputs.items()}), out)
        return _native(model, out, None if labels is None else labels[:count])


def _native(model: Path, golden: Path, labels: NDArray[Any] | None) -> bytes:
    """The golden file with its inputs as the engine takes them by name, with class numbers, without samples of layers.

    Labels that are no classes of the model are left out.
    """
    from dataclasses import replace

    from edgelab.engines import model_format, open_engine
    from edgelab.feeding.arrays import Arrays
    from edgelab.feeding.matching import match_inputs, native_order
    from edgelab.golden.file import Layers, read_golden, write_golden

    kept = read_golden(golden)
    with open_engine(model, fresh=False) as engine:
        fed = match_inputs(kept.data.inputs, engine.inputs, model.name, native_order(model_format(model)))
        feeds = {f.info.name: f.apply(kept.data.inputs[f.match.golden]) for f in fed}
        rows = [engine.run({n: a[i : i + 1] for n, a in feeds.items()}) for i in range(len(kept.data))]
    import numpy as np

    outputs = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    logits = next((n for n, y in outputs.items() if y.ndim == 2 and y.shape[1] > 1), None)
    classes = outputs[logits].shape[1] if logits else 0
    if labels is not None and not ((labels >= 0) & (labels < classes)).all():
        labels = None
    small = replace(
        kept,
        data=Arrays.by_name(feeds, labels),
        orders=dict.fromkeys(feeds, "native"),
        outputs=outputs,
        logits=logits,
        layers=Layers(kept.layers.format, 0, {}, "not kept"),
        matched=(),
    )
    return write_golden(golden, small).read_bytes()


def _content(model: Path) -> bytes:
    from edgelab.compress.modelfile import files_of

    if model.is_dir():
        raise BadInput(f"{model} is a folder; a release is one .onnx or .tflite file.")
    try:
        if _format(model) == "onnx" and len(files_of(model)) > 1:
            raise BadInput(f"{model} keeps its weights in files beside it; save it as one file first.")
        return model.read_bytes()
    except OSError as error:
        raise BadFile(f"{model} cannot be read ({error.strerror or error}).") from None


def _format(model: Path) -> str:
    from edgelab.engines import model_format

    kind = model_format(model)
    if kind not in PACKAGES:
        raise BadInput(f"{model} is {kind}; releases are .onnx and .tflite files.")
    return kind

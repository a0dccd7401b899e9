"""`quantize`: a team's own float ONNX file in, a file of 8- or 4-bit integers out, and an account of what it costs.

The steps are chosen by how far the answers are from those of the float file on one half of the data; what is reported
comes from the other half, which no step has seen. Nothing is calibrated on noise.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import file_bytes, prepared, read
from edgelab.engines import open_engine
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import Arrays, load_arrays
from edgelab.feeding.matching import first_logits, match_inputs, outputs_of
from edgelab.files import expanded, refuse_to_replace, write_bytes
from edgelab.measure import quality
from edgelab.models.formats import existing_file, model_format
from edgelab.posttraining.judge import judge_of
from edgelab.posttraining.noise import looks_unreal
from edgelab.posttraining.search import METHODS, Found, search_static
from edgelab.posttraining.storage import lean
from edgelab.posttraining.weight_search import search_weights
from edgelab.toolbox.quantized import Accuracy, QuantizedFile
from edgelab.toolbox.ran import what_ran

PathLike = str | os.PathLike[str]
Precision = Literal["int8", "int4"]
SAMPLES: Mapping[str, int] = {"int8": 200, "int4": 1000}
"""Ranges are known from few items; which way to round asks for more."""
JUDGED_ITEMS = 512
"""Items to choose by, at most; fewer where one run takes long."""
JUDGED_SECONDS = 2.0
FEWEST_ITEMS = 8
FEW_ITEMS = 100
"""With fewer items in each half a warning says that the choice and the figures are uncertain."""
ABOVE_CHANCE = 2.0
"""Labelled items that the float network gets right so many times as often as chance are no noise."""
ALL_METHODS = (*METHODS, "entropy")


def quantize(
    model: PathLike,
    out: PathLike,
    *,
    data: PathLike | Arrays | None = None,
    precision: Precision = "int8",
    per_channel: bool = True,
    method: str | None = None,
    samples: int | None = None,
    keep_float: str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> QuantizedFile:
    """Quantize a float .onnx file by the steps that change its answers least.

    Parameters
    ----------
    model, out
        The float .onnx file, and the file to write.
    data
        An .npz file with inputs by name (``x`` for a single one), optionally y and group, or the arrays. One half is
        chosen by, the other reported on.
    precision
        ``"int8"``: weights and activations. ``"int4"``: the weights alone.
    per_channel
        One weight scale for each output channel instead of one for the tensor.
    method
        The only way to choose ranges: minmax, percentile, entropy or mse. Without it the best is searched.
    samples
        Items to calibrate on, of the half to choose by; 200 for int8 and 1,000 for int4 without it.
    keep_float
        Nodes that stay in float: a regular expression that is searched for in their names, or ``@FILE`` with a name on
        each line, as `edgelab golden check --exclude-out` writes it.
    overwrite
        Replace a file that is there.
    seed
        Of the halves.
    progress
        Show progress bars.

    Raises
    ------
    BadFile
        If the file is no float ONNX model, or ``out`` is there or cannot be written.
    BadInput
        If there is no data, it is noise or does not fit, or an argument makes no sense.
    """
    started = time.perf_counter()
    source, target = existing_file(model), expanded(out)
    _check_request(source, target, data, precision, method, samples, overwrite=overwrite)
    with open_engine(source, fresh=False) as engine:
        arrays = data if isinstance(data, Arrays) else load_arrays(str(data), engine.input_names)
        fed = match_inputs(arrays.inputs, engine.inputs, source.name)
        if any(f.alone for f in fed):
            raise BadInput(f"{source} has an input without an axis for the items; export it with a batch dimension.")
        if len(arrays) < FEWEST_ITEMS:
            raise BadInput(
                f"The data holds {len(arrays)} item{'s' * (len(arrays) != 1)}; at least {FEWEST_ITEMS} are needed, "
                "half to choose by and half to report on."
            )
        feeds = {f.info.name: f.apply(arrays.inputs[f.match.golden]) for f in fed}
        choose, report = halves(arrays, seed)
        reported = _of(arrays, report)
        begun = time.perf_counter()
        reference = outputs_of(engine, fed, reported.inputs, str(source), progress=progress)
        seconds = (time.perf_counter() - begun) / len(report)
    main = first_logits(reference, reported.y) or next(iter(reference))
    _refuse_noise(arrays, reported, reference[main])
    chosen, calibration = _choosing(choose, samples or SAMPLES[precision], seconds)
    with prepared(source) as ready:
        net = read(ready)
    kept, said = kept_in_float(net, keep_float)
    found = _search(net, feeds, chosen, calibration, precision, per_channel, method, kept, progress)
    content = lean(found.content)
    with tempfile.TemporaryDirectory(prefix="edgelab-") as folder:
        made = Path(folder, "quantized.onnx")
        made.write_bytes(content)
        with open_engine(made, fresh=False) as engine:
            refed = match_inputs(reported.inputs, engine.inputs, target.name)
            outputs = outputs_of(engine, refed, reported.inputs, str(target), progress=progress)
        ran = what_ran(made)
    floats, integers = _rows(reference[main]), _rows(outputs[main])
    warnings = [*said, *ran.warnings(found.kept_float)]
    if len(report) < FEW_ITEMS:
        warnings.append(
            f"Only {len(choose)} items chose the steps, and {len(report)} gave the figures: both are uncertain."
        )
    write_bytes(target, content)
    return QuantizedFile(
        out=target,
        bits=8 if precision == "int8" else 4,
        per_channel=per_channel,
        steps=found.steps,
        bytes={"float": file_bytes(source), "quantized": len(content), "weights": stored_bytes(content)},
        items={"chosen": len(chosen), "calibrated": len(calibration), "reported": len(report)},
        accuracy=_accuracy(reported, reference[main], outputs[main]),
        divergence=quality.divergence(floats, integers),
        ran=ran,
        warnings=tuple(warnings),
        seconds=time.perf_counter() - started,
    )


def halves(arrays: Arrays, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the half to choose by and of the half to report on; with labels, of each class a half.

    Examples
    --------
    >>> one, other = halves(Arrays(np.zeros((6, 2), np.float32), np.array([0, 0, 0, 0, 1, 1])))
    >>> len(one), len(other), sorted(set(one) & set(other))
    (3, 3, [])
    """
    order = np.random.default_rng(seed).permutation(len(arrays))
    if arrays.y is not None:
        order = order[np.argsort(arrays.y[order], kind="stable")]
    rng = np.random.default_rng(seed + 1)
    return rng.permutation(order[::2]), rng.permutation(order[1::2])


def kept_in_float(net: Any, wanted: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The nodes of a prepared network that stay in float, and what there is to say about those that match nothing.

    Raises
    ------
    BadFile
        If the list cannot be read.
    BadInput
        If the regular expression is none, or nothing matches.
    """
    if wanted is None:
        return (), []
    names = [node.name for node in net.graph.node]
    if not wanted.startswith("@"):
        try:
            pattern = re.compile(wanted)
        except re.error as error:
            raise BadInput(f"--keep-float {wanted!r} is not a regular expression ({error}).") from None
        found = tuple(name for name in names if pattern.search(name))
        if found:
            return found, []
        raise BadInput(f"--keep-float {wanted!r} matches no node; the nodes are {', '.join(names[:40])}.")
    file = expanded(wanted[1:])
    try:
        listed = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BadFile(f"{file} cannot be read ({reason}); --keep-float @FILE takes a name on each line.") from None
    if not listed:
        raise BadInput(f"{file} names no node to keep in float.")
    missing = [name for name in listed if name not in names]
    if len(missing) == len(listed):
        raise BadInput(
            f"None of the names in {file} is a node ({missing[0]}, ...); the nodes are {', '.join(names[:40])}."
        )
    said = [f"{file} names {name}, which is no node of the network; it changed nothing." for name in missing]
    return tuple(name for name in listed if name in names), said


def _check_request(
    source: Path,
    target: Path,
    data: PathLike | Arrays | None,
    precision: str,
    method: str | None,
    samples: int | None,
    *,
    overwrite: bool,
) -> None:
    if precision not in ("int8", "int4"):
        raise BadInput(f"precision={precision!r} is not one of int8, int4.")
    if method is not None and method not in ALL_METHODS:
        raise BadInput(f"method={method!r} is not one of {', '.join(ALL_METHODS)}.")
    if method is not None and precision == "int4":
        raise BadInput("A method chooses the ranges of activations, and with 4-bit weights those stay in float.")
    if samples is not None and samples < 1:
        raise BadInput(f"samples={samples}: at least 1 is needed.")
    if target.suffix != ".onnx":
        raise BadInput(f"{target} needs a name that ends in .onnx.")
    kind = model_format(source)
    if kind != "onnx":
        raise BadFile(f"{source} is not an ONNX file ({kind}); quantize takes a float .onnx file.")
    if data is None:
        raise BadInput(
            "Ranges come from real inputs, never from noise; name a file of some with --data, with labels y if you "
            "want to know what accuracy is lost."
        )
    read_files = [source, *([] if isinstance(data, Arrays) else [expanded(data)])]
    refuse_to_replace(target, overwrite=overwrite, inputs=read_files)


def _refuse_noise(arrays: Arrays, reported: Arrays, logits: NDArray[Any]) -> None:
    """Refuse data that calibrate nothing, unless the float network answers them rightly."""
    if reported.y is not None and logits.ndim == 2 and int(reported.y.max()) < logits.shape[1]:
        right = float((logits.argmax(axis=1) == reported.y).mean())
        shares = np.bincount(reported.y) / len(reported)
        if (
            len(shares) > 1
            and shares.max() < 1
            and right > min(ABOVE_CHANCE / logits.shape[1], 0.9)
            and right > shares.max()
        ):
            return
    for name, array in arrays.inputs.items():
        why = looks_unreal(array)
        if why and (len(arrays.inputs) == 1 or "noise" in why):
            raise BadInput(
                f"Nothing is calibrated on '{name}' of the data, for {why}; give inputs as the network meets them."
            )


def _choosing(choose: NDArray[np.intp], samples: int, seconds: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which items candidates are judged by, and which give ranges: apart where there are enough."""
    calibration = choose[:samples]
    limit = int(np.clip(JUDGED_SECONDS / max(seconds, 1e-6), 32, JUDGED_ITEMS))
    rest = choose[len(calibration) :]
    judged = rest if len(rest) >= min(limit, 128) else choose[::-1]
    return judged[:limit], calibration


def _search(
    net: Any,
    feeds: Mapping[str, NDArray[Any]],
    chosen: NDArray[np.intp],
    calibration: NDArray[np.intp],
    precision: str,
    per_channel: bool,
    method: str | None,
    kept: Sequence[str],
    progress: bool,
) -> Found:
    from tqdm.auto import tqdm

    def wrapped(name: str, items: Iterable[Any]) -> Iterable[Any]:
        shown: Iterable[Any] = tqdm(items, desc=name, disable=not progress, leave=False)
        return shown

    judge = judge_of(net, {name: array[chosen] for name, array in feeds.items()})
    given = {name: array[calibration] for name, array in feeds.items()}
    if precision == "int4":
        return search_weights(net, given, judge, per_channel=per_channel, exclude=kept, progress=wrapped)
    methods = METHODS if method is None else (method,)
    return search_static(net, given, judge, per_channel=per_channel, methods=methods, exclude=kept, progress=wrapped)


def stored_bytes(content: bytes) -> dict[str, int]:
    """Bytes of the constants of a model by element type."""
    import math

    import onnx

    sizes: dict[str, int] = {}
    for constant in onnx.load_from_string(content).graph.initializer:
        kind = onnx.helper.tensor_dtype_to_np_dtype(constant.data_type)
        bits = 4 if kind.name.endswith("int4") else 8 * kind.itemsize
        sizes[kind.name] = sizes.get(kind.name, 0) + math.ceil(math.prod(constant.dims) * bits / 8)
    return dict(sorted(sizes.items()))


def _of(arrays: Arrays, positions: NDArray[np.intp]) -> Arrays:
    return Arrays.by_name(
        {name: array[positions] for name, array in arrays.inputs.items()},
        None if arrays.y is None else arrays.y[positions],
        None if arrays.group is None else arrays.group[positions],
    )


def _rows(array: NDArray[Any]) -> NDArray[np.float32]:
    """An output as rows to compare: one for each item, or one along the last axis where there are several axes."""
    floats = array.astype(np.float32)
    several = [n for n in floats.shape[1:] if n != 1]
    return floats.reshape(len(floats), -1) if len(several) < 2 else floats.reshape(-1, floats.shape[-1])


def _accuracy(reported: Arrays, before: NDArray[Any], after: NDArray[Any]) -> Accuracy | None:
    if reported.y is None:
        return None
    one = quality.evaluate(_rows(before), None, reported.y)
    other = quality.evaluate(_rows(after), None, reported.y)
    classes = {"class": reported.y.astype(str)}
    groups = None if reported.group is None else {"group": reported.group}
    return Accuracy(
        one,
        other,
        quality.difference(one.correct, other.correct),
        quality.group_differences(one.correct, other.correct, classes),
        None if groups is None else quality.group_differences(one.correct, other.correct, groups),
    )

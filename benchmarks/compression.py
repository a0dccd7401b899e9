"""`edgelab quantize` beside other post-training quantizers: accuracy, bytes, and times as fast as the float file.

On signs_dscnn and on a copy of it with its channels rescaled by 2^U(-2.5, 2.5), for three seeds of the rescaling and of
the halves of the data: every tool calibrates on the same items, and every file is judged on the same others. NNCF,
AIMET-ONNX and litert-quantizer run in environments of their own, made by ``uv run --with``; one that cannot be had is
named. ``python benchmarks/compression.py [--seeds 3] [--only WORD...] [--json FILE]``; FILE keeps each row as soon as
it is there, and the next run goes on from it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelab import data, nets
from edgelab.compress import quantize_static, quantize_weights
from edgelab.compress.modelfile import file_bytes, prepared, read
from edgelab.convert.onnx import export
from edgelab.engines import open_engine
from edgelab.feeding.arrays import Arrays
from edgelab.files import read_json, write_bytes, write_json
from edgelab.measure.latency import measure_latency
from edgelab.measure.quality import evaluate, predict
from edgelab.posttraining.channels import channel_groups, width_out
from edgelab.posttraining.clips import as_relu
from edgelab.posttraining.graph import values, with_values
from edgelab.reading import Table
from edgelab.toolbox import quantize
from edgelab.toolbox.quantizing import halves

SAMPLES = 200
"""Items that the other tools calibrate on; ours chooses its own from the same half."""
PEERS = Path(__file__).with_name("compression_peers.py")
TIMEOUT_SECONDS = 1200
NETWORKS = ("signs_dscnn", "rescaled")


@dataclass(frozen=True)
class Case:
    """One network, and the items of one seed."""

    network: str
    seed: int
    path: Path
    tflite: Path
    arrays: Arrays
    choose: Any
    report: Any
    folder: Path

    @property
    def calibration(self) -> Any:
        """The items that the other tools calibrate on."""
        return self.arrays.x[self.choose[:SAMPLES]]


def ours(**settings: Any) -> Callable[[Case, Path], Path]:
    def make(case: Case, out: Path) -> Path:
        target = out.with_suffix(".onnx")
        quantize(case.path, target, data=case.arrays, seed=case.seed, overwrite=True, progress=False, **settings)
        return target

    return make


def ort(*, per_channel: bool) -> Callable[[Case, Path], Path]:
    return lambda case, out: (
        quantize_static(case.path, out.with_suffix(".onnx"), case.calibration, per_channel=per_channel).path
    )


def ort_weights(case: Case, out: Path) -> Path:
    return quantize_weights(case.path, out.with_suffix(".onnx"), bits=4).path


def peer(tool: str, *packages: str, tflite: bool = False, here: bool = False) -> Callable[[Case, Path], Path]:
    """A tool in an environment of its own, or (``here``) in another process of this one."""

    def make(case: Case, out: Path) -> Path:
        arrays = out.with_suffix(".npz")
        np.savez(arrays, calibration=case.calibration, report=case.arrays.x[case.report])
        words = [sys.executable] if here else ["uv", "run", "-q", "--no-project", "--python", sys.executable]
        words += [] if here else [word for package in packages for word in ("--with", package)] + ["python"]
        source = case.tflite if tflite else case.path
        words += [str(PEERS), tool, str(source), str(arrays), str(out)]
        run = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
        found = [path for suffix in (".onnx", ".tflite", ".npy") if (path := out.with_suffix(suffix)).is_file()]
        if run.returncode or not found:
            lines = [line for line in run.stderr.splitlines() if line.strip()]
            raise RuntimeError(lines[-1][:200] if lines else f"status {run.returncode}")
        return found[0]

    return make


ONNX = ("onnx", "onnxruntime")
CONTENDERS: dict[str, tuple[str, Callable[[Case, Path], Path]]] = {
    "edgelab quantize --per-tensor": ("8 bits, per tensor", ours(per_channel=False)),
    "ONNX Runtime static, per tensor": ("8 bits, per tensor", ort(per_channel=False)),
    "TFLite's converter, per tensor": ("8 bits, per tensor", peer("tflite-per-tensor", here=True)),
    "NNCF, per tensor": ("8 bits, per tensor", peer("nncf-per-tensor", "nncf", *ONNX)),
    "AIMET-ONNX, per tensor": ("8 bits, per tensor", peer("aimet-per-tensor", "aimet-onnx")),
    "AIMET-ONNX, CLE, per tensor": ("8 bits, per tensor", peer("aimet-cle-per-tensor", "aimet-onnx")),
    "edgelab quantize": ("8 bits, per channel", ours()),
    "ONNX Runtime static, per channel": ("8 bits, per channel", ort(per_channel=True)),
    "TFLite's converter": ("8 bits, per channel", peer("tflite", here=True)),
    "NNCF, defaults": ("8 bits, per channel", peer("nncf", "nncf", *ONNX)),
    "AIMET-ONNX, CLE, per channel": ("8 bits, per channel", peer("aimet-cle-per-channel", "aimet-onnx")),
    "litert-quantizer static": (
        "8 bits, per channel",
        peer("litert-quantizer", "litert-quantizer", "ai-edge-litert", tflite=True),
    ),
    "edgelab quantize --precision int4": ("4-bit weights", ours(precision="int4")),
    "edgelab quantize_weights, nearest": ("4-bit weights", ort_weights),
    "AIMET-ONNX, CLE": ("4-bit weights", peer("aimet-cle-4", "aimet-onnx")),
    "AIMET-ONNX, CLE, AdaRound 500": ("4-bit weights", peer("aimet-cle-adaround-4", "aimet-onnx")),
    "litert-quantizer weights": (
        "4-bit weights",
        peer("litert-quantizer-4", "litert-quantizer", "ai-edge-litert", tflite=True),
    ),
}


def rescaled(path: Path, out: Path, seed: int) -> Path:
    """A copy that computes the same, but for its ReLU6, which are ReLU, with channels rescaled by 2^U(-2.5, 2.5)."""
    with prepared(path) as ready:
        model = as_relu(read(ready)).model
    rng, known = np.random.default_rng(seed), values(model)
    for group in channel_groups(model):
        scale = 2.0 ** rng.uniform(-2.5, 2.5, width_out(group.producers[0], known))
        for layer in group.producers:
            weight, bias = known[layer.weight], known[layer.bias or ""]
            known[layer.weight] = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
            known[layer.bias or ""] = bias / scale
        for layer in group.consumers:
            weight = known[layer.weight]
            places = weight.shape[1] // len(scale) if layer.groups == 1 else 1  # a flattened channel has several
            shape = [1, -1] if layer.groups == 1 else [-1, 1]
            known[layer.weight] = weight * np.repeat(scale, places).reshape(*shape, *[1] * (weight.ndim - 2))
    made = with_values(model, {n: a.astype(np.float32) for n, a in known.items() if a.dtype.kind == "f"})
    write_bytes(out, made.SerializeToString())
    x = data.load("signs").test.x[:64]
    before = write_bytes(out.with_suffix(".relu.onnx"), model.SerializeToString())
    with open_engine(before) as one, open_engine(out) as other:
        off = np.abs(one.predict(x) - other.predict(x)).max()
    if off > 1e-3:
        raise RuntimeError(f"the rescaled copy is off by {off}")
    return out


def float_tflite(path: Path, out: Path) -> Path:
    """The float .tflite file of an .onnx file, by way of PyTorch, channels last."""
    import onnx
    import onnx2torch
    import torch

    from edgelab.convert import to_tflite

    model = onnx.load(path)
    net = onnx2torch.convert(model).eval()
    to_tflite(net, torch.from_numpy(data.load("signs").test.x[:1]), out)
    return out


def row(case: Case, name: str) -> dict[str, Any]:
    kind, make = CONTENDERS[name]
    labels, x = case.arrays.y[case.report], case.arrays.x[case.report]
    try:
        made = make(case, case.folder / f"{case.network}-{case.seed}-{list(CONTENDERS).index(name)}")
        if made.suffix == ".npy":
            return {"kind": kind, "accuracy": evaluate(np.load(made), None, labels).accuracy.value, "simulated": True}
        with open_engine(made) as engine, open_engine(case.path) as reference:
            logits = predict(engine, x)
            times = measure_latency({"float": reference, "made": engine}, x[:1], 200)
        speed = times.speed_up("made", over="float")
    except Exception as error:  # noqa: BLE001 - the table says why a tool gave nothing
        return {"kind": kind, "failed": " ".join(str(error).split())[:200] or type(error).__name__}
    return {
        "kind": kind,
        "accuracy": evaluate(logits, None, labels).accuracy.value,
        "bytes": file_bytes(made),
        "speed_up": [speed.value, speed.low, speed.high],
    }


def table(found: dict[str, dict[str, Any]]) -> Table:
    """Mean over the seeds: points against the float file, bytes, times as fast."""
    rows = []
    for network in NETWORKS:
        floats = {
            key.split("|")[1]: kept["accuracy"]
            for key, kept in found.items()
            if key.startswith(f"{network}|") and key.endswith("|float")
        }
        for name, (kind, _) in CONTENDERS.items():
            kept = {s: found[f"{network}|{s}|{name}"] for s in floats if f"{network}|{s}|{name}" in found}
            if not kept:
                continue
            good = {s: k for s, k in kept.items() if "accuracy" in k}
            if not good:
                rows.append((network, kind, name, next(iter(kept.values()))["failed"][:90], "", "", "", ""))
                continue
            lost = [floats[s] - k["accuracy"] for s, k in good.items()]
            sizes = [k["bytes"] for k in good.values() if "bytes" in k]
            speed = [k["speed_up"][0] for k in good.values() if "speed_up" in k]
            rows.append((
                network, kind, name, f"{np.mean([k['accuracy'] for k in good.values()]):.2f}",
                f"{np.mean(lost):+.2f} ({min(lost):+.2f} to {max(lost):+.2f})", str(len(good)),
                f"{round(np.mean(sizes)):,}" if sizes else "simulated", f"{np.median(speed):.2f}" if speed else "",
            ))  # fmt: skip
    columns = ("network", "kind", "tool", "right %", "points lost (of the seeds)", "seeds", "bytes", "times as fast")
    seeds = len({key.split("|")[1] for key in found})
    return Table(
        "Post-training quantizers",
        columns,
        rows,
        f"Measured on the half of the test items that no tool saw, of up to {seeds} seeds; {verdict(found)}",
    )


def verdict(found: dict[str, dict[str, Any]]) -> str:
    """Where ours is not within 0.2 points of the best of the others at the same width, on the seeds that both have."""
    said = []
    for network in NETWORKS:
        for kind in dict.fromkeys(kind for kind, _ in CONTENDERS.values()):
            right: dict[str, dict[str, float]] = {}
            for name in (n for n, (k, _) in CONTENDERS.items() if k == kind):
                kept = {key.split("|")[1]: k for key, k in found.items() if key.split("|")[::2] == [network, name]}
                right[name] = {seed: k["accuracy"] for seed, k in kept.items() if "accuracy" in k}
            ours, *others = right  # ours stands first of its kind
            shared = {n: sorted(set(right[ours]) & set(right[n])) for n in others}
            gaps = {n: np.mean([right[ours][s] - right[n][s] for s in seeds]) for n, seeds in shared.items() if seeds}
            if gaps:
                best = min(gaps, key=lambda n: gaps[n])
                holds = "holds" if gaps[best] >= -0.2 else "does not hold"
                seeds = f"{len(shared[best])} seed" + "s" * (len(shared[best]) > 1)
                said.append(f"{network}, {kind}: {gaps[best]:+.2f} points against {best} ({seeds}; {holds})")
    return "ours against the best of the others: " + "; ".join(said) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="contenders whose name holds one of these words")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = read_json(options.json) if options.json and options.json.exists() else {}
    test = data.load("signs").test
    arrays = Arrays(test.x, test.y)
    chosen = [n for n in CONTENDERS if not options.only or any(word in n for word in options.only)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net: Any = nets.load("signs_dscnn")
        plain = export(getattr(net, "net", net), test.x[:1], folder / "signs_dscnn.onnx").path
        for seed in range(options.seeds):
            choose, report = halves(arrays, seed)
            for network in NETWORKS:
                todo = [n for n in chosen if f"{network}|{seed}|{n}" not in found]
                if not todo:
                    continue
                path = plain if network == "signs_dscnn" else rescaled(plain, folder / f"rescaled-{seed}.onnx", seed)
                tflite = folder / f"{network}-{seed}.tflite"
                if any("litert" in n for n in todo):
                    float_tflite(path, tflite)
                case = Case(network, seed, path, tflite, arrays, choose, report, folder)
                with open_engine(path) as engine:
                    right = evaluate(predict(engine, test.x[report]), None, test.y[report]).accuracy.value
                found[f"{network}|{seed}|float"] = {"kind": "float", "accuracy": right, "bytes": file_bytes(path)}
                for contender in todo:
                    found[f"{network}|{seed}|{contender}"] = row(case, contender)
                    if options.json:
                        write_json(options.json, found)
    print(table(found))


if __name__ == "__main__":
    main()

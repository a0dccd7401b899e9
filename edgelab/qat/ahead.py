"""Figures of quantization-aware training that take longer than a lab may: made ahead, kept as JSON, made again.

``python -m edgelab.qat.ahead`` makes every run that the file does not hold yet and saves after each; with
``--anew`` it forgets them first. Each run says what it did, on what and when, and keeps counts of items, from which
paired intervals follow: how many were right before, how many of these were lost, and how many were won.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelab.errors import BadFile, BadInput
from edgelab.files import write_bytes, write_json
from edgelab.nets import ahead
from edgelab.nets.ahead import Run, selected

if TYPE_CHECKING:
    from torch import fx, nn

    from edgelab.data.dataset import Dataset
    from edgelab.qat.training import Trained

FOLDER = Path(__file__).parent / "made"
FILE = FOLDER / "qat.json"
NETWORK = "signs_dscnn"
SEEDS = (0, 1, 2)
STEPS = 250
EPOCHS, EPOCH_ITEMS, EPOCH_BATCH = 10, 2000, 32
SCHEDULES = {"never": None, "after 3 of 10 epochs": 3, "from the start": 0}
PT2E_STEPS = 20
CONTROL_BITS = (32, 8, 4, 3, 2)
"""Of the network that is trained on without rounding: as it is, in 32-bit floats, and quantized after that training."""
LIMITS = {8: 0.5, 4: 1.5}
"""Points against float32 within which the claims Q10 (8 bits) and Q11 (4 bits) place quantization-aware training."""

Report = Callable[[int, int], None]


def planned() -> list[Run]:
    """Every run that belongs into the file: what identifies it, without results."""
    kinds = [(8, True, 8), (4, True, 8), (3, True, 8), (2, True, 8), (8, False, 8), (4, False, 8), (4, True, None)]
    runs: list[Run] = [
        {"what": "ptq", "bits": bits, "per_channel": each, "edge_bits": edge, "seed": 0} for bits, each, edge in kinds
    ]
    for seed in SEEDS:
        for bits, each, edge in kinds:
            runs.append({"what": "qat", "bits": bits, "per_channel": each, "edge_bits": edge, "seed": seed})
    for seed in SEEDS:
        runs += [{"what": "freezing", "bits": 3, "schedule": name, "seed": seed} for name in SCHEDULES]
    for seed in SEEDS:
        runs += [{"what": "control", "bits": bits, "seed": seed} for bits in CONTROL_BITS]
    return runs + [{"what": "pt2e", "bits": 8, "activation": name, "seed": 0} for name in ("relu6", "relu")]


def read(path: Path = FILE) -> dict[str, Any]:
    """What the file holds: ``date``, ``machine``, ``recipe``, ``runs``, ``judged``; BadFile if it is none."""
    return ahead.read(path, "quantization-aware training", ("runs", "judged", "date", "machine"))


def make(path: Path = FILE, *, anew: bool = False, runs: list[Run] | None = None) -> Iterator[Run]:
    """Make the runs that ``path`` lacks, one a step of the iterator, and save after each.

    Parameters
    ----------
    path
        The JSON file.
    anew
        Forget what it holds first.
    runs
        Some of those `planned`; by default all.
    """
    from edgelab import data, nets

    known: list[Run] = [] if anew or not path.is_file() else read(path)["runs"]
    net, signs = nets.load(NETWORK), data.signs(seed=0)
    make_one = functools.partial(_made, net=net, signs=signs, folder=path.parent, controls={})
    yield from ahead.complete(
        known, planned() if runs is None else runs, lambda run: [make_one(run)], lambda every: _save(path, every)
    )


def correct(run: Run) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which test items were right before and after, in some order: the counts of a run, spelt out for paired tests."""
    counts = [run["items"] - run["before"] - run["won"], run["won"], run["before"] - run["lost"], run["lost"]]
    before = np.repeat([False, False, True, True], counts)
    after = np.repeat([False, True, True, False], counts)
    return before, after


def points_lost(run: Run) -> float:
    """Points of test accuracy lost against float32."""
    return 100 * float(run["lost"] - run["won"]) / float(run["items"])


def judge(runs: list[Run]) -> list[dict[str, Any]]:
    """The sentences that rest on these runs, each with ``held``: whether the mean over the seeds keeps to it."""
    judged = []
    for bits, limit in LIMITS.items():
        losses = [points_lost(r) for r in selected(runs, what="qat", bits=bits, per_channel=True, edge_bits=8)]
        if losses:
            mean = sum(losses) / len(losses)
            says = f"QAT per channel at {bits} bits ends within {limit} points of float32"
            judged.append({"says": says, "bits": bits, "limit": limit, "seeds": len(losses), "mean": round(mean, 4)})
            judged[-1]["held"] = mean <= limit
    waits = [points_lost(r) for r in selected(runs, what="freezing", schedule="after 3 of 10 epochs")]
    never = [points_lost(r) for r in selected(runs, what="freezing", schedule="never")]
    if waits and len(waits) == len(never):
        gain = [b - a for a, b in zip(waits, never, strict=True)]
        says = "Freezing after 3 of 10 epochs beats never freezing, for every seed"
        judged.append({"says": says, "seeds": len(gain), "mean": round(sum(gain) / len(gain), 4)})
        judged[-1]["held"] = min(gain) > 0
    for bits in (8, 4, 3, 2):
        found = against_control(runs, bits)
        if len(found) > 1:
            says = f"At {bits} bits QAT loses less than as much training alone and quantizing after it, for every seed"
            mean = round(sum(found) / len(found), 4)
            judged.append({"says": says, "control_bits": bits, "seeds": len(found), "mean": mean})
            judged[-1]["held"] = min(found) > 0
    return judged


def against_control(runs: list[Run], bits: int) -> list[float]:
    """Points by which QAT with ``bits``, per channel, is better than its control, seed by seed."""
    trained = {r["seed"]: points_lost(r) for r in selected(runs, what="qat", bits=bits, per_channel=True, edge_bits=8)}
    control = {r["seed"]: points_lost(r) for r in selected(runs, what="control", bits=bits)}
    return [control[seed] - trained[seed] for seed in sorted(trained.keys() & control.keys())]


def make_again(run: Run, net: nn.Module, signs: Dataset, steps: int = STEPS, report: Report | None = None) -> Run:
    """One run of the file anew, on this machine, of all its steps or fewer; nothing is written.

    ``report`` is called with the steps that are done and with all; without it there is a progress bar.
    """
    results = ("date", "machine", "recipe", "seconds", "items", "before", "lost", "won", "validation_by_epoch")
    wanted = {key: value for key, value in run.items() if key not in results}
    return _made(wanted, net, signs, None, steps=steps, progress=report is None, report=report)


def restored(bits: int) -> fx.GraphModule:
    """The prepared network of the run with ``bits``, per channel and seed 0, batch norm folded.

    Raises
    ------
    BadInput
        If no such network was kept.
    BadFile
        If its file is damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from edgelab import nets
    from edgelab.qat.prepare import activations, layers, prepare

    path = FOLDER / f"qat_{bits}_bits.safetensors"
    if not path.is_file():
        raise BadInput(f"No network trained with {bits} bits was kept; there are 8 and 4.")
    network = prepare(nets.load(NETWORK), bits)
    try:
        state = load(path.read_bytes())
        for name, layer in layers(network).items():
            layer.layer.weight = torch.nn.Parameter(state[f"{name}.weight"])
            layer.layer.bias = torch.nn.Parameter(state[f"{name}.bias"])
        for name, activation in activations(network).items():
            low, high = state[f"range.{name}"].tolist()
            activation.known = (low, high)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise BadFile(f"{path} is not a whole network ({error}).") from None
    return network


def _made(
    wanted: Run,
    net: nn.Module,
    signs: Dataset,
    folder: Path | None,
    *,
    steps: int = STEPS,
    progress: bool = False,
    report: Report | None = None,
    controls: dict[int, Trained] | None = None,
) -> Run:
    from edgelab.nets.trainer import predict_logits
    from edgelab.qat.training import Freeze, qat

    before = predict_logits(net, signs.test.x).argmax(axis=1) == signs.test.y
    run = {**wanted, **_here()}
    if wanted["what"] == "pt2e" and folder is not None:
        return {**run, **_pt2e(wanted, net, signs, folder)}
    if wanted["what"] == "control":
        controls, seed = {} if controls is None else controls, wanted["seed"]
        if seed not in controls:
            controls[seed] = trained_on(net, signs, seed, steps)
        done = _control(wanted["bits"], signs, controls[seed])
    elif wanted["what"] == "freezing":
        part = replace(signs, train=signs.train.subset(EPOCH_ITEMS, seed=0))
        epoch = EPOCH_ITEMS // EPOCH_BATCH
        after = SCHEDULES[wanted["schedule"]]
        seen = signs.validation.subset(500, seed=0)
        curve: list[float] = []

        def watch(step: int, network: fx.GraphModule) -> None:
            if step % epoch == 0:
                network.eval()
                curve.append(float(100 * np.mean(predict_logits(network, seen.x).argmax(axis=1) == seen.y)))

        at = None if after is None else after * epoch
        done = qat(
            net, part, wanted["bits"], steps=EPOCHS * epoch, batch_size=EPOCH_BATCH, seed=wanted["seed"],
            freeze=Freeze(at, at), threads=1, progress=progress, watch=watch,
        )  # fmt: skip
        run["validation_by_epoch"] = [round(value, 2) for value in curve]
    else:
        settings = {"per_channel": wanted["per_channel"], "edge_bits": wanted["edge_bits"], "seed": wanted["seed"]}
        count = steps if wanted["what"] == "qat" else 0
        told = None if report is None else lambda number, _: report(number, count)
        done = qat(net, signs, wanted["bits"], steps=count, threads=1, progress=progress, watch=told, **settings)
        keep = wanted["what"] == "qat" and wanted["bits"] in LIMITS and wanted["per_channel"]
        if folder is not None and keep and wanted["edge_bits"] == 8 and wanted["seed"] == 0:
            _keep(done.network, folder / f"qat_{wanted['bits']}_bits.safetensors")
    after_right = done.predict(signs.test.x).argmax(axis=1) == signs.test.y
    run["recipe"] = done.recipe
    run["seconds"] = round(done.seconds, 1)
    run["items"], run["before"] = len(before), int(before.sum())
    run["lost"], run["won"] = int((before & ~after_right).sum()), int((~before & after_right).sum())
    return run


def trained_on(net: nn.Module, dataset: Dataset, seed: int = 0, steps: int = STEPS) -> Trained:
    """``net`` trained on exactly as in quantization-aware training, but that nothing is rounded: the control."""
    from edgelab.qat.rules import Rules
    from edgelab.qat.training import qat

    rules = Rules(fake_quantize=lambda x, *_: x)
    return qat(net, dataset, 8, steps=steps, threads=1, seed=seed, rules=rules, progress=False)


def _control(bits: int, signs: Dataset, trained: Trained) -> Trained:
    """That network as it is (32 bits), or quantized after its training, one scale for each channel."""
    from edgelab.qat.training import qat

    if bits == 32:
        return trained
    made = qat(trained.plain()[0], signs, bits, steps=0, threads=1, progress=False)
    return replace(made, recipe=trained.recipe, seconds=trained.seconds)


def _pt2e(wanted: Run, net: nn.Module, signs: Dataset, folder: Path) -> Run:
    """The flow of torchao with ReLU6 as it stands, or with ReLU in its place; the file is kept."""
    from edgelab.compress.modelfile import session
    from edgelab.nets.trainer import predict_logits
    from edgelab.qat.torch_tools import pt2e_onnx, relu_only

    before = predict_logits(net, signs.test.x).argmax(axis=1) == signs.test.y
    order = np.random.default_rng(wanted["seed"]).permutation(len(signs.train.y))[: PT2E_STEPS * EPOCH_BATCH]
    batches = [(signs.train.x[i], signs.train.y[i]) for i in np.split(order, PT2E_STEPS)]
    start = relu_only(net) if wanted["activation"] == "relu" else net
    made = pt2e_onnx(start, batches, folder / f"pt2e_{wanted['activation']}.onnx")
    runtime = session(made.path.read_bytes())
    name = runtime.get_inputs()[0].name
    answers = np.concatenate([runtime.run(None, {name: x[None]})[0].argmax(axis=1) for x in signs.test.x])
    after = answers == signs.test.y
    return {
        "recipe": {"steps": PT2E_STEPS, "batch_size": EPOCH_BATCH, "quantizer": "xnnpack"},
        "seconds": round(made.seconds, 1),
        "items": len(before),
        "before": int(before.sum()),
        "lost": int((before & ~after).sum()),
        "won": int((~before & after).sum()),
    }


def _keep(network: fx.GraphModule, path: Path) -> None:
    import torch
    from safetensors.torch import save

    from edgelab.qat.prepare import activations, layers

    state = {}
    for name, layer in layers(network).items():
        weight, bias = layer.folded()
        state[f"{name}.weight"], state[f"{name}.bias"] = weight.detach().contiguous(), bias.detach().contiguous()
    for name, activation in activations(network).items():
        state[f"range.{name}"] = torch.tensor(activation.known, dtype=torch.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, save(state))


def _save(path: Path, runs: list[Run]) -> None:
    content = {
        "recipe": "python -m edgelab.qat.ahead",
        "network": NETWORK,
        "date": max(run["date"] for run in runs),
        "machine": _here()["machine"],
        "judged": judge(runs),
        "runs": runs,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def _here() -> Run:
    """Date and machine of a run that is made now; all of them run in one thread."""
    found = ahead.here()
    return {**found, "machine": f"one thread of {found['machine']}, {platform.system()}"}


if __name__ == "__main__":
    from tqdm.auto import tqdm

    given = ahead.command_line("Train the networks of the lab `qat` again.", FILE)
    for _ in tqdm(make(given.file, anew=given.anew), desc="runs made", unit="run"):
        pass

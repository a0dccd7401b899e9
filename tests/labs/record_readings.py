"""What a run's findings were made of, recorded on one real machine, and a slower and a busier one derived from it.

    uv run edgelab run quantization --out FOLDER
    uv run python tests/labs/record_readings.py FOLDER/quantization.ipynb

writes ``readings/{fast,slow,busy}/quantization.json``. Only the first is a recording. The other two were **made for the
test**: `CHANGES` says in words and in code what was done to the recording, and each file repeats the words.
"""

import datetime as dt
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgelab.course.findings import FINDING_MIME, from_data, to_data
from edgelab.measure.machine import machine
from edgelab.reading import Reading

READINGS = Path(__file__).parent / "readings"
MACHINES = ("fast", "slow", "busy")
BUSY = "Other programs kept 63 percent of the machine busy."
Change = Callable[[list], list]


def scaled(reading: Reading, factor: float) -> Reading:
    """A reading and its interval times a factor."""
    ends = {"low": reading.low * factor, "high": reading.high * factor} if reading.low is not None else {}
    return replace(reading, value=reading.value * factor, **ends)


def shifted(reading: Reading, by: float) -> Reading:
    """A reading and its interval moved."""
    ends = {"low": reading.low + by, "high": reading.high + by} if reading.low is not None else {}
    return replace(reading, value=reading.value + by, **ends)


def turned_round(ratio: Reading) -> Reading:
    """A over B as B over A."""
    return replace(ratio, value=1 / ratio.value, low=1 / ratio.high, high=1 / ratio.low)


def each_reading(argument, change: Callable[[Reading], Reading]):
    """An argument with ``change`` applied to every reading in it."""
    if isinstance(argument, list):
        return [each_reading(entry, change) for entry in argument]
    if isinstance(argument, dict):
        return {key: each_reading(value, change) for key, value in argument.items()}
    return change(argument) if isinstance(argument, Reading) else argument


def without_others(argument):
    """An argument without the doubt that other programs ran meanwhile."""
    others = re.compile(r" ?Other programs kept [^.]*\.")
    return each_reading(argument, lambda r: replace(r, doubt=others.sub("", r.doubt).strip()))


def doubted(argument):
    """Every measured time and ratio of times in an argument as a race gives it on a busy machine: in doubt."""

    def doubt(reading: Reading) -> Reading:
        timed = reading.unit in ("x", "ms") and reading.how == "measured" and reading.low is not None
        return replace(reading, doubt=BUSY) if timed else reading

    return each_reading(argument, doubt)


CHANGES: dict[str, dict[str, tuple[str, Change]]] = {
    "start": {
        "stopwatch": ("a first run and a slowest run near the median", lambda _: [1.2, 1.3]),
        "batches": (
            "the speed-ups turned round, as where PyTorch has kernels that ONNX Runtime lacks",
            lambda a: [{batch: turned_round(ratio) for batch, ratio in a[0].items()}],
        ),
        "budget": (
            "a p99 of 160 times as much",
            lambda a: [{**a[0], "deadline": scaled(a[0]["deadline"], 160.0)}, a[1]],
        ),
        "threads": (
            "the ratios times 4, as where two threads share one core",
            lambda a: [{name: scaled(ratio, 4.0) for name, ratio in a[0].items()}],
        ),
        "meets": (
            "a race in the notebook whose ratio is 40 % larger",
            lambda a: [{n: 1.4 * r for n, r in a[0].items()}, a[1]],
        ),
        "benchmark": ("a published benchmark that had luck", lambda _: [1.01, 1.04]),
        "answer": ("a broken deadline", lambda a: [{**a[0], "deadline": "broken"}]),
        "recap": (
            "the ratios times 0.2",
            lambda a: [scaled(a[0], 0.2), a[1], {b: scaled(r, 0.2) for b, r in a[2].items()}],
        ),
    },
    "quantization": {
        "speed": (
            "the speed-up of INT8 times 0.4, as on a processor without instructions for sums of bytes",
            lambda a: [scaled(a[0], 0.4)],
        ),
        "profile": (
            "the speed-up times 0.4, 31 % of the time in conversions and 58 % in integers",
            lambda a: [scaled(a[0], 0.4), 58.0, 31.0],
        ),
        "scales": (
            "3 points more lost with a scale for each channel, as where sums of two products saturate",
            lambda a: [a[0], shifted(a[1], 3.0)],
        ),
        "simulation": (
            "3 points more lost by the integer runtime, as where sums of two products saturate",
            lambda a: [a[0], shifted(a[1], 3.0), 88.0],
        ),
        "recap_groups": ("no group that pays more than all together", lambda a: [a[0], a[1], a[0].value]),
        "recap_scales": (
            "3 points less gained by a scale for each channel, and its time times 1.3",
            lambda a: [shifted(a[0], -6.0), scaled(a[1], 1.3)],
        ),
        "dynamic": (
            "a tool that does as it is asked",
            lambda a: [{name: [entry[1], *entry[1:]] for name, entry in a[0].items()}],
        ),
        "backends": (
            "every backend as right as the best of them, as on an Arm processor",
            lambda a: [dict.fromkeys(a[0], max(a[0].values(), key=lambda r: r.value)), a[1]],
        ),
    },
    "ota": {
        "attacks": ("the signed old release taken", lambda a: [[*a[0][:-1], [a[0][-1][0], "updated", 3, 1]]]),
        "recap": ("an updater that leaves 4 states not well", lambda a: [a[0], 4, *a[2:]]),
        "gates": (
            "9 points more false alarms of the e-process, which finds a bad release three times as late",
            lambda a: [a[0], a[1], shifted(a[2], 9.0), a[3], scaled(a[4], 3.0), *a[5:]],
        ),
        "fleet": (
            "a rollout that nothing stopped, on a slower machine",
            lambda a: [shifted(a[0], 100.0 - a[0].value), a[1], False, 0, 40.0],
        ),
    },
    "pruning": {
        "trained_on": ("10 points more lost after training on", lambda a: [a[0], a[1], shifted(a[2], 10.0), a[3]]),
        "torch_prune": ("another choice of weights", lambda a: [False, a[1], a[2]]),
        "peer": ("no torch-pruning installed", lambda a: [a[0], [], []]),
        "files": (
            "the speed-up of the sparse file times 3, that of the narrow one times 0.4, as where kernels skip zeros",
            lambda a: [*a[:3], scaled(a[3], 3.0), a[4], scaled(a[5], 0.4)],
        ),
        "removed": (
            "a sparse file with half of the MACs, for which other operators ran",
            lambda a: [a[0], {**a[1], "sparse": 0.5}, {**a[2], "sparse": False}],
        ),
        "rounds": (
            "both gains turned into losses of 14 points",
            lambda a: [a[0], a[1], *(shifted(g, -14.0 - g.value) for g in a[2:])],
        ),
        "ahead": (
            "nothing held",
            lambda a: [[{**j, "held": False} for j in a[0]], a[1], a[2]],
        ),
        "recap_zeros": (
            "10 points more lost, and the speed-up times 3, as where kernels skip zeros",
            lambda a: [a[0], shifted(a[1], 10.0), scaled(a[2], 3.0)],
        ),
        "recap_filters": (
            "the speed-up times 0.4",
            lambda a: [a[0], a[1], scaled(a[2], 0.4), *a[3:]],
        ),
        "recap_ticket": (
            "the ticket 5 points worse, and the control better than the dense network",
            lambda a: [shifted(a[0], 5.0), shifted(a[1], -10.0 - a[1].value)],
        ),
    },
    "coreml": {
        "agreement": ("97 % of the answers as PyTorch's", lambda a: [shifted(a[0], 97.0 - a[0].value)]),
        "met": ("a palette with 1.4 times the error", lambda a: [a[0], 1.4]),
        "palettes": ("a grouped palette that loses as much", lambda a: [a[0], a[0], a[2]]),
        "recap_engine": ("no operator that falls back", lambda a: [a[0], shifted(a[1], -a[1].value)]),
    },
    "qat": {
        "freezing": ("a delay that wins for every seed", lambda _: [True, 0.6, 0.2, 1.1]),
        "training": (
            "a training that changes nothing",
            lambda a: [a[0], a[0], shifted(a[2], -a[2].value)],
        ),
        "file": (
            "a file that loses 2 points, with three layers in float",
            lambda a: [{**a[0], "ONNX Runtime": shifted(a[0]["ONNX Runtime"], -2.0)}, a[1], 3],
        ),
        "ran": (
            "a runtime with kernels for every file",
            lambda a: [a[0], dict.fromkeys(a[1], 0), dict.fromkeys(a[2], 0), {name: {} for name in a[3]}],
        ),
        "relu6": ("the two files in the other order", lambda a: [turned_round(a[0]), *a[1:]]),
        "bits": (
            "losses beyond both limits, and 5 points lost without training",
            lambda a: [[{**entry, "held": False} for entry in a[0]], a[1], shifted(a[2], 5.0)],
        ),
        "control": (
            "nothing gained over training alone, which costs 5 points",
            lambda a: [[{**entry, "held": False} for entry in a[0]], shifted(a[1], 6.0)],
        ),
        "closing": ("kernels for 4-bit convolutions", lambda a: [a[0], a[1], 0, a[3]]),
        "recap": ("4 points more lost after training", lambda a: [a[0], shifted(a[1], 4.0), *a[2:]]),
    },
    "distillation": {
        "live": ("100 points less gained", lambda a: [shifted(a[0], -100.0), *a[1:]]),
        "drift": ("a teacher that loses nothing", lambda a: [shifted(a[0], -a[0].value), *a[1:]]),
        "met": ("a tenth of the loss apart", lambda _: [0.1, 0.2]),
        "runtime": ("the speed-up turned round", lambda a: [turned_round(a[0]), *a[1:]]),
        "groups": ("every gain turned into a loss", lambda a: [{n: shifted(g, -100.0) for n, g in a[0].items()}]),
        "order": ("30 points less for the order by importance", lambda a: [shifted(a[0], -30.0), *a[1:]]),
        "text_student": (
            "the speed-up turned round, and 50 points less lost",
            lambda a: [turned_round(a[0]), shifted(a[1], -50.0), a[2]],
        ),
        "heads": ("the speed-up turned round", lambda a: [turned_round(a[0]), *a[1:]]),
        "dynamic": (
            "10 points more lost, and every speed-up turned round",
            lambda a: [
                {n: shifted(r, 10.0) for n, r in a[0].items()},
                {n: scaled(r, 0.1) for n, r in a[1].items()},
                a[2],
            ],
        ),
        "few": ("50 points less gained", lambda a: [{n: shifted(g, -50.0) for n, g in a[0].items()}, *a[1:]]),
        "soft": ("a gain within the noise", lambda a: [dict.fromkeys(a[0], False), *a[1:]]),
        "privilege": (
            "a gain that may be none",
            lambda a: [replace(a[0], value=0.1, low=-1.0, high=1.2), *a[1:]],
        ),
        "features": ("every gain 50 points less", lambda a: [{n: shifted(g, -50.0) for n, g in a[0].items()}]),
        "pruned": ("100 points more for the student", lambda a: [{t: shifted(g, 100.0) for t, g in a[0].items()}]),
        "recap": ("100 points less gained", lambda a: [{t: shifted(g, -100.0) for t, g in a[0].items()}, a[1]]),
    },
    "lowrank": {
        "energy": ("a rule that saves nothing, and answers that need all", lambda a: [450, 512, a[2], 1.0]),
        "trained_on": ("60 points less brought back", lambda a: [shifted(a[0], -60.0), *a[1:]]),
        "in_time": ("no rank in time", lambda a: [0, *a[1:]]),
        "lora": ("80 points less gained", lambda a: [shifted(a[0], -80.0), *a[1:]]),
        "merged": (
            "half the time beside the layers, twice the time merged, and logits as far apart as they are large",
            lambda a: [scaled(a[0], 0.5), scaled(a[1], 2.0), a[3], a[3]],
        ),
        "tools": ("a decomposition that is 5 % above the best", lambda a: [{**a[0], "yours": 5.0}]),
        "device": (
            "every speed-up a fifth, and 20 points more lost",
            lambda a: [
                {n: scaled(r, 0.2) for n, r in a[0].items()},
                {n: shifted(r, 20.0) for n, r in a[1].items()},
                *a[2:],
            ],
        ),
        "where": ("every speed-up a fifth", lambda a: [{n: scaled(r, 0.2) for n, r in a[0].items()}]),
        "ahead": ("nothing held", lambda a: [{t: dict.fromkeys(held, False) for t, held in a[0].items()}, *a[1:]]),
        "convolutions": ("50 points less lost", lambda a: [shifted(r, -50.0) for r in a]),
        "recap": ("every speed-up a fifth", lambda a: [*(scaled(r, 0.2) for r in a[:3]), a[3]]),
    },
    "search": {
        "counted": ("a count that is one block short", lambda a: [a[0], a[1] - 1000, a[2]]),
        "predictor": ("100 points less gained", lambda a: [shifted(a[0], -100.0), *a[1:]]),
        "proxies": (
            "every rank correlation higher by 1",
            lambda a: [{n: shifted(g, 1.0) for n, g in a[0].items()}, a[1]],
        ),
        "live": ("50 points less gained", lambda a: [shifted(a[0], -50.0), *a[1:]]),
        "cheating": ("a lead of nothing", lambda a: [a[0], 0.0, a[2]]),
        "costs": ("a file and an arena of other sizes", lambda a: [a[0], a[1], a[2] + 8, a[3], a[4] + 16]),
        "time": ("a winner 9 times as slow", lambda a: [scaled(a[0], 9.0), a[1]]),
        "widths": ("widths that all take as long as predicted", lambda _: [[1.0] * 3, [1.0] * 6]),
        "rounded": ("a narrower network 9 times as slow", lambda a: [scaled(a[0], 9.0), *a[1:]]),
        "winner": ("10 points less", lambda a: [a[0], a[1], shifted(a[2], -10.0)]),
        "ahead": (
            "nothing shown, and 50 points less for evolution",
            lambda a: [dict.fromkeys(a[0], False), shifted(a[1], -50.0), *a[2:]],
        ),
        "hand": (
            "nothing shown, and 90 points less for both",
            lambda a: [dict.fromkeys(a[0], False), shifted(a[1], -90.0), shifted(a[2], -90.0), a[3]],
        ),
        "recap": ("90 points less for each", lambda a: [shifted(reading, -90.0) for reading in a]),
        "recap_cheap": (
            "every rank correlation higher by 1",
            lambda a: [{n: shifted(g, 1.0) for n, g in a[0].items()}, a[1]],
        ),
    },
    "privacy": {
        "stops": ("no way that stops it", lambda a: [dict.fromkeys(a[0], 0.001), a[1]]),
        "members": (
            "an attack on the private network that wins 60 % of the pairs",
            lambda a: [a[0], shifted(a[1], 60.0 - a[1].value), *a[2:]],
        ),
        "broken": ("no seed found", lambda a: [*a[:2], False]),
        "conflict": ("no sum refused", lambda a: [*a[:3], a[4], a[4]]),
        "dial": (
            "40 points more lost",
            lambda a: [{n: {e: shifted(r, 40.0) for e, r in rows.items()} for n, rows in a[0].items()}, a[1]],
        ),
    },
    "federated": {
        "live": ("12 points less behind", lambda a: [shifted(a[0], -12.0), *a[1:]]),
        "drift": (
            "8 points more lost by many passes, and 8 more gained by each pull",
            lambda a: [shifted(a[0], 8.0), {mu: shifted(gain, 8.0) for mu, gain in a[1].items()}, *a[2:]],
        ),
        "engines": (
            "a tenth of a weight apart, and the speed-ups turned round",
            lambda a: [0.1, {name: turned_round(ratio) for name, ratio in a[1].items()}, a[2]],
        ),
        "late": ("every client in time", lambda a: [*a[:2], dict.fromkeys(a[2], 0), a[3]]),
        "pays": ("no client that gains", lambda a: [*a[:3], 0, a[3] + a[4], *a[5:]]),
        "recap": (
            "10 points less behind everywhere",
            lambda a: [{name: shifted(gap, -10.0) for name, gap in part.items()} for part in a],
        ),
    },
    "tflite": {
        "silent": (
            "every way with an error, and nothing lost",
            lambda a: [dict.fromkeys(a[0], "Cannot set tensor"), a[1], a[1]],
        ),
        "files": ("5 points more lost by int8", lambda a: [{**a[0], "int8": shifted(a[0]["int8"], 5.0)}]),
        "noise": ("1.5 points less lost by the noise", lambda a: [shifted(a[0], -1.5), *a[1:]]),
        "torch": (
            "no TRANSPOSE that stays, and other answers on 3 images as traced",
            lambda a: [{**a[0], "PyTorch, channels last": 0}, {**a[1], "PyTorch, as traced": 3}, a[2]],
        ),
        "xnnpack": (
            "every speed-up times 0.3, as on a processor for which there are no such kernels",
            lambda a: [scaled(ratio, 0.3) for ratio in a],
        ),
        "mapped": (
            "no memory that is known, as on macOS and Windows",
            lambda a: [replace(share, value=0.0, doubt="This system does not tell.") for share in a],
        ),
        "board": ("a measured time of 900 ms", lambda a: [900.0, a[1]]),
        "recap": (
            "5 points more lost by int8, and 6 less by the noise",
            lambda a: [a[0], shifted(a[1], 5.0), a[2], shifted(a[3], -6.0)],
        ),
        "pi": ("a network that takes 5,000 times as long", lambda a: [scaled(a[0], 5000.0), *a[1:]]),
    },
    "mcu": {
        "planner": (
            "no figure of TFLM, as on a system for which there is no wheel",
            lambda a: [dict.fromkeys(a[0])],
        ),
        "tail": ("a tail of 16 bytes more on one network", lambda a: [{**a[0], "digits_mlp": 16}]),
        "start": ("one network that still answers", lambda a: [*a[:2], 1]),
        "arena": ("an arena in use that is enough", lambda a: [a[0], a[0]]),
        "recap_bytes": (
            "two tails that differ, and two networks that need more than they use",
            lambda a: [a[0], {**a[1], "digits_mlp": 16, "signs_resnet": 32}, [*a[2], "vibration_cnn1d"]],
        ),
        "orders": (
            "an order that is never beaten",
            lambda a: [{**a[0], "longest life first": dict.fromkeys(a[0]["longest life first"], 16)}],
        ),
        "recap_fit": ("a device that takes it either way", lambda a: [*a[:3], True, True]),
        "operators": ("no start tried, as where TFLM does not run", lambda a: [*a[:2], None]),
        "pads": ("the device fits neither way", lambda a: [a[0], False, False]),
        "accelerator": ("a status of 1, and an inference that takes no longer", lambda a: [1, *a[1:3], 1.0]),
    },
    "firmware": {
        "scratch": ("3 rows fewer are equal", lambda a: [shifted(a[0], -3), *a[1:]]),
        "exact": (
            "2 rows fewer are equal with DSP kernels",
            lambda a: [{**a[0], "dsp": shifted(a[0]["dsp"], -2)}, a[1]],
        ),
        "sections": ("a forgotten const without effect, an arena of 64 bytes", lambda a: [a[0], a[0], 64]),
        "simd": ("C that knows its shapes gains a factor of 1.2 only", lambda a: [1.2, a[1]]),
        "chain": ("4 rows fewer are equal", lambda a: [shifted(a[0], -4), *a[1:]]),
        "rounding": ("no way of rounding shows a difference", lambda a: [dict.fromkeys(a[0], 0), *a[1:]]),
        "awake": ("a sleep current of 100 uA", lambda a: [a[0], 100.0]),
        "recap_exact": (
            "2 rows fewer are equal with DSP kernels",
            lambda a: [a[0], {**a[1], "dsp": shifted(a[1]["dsp"], -2)}, *a[2:]],
        ),
        "recap_work": ("a network that is 70 % of the work", lambda a: [shifted(a[0], 70.0 - a[0].value), *a[1:]]),
    },
    "capstone": {
        "order": (
            "one order more that cannot be told, and both gains turned into losses",
            lambda a: [[*a[0], "another"], a[1], *(shifted(g, -100.0) for g in a[2:4]), a[4]],
        ),
        "groups": ("one group beyond chance", lambda a: [*a[:3], ["lighting: night"]]),
        "cosine": (
            "no file called ready by noise, and a cosine of 0.999 on any random inputs",
            lambda a: [a[0], [], a[2], dict.fromkeys(a[3], 0.999)],
        ),
        "device": ("a deadline that no device keeps", lambda a: [None, a[1], a[2], 0.1, []]),
        "ran": ("two layers of one file in float32", lambda a: [{"Q": 2}, a[1]]),
        "all_three": (
            "the speed-up turned round, and the floor missed",
            lambda a: [a[0], turned_round(a[1]), a[2], "missed", a[4]],
        ),
        "last_step": ("the speed-up turned round", lambda a: [a[0], a[1], turned_round(a[2])]),
        "litert": ("the ratio turned round", lambda a: [turned_round(a[0]), *a[1:]]),
        "articles": (
            "a saving of 50 times, and a time that shrank 20 times as much",
            lambda a: [{name: [low, high, 50.0] for name, (low, high, _) in a[0].items()}, scaled(a[1], 20.0)],
        ),
        "board": ("three labs that were run", lambda a: [3, a[1]]),
        "remedy": ("100 points less gained by the group", lambda a: [a[0], shifted(a[1], -100.0), *a[2:]]),
        "golden": ("both files miss a limit", lambda a: [dict.fromkeys(a[0], False), *a[1:]]),
        "plan": ("no gate that stops the bad release", lambda a: [a[1], a[1], 0, a[3], True]),
        "recap": ("the speed-up turned round", lambda a: [a[0], turned_round(a[1]), *a[2:]]),
        "recap_ready": ("no file called ready", lambda a: [[], *a[1:]]),
    },
    "onnx": {
        "exporters": (
            "the newer exporter keeps opset 17 and its file is the smaller one",
            lambda a: [a[0], a[0], a[2], -a[3]],
        ),
        "yours": ("three tensors and two of the rest differ", lambda a: [a[0], 3, "stem", a[3], 2]),
        "optimise": (
            "the same bits at every level, and two answers that turned all the same",
            lambda a: [*a[:2], dict.fromkeys(a[2], 0), scaled(a[3], 0), 2, a[5]],
        ),
        "providers": (
            "the provider that was asked for is there",
            lambda a: [a[0], [a[0], *a[1]], False, a[3], [a[0]]],
        ),
        "ort": (
            "an ORT file of 50,000 bytes less, and one answer that turned",
            lambda a: [a[0], shifted(a[1], -50_000), a[2], 1, a[4]],
        ),
        "frameworks": (
            "no Keras, and 0.5 points less agreement with scikit-learn",
            lambda a: [
                {"PyTorch": a[0]["PyTorch"], "scikit-learn": shifted(a[0]["scikit-learn"], -0.5)},
                ["Keras"],
            ],
        ),
        "race": (
            "the speed-ups times 0.1, as where PyTorch has kernels that ONNX Runtime lacks",
            lambda a: [{name: scaled(ratio, 0.1) for name, ratio in a[0].items()}],
        ),
        "recap_promise": ("the provider that was asked for is there", lambda a: [*a[:2], [a[1]], *a[3:]]),
        "recap_speed": (
            "the speed-ups times 0.1",
            lambda a: [{name: scaled(ratio, 0.1) for name, ratio in a[0].items()}],
        ),
    },
}


def record(notebook: Path) -> dict:
    """The findings of an executed notebook with their arguments and sentences."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", ())]
    found = [data[FINDING_MIME] for data in outputs if FINDING_MIME in data]
    today = dt.datetime.now(dt.UTC).date()
    arguments = {entry["id"]: from_data(entry["arguments"]) for entry in found}
    made = [f"recorded from a run on {today}"]
    if (quiet := without_others(arguments)) != arguments:
        made.append("the doubts that other programs kept the machine busy were taken out of it")
    return {
        "machine": f"{machine().cpu}, {machine().cores} cores",
        "made": made,
        "findings": {i: {"arguments": to_data(entry)} for i, entry in quiet.items()},
    }


def derive(slug: str, recording: dict, name: str) -> dict:
    """The readings of the slow or the busy machine, made for the test from a recording."""
    findings = {i: from_data(entry["arguments"]) for i, entry in recording["findings"].items()}
    made = [f"made for the test from the recording on {recording['machine']}"]
    if name == "slow":
        for identity, (words, change) in CHANGES.get(slug, {}).items():
            made.append(f"{identity}: {words}")
            findings[identity] = change(findings[identity])
    else:
        made.append(f"every measured time and ratio that has an interval carries the doubt: {BUSY}")
        findings = {i: doubted(arguments) for i, arguments in findings.items()}
    return {
        "machine": f"no real machine ({name})",
        "made": made,
        "findings": {i: {"arguments": to_data(arguments)} for i, arguments in findings.items()},
    }


def path_of(machine_name: str, slug: str) -> Path:
    return READINGS / machine_name / f"{slug}.json"


def write(path: Path, data: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(notebooks: list[str]) -> None:
    for notebook in notebooks:
        slug, recording = Path(notebook).stem, record(Path(notebook))
        write(path_of("fast", slug), recording)
        for name in MACHINES[1:]:
            write(path_of(name, slug), derive(slug, recording, name))


if __name__ == "__main__":
    main(sys.argv[1:])

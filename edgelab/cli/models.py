"""The verbs of model files: time them, compare them, look into them, convert them, put them on a device."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgelab.cli.answer import FAILED, Add, Parser, answering, complain, count, seconds, whole
from edgelab.cli.feeding import add_feed_options, feed_options


def add_verbs(add: Add) -> None:
    """Add the verbs that take model files."""
    new = add("bench", _bench, "Time model files side by side (.onnx, .tflite; .mlpackage on macOS).")
    new.add_argument("models", nargs="+", metavar="MODEL", help="a model file")
    new.add_argument("--runs", type=count, default=400, help="timed inferences of each (400)")
    new.add_argument("--warmup", type=whole, default=20, help="inferences before them (20)")
    new.add_argument("--threads", type=count, default=1, help="threads of the runtime (1)")
    new.add_argument("--batch", type=count, default=1, help="items of one inference (1)")

    new = add(
        "compare", _compare, "Hold models against a reference on the same data: accuracy, groups, divergence, time."
    )
    new.add_argument("reference", metavar="REFERENCE", help="the model file to compare with")
    new.add_argument("models", nargs="+", metavar="MODEL", help="a model file")
    add_feed_options(new, data=False, batch=False)
    text = "inputs by name (x for a single one), and if there are y and group; random inputs without it"
    new.add_argument("--data", metavar="FILE.npz", help=text)
    text = "accuracy that may be lost; status 1 where the whole interval lies beyond"
    new.add_argument("--max-loss", type=float, metavar="POINTS", help=text)
    text = "how much longer a run may take than the reference's; status 1 where the whole interval lies beyond"
    new.add_argument("--max-slowdown", type=float, metavar="PERCENT", help=text)
    new.add_argument("--strict", action="store_true", help="status 1 also where an interval cannot tell")
    new.add_argument("--runs", type=count, default=100, help="timed inferences of each (100)")
    new.add_argument("--threads", type=count, default=1, help="threads of the runtime (1)")
    new.add_argument("--timeout", type=seconds, metavar="S", help="seconds that one call of a runtime may take (120)")

    new = add("inspect", _inspect, "Tell what is in a model file: inputs, outputs, quantization, operators, sizes.")
    new.add_argument("model", metavar="MODEL", help="an .onnx or .tflite file, or a .mlpackage")

    _add_golden(add)
    _add_convert(add)
    _add_microcontroller(add)


def _add_golden(add: Add) -> None:
    text = "Keep a reference's answers to fixed inputs in a file, and hold other files of the network against them."
    parser = add("golden", _golden_make, text, json_too=False)
    verbs = parser.add_subparsers(metavar="make|check", required=True, parser_class=Parser)

    new = verbs.add_parser("make", help="write a golden file")
    new.add_argument("model", metavar="MODEL", help="the reference")
    new.add_argument("--data", required=True, metavar="FILE.npz", help="inputs by name (x for one), and y if there is")
    new.add_argument("-o", "--output", required=True, metavar="GOLDEN", help="the golden file")

    new = verbs.add_parser("check", help="hold files against it; status 1 if one does not keep the limits")
    new.set_defaults(verb=_golden_check)
    new.add_argument("golden", metavar="GOLDEN", help="what `edgelab golden make` wrote")
    new.add_argument("models", nargs="+", metavar="MODEL", help="a model file")
    new.add_argument("--max-loss", type=float, metavar="POINTS", help="accuracy that may be lost (1 without limits)")
    new.add_argument("--min-sqnr", type=float, metavar="DB", help="the lowest SQNR of any output")
    new.add_argument("--reference", metavar="MODEL", help="the reference, to make sure that it is the golden file's")
    new.add_argument("--exclude-out", type=Path, metavar="FILE", help="write the nodes to keep in float, one a line")
    for each in verbs.choices.values():
        each.add_argument("--overwrite", action="store_true", help="replace a file that is there")
        each.add_argument("--json", action="store_true", help="print JSON and nothing else (docs/json.md)")


def _add_convert(add: Add) -> None:
    text = "Convert a trained network to .onnx, .tflite or Core ML, and keep the file if it answers as the source does."
    new = add("convert", _convert, text)
    new.add_argument("model", metavar="MODEL", help="a PyTorch exported program (.pt2) or a Keras file (.keras)")
    new.add_argument("--to", required=True, choices=("onnx", "tflite", "coreml"), help="the format")
    new.add_argument("--data", metavar="FILE.npz", help="inputs by name (x for one), and y if there is")
    new.add_argument("--int8", action="store_true", help="quantize, with ranges from --data; Core ML's weights alone")
    new.add_argument("--precision", choices=("float32", "float16"), help="float32 (default; Core ML: float16)")
    new.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="the file to write")
    new.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def _add_microcontroller(add: Add) -> None:
    new = add("fit", _fit, "Say on which devices a .tflite model fits, why not, and what would make it fit.")
    new.add_argument("model", metavar="MODEL", help="a .tflite file")
    new.add_argument("--device", metavar="NAME", help="only this device; all of them without it")
    new.add_argument("--headroom", type=float, default=0.2, help="the share of SRAM that stays free (0.2)")

    text = "Write a model as firmware for a Cortex-M: C sources, a project around them, and how it runs."
    new = add("firmware", _firmware, text)
    new.add_argument("model", metavar="MODEL", help="an int8 .tflite file")
    new.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="the folder for it")
    new.add_argument("--core", default="cortex-m4", help="cortex-m0plus, cortex-m4 (default), cortex-m7, cortex-m33")
    new.add_argument("--kernels", choices=("portable", "dsp"), help="plain C, or the core's DSP instructions if it has")
    new.add_argument("--minimise", choices=("time", "ram"), default="time", help="what to save (time)")
    new.add_argument("--run", metavar="INPUTS", help="raw int8 rows to run, .npy (.npz by name for several inputs)")


def _bench(options: argparse.Namespace) -> int:
    from edgelab.measure.bench import bench

    with answering(json_too=options.json) as answer:
        report = bench(
            options.models,
            runs=options.runs,
            warmup=options.warmup,
            threads=options.threads,
            batch=options.batch,
            progress=True,
        )
        answer(report.to_dict(), report)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from edgelab.measure.compare import compare

    with answering(json_too=options.json) as answer:
        report = compare(
            options.reference,
            options.models,
            options.data,
            feed=feed_options(options),
            max_loss=options.max_loss,
            max_slowdown=options.max_slowdown,
            strict=options.strict,
            runs=options.runs,
            threads=options.threads,
            timeout=options.timeout,
            progress=True,
        )
        answer(report.to_dict(), report)
    return FAILED if report.passed is False else 0


def _golden_make(options: argparse.Namespace) -> int:
    from edgelab import golden

    with answering(json_too=options.json) as answer:
        made = golden.make(options.model, options.data, options.output, overwrite=options.overwrite)
        answer(made.to_dict(), made)
    return 0


def _golden_check(options: argparse.Namespace) -> int:
    from edgelab import golden

    with answering(json_too=options.json) as answer:
        report = golden.check(
            options.golden,
            options.models,
            max_loss=options.max_loss,
            min_sqnr=options.min_sqnr,
            reference=options.reference,
            exclude_out=options.exclude_out,
            overwrite=options.overwrite,
            progress=True,
        )
        answer(report.to_dict(), report)
    return 0 if report.passed else FAILED


def _inspect(options: argparse.Namespace) -> int:
    from edgelab.measure.inspect import inspect_model

    with answering(json_too=options.json) as answer:
        report = inspect_model(options.model)
        answer(report.to_dict(), report)
    return 0


def _convert(options: argparse.Namespace) -> int:
    from edgelab.toolbox.conversion import convert

    with answering(json_too=options.json) as answer:
        done = convert(
            options.model,
            options.to,
            options.output,
            data=options.data,
            int8=options.int8,
            precision=options.precision,
            overwrite=options.overwrite,
        )
        answer(done.to_dict(), done)
    if done.kept:
        return 0
    complain(" ".join(done.reasons))
    return FAILED


def _firmware(options: argparse.Namespace) -> int:
    from edgelab.mcu.firmware import build_firmware

    with answering(json_too=options.json) as answer:
        made = build_firmware(
            options.model,
            options.output,
            core=options.core,
            kernels=options.kernels,
            minimise=options.minimise,
            run=options.run,
        )
        answer(made.to_dict(), made)
    return 0


def _fit(options: argparse.Namespace) -> int:
    from edgelab.mcu.fit import fit

    with answering(json_too=options.json) as answer:
        report = fit(options.model, options.device, options.headroom)
        answer(report.to_dict(), report)
    return 0

"""The command line: parses, calls one function of the package, prints text or JSON.

Answers go to standard output, with ``--json`` as JSON and nothing else. What went wrong goes to standard error as
one sentence, with exit status 2. Nothing is imported before it is needed, so that small verbs are quick.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from edgelab import __version__
from edgelab.errors import EdgelabError
from edgelab.quiet import without_commands

FAILED = 1
BROKEN = 2
Verb = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a test or check failed, 2 it could not be done."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # a polite kill or a hang-up ends a run like Ctrl-C does, without leaving a kernel behind
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks to go on
            signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        if words[:1] == ["test"] and words[1:] not in (["-h"], ["--help"]):
            return _test(argparse.Namespace(arguments=words[1:]))  # pytest's own options are passed on as they are
        options = _parser().parse_args(words)
        verb: Verb = options.verb
        return verb(options)
    except EdgelabError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return _complain("Interrupted.")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has gone; say nothing at exit either
        return 0
    except Exception as error:
        if os.environ.get("EDGELAB_DEBUG"):
            raise
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        return _complain(f"Something unexpected went wrong ({reason}); EDGELAB_DEBUG=1 shows where.")


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one sentence."""

    def error(self, message: str) -> NoReturn:
        _complain(f"{self.prog}: {message}; `{self.prog} --help` shows what it takes.")
        raise SystemExit(BROKEN)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="edgelab", description="Learn edge AI by measuring it.")
    parser.add_argument("--version", action="version", version=f"edgelab {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)

    def add(name: str, verb: Verb, text: str, *, json_too: bool = True) -> argparse.ArgumentParser:
        new = verbs.add_parser(name, help=text, description=text)
        new.set_defaults(verb=verb)
        if json_too:
            new.add_argument("--json", action="store_true", help="print JSON and nothing else (docs/json.md)")
        return new

    new = add(
        "open", _open, "Open a lab in JupyterLab; without a screen, serve it and print the address.", json_too=False
    )
    new.add_argument("lab", nargs="?", help="the lab's name or number; the first one without it")
    new.add_argument("--port", type=_count, default=8888, help="the port to try first (8888)")
    new.add_argument("--no-browser", action="store_true", help="only serve, and print the address")

    new = add("reset", _reset, "Give a lab's notebook back as new; yours stays beside it under another name.")
    new.add_argument("lab", help="the lab's name or number")
    new.add_argument("--keep-progress", action="store_true", help="keep the count of tries and what was solved")

    add("labs", _labs, "List the labs.")
    add("doctor", _doctor, "Say which labs run here, what is missing, and the command that adds it.")

    new = add("run", _run, "Execute a lab without a browser; leave a notebook, a page and the readings in runs/.")
    new.add_argument("lab", help="the lab's name or number")
    new.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    new.add_argument("--mine", action="store_true", help="run your own notebook in labs/, not the solution")
    new.add_argument("--out", type=Path, help="the folder for the results (runs/LAB)")

    new = add("check", _check, "Say which exercises of your notebook are solved, with the next hint for the others.")
    new.add_argument("lab", help="the lab's name or number")
    new.add_argument("--notebook", type=Path, help="check this notebook, and count no tries")
    new.add_argument("--seconds", type=_count, default=30, help="time for each exercise (30)")

    new = add("progress", _progress, "Write your progress as a page, runs/progress.html.", json_too=False)
    new.add_argument("--open", action="store_true", help="open it in the browser")

    add("claims", _claims, "Show what was last found on this machine about each claim, in a notebook or a run.")

    new = add("bench", _bench, "Time .onnx and .tflite files side by side.")
    new.add_argument("models", nargs="+", metavar="MODEL", help="a model file")
    new.add_argument("--runs", type=_count, default=400, help="timed inferences of each (400)")
    new.add_argument("--warmup", type=_whole, default=20, help="inferences before them (20)")
    new.add_argument("--threads", type=_count, default=1, help="threads of the runtime (1)")
    new.add_argument("--batch", type=_count, default=1, help="items of one inference (1)")

    new = add(
        "compare", _compare, "Hold models against a reference on the same data: accuracy, groups, divergence, time."
    )
    new.add_argument("reference", metavar="REFERENCE", help="the model file to compare with")
    new.add_argument("models", nargs="+", metavar="MODEL", help="a model file")
    new.add_argument("--data", required=True, metavar="FILE.npz", help="x as float32, y, optionally group")

    new = add("inspect", _inspect, "Tell what is in a model file: inputs, outputs, quantization, operators, sizes.")
    new.add_argument("model", metavar="MODEL", help="an .onnx or .tflite file")

    _add_golden(add)
    _add_microcontroller(add)

    new = add("build", _build, "Write the notebooks of the labs from their sources.", json_too=False)
    new.add_argument("labs", nargs="*", metavar="LAB", help="only these labs")
    new.add_argument("--check", action="store_true", help="write nothing; exit 1 if a notebook is stale")
    new.add_argument("--force", action="store_true", help="overwrite notebooks that hold your edits")

    new = add("test", _test, "Install what the tests need and run every test; options go to pytest.", json_too=False)
    new.add_argument("arguments", nargs="*", metavar="PYTEST_ARGUMENT")
    return parser


def _add_golden(add: Callable[..., argparse.ArgumentParser]) -> None:
    text = "Keep a reference's answers to fixed inputs in a file, and hold other files of the network against them."
    parser = add("golden", _golden_make, text, json_too=False)
    verbs = parser.add_subparsers(metavar="make|check", required=True, parser_class=_Parser)

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


def _add_microcontroller(add: Callable[[str, Verb, str], argparse.ArgumentParser]) -> None:
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


def _open(options: argparse.Namespace) -> int:
    from edgelab.course.labs import all_labs, find
    from edgelab.course.serve import open_lab
    from edgelab.course.session import left_out

    for sentence in left_out(find(options.lab) if options.lab else all_labs()[0]):
        _say(sentence)
    return open_lab(options.lab, options.port, browser=not options.no_browser, say=_say)


def _reset(options: argparse.Namespace) -> int:
    from edgelab.course.copies import reset
    from edgelab.course.labs import find

    with _answer(json_too=options.json) as answer:
        copied = reset(find(options.lab), keep_progress=options.keep_progress)
        answer(copied.to_dict(), copied)
    return 0


def _labs(options: argparse.Namespace) -> int:
    from edgelab.course.labs import all_labs
    from edgelab.reading import Table

    labs = all_labs()
    rows = [(lab.id, lab.slug, lab.title, lab.minutes, ", ".join(lab.requires)) for lab in labs]
    table = Table("", ("id", "lab", "title", "minutes", "requires"), rows)
    with _answer(json_too=options.json) as answer:
        answer([lab.to_dict() for lab in labs], table)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from edgelab.course.doctor import examine

    with _answer(json_too=options.json) as answer:
        health = examine()
        answer(health.to_dict(), health)
    return 0


def _run(options: argparse.Namespace) -> int:
    from edgelab.course.run import run_lab

    with _answer(json_too=options.json) as answer:
        result = run_lab(options.lab, dict(options.p), mine=options.mine, out=options.out)
        answer(result.to_dict(), result)
    if options.json and result.trouble:
        _complain(result.trouble)
    if result.ok:
        return 0
    failing = [check["id"] for check in result.checks if not check["passed"]]
    _complain(f"The solution of '{result.lab}' fails the check of {', '.join(failing)}.")
    return FAILED


def _check(options: argparse.Namespace) -> int:
    from edgelab.course import paths
    from edgelab.course.grade import grade

    if options.notebook is None:  # tries are counted there
        paths.ready(paths.runs())
    with _answer(json_too=options.json) as answer:
        report = grade(options.lab, options.notebook, seconds=options.seconds)
        answer(report.to_dict(), report)
    return 0


def _progress(options: argparse.Namespace) -> int:
    from edgelab.course.paths import shown
    from edgelab.course.progress_page import write_page

    page = write_page()
    _say(f"Your progress is in {shown(page)}.")
    if options.open:
        import webbrowser

        webbrowser.open(page.as_uri())
    return 0


def _claims(options: argparse.Namespace) -> int:
    from edgelab.course.ledger import claims_table, last_claims

    with _answer(json_too=options.json) as answer:
        entries = last_claims()
        answer([entry.to_dict() for entry in entries], claims_table(entries))
    return 0


def _bench(options: argparse.Namespace) -> int:
    from edgelab.measure.bench import bench

    with _answer(json_too=options.json) as answer:
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

    with _answer(json_too=options.json) as answer:
        report = compare(options.reference, options.models, options.data, progress=True)
        answer(report.to_dict(), report)
    return 0


def _golden_make(options: argparse.Namespace) -> int:
    from edgelab.measure import golden

    with _answer(json_too=options.json) as answer:
        made = golden.make(options.model, options.data, options.output, overwrite=options.overwrite)
        answer(made.to_dict(), made)
    return 0


def _golden_check(options: argparse.Namespace) -> int:
    from edgelab.measure import golden

    with _answer(json_too=options.json) as answer:
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

    with _answer(json_too=options.json) as answer:
        report = inspect_model(options.model)
        answer(report.to_dict(), report)
    return 0


def _firmware(options: argparse.Namespace) -> int:
    from edgelab.mcu.firmware import build_firmware

    with _answer(json_too=options.json) as answer:
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

    with _answer(json_too=options.json) as answer:
        report = fit(options.model, options.device, options.headroom)
        answer(report.to_dict(), report)
    return 0


def _build(options: argparse.Namespace) -> int:
    from edgelab.course.build import build, measured

    report = build(options.labs, check=options.check, force=options.force)
    if not options.check:
        _say(str(measured(options.labs)))
    for problem in report.problems:
        _complain(problem)
    if report.problems:
        return BROKEN
    _say(str(report))
    return FAILED if report.stale or report.edited else 0


def _test(options: argparse.Namespace) -> int:
    from edgelab.course.testing import run_tests

    return run_tests(options.arguments, say=lambda text: print(text, file=sys.stderr, flush=True))


@contextlib.contextmanager
def _answer(*, json_too: bool) -> Iterator[Callable[[Any, object], None]]:
    """Give a function that prints the answer as text or JSON.

    With JSON, whatever else a library prints to standard output meanwhile, in this process or in native code, goes to
    standard error.
    """
    if not json_too:
        yield lambda _data, text: _say(str(text))
        return
    sys.stdout.flush()
    answers: list[str] = []
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield lambda data, _text: answers.append(_json(data))
    finally:
        os.dup2(own, 1)
        os.close(own)
    for text in answers:
        _say(text)


def _json(data: Any) -> str:
    return json.dumps(_finite(data), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _finite(data: Any) -> Any:
    """The data with null in place of what JSON has no number for."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _say(text: str) -> None:
    try:
        _print(text, sys.stdout)
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk: what took minutes to find goes where it can still be read
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _print(text, sys.stderr)
        reason = error.strerror or str(error)
        raise EdgelabError(f"Standard output could not be written ({reason}); the whole answer stands above.") from None


def _complain(text: str) -> int:
    _print(" ".join(text.split()), sys.stderr)
    return BROKEN


def _print(text: str, stream: TextIO) -> None:
    text = without_commands(text)
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:  # a terminal with few characters
        encoding = stream.encoding or "ascii"
        print(text.encode(encoding, errors="replace").decode(encoding), file=stream, flush=True)


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


_whole.__name__ = _count.__name__ = "whole number"  # argparse names the type in its error

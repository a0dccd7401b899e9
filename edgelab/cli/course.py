"""The verbs of the course: open a lab, run it, check it, build it, test it."""

from __future__ import annotations

import argparse
import sys

from edgelab.cli.answer import BROKEN, FAILED, Add, answering, complain, count, say
from edgelab.files import expanded


def add_learning(add: Add) -> None:
    """Add the verbs that a learner uses."""
    new = add(
        "open", _open, "Open a lab in JupyterLab; without a screen, serve it and print the address.", json_too=False
    )
    new.add_argument("lab", nargs="?", help="the lab's name or number; the first one without it")
    new.add_argument("--port", type=count, default=8888, help="the port to try first (8888)")
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
    text = "the folder for the results, beside what is in it; without it runs/LAB, where each run replaces the last one"
    new.add_argument("-o", "--out", type=expanded, metavar="DIR", help=text)
    new.add_argument("--overwrite", action="store_true", help="replace results of this lab that are in DIR")

    new = add("check", _check, "Say which exercises of your notebook are solved, with the next hint for the others.")
    new.add_argument("lab", help="the lab's name or number")
    new.add_argument("--notebook", type=expanded, help="check this notebook, and count no tries")
    new.add_argument("--seconds", type=count, default=30, help="time for each exercise (30)")

    new = add("progress", _progress, "Write your progress as a page, runs/progress.html.", json_too=False)
    new.add_argument("--open", action="store_true", help="open it in the browser")

    add("claims", _claims, "Show what was last found on this machine about each claim, in a notebook or a run.")


def add_making(add: Add) -> None:
    """Add the verbs that a maker of labs uses."""
    new = add("build", _build, "Write the notebooks of the labs from their sources.", json_too=False)
    new.add_argument("labs", nargs="*", metavar="LAB", help="only these labs")
    new.add_argument("--check", action="store_true", help="write nothing; exit 1 if a notebook is stale")
    new.add_argument("--force", action="store_true", help="overwrite notebooks that hold your edits")

    new = add(
        "test", run_every_test, "Install what the tests need and run every test; options go to pytest.", json_too=False
    )
    new.add_argument("arguments", nargs="*", metavar="PYTEST_ARGUMENT")


def _open(options: argparse.Namespace) -> int:
    from edgelab.course.labs import all_labs, find
    from edgelab.course.serve import open_lab
    from edgelab.course.session import left_out

    for sentence in left_out(find(options.lab) if options.lab else all_labs()[0]):
        say(sentence)
    return open_lab(options.lab, options.port, browser=not options.no_browser, say=say)


def _reset(options: argparse.Namespace) -> int:
    from edgelab.course.copies import reset
    from edgelab.course.labs import find

    with answering(json_too=options.json) as answer:
        copied = reset(find(options.lab), keep_progress=options.keep_progress)
        answer(copied.to_dict(), copied)
    return 0


def _labs(options: argparse.Namespace) -> int:
    from edgelab.course.labs import all_labs
    from edgelab.reading import Table

    labs = all_labs()
    rows = [(lab.id, lab.slug, lab.title, lab.minutes, ", ".join(lab.requires)) for lab in labs]
    table = Table("", ("id", "lab", "title", "minutes", "requires"), rows)
    with answering(json_too=options.json) as answer:
        answer([lab.to_dict() for lab in labs], table)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from edgelab.course.doctor import examine

    with answering(json_too=options.json) as answer:
        health = examine()
        answer(health.to_dict(), health)
    return 0


def _run(options: argparse.Namespace) -> int:
    from edgelab.course.run import run_lab

    with answering(json_too=options.json) as answer:
        result = run_lab(options.lab, dict(options.p), mine=options.mine, out=options.out, overwrite=options.overwrite)
        answer(result.to_dict(), result)
    if options.json and result.trouble:
        complain(result.trouble)
    if result.ok:
        return 0
    failing = [check["id"] for check in result.checks if not check["passed"]]
    complain(f"The solution of '{result.lab}' fails the check of {', '.join(failing)}.")
    return FAILED


def _check(options: argparse.Namespace) -> int:
    from edgelab.course import paths
    from edgelab.course.grade import grade

    if options.notebook is None:  # tries are counted there
        paths.ready(paths.runs())
    with answering(json_too=options.json) as answer:
        report = grade(options.lab, options.notebook, seconds=options.seconds)
        answer(report.to_dict(), report)
    return 0


def _progress(options: argparse.Namespace) -> int:
    from edgelab.course.paths import shown
    from edgelab.course.progress_page import write_page

    page = write_page()
    say(f"Your progress is in {shown(page)}.")
    if options.open:
        import webbrowser

        webbrowser.open(page.as_uri())
    return 0


def _claims(options: argparse.Namespace) -> int:
    from edgelab.course.ledger import claims_table, last_claims

    with answering(json_too=options.json) as answer:
        entries = last_claims()
        answer([entry.to_dict() for entry in entries], claims_table(entries))
    return 0


def _build(options: argparse.Namespace) -> int:
    from edgelab.course.build import build, measured

    report = build(options.labs, check=options.check, force=options.force)
    if not options.check:
        say(str(measured(options.labs)))
    for problem in report.problems:
        complain(problem)
    if report.problems:
        return BROKEN
    say(str(report))
    return FAILED if report.stale or report.edited else 0


def run_every_test(options: argparse.Namespace) -> int:
    """Run `edgelab test` with pytest's own options."""
    from edgelab.course.testing import run_tests

    return run_tests(options.arguments, say=lambda text: print(text, file=sys.stderr, flush=True))

"""The command line: parses, calls one function of the package, prints text or JSON.

Answers go to standard output, with ``--json`` as JSON and nothing else. What went wrong goes to standard error as
one sentence, with exit status 2. Nothing is imported before it is needed, so that small verbs are quick. The verbs
stand in ``course`` and ``models``, each as what it takes and what it calls.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from edgelab import __version__
from edgelab.cli import compress, course, look, models, ota
from edgelab.cli.answer import Parser, Verb, complain
from edgelab.errors import EdgelabError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a test or check failed, 2 it could not be done."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # a polite kill or a hang-up ends a run like Ctrl-C does, without leaving a kernel behind
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks to go on
            signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        if words[:1] == ["test"] and words[1:] not in (["-h"], ["--help"]):
            return course.run_every_test(
                argparse.Namespace(arguments=words[1:])
            )  # pytest's own options are passed on as they are
        options = _parser().parse_args(words)
        verb: Verb = options.verb
        return verb(options)
    except EdgelabError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return complain("Interrupted.")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has gone; say nothing at exit either
        return 0
    except Exception as error:
        if os.environ.get("EDGELAB_DEBUG"):
            raise
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        return complain(f"Something unexpected went wrong ({reason}); EDGELAB_DEBUG=1 shows where.")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="edgelab", description="Learn edge AI by measuring it.")
    parser.add_argument("--version", action="version", version=f"edgelab {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)

    def add(
        name: str, verb: Verb, text: str, *, json_too: bool = True, aliases: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        new = verbs.add_parser(name, help=text, description=text, aliases=aliases)
        new.set_defaults(verb=verb)
        if json_too:
            new.add_argument("--json", action="store_true", help="print JSON and nothing else (docs/json.md)")
        return new

    course.add_learning(add)
    models.add_verbs(add)
    look.add_verbs(add)
    compress.add_verbs(add)
    ota.add_verbs(add)
    course.add_making(add)
    return parser

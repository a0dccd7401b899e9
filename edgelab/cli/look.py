"""The verbs that look into a model file: its graph in the browser, and which runtimes take its operators."""

from __future__ import annotations

import argparse
import contextlib

from edgelab.cli.answer import Add, answering, count


def add_verbs(add: Add) -> None:
    """Add ``operators`` and ``view``."""
    text = "Say which runtimes take the operators of a model file, where they run, and what to do about the others."
    new = add("operators", _operators, text)
    new.add_argument("model", metavar="MODEL", help="a .tflite or .onnx file, or a .mlpackage")
    new.add_argument(
        "--as", dest="convert_to", choices=("tflite", "coreml"), help="convert an .onnx, .pt2 or .keras file first"
    )

    new = add("view", _view, "Show a model file as a graph in the browser; nothing leaves this machine.")
    new.add_argument("model", metavar="MODEL", help="an .onnx, .tflite, .pt2 or .keras file, or a .mlpackage")
    new.add_argument("--port", type=count, metavar="N", help="the port (a free one)")
    new.add_argument("--no-browser", action="store_true", help="only print the address")


def _operators(options: argparse.Namespace) -> int:
    from edgelab.toolbox.operator_matrix import operators

    with answering(json_too=options.json) as answer:
        matrix = operators(options.model, convert_to=options.convert_to)
        answer(matrix.to_dict(), matrix)
    return 0


def _view(options: argparse.Namespace) -> int:
    import webbrowser

    from edgelab.course.serve import has_screen
    from edgelab.toolbox.viewer import make_viewer

    with answering(json_too=options.json) as answer:
        server = make_viewer(options.model, options.port or 0)
        url = f"http://127.0.0.1:{server.server_port}"
        answer({"model": options.model, "url": url}, f"{options.model} is shown at {url}; Ctrl-C ends it.")
    if not options.no_browser and has_screen():
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(url)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)
    return 0

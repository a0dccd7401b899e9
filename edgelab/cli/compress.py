"""The verbs that make a team's own model file smaller."""

from __future__ import annotations

import argparse

from edgelab.cli.answer import Add, answering, count
from edgelab.files import expanded


def add_verbs(add: Add) -> None:
    """Add the verbs that compress model files."""
    text = "Quantize a float .onnx file by the steps that change its answers least, and say what really runs."
    new = add("quantize", _quantize, text)
    new.add_argument("model", metavar="MODEL.onnx", help="a float .onnx file")
    new.add_argument("--data", metavar="FILE.npz", help="real inputs by name (x for one), y and group if there are")
    new.add_argument("-o", "--output", required=True, type=expanded, metavar="OUT.onnx", help="the file to write")
    new.add_argument("--precision", choices=("int8", "int4"), default="int8", help="int8 (default), or int4 weights")
    new.add_argument("--per-tensor", action="store_true", help="one weight scale for each tensor, none by channel")
    new.add_argument(
        "--method", choices=("minmax", "percentile", "entropy", "mse"), help="the only way to choose ranges (the best)"
    )
    new.add_argument("--samples", type=count, help="items to calibrate on (200; int4 1,000)")
    new.add_argument(
        "--keep-float", metavar="REGEX|@FILE", help="nodes that stay in float: a pattern, or a file with a name a line"
    )
    new.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def _quantize(options: argparse.Namespace) -> int:
    from edgelab.toolbox.quantizing import quantize

    with answering(json_too=options.json) as answer:
        made = quantize(
            options.model,
            options.output,
            data=options.data,
            precision=options.precision,
            per_channel=not options.per_tensor,
            method=options.method,
            samples=options.samples,
            keep_float=options.keep_float,
            overwrite=options.overwrite,
        )
        answer(made.to_dict(), made)
    return 0

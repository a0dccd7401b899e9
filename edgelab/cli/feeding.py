"""The switches that say what is fed to a model file, the same for each verb that feeds one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgelab.cli.answer import count

if TYPE_CHECKING:
    from edgelab.feeding.options import FeedOptions


def add_feed_options(
    parser: argparse.ArgumentParser, *, data: bool = True, batch: bool = True, state: bool = True
) -> None:
    """Add ``--shape`` and ``--dim``, and unless the verb has its own or does not run a file, the others."""
    text = (
        "the shape of an input (NAME may be left out for a single one); repeat it for several inputs, or for a row each"
    )
    parser.add_argument("--shape", action="append", default=[], metavar="NAME:1x3x320x320", help=text)
    text = "the size of an axis by the name that the file gives it"
    parser.add_argument("--dim", action="append", default=[], metavar="AXIS=SIZE", help=text)
    if data:
        text = "the inputs by name (x for a single one) in place of random values"
        parser.add_argument("--data", metavar="FILE.npz", help=text)
    if state:
        text = "feed an output of each run into an input of the next; without it recurrent states stay zeros"
        parser.add_argument("--state", action="append", default=[], metavar="IN=OUT", help=text)
    if batch:
        parser.add_argument("--batch", type=count, default=1, help="items of one inference (1)")


def feed_options(options: argparse.Namespace) -> FeedOptions:
    """What the switches say.

    Raises
    ------
    BadInput
        If one does not read as its help says.
    """
    from edgelab.feeding.options import FeedOptions

    return FeedOptions.parse(
        options.shape,
        options.dim,
        getattr(options, "state", ()),
        getattr(options, "data", None),
        getattr(options, "batch", 1),
    )

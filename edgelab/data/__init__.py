"""Data sets: offline by default, real ones downloaded with a checksum when asked, and a learner's own.

``device_logs``, ``digits``, ``signs`` and ``vibration`` need no network; ``fashion_mnist``, ``cifar10`` and
``speech_commands`` are downloaded at their first call; ``from_folder``, ``from_npz`` and ``from_csv`` read your own.
"""

from collections.abc import Callable
from typing import Any

from edgelab.data.arrays import from_npz
from edgelab.data.cifar10 import cifar10
from edgelab.data.dataset import Dataset, DataWarning, Split
from edgelab.data.digits import digits
from edgelab.data.fashion import fashion_mnist
from edgelab.data.logs import device_logs
from edgelab.data.own import from_folder
from edgelab.data.signals import from_csv
from edgelab.data.signs import signs
from edgelab.data.speech import speech_commands
from edgelab.data.vibration import vibration
from edgelab.errors import BadInput

OFFLINE: dict[str, Callable[..., Dataset]] = {
    "device_logs": device_logs,
    "digits": digits,
    "signs": signs,
    "vibration": vibration,
}
DOWNLOADED: dict[str, Callable[..., Dataset]] = {
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "speech_commands": speech_commands,
}


def load(name: str, **settings: Any) -> Dataset:
    """A data set by its name; ``settings`` go to its function.

    Raises
    ------
    BadInput
        If there is none of that name.

    Examples
    --------
    >>> load("digits").classes
    10
    """
    known = {**OFFLINE, **DOWNLOADED}
    if name not in known:
        raise BadInput(f"There is no data set '{name}'; use one of {', '.join(known)}, or from_folder() for your own.")
    return known[name](**settings)


__all__ = [
    "DOWNLOADED",
    "OFFLINE",
    "DataWarning",
    "Dataset",
    "Split",
    "cifar10",
    "device_logs",
    "digits",
    "fashion_mnist",
    "from_csv",
    "from_folder",
    "from_npz",
    "load",
    "signs",
    "speech_commands",
    "vibration",
]

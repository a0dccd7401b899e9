"""A learner's own items, each with the client that holds it."""

from __future__ import annotations

import os

import numpy as np

from edgelab import data
from edgelab.data.dataset import Dataset
from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded


def read_clients(path: str | os.PathLike[str]) -> tuple[Dataset, str]:
    """Read an ``.npz`` file with ``x``, ``y``, and ``client`` or ``group``: whose item each one is.

    Parameters
    ----------
    path
        As `edgelab.data.from_npz` takes it; ``client`` (N,), numbers or text, goes before ``group``.

    Returns
    -------
    tuple
        The data set, and the name of the group whose labels are the clients: ``"client"`` or ``"group"``.

    Raises
    ------
    BadFile
        If the file cannot be read, or says of no item whose it is.
    BadInput
        If there are fewer than two clients, or an array does not fit.
    """
    dataset = data.from_npz(expanded(path))
    name = next((name for name in ("client", "group") if name in dataset.train.groups), None)
    if name is None:
        raise BadFile(f"{path} does not say whose items these are; add client (N,) or group (N,).")
    owners = np.unique(dataset.train.groups[name])
    if len(owners) < 2:
        raise BadInput(f"All items in {path} are of the client '{owners[0]}'; federated learning takes two or more.")
    return dataset, name

"""A round whose updates the server cannot see, and the guards that are left.

Without secure aggregation a server looks at each update and leaves out what is NaN or enormous. With it, there is one
sum. So an honest client guards itself (it shortens its update to the bound, and sends none that is not finite), and the
server looks at the sum: one that honest clients cannot have made is **refused as a whole**, the model stays as it was,
and nobody knows who did it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput, EdgelabError
from edgelab.privacy.masks import FixedPoint, Words
from edgelab.privacy.secure_aggregation import Refused, SecureSum, secure_sum
from edgelab.privacy.training import clip_rows

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SecureRound:
    """What came of a round: the weights, and what its log says.

    ``refused`` is empty, or why there is no sum; then the weights are those of before. ``missing`` says why each
    client that took part is not in the sum.
    """

    weights: Floats = field(repr=False)
    used: tuple[int, ...]
    missing: Mapping[int, str]
    refused: str
    aggregation: SecureSum | None = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the weights."""
        missing = {str(client): why for client, why in self.missing.items()}
        return {"used": list(self.used), "missing": missing, "refused": self.refused}


def guard(update: Floats, limit: float) -> Floats:
    """What an honest client does to its update before it is hidden: shortened to the limit.

    Raises
    ------
    BadInput
        If it holds a NaN or an infinite value: then nothing is sent.
    """
    if not np.isfinite(update).all():
        raise BadInput("The update holds a NaN or an infinite value, which no sum can carry; it was not sent.")
    found: Floats = clip_rows(update[None], limit)[0]
    return found


def secure_average(
    weights: Floats,
    updates: Floats,
    *,
    limit: float,
    neighbours: int | None = None,
    drop_outs: Mapping[int, str] | None = None,
    unguarded: Mapping[int, Words] | None = None,
) -> SecureRound:
    """Weights plus the mean of the updates, of which the server sees the sum alone; every client counts once.

    Parameters
    ----------
    weights, updates
        (parameters,), (clients, parameters).
    limit
        The bound on an update's Euclidean length that honest clients keep.
    neighbours, drop_outs
        As for `edgelab.privacy.secure_aggregation.secure_sum`.
    unguarded
        What a client that does not keep to the rules sends instead, as words; nothing of it is checked at its end.

    Returns
    -------
    SecureRound
        With the weights as they were where the sum was refused.

    Raises
    ------
    BadInput
        If the shapes do not fit.
    """
    if updates.ndim != 2 or updates.shape[1:] != weights.shape:
        raise BadInput(f"Updates of shape {updates.shape} do not fit {len(weights)} weights.")
    if len(updates) < 3:  # said before limits are looked at: there may be none to encode
        too_few = f"the sum was refused: {len(updates)} clients cannot hide from each other; it takes at least three."
        return SecureRound(weights, (), {}, too_few, None)
    sent_instead = _fitting(unguarded or {}, updates)
    form = FixedPoint(limit, len(updates))
    rows = np.zeros(updates.shape, np.uint32)
    gone = dict(drop_outs or {})
    missing = {client: f"dropped out at '{step}'" for client, step in gone.items()}
    for client, update in enumerate(updates):
        if client in sent_instead:
            rows[client] = sent_instead[client]
            continue
        try:
            rows[client] = form.encode(guard(update, limit))
        except BadInput as error:
            if gone.get(client) not in ("keys", "shares", "masked"):  # otherwise it had left before
                gone[client], missing[client] = "masked", f"withheld: {error}"
    try:
        found = secure_sum(rows, neighbours=neighbours, drop_outs=gone)
        mean = _looked_at(found, form, limit)
    except EdgelabError as error:
        return SecureRound(weights, (), missing, f"the sum was refused: {error}", None)
    for client, step in found.dropped.items():
        if step == "unmask":
            missing.pop(client, None)  # its update is in the sum
        else:
            missing.setdefault(client, f"refused to go on at '{step}', with too few neighbours left")
    return SecureRound((weights + mean).astype(np.float32), found.survivors, missing, "", found)


class SecureMean:
    """A server's rule for `edgelab.federated.simulate`: the mean of which it sees the sum alone.

    ``rounds`` holds a `SecureRound` for each round, with who is missing and whether the sum was refused; the weights
    stay as they were where it was. Clients count once each, as their sizes would be another thing to hide.

    Parameters
    ----------
    limit
        The bound on an update's Euclidean length that clients keep.
    neighbours
        As for `edgelab.privacy.secure_aggregation.secure_sum`.

    Examples
    --------
    >>> rule = SecureMean(limit=1.0)
    >>> rule(np.zeros(1, "float32"), np.array([[0.25], [0.5], [0.0]], "float32"), np.ones(3, int)).round(4).tolist()
    [0.25]
    >>> rule.rounds[-1].used
    (0, 1, 2)
    """

    def __init__(self, limit: float, neighbours: int | None = None) -> None:
        self.limit, self.neighbours = limit, neighbours
        self.rounds: list[SecureRound] = []

    def __call__(self, weights: Floats, updates: Floats, sizes: NDArray[np.int64]) -> Floats:  # noqa: ARG002
        """The new weights (parameters,), or those of before."""
        found = secure_average(weights, updates, limit=self.limit, neighbours=self.neighbours)
        self.rounds.append(found)
        return found.weights


def _fitting(unguarded: Mapping[int, Words], updates: Floats) -> Mapping[int, Words]:
    clients, words = updates.shape
    for client, sent in unguarded.items():
        if not 0 <= client < clients or np.shape(sent) != (words,) or sent.dtype != np.uint32:
            raise BadInput(
                f"An unguarded client is one of 0 to {clients - 1} and sends {words} words of uint32; client {client} "
                "does not."
            )
    return unguarded


def _looked_at(found: SecureSum, form: FixedPoint, limit: float) -> NDArray[np.float64]:
    """The mean of the updates, if updates within the limit can have made it."""
    many = len(found.survivors)
    mean = form.decode(found.total, many) / many
    length = float(np.linalg.norm(mean))
    slack = math.sqrt(len(mean)) / form.scale
    if length > limit * (1 + 1e-6) + slack:
        raise Refused(
            f"The mean has a length of {length:.3g}, and {many} updates of at most {limit:g} cannot give more than "
            f"{limit:g}; at least one was longer, and the sum does not say which."
        )
    return mean

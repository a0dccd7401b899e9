"""Secure aggregation: the server learns the sum of the clients' updates, and nothing else about any of them.

In four steps, as in K. Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS 2017:

1. **keys**: each client sends two public keys of X25519, signed.
2. **shares**: it splits the seed of its self mask and its mask key among its neighbours (Shamir), each share encrypted
   for one of them, so that the server forwards what it cannot read.
3. **masked**: it sends its update plus its self mask, plus one mask with each neighbour. Of two neighbours one adds it
   and one subtracts it, so in the sum they cancel.
4. **unmask**: for each neighbour that survived a client gives its share of the self mask; for each that dropped out, of
   its key. Never both: with both, the server could lay open an update that came late.

With `neighbours=None` all clients are neighbours of each other, which costs each of them a mask for every other one.
With a number, such as 20, they stand in a ring of random order with as many neighbours each: J. H. Bell et al., Secure
Single-Server Aggregation with (Poly)Logarithmic Overhead, CCS 2020.

What it does **not** protect against:

- A **server that lies**: it is trusted to run the steps as written (honest but curious). The clients' keys are signed
  under keys that were enrolled before; without such an infrastructure a server could invent clients (a Sybil attack),
  and a sum of one real client among invented ones is that client's update. Nor do clients compare what the server told
  each of them about who survived (the consistency check of Bonawitz et al.), by which a lying server would be caught.
- **Clients that work together** with the server, from the threshold on among one client's neighbours.
- **Poisoning**: a client may send any words at all, and nobody sees them. What is left are a bound that honest clients
  keep, and a look at the sum; see `edgelab.privacy.secure_rounds`.
- **Sabotage**: one client that deals out false shares, or gives a false one back, has the whole sum refused. That is
  noticed, and the sum is never wrong because of it; but shares here do not prove themselves (verifiable sharing).
- **What the sum itself reveals**: of two clients each knows the other's update; two sums whose clients differ by one
  give that one away; an update that is alone in some weights stands in the sum as it is. Noise is for that:
  differential privacy.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.privacy.masks import Words
from edgelab.privacy.secure_client import STEPS, Message, Refused, SecureClient
from edgelab.privacy.secure_server import SecureServer

__all__ = ["Message", "Refused", "SecureClient", "SecureServer", "SecureSum", "neighbour_graph", "secure_sum"]


@dataclass(frozen=True, eq=False)
class SecureSum:
    """What a round of secure aggregation leaves at the server.

    ``total`` (words,) uint32, modulo 2**32; ``survivors`` are in it; ``dropped`` says at which step each other one
    left; ``view`` holds what the server saw of each survivor; ``bytes_up`` of all clients together.
    """

    total: Words = field(repr=False)
    survivors: tuple[int, ...]
    dropped: Mapping[int, str]
    view: Mapping[int, Words] = field(repr=False)
    bytes_up: int
    neighbours: int
    threshold: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the vectors."""
        return {
            "words": len(self.total),
            "survivors": list(self.survivors),
            "dropped": {str(client): step for client, step in self.dropped.items()},
            "bytes_up": self.bytes_up,
            "neighbours": self.neighbours,
            "threshold": self.threshold,
        }


def neighbour_graph(clients: int, neighbours: int | None = None) -> dict[int, tuple[int, ...]]:
    """Who makes masks with whom: everybody, or so many neighbours each in a ring of secret random order.

    Raises
    ------
    BadInput
        If there are fewer than three clients, or the neighbours are not an even number of them.

    Examples
    --------
    >>> graph = neighbour_graph(50, 20)
    >>> {len(others) for others in graph.values()}, all(a in graph[b] for a in graph for b in graph[a])
    ({20}, True)
    """
    if clients < 3:
        raise BadInput(f"{clients} clients cannot hide from each other in a sum; it takes at least three.")
    if neighbours is None or neighbours >= clients - 1:
        return {one: tuple(other for other in range(clients) if other != one) for one in range(clients)}
    if neighbours < 2 or neighbours % 2:
        raise BadInput(f"{neighbours} neighbours do not stand in a ring; use an even number from 2.")
    ring = list(range(clients))
    secrets.SystemRandom().shuffle(ring)
    steps = [step for step in range(-neighbours // 2, neighbours // 2 + 1) if step]
    return {one: tuple(sorted(ring[(place + step) % clients] for step in steps)) for place, one in enumerate(ring)}


def secure_sum(
    updates: NDArray[np.uint32],
    *,
    neighbours: int | None = None,
    threshold: int | None = None,
    fewest: int | None = None,
    drop_outs: Mapping[int, str] | None = None,
) -> SecureSum:
    """Run the protocol among clients that each hold one row, and return what the server learns.

    Parameters
    ----------
    updates
        (clients, words) uint32, in fixed point.
    neighbours
        Of each client; None: all others.
    threshold
        How many neighbours undo a mask; None: more than half of them.
    fewest
        Survivors below which there is no sum; None: the threshold plus one.
    drop_outs
        At which step a client is gone: it answers the steps before and no more. ``{3: "masked"}``.

    Raises
    ------
    BadInput
        If the shape, a number or a step does not fit.
    Refused
        If too few are left, or a message does not hold.

    Examples
    --------
    >>> rows = np.arange(12, dtype="uint32").reshape(4, 3)
    >>> secure_sum(rows, drop_outs={1: "masked"}).total.tolist()  # rows 0, 2 and 3
    [15, 18, 21]
    """
    rows = np.asarray(updates)
    if rows.ndim != 2 or rows.dtype != np.uint32:
        raise BadInput(f"Updates in fixed point are rows of uint32, not {rows.dtype} of shape {rows.shape}.")
    graph = neighbour_graph(len(rows), neighbours)
    degree = len(graph[0])
    needed = degree // 2 + 1 if threshold is None else threshold
    least = needed + 1 if fewest is None else fewest
    gone = dict(drop_outs or {})
    _check(len(rows), degree, needed, least, gone)
    round_id = secrets.token_bytes(16)
    signing = {client: Ed25519PrivateKey.generate() for client in graph}
    enrolled = {client: key.public_key() for client, key in signing.items()}
    server = SecureServer(round_id, enrolled, graph, needed, least, rows.shape[1])
    clients = {client: SecureClient(client, round_id, signing[client], enrolled, needed) for client in graph}

    asks: tuple[Callable[[int], Message], ...] = (
        lambda client: clients[client].keys(),
        lambda client: clients[client].shares(server.keys_for(client)),
        lambda client: clients[client].masked(rows[client], server.sealed_for(client)),
        lambda client: clients[client].unmask(*server.request_for(client)),
    )
    for number, (step, ask) in enumerate(zip(STEPS, asks, strict=True)):
        for client in graph:
            if client in gone and STEPS.index(gone[client]) <= number:
                continue
            try:
                server.receive(ask(client))
            except Refused:  # it has too few neighbours left, and takes no further part
                gone[client] = step
        server.close()
    survivors = server.survivors
    view = {client: server.view(client) for client in survivors}
    return SecureSum(server.total(), tuple(survivors), gone, view, server.bytes_up, degree, needed)


def _check(clients: int, degree: int, threshold: int, fewest: int, gone: Mapping[int, str]) -> None:
    if not degree // 2 < threshold <= degree:
        raise BadInput(
            f"threshold={threshold} must be more than half of {degree} neighbours and at most all of them: with half, "
            "two halves could be told different things."
        )
    if not 2 <= fewest <= clients:
        raise BadInput(f"fewest={fewest} survivors cannot be asked of {clients} clients; use 2 to {clients}.")
    for client, step in gone.items():
        if not 0 <= client < clients or step not in STEPS:
            raise BadInput(f"Client {client} cannot drop out at '{step}'; the steps are {', '.join(STEPS)}.")

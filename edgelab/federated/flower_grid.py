"""Flower's apps, messages and strategies in this process alone: a `Grid` that calls a ClientApp at once.

It is for tests and quick looks; who wants Flower's own simulation takes `edgelab.federated.flower.simulate_in_flower`
with Ray. Flower's messages ask a private class who this process is, and `identified` tells it, for as long as needed.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from edgelab.errors import EngineCrash

_RUN, _SERVER = 1, 1


def grid_of(client_app: Any, clients: int) -> Any:
    """A grid of so many clients, whose partition IDs count from 0.

    Raises
    ------
    EngineCrash
        If this version of Flower has its private parts elsewhere.
    """
    from flwr.app import Context, Message, RecordDict
    from flwr.serverapp import Grid

    class InProcess(Grid):  # type: ignore[misc]
        def __init__(self) -> None:
            self._numbers = itertools.count(1)
            self._replies: dict[str, Message] = {}
            self._contexts = {
                node: Context(_RUN, node, {"partition-id": client, "num-partitions": clients}, RecordDict(), {})
                for client, node in enumerate(range(_SERVER + 1, _SERVER + 1 + clients))
            }

        def set_run(self, run: Any) -> None:
            del run

        @property
        def run(self) -> Any:
            return None

        def create_message(
            self, content: Any, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
        ) -> Any:
            return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

        def get_node_ids(self) -> Iterable[int]:
            return list(self._contexts)

        def push_messages(self, messages: Iterable[Any]) -> Iterable[str]:
            sent = []
            for message in messages:
                name = str(next(self._numbers))
                message.metadata.__dict__["_message_id"] = name
                self._replies[name] = client_app(message, self._contexts[message.metadata.dst_node_id])
                sent.append(name)
            return sent

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Any]:
            return [self._replies.pop(name) for name in message_ids]

        def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> Iterable[Any]:
            del timeout
            return self.pull_messages(self.push_messages(messages))

    return InProcess()


@contextlib.contextmanager
def identified() -> Iterator[None]:
    """Tell Flower's messages that this process is the server of a run, and nothing any more afterwards.

    Raises
    ------
    EngineCrash
        If this version of Flower has that elsewhere.
    """
    from flwr.supercore import task_identity

    identity = getattr(task_identity, "TaskIdentity", None)
    names = {"_task_id": 1, "_run_id": _RUN, "_node_id": _SERVER}
    if identity is None or not all(name in vars(identity) for name in names):
        raise EngineCrash("This version of Flower keeps its identity elsewhere; edgelab was tried with flwr 1.42.")
    before = {name: vars(identity)[name] for name in names}
    try:
        for name, value in names.items():
            type.__setattr__(identity, name, value)
        yield
    finally:
        for name, value in before.items():
            type.__setattr__(identity, name, value)

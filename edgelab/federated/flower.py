"""A learner's client round, unchanged, in Flower's simulation: the only module that imports Flower.

Flower does not live beside TensorFlow, so `run_apart` starts this module in an environment of its own, which uv
builds at the first call and caches; `simulate_in_flower` is what runs there. Its processes live in a session of their
own with a temporary home, and end with the call: by its end, by an interrupt, and when the caller's process is gone.
Nothing is reported to Flower's makers.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle  # for a job alone, which this process wrote a moment ago for its own child
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from edgelab.data.dataset import Split
from edgelab.errors import BadInput, EngineCrash, MissingFramework
from edgelab.federated.by_hand import batches_of
from edgelab.federated.client import ClientConfig, ClientRound, Weights, initial_weights
from edgelab.federated.partition import Partition

GROUP = "flower"
COMMAND = f"uv run --isolated --no-default-groups --group {GROUP} python -m edgelab.federated.flower"
_ROOT = Path(__file__).parents[2]
_JOB, _BEGUN, _RESULT, _LOG = "job.pickle", "begun", "result.npz", "log.txt"


@dataclass(frozen=True, eq=False)
class FlowerRun:
    """What Flower's simulation left: the weights, each round's seconds (the first with the start-up), the version."""

    weights: Weights = field(repr=False)
    seconds_per_round: tuple[float, ...]
    version: str
    clients: int

    @property
    def seconds(self) -> float:
        """Of all rounds."""
        return float(sum(self.seconds_per_round))

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the weights."""
        return {
            "seconds_per_round": list(self.seconds_per_round),
            "version": self.version,
            "clients": self.clients,
        }

    def _repr_markdown_(self) -> str:
        each = ", ".join(f"{seconds:.2f}" for seconds in self.seconds_per_round)
        return f"Flower {self.version}, {self.clients} clients: seconds of each round {each}, the first with start-up."


@dataclass(frozen=True)
class Job:
    """What is simulated: every client takes part in every round."""

    function: ClientRound
    weights: Weights
    split: Split
    partition: Partition
    config: ClientConfig
    rounds: int
    seed: int

    def train(self, weights: Weights, client: int, number: int) -> tuple[Weights, dict[str, float]]:
        """A client's round from the given weights, on the batches that `edgelab.federated.simulate` would give it."""
        data = batches_of(self.split, self.partition, client, self.config, self.seed, number)
        torch.set_num_threads(1)
        new, _, metrics = self.function(weights, {}, data, self.config)
        found = {name: float(value) for name, value in metrics.items()}
        return new, {**found, "num-examples": int(self.partition.sizes[client])}


def run_apart(
    function: ClientRound,
    net: nn.Module,
    split: Split,
    partition: Partition,
    *,
    rounds: int = 2,
    config: ClientConfig | None = None,
    seed: int = 0,
    ray: bool = True,
    timeout_s: float = 600.0,
) -> FlowerRun:
    """Run a client's round in Flower's simulation, in an environment of its own.

    Parameters
    ----------
    function
        The client's round. What it uses goes along with it; a function of a notebook is as good as a module's.
    net, split, partition, rounds, config, seed
        As for `edgelab.federated.simulation.simulate`, where every client takes part.
    ray
        See `simulate_in_flower`.
    timeout_s
        After so long it is stopped. The first call also builds the environment.

    Raises
    ------
    BadInput
        If there is no round to do, or the function cannot be sent.
    MissingFramework
        If uv or the project's files are not there, or the environment cannot be had.
    EngineCrash
        If the simulation fails or takes too long.
    """
    if rounds < 1:
        raise BadInput(f"rounds={rounds}: there must be a round.")
    uv = shutil.which("uv")
    if uv is None or not (_ROOT / "pyproject.toml").is_file():
        raise MissingFramework(
            "Flower's environment is built by uv from edgelab's own folder; clone it, and install uv."
        )
    job = Job(function, initial_weights(net), split, partition, config or ClientConfig(), rounds, seed)
    with TemporaryDirectory(prefix="edgelab-") as folder:
        (Path(folder) / _JOB).write_bytes(_packed(job))
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        started = [uv, "run", "--quiet", "--project", str(_ROOT), "--python", python, *COMMAND.split()[2:], folder]
        started += [] if ray else ["--in-process"]
        _run_and_leave_nothing(started, Path(folder), timeout_s)
        with np.load(Path(folder) / _RESULT, allow_pickle=False) as found:
            seconds, version = tuple(map(float, found["seconds"])), str(found["version"])
            weights = {name: torch.from_numpy(found[f"weight {name}"]) for name in job.weights}
    return FlowerRun(weights, seconds, version, partition.clients)


def _packed(job: Job) -> bytes:
    import cloudpickle  # joblib brings it; a function of a notebook is sent by its value

    try:
        packed: bytes = cloudpickle.dumps(job)
    except (TypeError, pickle.PicklingError) as error:
        raise BadInput(f"The client's function cannot be sent to another process ({error}).") from error
    return packed


def _run_and_leave_nothing(command: list[str], folder: Path, timeout_s: float) -> None:
    """Run a command whose end ends every process that it started; its standard input stays open as long as we live."""
    import psutil

    with (folder / _LOG).open("wb") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        family: dict[int, psutil.Process] = {}
        try:
            limit = time.monotonic() + timeout_s
            while child.poll() is None and time.monotonic() < limit:
                with contextlib.suppress(psutil.Error):
                    family |= {member.pid: member for member in psutil.Process(child.pid).children(recursive=True)}
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.5)
            ended = child.poll()
        finally:
            for process in [*family.values(), child]:
                with contextlib.suppress(psutil.Error, OSError):
                    process.terminate()
            _, alive = psutil.wait_procs(list(family.values()), timeout=3)
            for process in [*alive, *([child] if child.poll() is None else [])]:
                with contextlib.suppress(psutil.Error, OSError):
                    process.kill()
            child.wait()
            if child.stdin is not None:
                child.stdin.close()
    if ended is None:
        raise EngineCrash(f"Flower's simulation took longer than {timeout_s:g} s and was stopped.")
    if ended != 0 or not (folder / _RESULT).is_file():
        said = (folder / _LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = said[-1] if said else f"exit code {ended}"
        if not (folder / _BEGUN).is_file():
            raise MissingFramework(f"Flower's environment cannot be had here ({why}); it takes the network once.")
        raise EngineCrash(f"Flower's simulation failed: {why}")


def simulate_in_flower(job: Job, *, ray: bool = True) -> FlowerRun:
    """Run a job in this process's environment, which must hold Flower.

    Parameters
    ----------
    ray
        Flower's own simulation, on Ray. False: Flower's apps, messages and strategy in this process alone, which takes
        a second in place of half a minute.
    """
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before the import, or it reports
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import flwr
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg

    client_app, names, clients = ClientApp(), list(job.weights), job.partition.clients

    @client_app.train()  # type: ignore[untyped-decorator]
    def train(message: Message, context: Context) -> Message:
        weights = message.content["arrays"].to_torch_state_dict()
        number = int(message.content["config"]["server-round"]) - 1
        client = int(context.node_config["partition-id"])
        new, metrics = job.train({name: weights[name] for name in names}, client, number)
        content = {
            "arrays": ArrayRecord({name: new[name].detach() for name in names}),
            "metrics": MetricRecord(metrics),
        }
        return Message(content=RecordDict(content), reply_to=message)

    marks = [time.perf_counter()]

    class Timed(FedAvg):  # type: ignore[misc]
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            found = super().aggregate_train(server_round, replies)
            marks.append(time.perf_counter())
            return found

    strategy = Timed(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    ended: dict[str, Any] = {}

    def serve(grid: Grid) -> None:
        first = ArrayRecord(dict(job.weights))
        ended["result"] = strategy.start(grid, first, num_rounds=job.rounds, train_config=ConfigRecord())

    if ray:
        from flwr.simulation import run_simulation

        server_app = ServerApp()

        @server_app.main()  # type: ignore[untyped-decorator]
        def main(grid: Grid, context: Context) -> None:
            del context
            serve(grid)

        resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"include_dashboard": False}}
        run_simulation(server_app, client_app, clients, backend_config=resources)
    else:
        from edgelab.federated.flower_grid import grid_of, identified

        with identified():
            serve(grid_of(client_app, clients))
    if "result" not in ended:
        raise EngineCrash("Flower's server ended without a result; its log says why.")
    weights = ended["result"].arrays.to_torch_state_dict()
    seconds = tuple(after - before for before, after in itertools.pairwise(marks))
    return FlowerRun({name: weights[name].clone() for name in names}, seconds, flwr.__version__, clients)


def _end_with_the_caller(*folders: str) -> None:
    """End this process, Ray's and the folders with it, when nobody holds the other end of its standard input any more.

    Who was killed could not remove them.
    """
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    import psutil

    for member in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            member.kill()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Run the job in a folder; without one, a small example of two rounds, held against `simulate`."""
    with TemporaryDirectory(prefix="edgelab-") as home:
        os.environ |= dict.fromkeys(("HOME", "FLWR_HOME", "RAY_TMPDIR"), home)
        if arguments:
            threading.Thread(target=_end_with_the_caller, args=(home, arguments[0]), daemon=True).start()
            folder = Path(arguments[0])
            (folder / _BEGUN).touch()
            job: Job = pickle.loads((folder / _JOB).read_bytes())  # noqa: S301  written by our own parent
            result = simulate_in_flower(job, ray="--in-process" not in arguments)
            weights = {f"weight {name}": value.numpy() for name, value in result.weights.items()}
            arrays: dict[str, Any] = {"seconds": result.seconds_per_round, "version": result.version, **weights}
            np.savez(folder / "part.npz", allow_pickle=False, **arrays)
            (folder / "part.npz").replace(folder / _RESULT)
            return 0
        net, split, partition = _example()
        from edgelab.federated.client import client_round
        from edgelab.federated.engines import flatten
        from edgelab.federated.simulation import simulate

        config = ClientConfig(epochs=2)
        job = Job(client_round(net), initial_weights(net), split, partition, config, 2, 0)
        theirs, ours = simulate_in_flower(job), simulate(net, split, partition, rounds=2, config=config)
        apart = float(np.abs(flatten(theirs.weights) - flatten(ours.weights)).max())
        sys.stdout.write(f"{theirs._repr_markdown_()} Weights at most {apart:.1e} from edgelab's own.\n")
    return 0


def _example() -> tuple[nn.Module, Split, Partition]:
    from edgelab.federated.partition import dirichlet_labels
    from edgelab.federated.tasks import TASKS

    dataset = TASKS["digits"].load()
    return TASKS["digits"].network(dataset), dataset.train, dirichlet_labels(dataset.train, 4, 0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

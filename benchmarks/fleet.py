"""Device-ticks a CPU second of the vectorised fleet against SimPy's, in turn in one run; then a million devices.

NumPy is timed on a fleet of the size that it is for, SimPy on a small one, whose rate does not hang on the size; the
percentiles are of the same drawn devices in both, and SimPy keeps exact latencies. A rollout through a million devices
runs in a process of its own, which says how much memory it took. The third part is the gates' table: false alarms and
hours to detect over 4,000 simulated rollouts. Last comes an answer of the lab's panel, in the kernel. Targets: at least
20 times SimPy's device-ticks with the same percentiles; a million devices within 2 GB; the e-process at most 5 percent
false alarms; an answer under 100 ms.
Usage: ``python benchmarks/fleet.py [--turns N] [--devices N] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgelab import Reading, Table
from edgelab.measure import stats
from edgelab.measure.machine import Watch, machine
from edgelab.ota.fleet import draw_devices, run_fleet
from edgelab.ota.fleet_rollout import GATES, roll_out, sketch
from edgelab.ota.gate_trial import try_gates
from edgelab.ota.hardware import Fault, World
from edgelab.ui import evidence_figure, rollout_words

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.fleet_witness import live

WITNESS_DEVICES, FLEET_DEVICES, HOURS, TICK_S = 300, 30_000, 24, 600.0
QUANTILES = (5, 50, 95, 99)


def contest(turns: int) -> dict[str, Any]:
    """Ticks a CPU second of both, turn by turn, and the percentiles of all turns."""
    rates: dict[str, list[float]] = {"NumPy": [], "SimPy": []}
    theirs: list[float] = []
    ours = None
    for turn in range(-1, turns):
        for name in sorted(rates, reverse=bool(turn % 2)):
            fleet = draw_devices(FLEET_DEVICES if name == "NumPy" else WITNESS_DEVICES, seed=turn + 1)
            start = time.process_time()
            if name == "NumPy":
                run = run_fleet(fleet, HOURS, TICK_S, seed=turn + 1)
                ticks = run.ticks
            else:
                latencies, tally = live(fleet, World(), HOURS, TICK_S, seed=turn + 1)
                ticks = tally["ticks"]
            seconds = time.process_time() - start
            if turn < 0:
                continue
            rates[name].append(ticks / seconds)
            if name == "SimPy":
                same = run_fleet(fleet, HOURS, TICK_S, seed=turn + 1).latency
                ours = same if ours is None else ours + same
                theirs += latencies
    each = np.array(rates["NumPy"]) / np.array(rates["SimPy"])
    value, low, high = stats.percentile_interval(each, 50)[:3]
    ratio = Reading(value, "x", "measured", f"{turns} turns of {HOURS} simulated hours", low, high)
    assert ours is not None
    apart = {q: ours.percentile(q) / float(np.percentile(theirs, q, method="inverted_cdf")) - 1 for q in QUANTILES}
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    return {"rates": medians, "ratio": ratio, "apart": apart}


def _roll(devices: int, fault: Fault, queue: Any) -> None:
    start = time.perf_counter()
    run = roll_out(draw_devices(devices), fault, tick_s=3600.0)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    queue.put({"seconds": seconds, "peak_bytes": peak, "hours": len(run.hours), **run.to_dict()})


def million(devices: int, fault: Fault) -> dict[str, Any]:
    """A rollout in a fresh process: seconds, and the most memory that the whole process held."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_roll, args=(devices, fault, queue))
    child.start()
    found: dict[str, Any] = queue.get()
    child.join()
    return found


def panel_ms(rounds: int = 10) -> Reading:
    """An answer of the lab's panel in the kernel, every gate in turn: sketch, figure and words."""
    taken = []
    for number in range(-1, rounds):
        for gate in GATES:
            start = time.perf_counter()
            run = sketch(100_000, Fault(crashes=1 + number / 4), gate) if number > 0 else sketch(100_000, Fault(), gate)
            evidence_figure(run), rollout_words(run)
            if number >= 0:
                taken.append(1000 * (time.perf_counter() - start))
    value, low, high = stats.percentile_interval(taken, 50)[:3]
    return Reading(value, "ms", "measured", f"{len(taken)} answers of the panel's function, no browser", low, high)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--replications", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    watch = Watch()
    raced = contest(arguments.turns)
    rollouts = {str(fault): million(arguments.devices, fault) for fault in (Fault(), Fault(crashes=2.0))}
    gates = try_gates(replications=arguments.replications)
    panel = panel_ms()
    note = f"{machine().cpu}, {machine().cores} cores. {watch.complaint()}".strip()
    if arguments.json:
        apart = {f"p{q}": value for q, value in raced["apart"].items()}
        found = {"machine": machine().to_dict(), "device_ticks_per_second": raced["rates"]}
        found |= {"ratio": raced["ratio"].to_dict(), "percentiles_apart": apart, "panel": panel.to_dict()}
        print(json.dumps({**found, "rollouts": rollouts, "gates": gates.to_dict()}, indent=1))
        return 0
    rows = [(name, rate / 1e6) for name, rate in raced["rates"].items()]
    worst = max(abs(value) for value in raced["apart"].values())
    said = f"NumPy {raced['ratio'].figure()} SimPy; percentiles at most {100 * worst:.1f} % apart. {note}"
    print(Table("The fleet", ("simulated by", "million device-ticks a CPU second"), rows, said))
    columns = ("release", "outcome", "simulated hours", "seconds", "peak memory in GB")
    timed = [(n, r["outcome"], r["hours"], r["seconds"], r["peak_bytes"] / 1e9) for n, r in rollouts.items()]
    print(Table(f"A rollout through {arguments.devices} devices", columns, timed, note))
    print(gates.table())
    print(f"An answer of the panel: {panel}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

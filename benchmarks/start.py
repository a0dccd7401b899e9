"""How long starting takes: fresh processes against ``python -c pass``, in turn, in one run.

Targets: ``import edgelab`` adds less than 0.15 s, ``edgelab labs`` takes less than 0.6 s. Usage:
``python benchmarks/start.py [--runs N] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np

from edgelab import Reading, Table
from edgelab.measure import stats
from edgelab.measure.machine import machine

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import edgelab": [sys.executable, "-c", "import edgelab"],
    "edgelab labs": [sys.executable, "-m", "edgelab", "labs"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(arguments.runs + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    bare = np.array(times["python -c pass"][1:])
    by = f"{arguments.runs} fresh processes each, in turn, {machine().cpu}"
    readings = {}
    for name, series in times.items():
        value, low, high = stats.percentile_interval(series[1:], 50)
        readings[name] = Reading(value, "s", "measured", by, low, high)
    added = np.array(times["import edgelab"][1:]) - bare
    value, low, high = stats.percentile_interval(added, 50)
    readings["added by import edgelab"] = Reading(value, "s", "measured", by, low, high)
    if arguments.json:
        print(json.dumps({name: r.to_dict() for name, r in readings.items()}, indent=1))
    else:
        print(Table("Starting", ("command", "seconds"), [(n, r.figure()) for n, r in readings.items()], by))
    return 0


if __name__ == "__main__":
    sys.exit(main())

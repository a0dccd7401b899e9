"""Secure aggregation in one process: each client with 20 neighbours, beside the full graph, measured in turn.

    uv run python benchmarks/secure_aggregation.py [--json]

100 clients hold 100,000 weights each; 10 of them drop out after they shared their keys, so their masks have to be
undone. Every message is made, signed, encrypted and checked. The target: under 5 s, every bit of the sum right.
"""

import argparse
import json
import statistics
import sys
import time

import numpy as np

from edgelab.measure.machine import machine
from edgelab.privacy.masks import FixedPoint
from edgelab.privacy.secure_aggregation import secure_sum

TARGET_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--weights", type=int, default=100_000)
    parser.add_argument("--dropped", type=int, default=10)
    parser.add_argument("--neighbours", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    updates = rng.uniform(-1, 1, (args.clients, args.weights)).astype(np.float32)
    form = FixedPoint(1.0, args.clients)
    rows = np.stack([form.encode(update) for update in updates])
    gone = dict.fromkeys(map(int, rng.choice(args.clients, args.dropped, replace=False)), "masked")
    alive = [client for client in range(args.clients) if client not in gone]
    wanted = np.rint(updates[alive].astype(np.float64) * form.scale).astype(np.int64).sum(axis=0)
    graphs = {"neighbours": args.neighbours, "full": None}
    seconds, exact, sizes = {name: [] for name in graphs}, dict.fromkeys(graphs, True), {}
    for _ in range(args.repeats):
        for name, neighbours in graphs.items():  # in turn
            begin = time.perf_counter()
            found = secure_sum(rows, neighbours=neighbours, drop_outs=gone)
            seconds[name].append(time.perf_counter() - begin)
            exact[name] &= bool(np.array_equal(form.integers(found.total, len(alive)), wanted))
            sizes[name] = found.bytes_up / args.clients / (4 * args.weights)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "clients": args.clients,
        "weights": args.weights,
        "dropped": args.dropped,
        "rows": [
            {
                "graph": name,
                "neighbours": neighbours or args.clients - 1,
                "seconds": round(middle[name], 3),
                "bit_exact": exact[name],
                "bytes_up_over_plain": round(sizes[name], 3),
            }
            for name, neighbours in graphs.items()
        ],
        "full_over_neighbours": round(middle["full"] / middle["neighbours"], 2),
        "within_target": middle["neighbours"] < TARGET_S and all(exact.values()),
        "machine": machine().cpu,
    }
    if args.json:
        print(json.dumps(result))
    else:
        for row in result["rows"]:
            word = "bit-exact" if row["bit_exact"] else "WRONG"
            print(f"{row['graph']:>10}: {row['neighbours']:3d} neighbours, {row['seconds']:6.2f} s, {word}")
        print(f"The full graph takes {result['full_over_neighbours']} times as long; target {TARGET_S:g} s.")
    return 0 if result["within_target"] else 1


if __name__ == "__main__":
    sys.exit(main())

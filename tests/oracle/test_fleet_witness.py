"""The vectorised fleet beside its SimPy witness: the same devices, other randomness, the same percentiles."""

import numpy as np
import pytest

from edgelab.ota.fleet import draw_devices, run_fleet
from edgelab.ota.hardware import World
from edgelab.ota.histogram import RELATIVE_ERROR
from tests.fleet_witness import live


@pytest.mark.parametrize("seed", [0, 1])
def test_percentiles_shares_and_crashes_agree_with_simpy(seed):
    fleet, hours, tick_s = draw_devices(400, seed), 48, 600.0
    ours = run_fleet(fleet, hours, tick_s, seed)
    latencies, tally = live(fleet, World(), hours, tick_s, seed)
    assert ours.ticks == tally["ticks"]
    for q in (5, 25, 50, 75, 90, 95, 99):
        theirs = np.percentile(latencies, q, method="inverted_cdf")
        assert ours.latency.percentile(q) == pytest.approx(theirs, rel=RELATIVE_ERROR + 0.02), q
    # Both sample the same expectations; the shares differ by which hour's end is looked at.
    assert ours.online == pytest.approx(tally["online"] / tally["ticks"], abs=0.02)
    assert ours.throttled == pytest.approx(tally["throttled"] / tally["ticks"], abs=0.01)
    assert abs(ours.latency.total / len(latencies) - 1) < 0.005
    expected = max(ours.crashes, tally["crashes"])
    assert abs(ours.crashes - tally["crashes"]) < 5 * np.sqrt(2 * expected)

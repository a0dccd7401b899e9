"""Updates over the air: signed releases, devices that always keep a model that works, rollouts that stop a bad one.

`Publisher` signs, `make_server` hands out, `Device` installs, tries, and commits or rolls back. `Flash` and
`cut_everywhere` cut its power after every operation. `Rollout` says whose turn it is, and `EProcess` when to stop;
`roll_out` shows it on a simulated fleet. Names load when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Bonferroni": "gates",
    "Card": "manifest",
    "Decision": "gates",
    "Device": "device",
    "DiskStorage": "storage",
    "EProcess": "gates",
    "Fault": "hardware",
    "FixedThreshold": "gates",
    "Flash": "flash",
    "Fleet": "fleet",
    "LogHistogram": "histogram",
    "Looks": "gates",
    "Manifest": "manifest",
    "PeekedExact": "gates",
    "Publisher": "publisher",
    "Refused": "manifest",
    "Report": "reports",
    "Rollout": "rollout",
    "SPRT": "gates",
    "StageEnds": "gates",
    "Trial": "gate_trial",
    "apply_delta": "deltas",
    "best_delta": "deltas",
    "cut_everywhere": "powercut",
    "draw_devices": "fleet",
    "e_process": "gates",
    "exact_interval": "gate_trial",
    "initialise": "publisher",
    "make_server": "server",
    "open_device": "agent",
    "publish": "release",
    "rate_bound": "gate_trial",
    "roll_out": "fleet_rollout",
    "run_fleet": "fleet",
    "serving": "server",
    "sketch": "fleet_rollout",
    "status": "agent",
    "try_gates": "gate_trial",
    "write_file": "storage",
}
__all__ = [
    "SPRT",
    "Bonferroni",
    "Card",
    "Decision",
    "Device",
    "DiskStorage",
    "EProcess",
    "Fault",
    "FixedThreshold",
    "Flash",
    "Fleet",
    "LogHistogram",
    "Looks",
    "Manifest",
    "PeekedExact",
    "Publisher",
    "Refused",
    "Report",
    "Rollout",
    "StageEnds",
    "Trial",
    "apply_delta",
    "best_delta",
    "cut_everywhere",
    "draw_devices",
    "e_process",
    "exact_interval",
    "initialise",
    "make_server",
    "open_device",
    "publish",
    "rate_bound",
    "roll_out",
    "run_fleet",
    "serving",
    "sketch",
    "status",
    "try_gates",
    "write_file",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

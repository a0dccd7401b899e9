"""Updates over the air: releases that a device can trust, rollouts that stop a bad one, and fleets to try them on.

Names load when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Bonferroni": "gates",
    "Decision": "gates",
    "EProcess": "gates",
    "Fault": "hardware",
    "FixedThreshold": "gates",
    "Fleet": "fleet",
    "LogHistogram": "histogram",
    "Looks": "gates",
    "PeekedExact": "gates",
    "Report": "reports",
    "Rollout": "rollout",
    "SPRT": "gates",
    "StageEnds": "gates",
    "Trial": "gate_trial",
    "draw_devices": "fleet",
    "e_process": "gates",
    "exact_interval": "gate_trial",
    "rate_bound": "gate_trial",
    "roll_out": "fleet_rollout",
    "run_fleet": "fleet",
    "sketch": "fleet_rollout",
    "try_gates": "gate_trial",
}
__all__ = [
    "SPRT",
    "Bonferroni",
    "Decision",
    "EProcess",
    "Fault",
    "FixedThreshold",
    "Fleet",
    "LogHistogram",
    "Looks",
    "PeekedExact",
    "Report",
    "Rollout",
    "StageEnds",
    "Trial",
    "draw_devices",
    "e_process",
    "exact_interval",
    "rate_bound",
    "roll_out",
    "run_fleet",
    "sketch",
    "try_gates",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

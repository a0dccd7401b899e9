"""What an architecture costs: bytes, arena and modelled time of its int8 file, from the house's own tools."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelab.errors import BadInput
from edgelab.toolbox.search_space import Architecture, build, macs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

DEVICE = "nrf52832"
"""The microcontroller whose verdicts are kept with the costs: a Cortex-M4 with 64 KB of SRAM."""


@dataclass(frozen=True)
class Cost:
    """The costs of one network.

    ``file_bytes`` is the size of the int8 file, ``flash_bytes`` that of the file and the interpreter together,
    ``arena_bytes`` what the interpreter's planner needs of the SRAM (modelled), ``device_ms`` the modelled time of one
    inference on `DEVICE`, ``fits`` whether `edgelab.mcu.fit` lets it on that device.
    """

    parameters: int
    macs: int
    file_bytes: int
    flash_bytes: int
    arena_bytes: int
    device_ms: float
    fits: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)


def cost_of(
    arch: Architecture, calibration: NDArray[np.float32], classes: int = 10, net: nn.Module | None = None
) -> Cost:
    """The costs of an architecture; its weights do not matter for them, so that an untrained network will do.

    Parameters
    ----------
    arch
        The architecture.
    calibration
        Some images (N, channels, size, size), from which the file takes the ranges of its activations.
    classes
        Of the task.
    net
        The network if there is one, trained; None builds it.

    Raises
    ------
    BadInput
        If the images are not square, or there is none, or their values are not finite.
    """
    from edgelab.convert import export_int8
    from edgelab.mcu.fit import fit

    if calibration.ndim != 4 or calibration.shape[2] != calibration.shape[3]:
        raise BadInput(f"Square images (N, channels, size, size) are wanted, not {calibration.shape}.")
    if not len(calibration) or not np.isfinite(calibration).all():
        raise BadInput("The ranges of the int8 file come from the images: one or more with finite values are wanted.")
    channels, size = calibration.shape[1], calibration.shape[2]
    net = build(arch, classes, channels).eval() if net is None else net
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        exported = export_int8(net, calibration, path)
        report = fit(path, DEVICE, accelerators=False, measured=False, compiled=False)
    (device,) = report.devices
    latency = device.cost.latency
    return Cost(
        parameters=sum(p.numel() for p in net.parameters()),
        macs=macs(arch, classes, channels, size),
        file_bytes=exported.bytes,
        flash_bytes=device.flash_bytes,
        arena_bytes=device.arena_bytes,
        device_ms=0.0 if latency is None else round(latency.value, 3),
        fits=device.fits,
    )


def fits(costs: Mapping[str, float], budgets: Mapping[str, float]) -> bool:
    """Whether no cost is above its budget; a budget whose cost is unknown is not kept.

    Examples
    --------
    >>> fits({"file_bytes": 900, "ms": 2.0}, {"file_bytes": 1000})
    True
    >>> fits({"file_bytes": 900}, {"file_bytes": 1000, "ms": 1.0})
    False
    """
    return all(name in costs and costs[name] <= most for name, most in budgets.items())

"""PyTorch's own int8 backends, and what happens when a network made for one runs with the kernels of another.

A backend is two things: a recipe (how many bits of the range are used, which observers) and a set of kernels, for
which the weights are packed when the network is converted. PyTorch lets every recipe meet every kernel without a
word. ``fbgemm``, ``x86`` and ``onednn`` are for x86 processors, ``qnnpack`` is for Arm.

Two things go wrong in silence (PyTorch 2.14, x86). The ``fbgemm`` kernels add up in 16 bits and saturate unless the
recipe leaves one bit free, as ``fbgemm`` and ``x86`` do and ``qnnpack`` and ``onednn`` do not. And the ``qnnpack``
kernels permute the values of a quantized ReLU6 or clamp behind a convolution: networks with ReLU6 compute garbage.

`torch.ao.quantization` is PyTorch's older interface, and the only one that offers these backends.
"""

from __future__ import annotations

import contextlib
import copy
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab.errors import BadInput
from edgelab.quiet import first_line, silenced

RECIPES = ("x86", "fbgemm", "onednn", "qnnpack")
_FOR_X86, _FOR_ARM = "fbgemm", "qnnpack"


def available() -> tuple[str, ...]:
    """The kernels that this build of PyTorch holds for this processor."""
    return tuple(name for name in RECIPES if name in torch.backends.quantized.supported_engines)


def native_and_foreign() -> tuple[str, str | None]:
    """The kernels made for this processor, and those for another one; None where this build of PyTorch lacks them.

    On x86 the native ones are ``fbgemm``. PyTorch's default there, ``x86``, picks between them and ``onednn`` layer by
    layer, and was twice as slow on a small network: a race against it would flatter the foreign kernels.
    """
    here = available()
    if _FOR_X86 in here and platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        return _FOR_X86, _FOR_ARM if _FOR_ARM in here else None
    return _FOR_ARM, _FOR_X86 if _FOR_X86 in here else None


@contextlib.contextmanager
def using(kernels: str) -> Iterator[None]:
    """Make ``kernels`` PyTorch's quantized engine inside the block; the setting before is back after it.

    Raises
    ------
    BadInput
        If this machine does not have them.
    """
    if kernels not in available():
        raise BadInput(f"This PyTorch has no {kernels!r} kernels; it has {', '.join(available())}.")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = kernels
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


class BackendNetwork(nn.Module):
    """An int8 network that runs with its own kernels, whatever PyTorch's setting is.

    ``recipe`` and ``kernels`` name the backends that it was made for and packed for, ``seconds`` is the time that
    took. ``net`` is the converted network itself.
    """

    def __init__(self, net: nn.Module, recipe: str, kernels: str, seconds: float) -> None:
        super().__init__()
        self.net, self.recipe, self.kernels, self.seconds = net, recipe, kernels, seconds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float inputs to float logits."""
        with using(self.kernels), torch.no_grad():
            logits: torch.Tensor = self.net(x)
        return logits


def quantize_for_backend(
    net: nn.Module, calibration_x: NDArray[np.float32], recipe: str, kernels: str | None = None
) -> BackendNetwork:
    """Quantize a network to int8 as one backend wants it, and pack its weights for the same or for another one.

    Parameters
    ----------
    net
        The float network; it stays as it is.
    calibration_x
        Inputs (N, ...) as the network takes them, float32.
    recipe
        ``"x86"``, ``"fbgemm"``, ``"onednn"`` or ``"qnnpack"``: whose settings are used.
    kernels
        Whose kernels run it; by default those of ``recipe``.

    Raises
    ------
    BadInput
        If the backend does not exist here, or the network does not take the inputs or cannot be traced.
    """
    started = time.perf_counter()
    if recipe not in RECIPES:
        raise BadInput(f"recipe={recipe!r} is not one of {', '.join(RECIPES)}.")
    chosen = recipe if kernels is None else kernels
    x = torch.from_numpy(np.array(calibration_x))  # a copy: the network may work in place
    if x.ndim == 0 or len(x) == 0 or x.dtype != torch.float32 or not torch.isfinite(x).all():
        raise BadInput("The calibration set is not a batch of finite float32 inputs.")
    with using(chosen):
        try:
            with silenced():
                converted = _convert(copy.deepcopy(net).eval(), x, recipe)
        except Exception as error:
            raise BadInput(f"{type(net).__name__} cannot be quantized for {recipe}: {first_line(error)}.") from error
    return BackendNetwork(converted, recipe, chosen, time.perf_counter() - started).eval()


def _convert(net: nn.Module, x: torch.Tensor, recipe: str) -> Any:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    with _without_stack_traces():
        observed = prepare_fx(net, get_default_qconfig_mapping(recipe), (x[:1],))
    with torch.no_grad():
        observed(x)
    return convert_fx(observed)


@contextlib.contextmanager
def _without_stack_traces() -> Iterator[None]:
    """Spare the tracer its notes on where each node comes from: to write them it imports the compiler, 5 seconds."""
    settings: Any = sys.modules.get("torch.fx.config")
    if settings is None:
        yield
        return
    before = settings.do_not_emit_stack_traces
    settings.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        settings.do_not_emit_stack_traces = before

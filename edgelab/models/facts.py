"""What the readers of model files have in common: the form of their findings and the limits of the sensible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelab.errors import BadFile

MAX_ELEMENTS = 2**40
_MAX_TEXT = 400


def facts(
    *,
    format: str,  # noqa: A002 - the key's name
    producer: str,
    version: dict[str, Any],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    quantization: dict[str, Any],
    layers: list[dict[str, Any]],
    weight_bytes: dict[str, int],
    external_bytes: int,
    metadata: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    hints: Mapping[str, Sequence[int | None]] | None = None,
) -> dict[str, Any]:
    """The findings of a reader, as JSON-ready data.

    ``layers`` holds one entry an operator: name, type, macs (None where a shape is not known), parameters, shape
    and dtype of its first output, ``quantized`` for operators with weights, and ``compression`` where a format has it.
    ``metadata`` are texts by name, and ``labels`` the names of the classes, where a file holds them; ``hints``
    what a file says of the sizes of inputs that leave axes open.

    Raises
    ------
    BadFile
        If a figure is beyond anything that a file can mean.
    """
    if any((layer["macs"] or 0) > MAX_ELEMENTS**2 for layer in layers):
        raise BadFile("The model states an operator of absurd size.")
    return {
        "format": format,
        "producer": producer,
        "version": version,
        "inputs": inputs,
        "outputs": outputs,
        "quantization": quantization,
        "layers": layers,
        "weight_bytes": dict(sorted(weight_bytes.items())),
        "external_bytes": external_bytes,
        "metadata": dict(metadata or {}),
        "labels": list(labels),
        "hints": {name: list(shape) for name, shape in (hints or {}).items()},
    }


def granularity(per_channel: Sequence[bool]) -> str | None:
    """How the weights' scales are shared, from one flag a quantized weight tensor.

    Examples
    --------
    >>> granularity([True, True])
    'per_channel'
    """
    if not per_channel:
        return None
    if all(per_channel):
        return "per_channel"
    return "mixed" if any(per_channel) else "per_tensor"


def clipped(text: str, limit: int = _MAX_TEXT) -> str:
    """``text`` on one line, at most ``limit`` characters of it."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shown(shape: Sequence[int | None]) -> str:
    """A shape for an error message, cut where it is long."""
    return clipped(f"({', '.join('?' if n is None else str(n) for n in shape)})", 80)

"""PyTorch network to a Core ML package (.mlpackage), on any system that coremltools runs on.

Conversion needs no Apple machine; only prediction does. What the package computes is checked by
`edgelab.engines.coreml`, which runs Core ML on macOS and edgelab's evaluator elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.files import expanded
from edgelab.models import mlpackage
from edgelab.quiet import first_line, silenced

if TYPE_CHECKING:
    import torch

Precision = Literal["float16", "float32"]


@dataclass(frozen=True)
class CoreMLExport:
    """What `export` wrote: the package, the bytes of all its files, and the seconds of the conversion."""

    path: Path
    bytes: int
    precision: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {**vars(self), "path": str(self.path)}

    def _repr_markdown_(self) -> str:
        return f"`{self.path.name}`: {self.bytes:,} bytes, {self.precision} ({self.seconds:.2f} s)"


def export(
    net: torch.nn.Module,
    example: torch.Tensor | NDArray[Any],
    path: str | os.PathLike[str],
    *,
    precision: Precision = "float16",
    image: bool = False,
    class_names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> CoreMLExport:
    """Write ``net`` as an ML Program with a batch of 1.

    Parameters
    ----------
    net
        The network; its training mode is as before afterwards.
    example
        One item as the network takes it, (1, ...), float32. More items are cut to the first.
    path
        The package, a name that ends in .mlpackage; whole or absent.
    precision
        In which type weights are stored and operators compute.
    image
        Take an image of 8-bit pixels, 0 to 255, and divide by 255 inside the program. Else a tensor.
    class_names
        Make it a classifier with these names; its outputs are ``classLabel`` and ``classLabel_probs``.
    metadata
        ``author``, ``license``, ``version`` and ``short_description``, shown by Xcode.

    Raises
    ------
    BadInput
        If the network cannot be converted; the sentence carries what coremltools said.
    MissingFramework
        If coremltools is not installed.
    """
    started = time.perf_counter()
    model = program(net, example, precision=precision, image=image, class_names=class_names)
    for name, text in (metadata or {}).items():
        setattr(model, name, text)
    return save(model, path, precision=precision, started=started)


def program(
    net: torch.nn.Module,
    example: torch.Tensor | NDArray[Any],
    *,
    precision: Precision = "float16",
    image: bool = False,
    class_names: Sequence[str] = (),
) -> Any:
    """The converted network as coremltools' own object, not yet saved; arguments as for `export`."""
    import torch

    ct = mlpackage.coremltools()
    if precision not in ("float16", "float32"):
        raise BadInput(f"precision={precision!r} is not one of 'float16', 'float32'.")
    x = torch.as_tensor(np.array(example, np.float32))[:1]
    kind: dict[str, Any] = {"dtype": np.float32}
    inputs = [ct.TensorType(name="input", shape=tuple(x.shape), **kind)]
    if image:
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise BadInput(f"An image has 1 or 3 channels, (1, C, H, W), not the shape {tuple(x.shape)}.")
        inputs = [image_input(tuple(x.shape))]
    settings: dict[str, Any] = {"outputs": [ct.TensorType(name="logits", **kind)]}
    if class_names:
        settings = {"classifier_config": ct.ClassifierConfig(list(class_names))}
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        settings |= {"convert_to": "mlprogram", "minimum_deployment_target": ct.target.iOS18, "skip_model_load": True}
        settings["compute_precision"] = getattr(ct.precision, precision.upper())
        with silenced(), torch.no_grad():
            try:
                traced = torch.jit.trace(net, x, check_trace=False)  # type: ignore[no-untyped-call]
                return ct.convert(traced, inputs=inputs, **settings)
            except Exception as error:  # noqa: BLE001 - coremltools raises anything
                first = error
            # A traced network computes with its shapes, which coremltools 9 cannot read under numpy 2.4; an exported
            # program holds them as numbers.
            try:
                exported = torch.export.export(net, (x,)).run_decompositions({})
                return ct.convert(exported, inputs=inputs, **settings)
            except Exception:  # noqa: BLE001
                raise first from None
    except Exception as error:
        raise BadInput(
            f"{type(net).__name__} cannot be converted to Core ML: {first_line(error)}. Replace that operation, or "
            "compute it outside the network."
        ) from error
    finally:
        for module in training:
            module.training = True


def image_input(shape: Sequence[int]) -> Any:
    """An image input for coremltools: pixels from 0 to 255, which the network sees as 0 to 1.

    ``shape`` is (1, C, H, W) with three channels for red, green and blue, or one for grey.
    """
    ct = mlpackage.coremltools()
    layout = ct.colorlayout.RGB if shape[1] == 3 else ct.colorlayout.GRAYSCALE
    return ct.ImageType(name="image", shape=tuple(shape), scale=1 / 255.0, color_layout=layout)


def save(
    model: Any, path: str | os.PathLike[str], *, precision: str = "float16", started: float | None = None
) -> CoreMLExport:
    """Save coremltools' object as a package, whole or not at all."""
    begun = time.perf_counter() if started is None else started
    with mlpackage.writing_package(path) as temporary, silenced():
        model.save(str(temporary))
    return CoreMLExport(expanded(path), mlpackage.folder_bytes(path), precision, time.perf_counter() - begun)

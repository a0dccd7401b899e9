"""Firmware run on its emulated core: rows in, rows out, instructions by layer, sizes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.emulator.elf import Sizes
from edgelab.emulator.trace import Trace
from edgelab.engines.base import TensorInfo
from edgelab.engines.child import last_line
from edgelab.engines.cortexm import CortexMEngine, as_rows
from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded, refuse_bomb, refuse_pointer
from edgelab.reading import Reading


@dataclass(frozen=True)
class EmulatedRun:
    """What firmware answered and what it took.

    ``outputs`` holds for each output of the model an array (rows, ...) of its own element type; ``trace`` counts the
    first row; ``stack_bytes`` is the deepest that any row used the stack.
    """

    outputs: tuple[NDArray[Any], ...] = field(repr=False)
    output_names: tuple[str, ...]
    trace: Trace
    sizes: Sizes
    stack_bytes: int
    by: str

    def readings(self) -> dict[str, Reading]:
        """Instructions, flash, RAM and stack as readings."""

        def reading(value: int, unit: str) -> Reading:
            return Reading(value, unit, "emulated", self.by)

        return {
            "instructions": self.trace.reading(),
            "flash": Reading(self.sizes.flash_bytes, "bytes", "measured", "the linker's sections"),
            "ram": Reading(self.sizes.ram_bytes, "bytes", "measured", "the linker's sections, the stack apart"),
            "stack": reading(self.stack_bytes, "bytes"),
        }


def run_firmware(
    path: str | os.PathLike[str], inputs: Sequence[NDArray[Any]] | None = None, *, native: bool | None = None
) -> EmulatedRun:
    """Run rows of raw element values through firmware (.elf) and count the instructions of the first.

    Parameters
    ----------
    path
        Firmware that `edgelab.mcu.firmware` made.
    inputs
        For each input an array (rows, ...) of the input's element type; None: one row of zero points.
    native
        False: count in Python even where the counter in C works.

    Raises
    ------
    BadFile
        If the file is not such firmware.
    BadInput
        If an array does not fit.
    EngineCrash
        If the firmware faults; the sentence names address, function and layer.
    """
    with CortexMEngine(path, native=native) as engine:
        rows = list(inputs) if inputs is not None else [_nothing(info) for info in engine.inputs]
        # What a model remembers is as fresh for the rows as it is on a device that was just switched on.
        outputs, trace = engine.invoke_and_trace(rows)
        names = tuple(info.name for info in engine.outputs)
        stack = engine.stack_peak_bytes()
        return EmulatedRun(tuple(outputs), names, trace, engine.sizes, stack, f"{engine.name}, {len(rows[0]):,} rows")


_MOST_BYTES = 2**32
"""Rows that unpack to more are not run one by one."""


def load_rows(path: str | os.PathLike[str], inputs: Sequence[TensorInfo], model: str) -> list[NDArray[Any]]:
    """Rows for a model's inputs from a .npy file (one input) or a .npz file (by the inputs' names).

    Parameters
    ----------
    path
        The file; nothing in it is unpickled.
    inputs
        What the model takes.
    model
        Its name, for the sentences.

    Raises
    ------
    BadFile
        If the file is missing, or no such file.
    BadInput
        If names, element types or shapes are not the model's.
    """
    file = expanded(path)
    try:
        refuse_pointer(file)
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                refuse_bomb(file, archive.infolist(), _MOST_BYTES)
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            arrays = loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise BadFile(f"{file} does not exist; check the path.") from None
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, RuntimeError) as error:
        reason = last_line(str(error), 120) or type(error).__name__
        raise BadFile(f"{file} is not a readable .npy or .npz file ({reason}).") from None
    names = [info.name for info in inputs]
    if isinstance(arrays, np.ndarray):
        if len(inputs) != 1:
            listed = ", ".join(f"'{name}'" for name in names)
            raise BadInput(f"{model} takes {len(inputs)} inputs ({listed}); give {file} as an .npz with these names.")
        arrays = {names[0]: arrays}
    missing = [name for name in names if name not in arrays]
    strange = [name for name in arrays if name not in names]
    if missing or strange:
        listed = ", ".join(f"'{name}'" for name in names)
        raise BadInput(
            f"{file} holds {', '.join(map(repr, arrays)) or 'nothing'}, and {model} takes {listed}; name the arrays so."
        )
    rows = [as_rows(arrays[info.name], info, model) for info in inputs]
    if len({len(row) for row in rows}) != 1:
        raise BadInput(f"The arrays in {file} have different numbers of rows; every input needs as many.")
    return rows


def _nothing(info: TensorInfo) -> NDArray[Any]:
    shape = tuple(int(n or 1) for n in info.shape)
    item = shape[1:] if shape and shape[0] == 1 else shape
    return np.full((1, *item), info.zero_point or 0, np.dtype(info.dtype))

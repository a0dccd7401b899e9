"""A model as firmware in a folder: C sources that build with one command, and the same model the classic way.

The folder appears whole or not at all, and one that holds anything else than what was written here is never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgelab import __version__
from edgelab.emulator.machine import Core, find_core
from edgelab.engines.base import TensorInfo
from edgelab.engines.cortexm_host import FORMAT
from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded, read_json, refuse_to_replace, write_json, write_text
from edgelab.mcu import project
from edgelab.mcu.cgen import naming
from edgelab.mcu.compiler import DEFAULT_STACK_BYTES, compile_firmware
from edgelab.mcu.emulator import EmulatedRun, load_rows, run_firmware
from edgelab.mcu.model import Model, read_model
from edgelab.mcu.tflm_app import tflm_files
from edgelab.mcu.timing import estimate
from edgelab.reading import Reading, Table

if TYPE_CHECKING:
    from edgelab.mcu.cgen import Sources

Kernels = Literal["portable", "dsp"]
Minimise = Literal["time", "ram"]
MARKER = "edgelab.json"
FIRMWARE = "firmware.elf"
OUTPUTS = "outputs.npy"
ALL_OUTPUTS = "outputs.npz"
# What building and running leave in the folder, beside what is written here.
_PRODUCTS = ("build", OUTPUTS, ALL_OUTPUTS)


@dataclass(frozen=True)
class Firmware:
    """Firmware of one model for one core: where it lies, what it occupies, what one inference takes."""

    folder: Path
    model: str
    core: str
    kernels: str
    minimise: str
    prefix: str
    run: EmulatedRun
    arena_bytes: int
    tflm_arena_bytes: int
    outputs: Path | None

    @property
    def path(self) -> Path:
        """The compiled firmware, which `edgelab.engines.open_engine` opens."""
        return self.folder / FIRMWARE

    def cycles(self) -> Reading:
        """Cycles of one inference, modelled from the counted instructions."""
        return estimate(self.run.trace.mix, self.core, clock_mhz=1.0).cycles

    def table(self) -> Table:
        """Figures of the firmware, each with its provenance."""
        rows = [(name, str(reading)) for name, reading in self.run.readings().items()]
        rows.append(("cycles", str(self.cycles())))
        note = (
            f"{self.core}, {self.kernels} kernels, minimised for {self.minimise}; {self.arena_bytes:,} bytes of buffers"
        )
        tflm = f"the interpreter's arena would take {self.tflm_arena_bytes:,} (tflm/)."
        return Table(f"Firmware of {self.model} in {self.folder}", ("what", "figure"), rows, f"{note}; {tflm}")

    def to_dict(self) -> dict[str, Any]:
        """As stable JSON-ready data.

        Keys: core, kernels, minimise, prefix, instructions (of one inference), macs, by_layer (layer, operator,
        instructions, macs), flash_bytes, ram_bytes (.data and .bss), stack_bytes, outputs, folder, firmware, sections,
        arena_bytes, tflm_arena_bytes, cycles.
        """
        trace, sizes = self.run.trace, self.run.sizes
        keys = ("layer", "operator", "instructions", "macs")
        sections = {"text": sizes.text, "rodata": sizes.rodata, "data": sizes.data, "bss": sizes.bss}
        return {
            "core": self.core,
            "kernels": self.kernels,
            "minimise": self.minimise,
            "prefix": self.prefix,
            "instructions": trace.instructions,
            "macs": trace.macs,
            "by_layer": [{key: layer.to_dict()[key] for key in keys} for layer in trace.layers],
            "flash_bytes": sizes.flash_bytes,
            "ram_bytes": sizes.ram_bytes,
            "stack_bytes": self.run.stack_bytes,
            "outputs": None if self.outputs is None else str(self.outputs),
            "folder": str(self.folder),
            "firmware": str(self.path),
            "sections": sections,
            "arena_bytes": self.arena_bytes,
            "tflm_arena_bytes": self.tflm_arena_bytes,
            "cycles": self.cycles().to_dict(),
        }

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.run.trace}"

    def _repr_markdown_(self) -> str:
        return f"{self.table()._repr_markdown_()}\n\n{self.run.trace._repr_markdown_()}"


def build_firmware(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    core: str = "cortex-m4",
    kernels: Kernels | None = None,
    minimise: Minimise = "time",
    run: str | os.PathLike[str] | None = None,
    stack_bytes: int = DEFAULT_STACK_BYTES,
    overwrite: bool = True,
    prefix: str = naming.PREFIX,
) -> Firmware:
    """Generate, compile and emulate firmware for a model, and leave it in a folder.

    Parameters
    ----------
    model
        An int8 .tflite file.
    folder
        Where to; it is made, or replaced if all in it was written here and is unchanged.
    core
        ``"cortex-m0plus"``, ``"cortex-m4"``, ``"cortex-m7"`` or ``"cortex-m33"``.
    kernels
        ``"portable"`` C, or ``"dsp"`` with the core's DSP instructions; None: dsp where the core has them.
    minimise
        ``"time"`` or ``"ram"``.
    run
        A .npy of raw rows for the model's input (.npz by name for several inputs); each row is run on the emulated
        core and ``outputs.npy`` written: rows of the first output. With several outputs, all are in
        ``outputs.npz`` by name. Without it one row of zero points is run.
    stack_bytes
        Bytes for the stack.
    overwrite
        Whether a folder that was written here, and is unchanged, may be replaced; any other is never.
    prefix
        What every name of the model begins with, files and macros too, so that several models stand in one image.

    Raises
    ------
    BadFile
        If the model or the inputs cannot be read, or the folder holds something else.
    BadInput
        If the model has an operator that the generator has not, a setting is unknown, rows do not fit, or the prefix is
        no C identifier.
    EngineCrash
        If the compiler dies or the firmware faults.
    MissingFramework
        If the compiler or the emulator is not installed.
    """
    from edgelab.mcu.arena import plan_arena

    naming.checked_prefix(prefix)
    known = find_core(core)
    chosen = kernels_for(known, kernels)
    target = expanded(folder)
    inputs = [expanded(file) for file in (model, run) if file is not None]
    refuse_to_replace(target, overwrite=overwrite, inputs=inputs, folder=True)
    check_folder(target)
    read = read_model(model)
    sources, about, flat = written_files(read, known, chosen, minimise, prefix=prefix, stack_bytes=stack_bytes)
    rows = None if run is None else load_rows(run, border_infos(about["inputs"]), str(read.path))
    planned = plan_arena(read, "cortex-m-cmsis-nn")
    arena_bytes = planned.min_workable or planned.total
    files = {
        **flat,
        **{f"tflm/{name}": text for name, text in tflm_files(read, arena_bytes, prefix).items()},
    }
    with _appearing(target) as new:
        for name, text in files.items():
            write_text(new / name, text)
        compile_firmware(flat, known, new / FIRMWARE)
        done = _run(new / FIRMWARE, target / FIRMWARE, rows)
        if rows is not None:
            _write_outputs(new, done)
        _mark(new, [*files, FIRMWARE], about)
    return Firmware(
        folder=target,
        model=read.path.name,
        core=known.name,
        kernels=chosen,
        minimise=minimise,
        prefix=prefix,
        run=done,
        arena_bytes=sources.arena_bytes,
        tflm_arena_bytes=arena_bytes,
        outputs=None if rows is None else target / OUTPUTS,
    )


def written_files(
    model: Model,
    core: Core,
    kernels: Kernels,
    minimise: Minimise,
    *,
    prefix: str = naming.PREFIX,
    stack_bytes: int = DEFAULT_STACK_BYTES,
) -> tuple[Sources, dict[str, Any], dict[str, str]]:
    """The C that is written for a model, its description, and all files that are compiled, by name.

    Raises
    ------
    BadInput
        As `edgelab.mcu.cgen.generate`.
    """
    from edgelab.mcu.cgen import generate

    sources = generate(model, kernels=kernels, minimise=minimise, prefix=prefix)
    about = describe(model, sources, core, prefix)
    return sources, about, {**sources.files, **project.project_files(about, core, stack_bytes=stack_bytes)}


def kernels_for(core: Core, kernels: Kernels | None = None) -> Kernels:
    """The kernels that `build_firmware` writes for a core: those asked for, else with its DSP instructions if it has.

    Raises
    ------
    BadInput
        If DSP kernels are asked for and the core has no such instructions.
    """
    if kernels == "dsp" and not core.dsp:
        raise BadInput(f"The {core.title} has no DSP instructions; use kernels 'portable' for it.")
    return kernels or ("dsp" if core.dsp else "portable")


def describe(model: Model, sources: Any, core: Core, prefix: str = naming.PREFIX) -> dict[str, Any]:
    """What firmware carries in its section ``.edgelab``: inputs, outputs, layers, what it was built for.

    Parameters
    ----------
    model
        The model.
    sources
        What `edgelab.mcu.cgen.generate` made of it.
    core
        The core.
    prefix
        What its functions begin with.
    """

    def border(index: int) -> dict[str, Any]:
        tensor = model.tensors[index]
        q = tensor.quantization
        single = q is not None and len(q.scales) == 1
        return {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "dtype": tensor.dtype,
            "scale": q.scale if q is not None and single else None,
            "zero_point": q.zero_point if q is not None and single else None,
        }

    codes = {f"layer_{op.index:02d}_{op.code.lower()}": op.code for op in model.operators}
    layers = [
        {"function": name, "operator": codes.get(name, name), "macs": macs}
        for name, macs in zip(sources.layers, sources.macs_by_layer, strict=True)
    ]
    return {
        "edgelab": FORMAT,
        "model": model.path.name,
        "model_sha256": hashlib.sha256(model.content).hexdigest(),
        "core": core.name,
        "kernels": sources.kernels,
        "minimise": sources.minimise,
        "inputs": [border(index) for index in model.inputs],
        "outputs": [border(index) for index in model.outputs],
        "layers": layers,
        "arena_bytes": sources.arena_bytes,
        "weights_bytes": sources.weights_bytes,
        **({} if prefix == naming.PREFIX else {"prefix": prefix}),
    }


def border_infos(entries: list[dict[str, Any]]) -> list[TensorInfo]:
    """Inputs or outputs of a description as the engines state them."""
    return [TensorInfo(**{**entry, "shape": tuple(entry["shape"])}) for entry in entries]


def check_folder(folder: Path) -> None:
    """Raise `BadFile` unless ``folder`` is missing, empty, or holds what was written here, unchanged."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadFile(f"{folder} is a file; name a folder for the firmware.")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not found:
        return
    if MARKER not in found:
        raise BadFile(f"{folder} holds other files and was not written by `edgelab firmware`; name another folder.")
    written = read_json(folder / MARKER)
    digests = written.get("files") if isinstance(written, Mapping) else None
    if not isinstance(digests, Mapping):
        raise BadFile(f"{folder / MARKER} is damaged, so it is not known what was written there; name another folder.")
    own = {name for name in found if name != MARKER and name.split("/")[0] not in _PRODUCTS}
    changed = sorted(name for name in own if digests.get(name) != _digest(folder / name))
    if changed:
        raise BadFile(
            f"{folder} holds your changes ({', '.join(changed[:3])}); name another folder, or remove it first."
        )


@contextlib.contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place if the block ends well, and vanishes if not."""
    folder = (
        folder.resolve() if folder.is_symlink() else folder
    )  # the link stays, and the folder that it names is written
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise BadFile(f"{folder} cannot be made ({error.strerror or error}).") from None
    try:
        new = work / "new"
        new.mkdir()
        yield new
        check_folder(folder)
        if folder.exists():
            folder.rename(work / "old")
        try:
            new.rename(folder)
        except OSError:
            if (work / "old").exists():
                (work / "old").rename(folder)
            raise
    except OSError as error:
        raise BadFile(f"{folder} could not be written ({error.strerror or error}); nothing was changed.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(path: Path, shown: Path, rows: Any) -> EmulatedRun:
    """Run the firmware; sentences name the folder where it will lie."""
    from edgelab.errors import EngineCrash

    try:
        return run_firmware(path, rows)
    except (BadFile, BadInput, EngineCrash) as error:
        raise type(error)(str(error).replace(str(path), str(shown))) from None


def _write_outputs(folder: Path, done: EmulatedRun) -> None:
    buffer = io.BytesIO()
    np.save(buffer, done.outputs[0], allow_pickle=False)
    (folder / OUTPUTS).write_bytes(buffer.getvalue())
    if len(done.outputs) > 1:
        names = done.output_names
        keys = names if len(set(names)) == len(names) else [f"{i}_{name}" for i, name in enumerate(names)]
        # As a mapping written by hand: a name of a tensor may be any text, also one that numpy takes as an argument.
        import zipfile

        with zipfile.ZipFile(folder / ALL_OUTPUTS, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, array in zip(keys, done.outputs, strict=True):
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                archive.writestr(f"{key}.npy", buffer.getvalue())


def _mark(folder: Path, names: list[str], about: Mapping[str, Any]) -> None:
    digests = {name: _digest(folder / name) for name in names}
    write_json(folder / MARKER, {"version": __version__, **about, "files": digests})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""A PyTorch network as a float32 .tflite file by litert-torch: here, or in a process beside this one.

litert-torch brings jax and TensorFlow's compiler along: its import takes ten seconds and writes many lines. `Beside`
keeps both away from this process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, cast

from edgelab.convert.folding import fold_batch_norm
from edgelab.convert.programs import input_values, refusal, single
from edgelab.errors import BadInput, EdgelabError, MissingFramework
from edgelab.files import expanded, write_bytes
from edgelab.quiet import first_line, natively_silenced, silenced

if TYPE_CHECKING:
    import torch

    from edgelab.convert.programs import Example, Network

_SECONDS = 300.0
_INSTALL = "uv sync --group litert"


def float32_bytes(net: Network, example: Example) -> bytes:
    """The bytes of the float32 .tflite file of `edgelab.convert.to_tflite`."""
    import torch

    exported = single(net, example)
    inputs = tuple(torch.zeros(tuple(value.shape), dtype=value.dtype) for _, value in input_values(exported))
    images = [i for i, x in enumerate(inputs) if x.ndim == 4 and x.is_floating_point()]
    try:
        with natively_silenced():
            content = _converted(exported, inputs, images)
    except EdgelabError:
        raise
    except Exception as error:
        raise refusal(exported, error, "TensorFlow Lite") from error
    return content


class Beside:
    """litert-torch in a process of its own, on another core if there is one; it loads as soon as this is made.

    Raises
    ------
    MissingFramework
        If litert-torch is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("litert_torch") is None:
            raise MissingFramework(f"litert-torch is not installed; add it with: {_INSTALL}")
        self._begin()

    def _begin(self) -> None:
        self._paths: tuple[Path, Path] | None = None
        self._made, self._refusal = False, ""
        self._folder = tempfile.TemporaryDirectory(prefix="edgelab-litert-")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, self._folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"},
            text=True,
        )
        self._finalizer = weakref.finalize(self, _end, self._process)  # it ends with this object, or with this process

    def start(
        self,
        net: torch.nn.Module,
        example: torch.Tensor,
        first: str | os.PathLike[str],
        last: str | os.PathLike[str],
    ) -> Self:
        """Hand a network over and go on; `files` waits for the end. A second network takes the place of the first.

        Parameters
        ----------
        net
            The network; it is converted in evaluation mode. One of PyTorch's own layers alone is exported beside,
            any other one here.
        example
            One input as the network takes it, (1, ...), float32, channels first.
        first
            The file whose input has the network's own order of axes.
        last
            The file whose input has its channels last, as LiteRT's kernels want them.

        Raises
        ------
        BadInput
            If PyTorch cannot export the network.
        """
        import torch

        if self._paths is not None or cast("IO[str]", self._process.stdin).closed:
            self.close()
            self._begin()
        self._paths = (expanded(first), expanded(last))
        own = all(type(module).__module__.startswith("torch.nn.") for module in net.modules())
        try:
            with silenced(), torch.no_grad():
                if own:
                    torch.save((net.eval(), example), self._file("network.pt"))
                else:
                    torch.export.save(torch.export.export(net.eval(), (example,)), self._file("network.pt2"))
        except Exception as error:
            raise self._refused(f"{type(net).__name__} cannot be exported: {first_line(error)}.") from error
        try:
            stdin = cast("IO[str]", self._process.stdin)
            stdin.write(json.dumps("network.pt" if own else "network.pt2") + "\n")
            stdin.flush()
        except OSError:
            pass  # it has ended, and `files` says why
        return self

    def files(self) -> tuple[Path, Path]:
        """Wait for the end, and write both files; asked again, it gives the same.

        Raises
        ------
        BadInput
            If litert-torch cannot convert the network, or takes more than five minutes, or there is no network.
        """
        if self._paths is None:
            raise BadInput("No network was handed over; call start() first.")
        if self._refusal:
            raise BadInput(self._refusal)
        if self._made:
            return self._paths
        try:
            _, said = self._process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._refused(f"litert-torch did not end within {_SECONDS:g} s; convert a smaller network.") from None
        made = [self._file(name) for name in ("first.tflite", "last.tflite")]
        if self._process.returncode or not all(file.is_file() for file in made):
            lines = [line for line in said.splitlines() if line.strip()]
            why = first_line(lines[-1] if lines else "it ended")
            raise self._refused(f"litert-torch could not convert the network: {why}.")
        for file, path in zip(made, self._paths, strict=True):
            write_bytes(path, file.read_bytes())
        self.close()
        self._made = True
        return self._paths

    def _refused(self, why: str) -> BadInput:
        self._refusal = why
        self.close()
        return BadInput(why)

    def close(self) -> None:
        """End the process if it runs, and remove what it left."""
        self._finalizer()
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                stream.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _file(self, name: str) -> Path:
        return Path(self._folder.name) / name


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _converted(
    exported: torch.export.ExportedProgram, inputs: Sequence[torch.Tensor], channels_last: Sequence[int]
) -> bytes:
    """The file of a program with fixed sizes; the inputs at ``channels_last`` have their channels last in it."""
    import torch

    litert_torch = _litert_torch()
    with torch.no_grad():
        module: Any = exported.module(check_guards=False)
        fold_batch_norm(module)
        if channels_last:
            module = litert_torch.to_channel_last_io(module, args=list(channels_last))
        given = tuple(x.movedim(1, -1).contiguous() if i in channels_last else x for i, x in enumerate(inputs))
        made = litert_torch.convert(module, given)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.tflite"
        made.export(str(file))
        return file.read_bytes()


def _litert_torch() -> Any:
    try:
        import litert_torch
    except ImportError as error:
        raise MissingFramework(
            f"litert-torch is not installed ({first_line(error)}); add it with: {_INSTALL}"
        ) from None
    return litert_torch


def _beside(folder: Path) -> None:
    """The child's side: it loads, waits for the name of a network's file, and writes both files into the folder."""
    import torch

    _litert_torch()
    line = sys.stdin.readline()
    if not line:
        return  # the parent has ended, or does not want anything
    file = folder / json.loads(line)
    if file.suffix == ".pt":
        layers = [kind for kind in vars(torch.nn).values() if isinstance(kind, type)]
        with torch.serialization.safe_globals([*layers, set]):
            net, example = torch.load(file, weights_only=True)
        with torch.no_grad():
            exported = torch.export.export(net, (example,))
    else:
        exported = torch.export.load(file)
        (example,), _ = exported.example_inputs
    for name, channels_last in (("first.tflite", []), ("last.tflite", [0])):
        write_bytes(folder / name, _converted(exported, (example,), channels_last))


if __name__ == "__main__":
    _beside(Path(sys.argv[1]))

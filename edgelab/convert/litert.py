"""A PyTorch network as a .tflite file by litert-torch, in a process of its own.

litert-torch brings jax and TensorFlow's compiler along: its import takes ten seconds and writes many lines, and neither
reaches this process. The network travels as a program of `torch.export`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgelab.errors import BadInput, MissingFramework
from edgelab.files import write_bytes
from edgelab.quiet import first_line, silenced

if TYPE_CHECKING:
    import torch

_SECONDS = 300.0
_INSTALL = "uv sync --group litert"


class Conversion:
    """A conversion that runs beside this process, on another core if there is one; `files` waits for its end.

    Parameters
    ----------
    net
        The network; it is converted in evaluation mode.
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
    MissingFramework
        If litert-torch is not installed.
    """

    def __init__(
        self,
        net: torch.nn.Module,
        example: torch.Tensor,
        first: str | os.PathLike[str],
        last: str | os.PathLike[str],
    ) -> None:
        import torch

        if importlib.util.find_spec("litert_torch") is None:
            raise MissingFramework(f"litert-torch is not installed; add it with: {_INSTALL}")
        self._paths = (Path(first), Path(last))
        self._folder = tempfile.TemporaryDirectory(prefix="edgelab-litert-")
        self._program = Path(self._folder.name) / "network.pt2"
        try:
            with silenced(), torch.no_grad():
                torch.export.save(torch.export.export(net.eval(), (example,)), self._program)
        except Exception as error:
            self._folder.cleanup()
            raise BadInput(f"{type(net).__name__} cannot be exported: {first_line(error)}.") from error
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(self._program)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def files(self) -> tuple[Path, Path]:
        """Wait for the end, and write both files.

        Raises
        ------
        BadInput
            If litert-torch cannot convert the network, or takes more than five minutes.
        """
        try:
            _, said = self._process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            self.close()
            raise BadInput(f"litert-torch did not end within {_SECONDS:g} s; convert a smaller network.") from None
        made = [self._program.with_name(name) for name in ("first.tflite", "last.tflite")]
        if self._process.returncode or not all(file.is_file() for file in made):
            lines = [line for line in said.splitlines() if line.strip()]
            self.close()
            why = first_line(lines[-1] if lines else "it ended")
            raise BadInput(f"litert-torch could not convert the network: {why}.")
        for file, path in zip(made, self._paths, strict=True):
            write_bytes(path, file.read_bytes())
        self.close()
        return self._paths

    def close(self) -> None:
        """End the process if it runs, and remove what it left."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _convert(program: Path) -> None:
    """The child's side: both files beside the program."""
    import litert_torch
    import torch

    exported = torch.export.load(program)
    (example,), _ = exported.example_inputs
    with torch.no_grad():
        net = exported.module()
        litert_torch.convert(net, (example,)).export(str(program.with_name("first.tflite")))
        turned = litert_torch.to_channel_last_io(net, args=[0])
        moved = example.movedim(1, -1).contiguous()
        litert_torch.convert(turned, (moved,)).export(str(program.with_name("last.tflite")))


if __name__ == "__main__":
    _convert(Path(sys.argv[1]))

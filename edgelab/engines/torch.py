"""PyTorch behind the engine protocol: a module of this process, in evaluation and inference mode."""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders, feeds, hosted
from edgelab.engines.base import OperatorTime, TensorInfo, Timing
from edgelab.errors import BadInput, MissingFramework

if TYPE_CHECKING:
    import torch

_PROFILE_WARMUP = 3
_MARK = "edgelab:"


class TorchEngine:
    """A PyTorch module in this process.

    The module is put into evaluation mode while it runs and left as it was found, and so is the process's
    thread count.

    Parameters
    ----------
    module
        The network: float32 (N, ...) in, logits (N, classes) out, on the CPU.
    threads
        Intra-op threads while it runs.
    batch
        The most items that `predict` feeds at once.

    Attributes
    ----------
    name
        ``"PyTorch 2.14.1"``.
    threads
        Intra-op threads while it runs.
    inputs, outputs
        Empty: a module does not state them.

    Raises
    ------
    BadInput
        If ``module`` is not a `torch.nn.Module`.
    MissingFramework
        If PyTorch is not installed.
    """

    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()

    def __init__(self, module: torch.nn.Module, threads: int = 1, *, batch: int | None = None) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingFramework(f"PyTorch is not installed ({error}); add it with: uv pip install torch") from None
        if not isinstance(module, torch.nn.Module):
            raise BadInput(f"A TorchEngine takes a torch.nn.Module, not {type(module).__name__}.")
        self._torch = torch
        self._module = module
        self.threads = hosted.check_threads(threads)
        self._batch = hosted.check_batch(batch) or hosted.DEFAULT_BATCH
        self.name = f"PyTorch {torch.__version__.split('+')[0]}"

    @property
    def raw(self) -> torch.nn.Module:
        """The module."""
        return self._module

    @property
    def input_names(self) -> tuple[str, ...]:
        """The parameters of the module's ``forward`` that have no default."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self._module.forward).parameters.values()
        return tuple(p.name for p in parameters if p.kind in kinds and p.default is p.empty)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name for every input by name, in one call of the module.

        Parameters
        ----------
        inputs
            Arrays of any element type by the names of ``forward``'s parameters; those with a default may be left out.

        Returns
        -------
        dict
            A mapping's own keys and a named tuple's fields; else ``output``, or ``output_0`` and so on of several.

        Raises
        ------
        BadInput
            If a name is not a parameter, one is missing, or the module does not take the arrays.
        """
        owner = f"The module {type(self._module).__name__}"
        parameters = inspect.signature(self._module.forward).parameters.values()
        loose = any(p.kind is p.VAR_KEYWORD for p in parameters)
        optional = [p.name for p in parameters if p.default is not p.empty and p.kind is not p.POSITIONAL_ONLY]
        given = dict(inputs) if isinstance(inputs, Mapping) else inputs
        more = [n for n in given if n in optional or loose] if isinstance(given, dict) else []
        names = list(dict.fromkeys([*self.input_names, *more]))
        arrays = feeds.in_order(given, names, owner)
        try:
            tensors = {n: self._torch.from_numpy(np.array(a)) for n, a in zip(names, arrays, strict=True)}
            with self._running():
                answer = self._module(**tensors)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            shapes = ", ".join(f"{n}: {a.dtype} {a.shape}" for n, a in zip(names, arrays, strict=True))
            raise BadInput(f"{owner} does not take {shapes} ({' '.join(str(error).split())[:200]}).") from None
        return {name: self._plain(value, name, owner) for name, value in _named(answer).items()}

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes) for inputs (N, ...), float32, channels first.

        Raises
        ------
        BadInput
            If ``x`` has the wrong type or shape, or holds NaN.
        """
        borders.check_input(x)
        with self._running():
            rows = [self._forward(x[i : i + self._batch]) for i in range(0, len(x), self._batch)]
        return np.concatenate(rows)

    def time(self, x: NDArray[np.float32], runs: int, warmup: int = 0) -> Timing:
        """Run ``x`` as one batch ``warmup + runs`` times and return the times of the last ``runs``, in seconds."""
        hosted.check_runs(runs, warmup)
        tensor = self._tensor(x)
        times = np.empty(warmup + runs, np.int64)
        clock = time.perf_counter_ns
        module = self._module
        with self._running():
            collecting = gc.isenabled()
            gc.disable()
            try:
                for i in range(warmup + runs):
                    start = clock()
                    module(tensor)
                    times[i] = clock() - start
            except (RuntimeError, ValueError, TypeError) as error:
                raise self._refusal(x, error) from None
            finally:
                if collecting:
                    gc.enable()
        return Timing(times[warmup:].astype(np.float64) / 1e9)

    def calls_per_run(self, x: NDArray[np.float32]) -> int:
        """1: a module takes any batch whole."""
        borders.check_input(x)
        return 1

    def profile(self, x: NDArray[np.float32], runs: int) -> Sequence[OperatorTime]:
        """Times of the leaf modules, and of the operators called outside of one, from `torch.profiler`.

        A module's name is its path (``features.0``) and its type its class; an operator outside of a leaf
        module is named after its place (``aten::add 3``). ``ran_in`` is the type of the input.
        """
        hosted.check_runs(runs, 0)
        tensor = self._tensor(x)
        torch = self._torch
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler tells every cell that there is no GPU
        with self._running(), self._marked_leaves() as types:
            warmup = min(runs, _PROFILE_WARMUP)
            with contextlib.ExitStack() as stack:
                try:
                    for _ in range(warmup):
                        self._module(tensor)
                    recorder = stack.enter_context(
                        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
                    )
                    for _ in range(runs):
                        with torch.profiler.record_function(_MARK):
                            self._module(tensor)
                except (RuntimeError, ValueError, TypeError) as error:
                    raise self._refusal(x, error) from None
            events = recorder.events() or []
        times: dict[str, NDArray[np.float64]] = {}
        kinds: dict[str, str] = {}
        for run, call in enumerate(event for event in events if event.name == _MARK):
            for place, child in enumerate(sorted(call.cpu_children, key=lambda event: event.time_range.start)):
                marked = child.name.startswith(_MARK)
                name = child.name.removeprefix(_MARK) if marked else f"{child.name} {place}"
                times.setdefault(name, np.zeros(runs))[run] += child.cpu_time_total
                kinds[name] = type(self._module.get_submodule(name)).__name__ if marked else child.name
        fallback = self._element_type()
        return tuple(
            OperatorTime(name, kinds[name], types.get(name, fallback), float(np.median(microseconds)) / 1e3, runs)
            for name, microseconds in times.items()
        )

    def close(self) -> None:
        """Nothing to end: the module lives in this process."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TorchEngine {self.name}: {type(self._module).__name__}>"

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        torch, module = self._torch, self._module
        threads = torch.get_num_threads()
        training = [child for child in module.modules() if child.training]
        with contextlib.suppress(NotImplementedError):  # an exported program has one mode only
            module.eval()
        torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(threads)
            for child in training:
                child.training = True

    @contextlib.contextmanager
    def _marked_leaves(self) -> Iterator[dict[str, str]]:
        """Wrap each leaf module's forward in a profiler range; yields the element types that they received."""
        torch = self._torch
        types: dict[str, str] = {}
        open_ranges: list[Any] = []
        handles = []

        def before(name: str, arguments: tuple[Any, ...]) -> None:
            if arguments and isinstance(arguments[0], torch.Tensor):
                types[name] = str(arguments[0].dtype).removeprefix("torch.")
            marker = torch.profiler.record_function(_MARK + name)
            marker.__enter__()
            open_ranges.append(marker)

        def after() -> None:
            open_ranges.pop().__exit__(None, None, None)

        try:
            for name, child in self._module.named_modules():
                if name and not list(child.children()):
                    handles += [
                        child.register_forward_pre_hook(lambda _, a, name=name: before(name, a)),
                        child.register_forward_hook(lambda *_: after()),
                    ]
            yield types
        finally:
            while open_ranges:
                after()
            for handle in handles:
                handle.remove()

    def _tensor(self, x: NDArray[np.float32]) -> torch.Tensor:
        return self._torch.from_numpy(np.array(borders.check_input(x)))  # a copy: a module may work in place

    def _forward(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            y = self._module(self._tensor(x))
        except (RuntimeError, ValueError, TypeError) as error:
            raise self._refusal(x, error) from None
        y = y[0] if isinstance(y, tuple | list) else y
        if not isinstance(y, self._torch.Tensor) or y.ndim == 0 or len(y) != len(x):
            raise BadInput(
                f"The module {type(self._module).__name__} does not answer {len(x)} inputs with one row each."
            )
        return y.dequantize().float().numpy() if y.is_quantized else y.float().numpy()

    def _plain(self, value: Any, name: str, owner: str) -> NDArray[Any]:
        if not isinstance(value, self._torch.Tensor):
            raise BadInput(f"{owner} answers '{name}' with {type(value).__name__}, not a tensor.")
        value = value.dequantize() if value.is_quantized else value
        value = value.float() if value.dtype == self._torch.bfloat16 else value
        return np.asarray(value.detach().cpu().resolve_conj().resolve_neg().numpy())

    def _element_type(self) -> str:
        parameter = next(self._module.parameters(), None)
        return "float32" if parameter is None else str(parameter.dtype).removeprefix("torch.")

    def _refusal(self, x: NDArray[np.float32], error: BaseException) -> BadInput:
        return BadInput(
            f"The module {type(self._module).__name__} does not take an input of shape {x.shape} "
            f"({' '.join(str(error).split())[:200]})."
        )


def _named(answer: Any) -> dict[str, Any]:
    """A module's answer by name."""
    if isinstance(answer, Mapping):
        return {str(name): value for name, value in answer.items()}
    if isinstance(answer, tuple | list) and len(answer) != 1:
        fields = getattr(answer, "_fields", None) or [f"output_{number}" for number in range(len(answer))]
        return dict(zip(fields, answer, strict=True))
    return {"output": answer[0] if isinstance(answer, tuple | list) else answer}

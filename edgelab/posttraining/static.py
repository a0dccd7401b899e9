"""Weights and activations in 8 bits: ONNX Runtime's quantizer on a model in memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgelab.compress.ptq import TensorRanges, collect_ranges, quantize_static
from edgelab.errors import BadInput, EdgelabError
from edgelab.posttraining.graph import Feeds, layers, without_unused
from edgelab.posttraining.judge import Judge, Score


@dataclass(frozen=True)
class Static:
    """How to quantize: one scale for each output channel or one for the tensor, and the nodes that stay in float."""

    per_channel: bool = True
    exclude: tuple[str, ...] = ()

    def __call__(self, model: Any, ranges: TensorRanges) -> bytes:
        """The quantized model."""
        import onnx

        with tempfile.TemporaryDirectory(prefix="edgelab-") as folder:
            source, target = Path(folder, "float.onnx"), Path(folder, "quantized.onnx")
            onnx.save(model, source)
            present = {node.name for node in model.graph.node}
            exclude = [name for name in self.exclude if name in present]
            if self.per_channel:  # the tool cannot, and the runtime computes these in float anyway
                exclude += [layer.name for layer in layers(model) if layer.transposed and layer.groups > 1]
            with _unnamed(source):
                quantize_static(source, target, ranges=ranges, per_channel=self.per_channel, exclude=exclude)
            return with_real_outputs(target.read_bytes())

    def but(self, *nodes: str) -> Static:
        """The same with more nodes in float."""
        return replace(self, exclude=(*self.exclude, *nodes))


def with_real_outputs(content: bytes) -> bytes:
    """A quantized model whose last linear layers answer with real numbers instead of 256 levels.

    Their sums are 32-bit integers, which a scale turns into real numbers at once; rounding them to 8 bits before helps
    nothing. ONNX Runtime has kernels for it (QGemm without an output scale, MatMulIntegerToFloat).
    """
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    gone: list[Any] = []
    for output in graph.output:
        last = makers.get(output.name)
        first = makers.get(last.input[0]) if last is not None and last.op_type == "DequantizeLinear" else None
        layer = makers.get(first.input[0]) if first is not None and first.op_type == "QuantizeLinear" else None
        if first is None or layer is None or layer.op_type not in ("Gemm", "MatMul"):
            continue
        if any(readers[name] > 1 for name in (first.input[0], first.output[0])) or readers[output.name]:
            continue
        layer.output[0] = output.name
        gone += [first, last]
    if not gone:
        return content
    kept = [node for node in graph.node if all(node is not other for other in gone)]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(kept)
    opened: bytes = without_unused(model).SerializeToString()
    return opened


def ranges_of(model: Any, feeds: Feeds, method: str) -> TensorRanges:
    """The ranges of the activations of a model in memory."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="edgelab-") as folder:
        source = Path(folder, "float.onnx")
        onnx.save(model, source)
        with _unnamed(source):
            return collect_ranges(source, feeds, method)


@contextlib.contextmanager
def _unnamed(file: Path) -> Iterator[None]:
    """Errors speak of the network, not of the temporary file that it stands in."""
    try:
        yield
    except EdgelabError as error:
        raise type(error)(str(error).replace(str(file), "the network")) from error


def most_sensitive(
    quantize: Callable[[str], bytes],
    nodes: Sequence[str],
    judge: Judge,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> tuple[str, Score]:
    """The node that helps most if it stays in float, and the score that is left with it.

    ``quantize`` gives the model in which one more node stays in float.
    """
    scores: dict[str, Score] = {}
    for node in progress(nodes):
        scores[node] = judge(quantize(node))
    if not scores:
        raise BadInput("There is no node that could stay in float.")
    best = min(scores, key=lambda name: scores[name].loss)
    return best, scores[best]

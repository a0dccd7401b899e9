"""A .tflite file that gives out what its layers hand on: inner tensors become outputs, nothing else changes."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

from edgelab.errors import BadInput
from edgelab.files import write_bytes
from edgelab.models.formats import existing_file, model_format
from edgelab.models.tflite_tables import aligned_buffer, schema


def with_outputs(path: str | os.PathLike[str], tensors: Sequence[int], out_path: str | os.PathLike[str]) -> Path:
    """Write a copy of a model whose outputs are these tensors, in this order.

    Any interpreter then shows what each layer computed, with its own kernels.

    Parameters
    ----------
    path
        The .tflite file.
    tensors
        Indices of tensors of its first graph, each the output of an operator.
    out_path
        Where the copy goes.

    Returns
    -------
    Path
        ``out_path``.

    Raises
    ------
    BadInput
        If the file is no .tflite model, or a tensor is not what an operator of it computes.
    MissingFramework
        If the schema is not installed (ai-edge-litert).
    """
    source = existing_file(path)
    if model_format(source) != "tflite":
        raise BadInput(f"{source} is no .tflite file.")
    try:
        model = schema().ModelT.InitFromPackedBuf(source.read_bytes(), 0)
        graph = model.subgraphs[0]
        made = {int(index) for op in graph.operators for index in op.outputs}
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError, struct.error) as error:
        raise BadInput(f"{source} could not be read as a .tflite model ({type(error).__name__}).") from None
    if not tensors or not set(tensors) <= made or len(set(tensors)) != len(tensors):
        raise BadInput(f"with_outputs() takes different tensors that an operator computes, not {list(tensors)}.")
    graph.outputs = list(tensors)
    model.signatureDefs = None  # they name the outputs that were
    model.buffers = [
        buffer if buffer.data is None or not len(buffer.data) else aligned_buffer()(bytes(buffer.data))
        for buffer in model.buffers
    ]
    builder = schema().flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return write_bytes(out_path, bytes(builder.Output()))

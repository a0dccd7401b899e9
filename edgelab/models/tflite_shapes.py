"""The shapes of all tensors of a .tflite file for given sizes of its inputs, as LiteRT prepares them; nothing is run.

Native code reads the file: this module is for the child process of a reader.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from edgelab.errors import BadFile
from edgelab.models.facts import clipped


def resized(path: str, inputs: Mapping[int, Sequence[int]]) -> dict[int, tuple[int, ...]]:
    """Shapes by tensor of the main graph, with the inputs (by tensor) of the sizes given.

    Raises
    ------
    BadFile
        If the graph does not take those sizes.
    """
    from ai_edge_litert import interpreter as litert

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            interpreter = litert.Interpreter(model_path=path, experimental_op_resolver_type=plain)
            for index, shape in inputs.items():
                interpreter.resize_tensor_input(index, list(shape))
            interpreter.allocate_tensors()
        return {int(d["index"]): tuple(map(int, d["shape"])) for d in interpreter.get_tensor_details()}
    except (RuntimeError, ValueError) as error:
        raise BadFile(f"{path} does not take the shapes given ({clipped(str(error))}).") from None

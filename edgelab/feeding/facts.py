"""What a file says of itself, read in a child process with limits on time and memory, so that hostile ones are safe."""

from __future__ import annotations

import os
from typing import Any

from edgelab.engines.child import Child
from edgelab.errors import BadFile, EngineCrash
from edgelab.files import expanded
from edgelab.models import folder_bytes
from edgelab.models.formats import model_format

TITLES = {"onnx": "ONNX", "tflite": "TensorFlow Lite", "coreml": "Core ML"}
_READERS = {
    "onnx": "edgelab.models.onnx_file",
    "tflite": "edgelab.models.tflite_file",
    "coreml": "edgelab.models.coreml_file",
}
_TIMEOUT_SECONDS = 60.0
# What a reader may allocate: itself, and a parsed model, which takes several times its file.
_BASE_MEMORY_BYTES = 2**30
_MEMORY_FACTOR = 8


def read_facts(path: str | os.PathLike[str], **settings: Any) -> tuple[int, dict[str, Any]]:
    """The bytes of a model file and what is in it (`edgelab.models.facts.facts`); nothing is run.

    ``settings`` go to the format's reader, for example ``shapes``, the sizes of inputs by name.

    Raises
    ------
    BadFile
        If the file is missing, empty, truncated, damaged or foreign, if it refers to weights outside of
        its folder, or if reading it takes more than 60 s or an unreasonable amount of memory.
    MissingFramework
        If the library that reads the format is not installed.
    """
    file = expanded(path)
    kind = model_format(file)
    if kind == "elf":
        raise BadFile(f"{file} is firmware; inspect the .tflite file that it was made from.")
    size = folder_bytes(file)
    limit = _BASE_MEMORY_BYTES + _MEMORY_FACTOR * size
    title = f"The reader of {TITLES[kind]} files"
    child = Child(_READERS[kind], title, file, timeout=_TIMEOUT_SECONDS, memory_bytes=limit, fresh=False)
    try:
        facts, _ = child.call("open", "reading", path=str(file), **settings)
    except EngineCrash as error:
        raise BadFile(f"{file} could not be read, it may be damaged or hostile: {error}") from None
    finally:
        child.close()
    return size, facts

"""A Keras file (.keras) as data: whether it is one, and whether it is made of Keras' own layers alone.

A layer of the author's own, a Lambda layer or a wrapped module of another framework is code that the file brings along
or asks for. Keras' ``safe_mode`` refuses some of it; here all of it is refused, before Keras is imported.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile
from edgelab.files import expanded, refuse_bomb

LARGEST_BYTES = 8 * 2**30
LARGEST_CONFIG_BYTES = 64 * 2**20
_CODE = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TFSMLayer"})
_FUNCTIONS = frozenset({None, "builtins", "keras.activations", "keras.initializers", "keras.losses", "keras.metrics"})


def is_keras(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip archive with the parts of a .keras file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"config.json", "metadata.json"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def check_keras(path: str | os.PathLike[str]) -> Path:
    """The path of a .keras file whose layers are Keras' own.

    Raises
    ------
    BadFile
        If it is damaged, or holds a layer that carries code or is not Keras' own; the sentence names the layer.
    """
    file = expanded(path)
    try:
        with zipfile.ZipFile(file) as archive:
            _check_parts(file, archive.infolist())
            config = json.loads(archive.read("config.json"))
            broken = archive.testzip()
    except BadFile:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a damaged archive provokes
        raise BadFile(f"{file} is truncated or damaged ({type(error).__name__}); save it again.") from None
    if broken:
        raise BadFile(f"{file} is damaged in '{broken[:80]}'; save it again.")
    _check_layers(file, config)
    return file


def _check_parts(file: Path, entries: list[zipfile.ZipInfo]) -> None:
    sizes = {entry.filename: entry.file_size for entry in entries}
    refuse_bomb(file, entries, LARGEST_BYTES)
    if len(sizes) != len(entries):
        raise BadFile(f"{file} holds two parts of one name; save it again.")
    if sizes["config.json"] > LARGEST_CONFIG_BYTES:
        raise BadFile(f"{file} describes its layers in more than 64 MB; that is not read here.")
    if "model.weights.h5" not in sizes:
        raise BadFile(f"{file} holds no weights; save it with model.save.")


def _check_layers(file: Path, config: Any) -> None:
    stack: list[Any] = [config]
    while stack:
        here = stack.pop()
        if isinstance(here, list):
            stack.extend(here)
        if not isinstance(here, dict):
            continue
        stack.extend(value for key, value in here.items() if key not in ("compile_config", "build_config"))
        if "class_name" not in here:
            continue
        kind, module = str(here["class_name"]), here.get("module")
        own = here.get("config")
        name = str(here.get("name") or (own.get("name") if isinstance(own, dict) else own) or kind)[:60]
        if kind in _CODE:
            raise BadFile(
                f"{file} holds the layer '{name}' of kind {kind}, which brings Python code along that is not run here; "
                "build it from Keras' own layers."
            )
        if kind == "function" and module not in _FUNCTIONS:
            raise BadFile(f"{file} uses the function '{name}' of {module}; use one of Keras' own activations.")
        foreign = not (module is None or module == "builtins" or str(module).split(".")[0] == "keras")
        if foreign or (module is None and str(here.get("registered_name") or "").count(">")):
            raise BadFile(
                f"{file} holds '{name}' of the class {kind}, which is not Keras' own; build it from Keras' own layers."
            )

"""A PyTorch exported program (.pt2) as data, and what is dangerous in one.

`torch.export.load` trusts its file: weights marked ``use_pickle`` and custom objects are unpickled, symbolic shapes go
through ``sympy.sympify``, guards through ``exec``, operators are looked up by their dotted names (among them one that
loads libraries), and compiled kernels are loaded as such. `clean_copy` reads the archive without any of that, refuses
what could run code, and writes a new one of what is left; that copy alone is given to PyTorch.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile
from edgelab.files import expanded, refuse_bomb

LARGEST_BYTES = 8 * 2**30
LARGEST_JSON_BYTES = 256 * 2**20

_KNOWN_FOLDERS = ("models/", "data/weights/", "data/constants/", "data/sample_inputs/", "extra/", ".data/")
_KNOWN_FILES = ("archive_format", "archive_version", "byteorder", "version")
_TARGET = re.compile(
    r"torch\.ops\.(?:aten|prims|quantized_decomposed|torchao|torchvision)\.\w+\.\w+"
    r"|torch\.ops\.higher_order\.(?:wrap_with_set_grad_enabled|wrap_with_autocast|cond)"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|pow|neg|pos|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(?:ceil|floor|sqrt|trunc|log2)|torch\.sym_\w+"
)
_FORBIDDEN = re.compile(r"torch\.ops\.aten\.(?:from_file|save|_print|_assert_async)\b")
_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_LONGEST_EXPRESSION = 4000
_DEEPEST_EXPRESSION = 500
_ARITHMETIC = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.keyword, ast.Load),
    *(ast.operator, ast.unaryop, ast.cmpop, ast.boolop),
)
_CALLS = frozenset(
    [
        *("Mod", "FloorDiv", "CleanDiv", "CeilDiv", "Max", "Min", "ModularIndexing", "PythonMod", "Where", "Abs"),
        *("IntTrueDiv", "FloatTrueDiv", "TruncToInt", "TruncToFloat", "CeilToInt", "FloorToInt", "ToFloat"),
        *("RoundToInt", "PowByNatural", "FloatPow", "Identity", "ceiling", "floor"),
        *("Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow"),
        *("Eq", "Ne", "Gt", "Lt", "Ge", "Le", "And", "Or", "Not"),
    ]
)
_TREES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})


def is_pt2(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip archive that says of itself that it is a PyTorch exported program."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
            return "archive_format" in names or "serialized_exported_program.json" in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def clean_copy(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """Write a copy of a .pt2 file to ``target`` that holds nothing which could run code.

    Raises
    ------
    BadFile
        If the file is damaged, is of another version, or holds pickles, compiled code, operators from outside of
        PyTorch, or expressions that are no arithmetic.
    """
    file = expanded(path)
    try:
        with zipfile.ZipFile(file) as archive:
            _copy(file, archive, expanded(target))
    except BadFile:
        raise
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise BadFile(
            f"{file} is truncated or damaged ({' '.join(str(error).split())[:120]}); export it again."
        ) from None
    except Exception as error:  # noqa: BLE001 - zlib.error, and whatever a damaged program provokes
        raise BadFile(f"{file} is damaged ({type(error).__name__}); export it again.") from None
    return expanded(target)


def _copy(file: Path, archive: zipfile.ZipFile, target: Path) -> None:
    parts = _parts(file, archive)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as clean:
        for name, entry in parts.items():
            if name.startswith("extra/") or (name.startswith("models/") and name != "models/model.json"):
                continue
            if not name.endswith(".json"):
                with archive.open(entry) as source, clean.open(f"model/{name}", "w", force_zip64=True) as sink:
                    shutil.copyfileobj(source, sink, 2**22)
                continue
            if entry.file_size > LARGEST_JSON_BYTES:
                raise BadFile(f"{file} describes its program in more than 256 MB; that is not read here.")
            content = json.loads(archive.read(entry))
            _check_weights(file, content) if name.startswith("data/") else _check_program(file, content)
            clean.writestr(f"model/{name}", json.dumps(content))


def _parts(file: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of an exported program by their names in it."""
    entries = archive.infolist()
    refuse_bomb(file, entries, LARGEST_BYTES)
    if "serialized_exported_program.json" in {entry.filename for entry in entries}:
        raise BadFile(f"{file} was saved by PyTorch 2.7 or older; save it again with a newer one.")
    parts = {entry.filename.partition("/")[2]: entry for entry in entries}
    if len(parts) != len(entries) or len({entry.filename.partition("/")[0] for entry in entries}) != 1:
        raise BadFile(f"{file} holds two parts of one name; export it again.")
    if archive.read(parts["archive_format"])[:16] != b"pt2":
        raise BadFile(f"{file} is no exported program; write one with torch.export.save.")
    if "models/model.json" not in parts:
        raise BadFile(f"{file} holds no program called 'model'; write it with torch.export.save.")
    for name in parts:
        if name.startswith("data/aotinductor"):
            raise BadFile(f"{file} holds compiled code, which is not loaded; save the program with torch.export.save.")
        if not name.startswith(_KNOWN_FOLDERS) and name not in _KNOWN_FILES:
            raise BadFile(f"{file} holds '{_short(name)}', which no exported program has; export it again.")
    return parts


def _check_weights(file: Path, config: dict[str, Any]) -> None:
    for name, entry in config["config"].items():
        path = str(entry["path_name"])
        if entry.get("use_pickle") or not re.fullmatch(r"(?:weight|tensor)_\d+", path):
            raise BadFile(
                f"{file} keeps '{_short(name)}' as a pickle, which could run code when it is read; export the network "
                "with plain tensors."
            )


def _check_program(file: Path, program: dict[str, Any]) -> None:
    """Refuse what PyTorch would look up or evaluate, and drop the guards, which it would execute."""
    program["guards_code"] = []
    for key, value in _walk(program):
        if key in ("target", "as_operator") and isinstance(value, str):
            _check_operator(file, value)
        elif key == "expr_str":
            _check_expression(file, value)
        elif key in ("in_spec", "out_spec"):
            _check_tree(file, value)
        elif (key == "name" and value) or key == "as_name":
            _check_names(file, [value])
        elif key in ("forward_arg_names", "range_constraints"):
            _check_names(file, value or ())
        elif key in ("as_custom_obj", "custom_obj"):
            raise BadFile(f"{file} holds an object of a class of its own; export a network of tensors alone.")


def _check_operator(file: Path, name: str) -> None:
    if not _TARGET.fullmatch(name) or _FORBIDDEN.match(name):
        raise BadFile(
            f"{file} calls '{_short(name)}', which is not among PyTorch's own operators for tensors; replace it in the "
            "network and export that again."
        )


def _check_names(file: Path, names: Iterable[Any]) -> None:
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadFile(f"{file} names a value '{_short(name)}', which is no name; export it again.")


def _walk(data: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, the notes for people (``metadata``) left out; iterative, for nesting is free."""
    stack = [data]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            for key, value in here.items():
                if key != "metadata":
                    yield key, value
                    stack.append(value)
        elif isinstance(here, list):
            stack.extend(here)


def _check_expression(file: Path, text: Any) -> None:
    """Refuse a size that is not made of numbers, symbols, arithmetic and sympy's functions for those."""
    try:
        tree = ast.parse(text, mode="eval") if isinstance(text, str) and len(text) < _LONGEST_EXPRESSION else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or _is_deep(tree) or not all(_is_arithmetic(node) for node in ast.walk(tree)):
        raise BadFile(f"{file} gives a size as '{_short(text)}', which is no arithmetic; export it again.")


def _is_deep(tree: ast.AST) -> bool:
    """Whether it nests deeper than a size does; Python's own bound moves with the process's recursion limit."""
    nodes: list[ast.AST] = [tree]
    for _ in range(_DEEPEST_EXPRESSION):
        nodes = [child for node in nodes for child in ast.iter_child_nodes(node)]
        if not nodes:
            return False
    return True


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _CALLS
    if isinstance(node, ast.Name):
        return "__" not in node.id
    if isinstance(node, ast.Constant):
        text = isinstance(node.value, str) and re.fullmatch(r"[\w.+\-]+", node.value) and "__" not in node.value
        return isinstance(node.value, int | float) or bool(text)
    return isinstance(node, _ARITHMETIC)


def _check_tree(file: Path, text: Any) -> None:
    for key, value in _walk(json.loads(text) if isinstance(text, str) and text else []):
        if (key == "type" and value not in _TREES) or key == "__enum__":
            raise BadFile(
                f"{file} takes or returns a '{_short(value)}'; export a network that takes and returns tensors, "
                "tuples, lists and dictionaries."
            )
        if key == "context" and value and "__enum__" in str(value):
            raise BadFile(f"{file} takes or returns an enumeration; export a network of tensors alone.")


def _short(text: Any) -> str:
    return " ".join(str(text).split())[:80]

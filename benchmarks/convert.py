"""Each reference network in each format: how often it gives its source's answer, and how much accuracy it loses.

``python benchmarks/convert.py [NAME...] [--to FORMAT...] [--items N]`` converts the checkpoints of `edgelab.nets` and
the Keras network of lab 08, which it trains, on the test items of their data sets, and prints a table. ``--json FILE``
keeps each row as soon as it is there, and goes on from what the file holds.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgelab import data, nets
from edgelab.convert import keras
from edgelab.course import paths
from edgelab.course.source import read_cells
from edgelab.errors import EdgelabError
from edgelab.files import read_json, write_json
from edgelab.measure import save_arrays
from edgelab.reading import Table
from edgelab.toolbox import convert
from edgelab.toolbox.conversion import SUFFIXES

LAB = "lab08_keras"
NETWORKS = {
    "digits_mlp": "digits",
    "signs_dscnn": "signs",
    "signs_resnet": "signs",
    "vibration_cnn1d": "vibration",
    LAB: "signs",
}
WAYS = {
    "onnx": ("float32", "float16", "int8"),
    "tflite": ("float32", "float16", "int8"),
    "coreml": ("float32", "float16", "int8"),
}


def source(name: str, folder: Path, arrays: Path) -> Path:
    """The network as a file of its framework; ``arrays`` is written with its test items."""
    if name == LAB:
        return lab_network(folder, arrays)
    import torch

    loaded = nets.load(name)
    net: Any = getattr(loaded, "net", loaded)
    test = data.load(NETWORKS[name]).test
    save_arrays(arrays, test.x, test.y)
    item = torch.from_numpy(test.x[:2])
    batch = ({0: torch.export.Dim("batch")},)
    path = folder / f"{name}.pt2"
    torch.export.save(torch.export.export(net.eval(), (item,), dynamic_shapes=batch), path)
    return path


def lab_network(folder: Path, arrays: Path) -> Path:
    """The network of lab 08 as a .keras file, built and trained by the lab's own cells, and its test items."""
    space: dict[str, Any] = {"np": np, "math": math, "data": data, "from_keras": keras, "installed": lambda _: False}
    for cell in read_cells(paths.sources() / "08_tflite.py"):
        defines = any(f"def {name}(" in cell.text for name in ("of_chosen", "build", "train"))
        if cell.kind == "code" and ("parameters" in cell.tags or defines):
            exec(cell.text, space)  # noqa: S102 - the course's own source
    path = folder / f"{LAB}.keras"
    space["network"].save(path)
    save_arrays(arrays, space["test_x"], space["test_y"])
    return path


def row(path: Path, to: str, how: str, arrays: Path, folder: Path, items: int) -> dict[str, Any]:
    out = folder / f"{path.stem}-{how}{SUFFIXES[to]}"
    settings: dict[str, Any] = {"int8": True} if how == "int8" else {"precision": how}
    try:
        done = convert(path, to, out, data=arrays, items=items, overwrite=True, **settings)  # type: ignore[arg-type]
    except EdgelabError as error:
        return {"failed": str(error)}
    kept = done.to_dict()
    return {key: kept[key] for key in ("bytes", "items", "agreement", "accuracy", "loss", "sqnr_db", "kept", "reasons")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    parser.add_argument("--to", nargs="*", default=list(WAYS))
    parser.add_argument("--items", type=int, default=10**6)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = read_json(options.json) if options.json and options.json.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network in options.names:
            wanted = [(to, how) for to in options.to for how in WAYS[to] if f"{network} {to} {how}" not in found]
            if not wanted:
                continue
            arrays = folder / f"{network}.npz"
            path = source(network, folder, arrays)
            for to, how in wanted:
                found[f"{network} {to} {how}"] = row(path, to, how, arrays, folder, options.items)
                if options.json:
                    write_json(options.json, found)
    print(table(found))


def table(found: dict[str, dict[str, Any]]) -> Table:
    """The rows as people read them."""
    rows = []
    for key, kept in found.items():
        if "failed" in kept:
            rows.append((*key.split(), kept["failed"], "", "", "", ""))
            continue
        figures = [f"{kept[name]['value']:.2f}" if kept[name] else "" for name in ("agreement", "accuracy", "loss")]
        sqnr = "equal" if kept["sqnr_db"] is None else f"{kept['sqnr_db']:.1f}"
        rows.append((*key.split(), f"{kept['bytes']:,}", *figures, sqnr))
    columns = ("network", "format", "weights", "bytes", "same answer %", "right %", "points lost", "SQNR dB")
    return Table("Each format against its source", columns, rows, "Measured on the test items of each data set.")


if __name__ == "__main__":
    main()

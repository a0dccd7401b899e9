"""Each reference network in each format: how often it gives its source's answer, and how much accuracy it loses.

``python benchmarks/convert.py [NAME...] [--to FORMAT...] [--items N]`` converts the checkpoints of `edgelab.nets` and a
Keras network that it trains, on the test items of their data sets, and prints a table. ``--json FILE`` keeps each row
as soon as it is there, and goes on from what the file holds.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgelab import data, nets
from edgelab.errors import EdgelabError
from edgelab.files import read_json, write_json
from edgelab.measure import save_arrays
from edgelab.reading import Table
from edgelab.toolbox import convert
from edgelab.toolbox.conversion import SUFFIXES

NETWORKS = {
    "digits_mlp": "digits",
    "signs_dscnn": "signs",
    "signs_resnet": "signs",
    "vibration_cnn1d": "vibration",
    "keras_signs": "signs",
}
WAYS = {
    "onnx": ("float32", "float16", "int8"),
    "tflite": ("float32", "float16", "int8"),
    "coreml": ("float32", "float16", "int8"),
}
EPOCHS = 4


def source(name: str, folder: Path) -> Path:
    """The network as a file of its framework."""
    if name == "keras_signs":
        return keras_source(folder)
    import torch

    loaded = nets.load(name)
    net: Any = getattr(loaded, "net", loaded)
    item = torch.from_numpy(data.load(NETWORKS[name]).test.x[:2])
    batch = ({0: torch.export.Dim("batch")},)
    path = folder / f"{name}.pt2"
    torch.export.save(torch.export.export(net.eval(), (item,), dynamic_shapes=batch), path)
    return path


def keras_source(folder: Path) -> Path:
    """A small convolutional network of Keras' own layers, trained here as lab 08 does."""
    from edgelab.convert.keras import tensorflow

    k = tensorflow(1, 0).keras
    signs = data.load("signs")
    parts = [k.Input((*signs.test.x.shape[2:], signs.test.x.shape[1]))]
    for width, stride in ((12, 1), (24, 2), (48, 2)):
        parts += [k.layers.Conv2D(width, 3, stride, "same", use_bias=False), k.layers.BatchNormalization()]
        parts += [k.layers.ReLU(6.0), k.layers.DepthwiseConv2D(3, padding="same"), k.layers.ReLU()]
    net = k.Sequential([*parts, k.layers.MaxPooling2D(4), k.layers.Flatten(), k.layers.Dense(signs.classes)])
    net.compile(k.optimizers.Adam(3e-3), k.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(np.moveaxis(signs.train.x, 1, -1), signs.train.y, batch_size=64, epochs=EPOCHS, verbose=0)
    path = folder / "keras_signs.keras"
    net.save(path)
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
            path, test = source(network, folder), data.load(NETWORKS[network]).test
            arrays = save_arrays(folder / "data.npz", test.x, test.y)
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

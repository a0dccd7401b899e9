"""Trained networks that ship with edgelab: safetensors, and beside each the recipe that made it.

A recipe is a TOML file that names the network, the data and every setting, and states the accuracy that came
out. ``python -m edgelab.nets.checkpoints NAME`` trains it anew and writes both files.
"""

from __future__ import annotations

import functools
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch
from torch import nn

import edgelab.data
from edgelab.data.dataset import Dataset
from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded, refuse_pointer, write_bytes, write_text
from edgelab.nets import networks
from edgelab.nets.trainer import History, predict_logits, train
from edgelab.reading import Table

FOLDER = Path(__file__).parent / "weights"


def available() -> Table:
    """The checkpoints: network, data, parameters, accuracy on validation and test as the recipe states it."""
    rows = []
    for path in sorted(FOLDER.glob("*.toml")):
        recipe = read_recipe(path.stem)
        stated = recipe["stated"]
        rows.append(
            (path.stem, recipe["network"], recipe["data"], stated["parameters"], stated["validation"], stated["test"])
        )
    columns = ("name", "network", "data", "parameters", "validation %", "test %")
    return Table("Trained networks", columns, rows, "Measured with PyTorch when the checkpoint was made.")


def load(name: str) -> nn.Module:
    """A trained network in evaluation mode.

    Raises
    ------
    BadInput
        If there is no checkpoint of that name.
    BadFile
        If its file is damaged or does not fit the network of its recipe.

    Examples
    --------
    >>> load("digits_mlp")(torch.zeros(1, 1, 8, 8)).shape
    torch.Size([1, 10])
    """
    return read_weights(build(read_recipe(name)), FOLDER / f"{name}.safetensors")


def read_weights(net: nn.Module, path: Path) -> nn.Module:
    """Put the weights of a safetensors file into ``net`` and switch it to evaluation mode.

    Raises
    ------
    BadFile
        If the file is missing, is no safetensors file, or holds other tensors than the network has.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    try:
        path = expanded(path)
        refuse_pointer(path)
        state = parse(path.read_bytes())
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror or error}).") from None
    except (SafetensorError, ValueError) as error:
        raise BadFile(f"{path} is not a whole safetensors file ({error}).") from None
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise BadFile(f"{path} does not fit the network: {reason}.") from None
    return net.eval()


@functools.cache
def read_recipe(name: str) -> dict[str, Any]:
    """The recipe of a checkpoint."""
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise BadInput(f"There is no checkpoint '{name}'; there are {there or 'none'}.")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def build(recipe: dict[str, Any]) -> nn.Module:
    """The untrained network of a recipe, its weights drawn with the recipe's seed; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe["training"]["seed"])
        net: nn.Module = getattr(networks, recipe["network"])(**recipe.get("arguments", {}))
    return net


def make(name: str, *, progress: bool = True) -> History:
    """Train a checkpoint anew by its recipe and write its weights and what came out, whole or not at all."""
    from safetensors.torch import save

    recipe = dict(read_recipe(name))
    data: Dataset = getattr(edgelab.data, recipe["data"])(**recipe.get("data_arguments", {}))
    net = build(recipe)
    history = train(net, data, **recipe["training"], progress=progress)
    recipe["stated"] = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "validation": accuracy(net, data, "validation"),
        "test": accuracy(net, data, "test"),
        "best_epoch": history.best_epoch,
        "seconds": round(history.seconds),
        "torch": torch.__version__.split("+")[0],
    }
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    write_bytes(FOLDER / f"{name}.safetensors", save(state))
    write_text(FOLDER / f"{name}.toml", _toml(recipe))
    read_recipe.cache_clear()
    return history


def accuracy(net: nn.Module, data: Dataset, split: str) -> float:
    """Percent right on a split, two decimals."""
    part = data.splits[split]
    return round(100 * float((predict_logits(net, part.x).argmax(axis=1) == part.y).mean()), 2)


def _toml(recipe: dict[str, Any]) -> str:
    plain = {k: v for k, v in recipe.items() if not isinstance(v, dict)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for section, values in recipe.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "[" + ", ".join(map(_value, value)) + "]" if isinstance(value, list | tuple) else repr(value)


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        make(wanted)

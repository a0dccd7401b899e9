"""Digests of all C that edgelab generates for the test networks: what shows that a change left every byte alone.

``tests/data/generated_c.json`` holds the recorded ones. Where a change means to alter the C, record them anew with
``uv run python -m tests.generated_c`` and say in the commit which files changed and why.
"""

import hashlib
import itertools
import json
import re
import sys
import tempfile
from pathlib import Path

from edgelab.mcu.cgen import generate
from edgelab.mcu.frontend import FrontEnd, Spectrum, band_edges
from edgelab.mcu.model import read_model

from .mcu_networks import NETWORKS

DATA = Path(__file__).parent / "data"
RECORDED = DATA / "generated_c.json"
WAYS = tuple(itertools.product(("portable", "dsp"), ("time", "ram")))
_ARENA = re.compile(r"^#define EDGELAB_ARENA_BYTES \d+$", re.MULTILINE)  # differs by the way; model.c holds it, too
DIGITS = 16  # of SHA-256: 64 bits tell a change from none


def digests(folder):
    """``{network: {"model.h": digest, "portable time": digest of model.c, ...}}``, with the front ends' C files.

    Parameters
    ----------
    folder
        An empty folder for the networks' .tflite files; their names, which the C carries, are those of the networks.
    """
    found = {name: _front_end(samples) for name, samples in (("front_end_16", 16), ("front_end_1024", 1024))}
    for name, content in NETWORKS.items():
        (folder / f"{name}.tflite").write_bytes(content())
    oracle = {key_of(path.stem): path for path in sorted((DATA / "mcu_oracle").glob("*.tflite"))}
    for network, path in {**{name: folder / f"{name}.tflite" for name in NETWORKS}, **oracle}.items():
        model, own = read_model(path), {}
        for kernels, minimise in WAYS:
            files = dict(generate(model, kernels=kernels, minimise=minimise).files)
            own[f"{kernels} {minimise}"] = _digest(files.pop("model.c"))
            for file, text in files.items():  # the header, the same in every way; a file that joins it is held, too
                digest = _digest(_ARENA.sub("", text))
                own[file if own.get(file, digest) == digest else f"{kernels} {minimise} {file}"] = digest
        found[network] = own
    return found


def key_of(oracle):
    """The key of one of the oracle's models; one has the name of a test network."""
    return f"{oracle} of the oracle" if oracle in NETWORKS else oracle


def _front_end(samples):
    spectra = (Spectrum(band_edges(1, samples // 2, 5)), Spectrum(tuple(range(1, samples // 4)), envelope=True))
    return {file: _digest(text) for file, text in FrontEnd(samples, spectra).c_files(0.171, -103).items()}


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def differing(found, recorded):
    """The networks and files whose digests differ, or that one side lacks, as ``"network: file"``."""
    return sorted(
        f"{name}: {file}"
        for name in found.keys() | recorded.keys()
        for file in found.get(name, {}).keys() | recorded.get(name, {}).keys()
        if found.get(name, {}).get(file) != recorded.get(name, {}).get(file)
    )


def main():
    """Record the digests, and write to standard error what changed since the last time."""
    with tempfile.TemporaryDirectory() as folder:
        found = digests(Path(folder))
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    changed = differing(found, recorded)
    RECORDED.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    sys.stderr.write("\n".join([*changed, f"{len(changed)} digests changed in {RECORDED}"]) + "\n")


if __name__ == "__main__":
    main()

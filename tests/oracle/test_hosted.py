"""The cell of docs/hosted.md: it adds what is missing and replaces nothing of the host."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CELL = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "hosted.md").read_text(encoding="utf-8"), re.DOTALL)[1]


def test_everything_that_is_there_is_held(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGELAB_HOME", "")
    monkeypatch.setenv("EDGELAB_RUNS", "")
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: calls.append(words))
    exec(CELL, {})  # noqa: S102
    clone, install = calls
    assert clone[:2] == ["git", "clone"]
    assert install[install.index("-c") + 1] == str(tmp_path / "held.txt")
    held = (tmp_path / "held.txt").read_text(encoding="utf-8").splitlines()
    for name in ("numpy", "torch", "plotly"):
        assert f"{name}=={importlib.metadata.version(name)}" in held
    assert not [line for line in held if line.startswith("edgelab")]
    assert os.environ["EDGELAB_HOME"] == clone[-1] == install[-1]


def stub(folder, name, version):
    """A wheel with a name and a version, and nothing else."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def versions(python):
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    return json.loads(subprocess.check_output([str(python), "-c", code], text=True))


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_a_host_with_older_packages_keeps_them(tmp_path):
    """A host in small: real packages in versions that pip would replace, and the large ones in name only."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "host")], check=True)
    python = tmp_path / "host" / ("Scripts" if os.name == "nt" else "bin") / "python"
    large = [stub(tmp_path, "torch", "2.11.0+cu128"), stub(tmp_path, "torchvision", "0.26.0+cu128")]
    old = ["numpy==2.2.6", "plotly==6.3.1", "requests==2.32.4", "pillow==11.3.0"]
    subprocess.run([str(python), "-m", "pip", "install", "-q", *old, *map(str, large)], check=True)
    before = versions(python)
    cell = CELL.replace("https://...", ROOT.as_uri()).replace('"git", "clone", "--depth", "1"', '"git", "clone", "-q"')
    (tmp_path / "cell.py").write_text(cell, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("EDGELAB", "PYTHON", "VIRTUAL"))}
    subprocess.run([str(python), "cell.py"], cwd=tmp_path, env=clean, check=True)
    after = versions(python)
    assert {name: after[name] for name in before} == before
    assert {"edgelab", "onnxruntime", "ai-edge-litert", "anywidget"} <= {*after} | {
        name.replace("_", "-") for name in after
    }
    at = {"EDGELAB_HOME": str(tmp_path / "edgelab-course")}
    done = subprocess.run(
        [str(python), "-m", "edgelab", "labs"], cwd=tmp_path, env=clean | at, capture_output=True, check=True
    )
    assert b"quantization" in done.stdout

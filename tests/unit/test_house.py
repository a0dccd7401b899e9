"""The shape of the house: floors, what an import loads, file sizes, pins, and what must not be committed."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "edgelab"
FLOORS = [
    {"reading", "errors", "files", "quiet"},
    {"data", "nets"},
    {"compress", "convert", "engines"},
    {"measure"},
    {"mcu"},
    {"course", "ui"},
    {"cli", "__main__"},
]
# nets reads data sets to train and test on; measure takes engines; both stand one above the other
SAME_FLOOR = {("nets", "data")}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)


def floor_of(room):
    return next((level for level, rooms in enumerate(FLOORS) if room.split("_")[0] in rooms or room in rooms), None)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "edgelab":
                yield from (f"edgelab.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_below(path):
    room = room_of(path)
    if room == "__init__":
        return
    level = floor_of(room)
    assert level is not None, f"{room} has no floor"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "edgelab" or len(parts) < 2 or parts[1] == room:
            continue
        other = floor_of(parts[1])
        if other is None:  # a name of edgelab/__init__, the ground floor
            continue
        below = other < level or (level == other == 0) or (room, parts[1]) in SAME_FLOOR or level == len(FLOORS) - 1
        assert below, f"{path.name} of {room} imports {name}"


def test_importing_edgelab_loads_no_framework():
    heavy = {"numpy", "torch", "tensorflow", "onnx", "onnxruntime", "plotly", "ipywidgets", "jupytext", "nbformat"}
    code = "import sys, edgelab; print(' '.join(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not heavy & set(loaded)


def test_listing_labs_loads_no_notebook_tool():
    code = "import sys; from edgelab.cli import main; main(['labs', '--json']); print('\\n' + ' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.splitlines()[-1].split())
    assert not {"torch", "jupytext", "nbformat", "papermill", "plotly", "onnxruntime"} & loaded


@pytest.mark.parametrize(
    ("framework", "home"),
    [
        ("onnxruntime", {"engines/onnxruntime.py", "convert/onnx.py", "compress"}),
        ("ai_edge_litert", {"convert/tflite", "engines/litert.py", "measure/flatbuffer.py"}),
        ("tensorflow", set()),
        ("tflite_micro", {"engines/tflm.py"}),
    ],
)
def test_a_framework_is_imported_only_where_it_belongs(framework, home):
    strangers = [
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name.split(".")[0] == framework for name in imports(path))
        and not any(path.relative_to(PACKAGE).as_posix().startswith(h) for h in home)
    ]
    assert strangers == []


def test_modules_stay_readable():
    long = {
        str(p.relative_to(ROOT)): n for p in MODULES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert long == {}


ORDERS = list(itertools.permutations(["tensorflow", "torchvision", "coremltools"]))
# TensorFlow before torch is what has aborted, and coremltools loads both; an order takes 10 s, the rest are thorough.
SAMPLE = {("tensorflow", "torchvision", "coremltools"), ("coremltools", "torchvision", "tensorflow")}


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, marks=() if order in SAMPLE else pytest.mark.thorough, id="-".join(order))
        for order in ORDERS
    ],
)
def test_frameworks_live_in_one_process_in_every_order(order):
    missing = [name for name in order if not _installed(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed here: the light environment")
    code = "\n".join(
        [
            "import onnxruntime",
            *(f"import {name}" for name in order),
            "import ai_edge_litert.interpreter, torch",
            "assert torch.ones(2).sum() == 2",
            "import tensorflow as tf",
            "assert float(tf.ones(2)[0]) == 1",
            "print('alive')",
        ]
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr[-500:]
    assert "alive" in run.stdout


def _installed(name):
    from importlib.util import find_spec

    return find_spec(name) is not None


def test_the_light_environment_pins_what_the_project_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=!~ ;\[]", line)[0].lower() for line in project["dependencies"]}
    lines = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    assert wanted <= pinned
    assert "tensorflow" not in pinned
    assert "tensorflow-cpu" not in pinned


def tracked():
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip("not a git checkout")
    return run.stdout.splitlines()


def test_nothing_committed_names_a_registry_or_locks_one():
    files = tracked()
    assert not [f for f in files if Path(f).name in {"uv.lock", "pylock.toml", "package-lock.json"}]
    settings = [f for f in files if f.startswith("binder/") or Path(f).suffix == ".toml"]
    for file in settings:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not re.search(r"index-url|find-links|https?://[^\s\"]*(simple|pypi|mirror)", text), file


def test_readme_is_short_and_its_links_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for link in re.findall(r"\]\((?!https?://|#)([^)]+)\)", text):
        assert (ROOT / link.split("#")[0]).exists(), link

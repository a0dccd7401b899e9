"""The shape of the house: floors, what an import loads, file sizes, pins, and what must not be committed."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "edgelab"
FLOORS = [
    {"reading", "errors", "files", "quiet", "limits"},
    {"data", "nets", "models"},
    {"compress", "posttraining", "qat", "slim", "convert", "engines", "emulator"},
    {"feeding"},
    {"measure"},
    {"golden"},
    {"mcu", "federated", "privacy", "ota", "field"},
    {"toolbox", "ahead"},
    {"course", "ui"},
    {"cli", "__main__"},
]
# Besides the ground floor and the top, whose files are one room each: networks are trained on data sets, and the engine
# of the emulated Cortex-M is made of the emulator; privacy protects and attacks the updates of federated clients; qat
# trains with the mapping of compress, and posttraining searches steps around its quantizers.
SAME_FLOOR = {("nets", "data"), ("engines", "emulator"), ("privacy", "federated"), ("qat", "compress")}
SAME_FLOOR |= {("posttraining", "compress")}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)


def floor_of(room):
    return next((level for level, rooms in enumerate(FLOORS) if room in rooms), None)


def room_of(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "reading" if room == "reading_block" else room  # how a notebook shows what `reading` records


def allowed(room, other):
    """Whether a room may import another one."""
    level, below = floor_of(room), floor_of(other)
    return below < level or (below == level and (level in (0, len(FLOORS) - 1) or (room, other) in SAME_FLOOR))


def imported(tree, package, *, types=True):
    """What a file's syntax tree imports, each as ``(module, name in it or None)``, also inside functions.

    ``types`` counts what stands under ``if TYPE_CHECKING``, too, which no program runs. ``package`` is where a relative
    import starts.
    """
    for node in ast.iter_child_nodes(tree):
        if not types and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from imported(ast.Module(node.orelse, []), package, types=types)
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            yield from ((module, alias.name) for alias in node.names)
        yield from imported(node, package, types=types)


def imports(path):
    """The modules that a file imports; of ``from edgelab import room`` the room, too."""
    package = ".".join(("edgelab", *path.relative_to(PACKAGE).parent.parts))
    for module, name in imported(ast.parse(path.read_text(encoding="utf-8")), package):
        yield module
        if module == "edgelab" and name:
            yield f"edgelab.{name}"


def graph_of(folder):
    """``{module: the modules of the same package that it imports}`` for the package in a folder.

    A member of a package that imports a neighbour does not count as importing the package's face; one that takes a name
    from the face does.
    """
    files = {}
    for path in folder.rglob("*.py"):
        parts = (folder.name, *path.relative_to(folder).with_suffix("").parts)
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for module, path in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = set()
        for base, name in imported(ast.parse(path.read_text(encoding="utf-8")), package, types=False):
            member = f"{base}.{name}" if name else base
            found |= {member if member in files else base} & files.keys()
        graph[module] = found - {module}
    return graph


def circle(graph):
    """Modules that import each other in a circle when they run, or None."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_below(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert floor_of(room) is not None, f"{room} has no floor"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "edgelab" or len(parts) < 2 or parts[1] == room:
            continue
        if floor_of(parts[1]) is None:  # a name of edgelab/__init__, the ground floor
            assert not (PACKAGE / parts[1]).exists(), f"{parts[1]} has no floor"
            continue
        assert allowed(room, parts[1]), f"{path.name} of {room} imports {name}"


@pytest.mark.parametrize(
    ("room", "other", "may"),
    [
        ("engines", "emulator", True),
        ("emulator", "engines", False),
        ("nets", "data", True),
        ("data", "models", False),
        ("convert", "models", True),
        ("slim", "compress", False),
        ("measure", "mcu", False),
        ("ota", "mcu", False),
        ("toolbox", "field", True),
        ("federated", "toolbox", False),
        ("course", "ui", False),
        ("ui", "toolbox", True),
        ("errors", "quiet", True),
        ("errors", "data", False),
        ("__main__", "cli", True),
        ("cli", "course", True),
    ],
)
def test_the_floors_hold_for_rooms_to_come(room, other, may):
    assert allowed(room, other) is may


def test_contributing_names_every_floor():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The house")[2]
    named = [set(floor.split()) for floor in re.findall(r"`([^`]+)`", text.partition(".")[0])]
    assert named == [floor - {"__main__"} for floor in FLOORS]


def test_no_files_import_each_other_in_a_circle():
    assert circle(graph_of(PACKAGE)) is None


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.py": "import room.b", "b.py": "from room.a import x"}, True),
        ({"a.py": "from room import b", "b.py": "def f():\n    from room import c", "c.py": "from . import a"}, True),
        ({"__init__.py": "from room.a import x", "a.py": "from room import x"}, True),
        ({"__init__.py": "from room.a import x", "a.py": "from room import b\nimport numpy", "b.py": ""}, False),
        (
            {
                "a.py": "import room.b",
                "b.py": "import typing\nif typing.TYPE_CHECKING:\n    from room.a import x\nelse:\n    import json",
            },
            False,
        ),
    ],
    ids=["two", "three, in a function and relative", "by the face", "under the face", "for types alone"],
)
def test_a_circle_is_found_where_there_is_one(files, found, tmp_path):
    (tmp_path / "room").mkdir()
    for name, text in files.items():
        (tmp_path / "room" / name).write_text(text)
    assert (circle(graph_of(tmp_path / "room")) is not None) is found


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
        ("onnxruntime", {"engines/onnxruntime.py", "convert/onnx.py", "convert/ort_files.py", "compress"}),
        (
            "ai_edge_litert",
            {
                "convert/tflite",
                "convert/litert_quantize.py",
                "engines/litert",
                "models/flatbuffer",
                "models/tflite_shapes",
                "models/tflite_tables",
            },
        ),
        ("tensorflow", {"convert/keras.py"}),
        ("coremltools", {"models/mlpackage.py", "engines/coreml_program.py", "convert/exported.py"}),
        ("litert_torch", {"convert/litert.py"}),
        ("ai_edge_quantizer", {"convert/litert_quantize.py"}),
        ("keras", {"convert/keras_torch.py"}),
        ("tflite_micro", {"engines/tflm.py"}),
        ("tuf", {"ota/trust.py", "ota/publisher.py"}),
        ("zstandard", {"ota/deltas.py"}),
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

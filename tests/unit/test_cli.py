"""The command line as a person and as a machine meets it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from edgelab import cli
from edgelab.cli.answer import as_json
from edgelab.course import build
from edgelab.errors import LabError

from .course_home import EXAMPLE

VERBS = ("open", "labs", "doctor", "run", "check", "progress", "claims", "bench", "compare", "inspect", "build", "test")
VERBS += ("fit", "firmware", "golden", "reset", "convert", "ota", "view", "operators", "quantize")
JSON_VERBS = ("run", "check", "reset", "bench", "inspect", "compare", "labs", "fit", "firmware")
JSON_VERBS += ("golden_make", "golden_check", "convert", "operators", "view", "quantize")
OTA_VERBS = (
    "ota_init",
    "ota_publish",
    "ota_refresh",
    "ota_rotate",
    "ota_serve",
    "ota_rollout",
    "ota_device",
    "ota_status",
)  # tests/faults/test_ota_commands
ORACLE = EXAMPLE.parents[1] / "data" / "mcu_oracle"


@pytest.fixture
def home(monkeypatch, tmp_path):
    (tmp_path / "solutions").mkdir()
    shutil.copy(EXAMPLE / "solutions" / "90_example.py", tmp_path / "solutions")
    monkeypatch.setenv("EDGELAB_HOME", str(tmp_path))
    monkeypatch.delenv("EDGELAB_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words):
    """Exit status of a command in this process; argparse leaves by SystemExit."""
    try:
        return cli.main(list(words))
    except SystemExit as left:
        return left.code


def command(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "edgelab", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_version_and_help(capsys):
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("edgelab 0.")
    assert call("--help") == 0
    help_text = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n    {verb} " in help_text.replace("\n", " \n")
        assert call(verb, "--help") == 0
        capsys.readouterr()


def test_labs(home, capfd):
    assert call("labs") == 0
    assert "what a percentile is" in capfd.readouterr().out
    assert call("labs", "--json") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert json.loads(out) == [
        {
            "id": "90",
            "slug": "example",
            "title": "Example: what a percentile is",
            "minutes": 5,
            "requires": ["numpy"],
            "optional": {},
            "form": 2,
        }
    ]
    assert list(json.loads(out)[0]) == ["form", "id", "minutes", "optional", "requires", "slug", "title"]  # sorted


def test_labs_is_quick_because_it_imports_little():
    # held by what it imports, not by a clock
    done = command("labs", "--json", EDGELAB_HOME=str(EXAMPLE), PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "edgelab" in loaded
    assert not loaded & {"numpy", "torch", "nbformat", "jupytext", "papermill", "IPython", "asyncio"}


BAD_INPUT = [
    ((), "required: VERB"),
    (("fly",), "invalid choice: 'fly'"),
    (("run",), "edgelab run: the following arguments are required: lab"),
    (("run", "nope"), "There is no lab 'nope'; the labs are example."),
    (("run", "example", "-p", "x"), "expected 2 arguments"),
    (("run", "example", "-p", "rnus", "3"), "has no parameter 'rnus'"),
    (("run", "example", "--mine"), "90_example.ipynb does not exist"),
    (("check", "example"), "90_example.ipynb does not exist"),
    (("check", "example", "--notebook", "solutions/90_example.ipynb"), "does not exist"),
    (("bench",), "required: MODEL"),
    (("bench", "a.onnx", "--runs", "0"), "0 is not at least 1"),
    (("bench", "a.onnx", "--warmup", "-1"), "-1 is negative"),
    (("bench", "a.onnx", "--threads", "two"), "invalid whole number value: 'two'"),
    (("bench", "nothing.onnx"), "nothing.onnx"),
    (("inspect", "nothing.tflite"), "nothing.tflite"),
    (("inspect", "solutions/90_example.py"), "90_example.py"),
    (("compare", "a.onnx", "b.onnx"), "does not exist"),
    (("compare", "a.onnx", "b.onnx", "--max-loss", "much"), "--max-loss"),
    (("compare", "a.onnx", "b.onnx", "--data", "nothing.npz"), ""),
    (("open", "nope"), "There is no lab 'nope'"),
    (("open", "--port", "0"), "0 is not at least 1"),
    (("build", "nope"), "There is no lab 'nope'"),
    (("fit",), "required: MODEL"),
    (("fit", "nothing.tflite"), "nothing.tflite"),
    (("fit", str(ORACLE / "sine_mlp.tflite"), "--device", "nrf5284"), "did you mean nrf52840"),
    (("fit", str(ORACLE / "sine_mlp.tflite"), "--headroom", "1"), "no share of the SRAM"),
    (("convert", "a.pt2", "--to", "onnx"), "required: -o/--output"),
    (("convert", "nothing.pt2", "--to", "onnx", "-o", "a.onnx"), "nothing.pt2 does not exist"),
    (("convert", str(ORACLE / "sine_mlp.tflite"), "--to", "onnx", "-o", "a.onnx"), "is converted already (tflite)"),
    (("labs", "--jsno"), "unrecognized arguments: --jsno"),
    (("quantize", "a.onnx"), "required: -o/--output"),
    (("quantize", "nothing.onnx", "--data", "d.npz", "-o", "q.onnx"), "nothing.onnx does not exist"),
    (("quantize", "a.onnx", "-o", "q.onnx", "--samples", "0"), "0 is not at least 1"),
    (("quantize", "a.onnx", "-o", "q.onnx", "--precision", "int2"), "invalid choice: 'int2'"),
    (("quantize", str(ORACLE / "sine_mlp.tflite"), "-o", "q.onnx"), "is not an ONNX file (tflite)"),
]
BAD_INPUT += [((*words, "--json"), says) for words, says in BAD_INPUT if words and words[0] in JSON_VERBS]


@pytest.mark.parametrize(("words", "says"), BAD_INPUT, ids=[" ".join(words) for words, _ in BAD_INPUT])
def test_bad_input_is_one_sentence_and_status_2(home, capfd, words, says):
    assert call(*words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err


def test_the_unexpected_is_a_sentence_too(home, monkeypatch, capsys):
    def broken():
        raise TypeError("it broke\nbadly")

    monkeypatch.setattr("edgelab.course.labs.all_labs", broken)
    monkeypatch.delenv("EDGELAB_DEBUG", raising=False)
    assert call("labs") == 2
    assert capsys.readouterr().err == (
        "Something unexpected went wrong (TypeError: it broke badly); EDGELAB_DEBUG=1 shows where.\n"
    )
    monkeypatch.setenv("EDGELAB_DEBUG", "1")
    with pytest.raises(TypeError, match="it broke"):
        call("labs")


def test_an_interrupt_is_a_sentence(home, monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("edgelab.course.labs.all_labs", interrupted)
    assert call("labs") == 2
    assert capsys.readouterr().err == "Interrupted.\n"


def test_what_libraries_print_stays_out_of_the_json(home, monkeypatch, capfd):
    def chatty():
        print("from Python")
        os.write(1, b"from native code\n")
        return []

    monkeypatch.setattr("edgelab.course.ledger.last_claims", chatty)
    assert call("claims", "--json") == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == []
    assert "from Python" in err
    assert "from native code" in err


def test_a_reader_that_leaves_is_no_error():
    code = f"{sys.executable} -m edgelab labs | true"
    done = subprocess.run(code, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_with_few_characters(home):
    done = command("labs", EDGELAB_HOME=str(EXAMPLE), PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "percentile" in done.stdout


def test_build_check_names_what_is_stale(home, capsys):
    assert call("build", "--check") == 1
    assert capsys.readouterr().out.count("stale: ") == 2
    assert call("build") == 0
    assert f"wrote {os.path.join('labs', '90_example.ipynb')}" in capsys.readouterr().out  # noqa: PTH118
    assert call("build", "--check") == 0
    assert "up to date" in capsys.readouterr().out
    source = home / "solutions" / "90_example.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("# ## Predict", "# ## Guess"), encoding="utf-8")
    assert call("build", "--check") == 2
    assert "no section with the heading `## Predict`" in capsys.readouterr().err
    source.write_text(text, encoding="utf-8")
    notebook = home / "labs" / "90_example.ipynb"
    notebook.write_text(
        notebook.read_text(encoding="utf-8").replace("raise NotImpl", "return NotImpl"), encoding="utf-8"
    )
    assert call("build") == 1
    assert "holds edits" in capsys.readouterr().out
    assert call("build", "--force") == 0


def test_check_and_progress(home, capfd):
    build.build()
    assert call("check", "example", "--json") == 0
    out, err = capfd.readouterr()
    report = json.loads(out)
    assert list(report) == ["checks", "exercises", "lab", "notebook", "solved"]
    keys = ["compared", "hint", "hints", "id", "message", "passed", "status"]
    assert [list(c) for c in report["checks"]] == [keys] * 2
    assert err == ""
    assert call("check", "90") == 0
    assert "to do" in capfd.readouterr().out
    assert call("progress") == 0
    assert "progress.html" in capfd.readouterr().out
    assert (home / "runs" / "progress.html").exists()


def test_run_and_claims(home, capfd):
    assert call("run", "example", "-p", "runs", "200", "--json") == 0
    out, err = capfd.readouterr()
    run = json.loads(out)
    assert run == json.loads((home / "runs" / "example" / "example.json").read_text(encoding="utf-8"))
    assert "cell" in err  # the progress bar
    assert call("claims", "--json") == 0
    (entry,) = json.loads(capfd.readouterr().out)
    assert list(entry) == ["claim", "date", "id", "lab", "labs", "reading", "verdict", "where", "why"]
    assert entry["verdict"] == run["claims"][0]["verdict"]
    assert (entry["lab"], entry["where"]) == ("example", "edgelab run")


def test_a_solution_that_fails_its_check_has_status_1(home, capfd):
    source = home / "solutions" / "90_example.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(
        text.replace("    return np.sort(values)[rank - 1]", "    return values[rank - 1]"), encoding="utf-8"
    )
    assert call("run", "example", "--json") == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["ok"] is False
    assert "The solution of 'example' fails the check of percentile." in err


def test_doctor(home, capfd, monkeypatch):
    assert call("doctor", "--json") == 0
    health = json.loads(capfd.readouterr().out)
    assert set(health) == {
        *("ok", "edgelab", "python", "cpu", "cores", "memory_bytes", "disk_free_bytes", "system", "browser"),
        *("frameworks", "labs", "warnings"),
    }
    assert health["ok"] is True
    assert health["labs"] == [{"id": "90", "slug": "example", "runs": True, "reasons": [], "left_out": []}]
    assert {entry["name"] for entry in health["frameworks"]} >= {"torch", "tensorflow", "onnxruntime", "numpy"}
    assert call("doctor") == 0
    assert "example" in capfd.readouterr().out


@pytest.fixture
def model(home):
    """A model file and data for it, in the folder that the test runs in."""
    import numpy as np
    import onnx

    rng = np.random.default_rng(0)
    weights = onnx.numpy_helper.from_array(rng.standard_normal((4, 3)).astype(np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["batch", 4])],
        [onnx.helper.make_tensor_value_info("y", 1, ["batch", 3])],
        [weights],
    )
    onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 17)]), "m.onnx")
    x, y = rng.standard_normal((400, 4), dtype=np.float32), rng.integers(0, 3, 400)
    np.savez("d.npz", x=x, y=y, group=np.array(["day", "night"] * 200))
    return "m.onnx"


def test_the_models_verbs(model, capfd):
    assert call("inspect", model) == 0
    assert "MatMul" in capfd.readouterr().out
    assert call("bench", model, model, "--runs", "20", "--warmup", "2", "--batch", "3") == 0
    assert "m.onnx" in capfd.readouterr().out
    assert call("compare", model, model, "--data", "d.npz") == 0
    assert "night" in capfd.readouterr().out
    assert call("bench", model, "--runs", "20", "--warmup", "2", "--batch", "3", "--threads", "2", "--json") == 0
    settings = json.loads(capfd.readouterr().out)["settings"]
    limits = {"duration_s": None, "timeout_s": None, "data": None}
    assert settings == {"runs": 20, "warmup": 2, "threads": 2, "batch": 3, "seed": 0, **limits}


def documented():
    """The JSON blocks of docs/json.md by their names."""
    text = (EXAMPLE.parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    return {name: json.loads(block) for name, block in re.findall(r"```json (\w+)\n(.*?)```", text, re.DOTALL)}


def same_shape(found, stated, reading, place="$"):
    """Hold the keys and kinds of a command's JSON against what the documentation states."""
    if stated == "READING" and found is not None:
        stated = reading
    if found is None or stated is None:
        return
    if isinstance(stated, dict) and place in (
        "$.weight_bytes",
        "$.bytes.weights",
        "$.version",
        "$.metadata",
        "$.hints",
        "$.sizes",
        "$.models[].feed.states",
        "$[].optional",
    ):  # keys of a file
        assert isinstance(found, dict), place
    elif isinstance(stated, dict):
        assert set(found) == set(stated), place
        for key, value in stated.items():
            same_shape(found[key], value, reading, f"{place}.{key}")
    elif isinstance(stated, list):
        assert isinstance(found, list), place
        for entry in found:
            if stated:
                same_shape(entry, stated[0], reading, f"{place}[]")
    elif isinstance(stated, float | int) and not isinstance(stated, bool):
        assert isinstance(found, float | int), place
        assert not isinstance(found, bool), place
    else:
        assert type(found) is type(stated), place


@pytest.mark.parametrize(
    "words",
    [
        ["labs"],
        ["doctor"],
        ["run", "example"],
        ["check", "example"],
        ["reset", "example"],
        ["claims"],
        ["bench", "m.onnx", "m.onnx", "--runs", "20"],
        ["compare", "m.onnx", "m.onnx", "--data", "d.npz", "--max-loss", "50"],
        ["inspect", "m.onnx"],
        ["golden", "make", "m.onnx", "--data", "d.npz", "-o", "made.golden"],
        ["golden", "check", "kept.golden", "m.onnx", "other.onnx"],
        ["fit", str(ORACLE / "sine_mlp.tflite"), "--device", "himax-we2"],
        ["quantize", "m.onnx", "--data", "d.npz", "-o", "q.onnx"],
        ["quantize", "m.onnx", "--data", "d.npz", "-o", "q.onnx", "--precision", "int4"],
    ],
    ids=lambda words: "_".join(words[:2]) if words[0] == "golden" else words[0],
)
def test_the_json_is_as_documented(model, capfd, words):
    build.build()
    if words == ["claims"]:
        assert call("run", "example") == 0
        capfd.readouterr()
    failing = words[:2] == ["golden", "check"]
    if failing:
        other_model()
        assert call("golden", "make", "m.onnx", "--data", "d.npz", "-o", "kept.golden") == 0
        capfd.readouterr()
    assert call(*words, "--json") == int(failing)
    out = capfd.readouterr().out
    found, stated = json.loads(out), documented()
    same_shape(found, stated["_".join(words[:2]) if words[0] == "golden" else words[0]], stated["reading"])
    assert out == json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def other_model():
    """The model with its classes exchanged, which fails every golden check."""
    import onnx

    model = onnx.load("m.onnx")
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])[:, ::-1].copy()
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, "other.onnx")


def test_the_documentation_states_every_verb_with_json():
    assert set(documented()) == {"reading", "doctor", "claims", *JSON_VERBS, *OTA_VERBS}


def test_what_json_has_no_number_for_is_null():
    assert json.loads(as_json({"a": [float("nan"), (float("inf"), 1.5)]})) == {"a": [None, [None, 1.5]]}


def test_test_passes_pytests_options_on(home, monkeypatch, capfd, tmp_path):
    calls = []
    monkeypatch.setattr(
        "edgelab.course.testing.subprocess.run",
        lambda words, **_: calls.append(words) or subprocess.CompletedProcess(words, 5),
    )
    monkeypatch.setattr("edgelab.course.testing.shutil.which", lambda _name: "there")
    browser = tmp_path / "chromium"
    browser.write_text("", encoding="utf-8")
    monkeypatch.setenv("EDGELAB_CHROMIUM", str(browser))
    assert call("test", "-k", "nothing", "--co") == 5
    assert calls[0][1:] == ["-m", "pytest", "-m", "not thorough", "-k", "nothing", "--co"]
    assert "The browser tests use" in capfd.readouterr().err


@pytest.mark.parametrize("asked", ["1", ""])
def test_the_tests_compile_the_frameworks_once_and_leave_no_bytecode(home, monkeypatch, asked):
    found = []
    monkeypatch.setattr(
        "edgelab.course.testing.subprocess.run",
        lambda words, env, **_: found.append(env) or subprocess.CompletedProcess(words, 0),
    )
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", asked)
    assert call("test", "--quick", "--co") == 0
    assert not found[0].get("PYTHONDONTWRITEBYTECODE")
    assert ("PYTHONPYCACHEPREFIX" in found[0]) is bool(asked)


def test_no_labs_at_all(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("EDGELAB_HOME", str(tmp_path))
    for verb in ("labs", "doctor", "claims", "progress", "open", "build"):
        assert call(verb) == 2
        assert "holds no solutions/ folder" in capfd.readouterr().err


def test_errors_hold_no_line_ends(home, monkeypatch, capsys):
    def broken():
        raise LabError("one\n  two")

    monkeypatch.setattr("edgelab.course.labs.all_labs", broken)
    assert call("labs") == 2
    assert capsys.readouterr().err == "one two\n"

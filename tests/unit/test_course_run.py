"""run_lab: parameters, results, what is kept of a run that stops, and `grade` on good and hostile notebooks."""

import json
import shutil
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from edgelab.course import build, labs, progress
from edgelab.course.grade import grade
from edgelab.course.kernel import Watch
from edgelab.course.run import collect, parse_parameters, run_lab
from edgelab.errors import BadFile, BadInput, LabError

from .course_home import EXAMPLE


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A copy of the example with built notebooks; returns its lab."""
    (tmp_path / "solutions").mkdir()
    shutil.copy(EXAMPLE / "solutions" / "90_example.py", tmp_path / "solutions")
    monkeypatch.setenv("EDGELAB_HOME", str(tmp_path))
    monkeypatch.delenv("EDGELAB_RUNS", raising=False)
    monkeypatch.delenv("EDGELAB_PROGRESS", raising=False)
    build.build()
    return labs.find("example")


def answer(lab, **codes):
    """Put answers into the learner's notebook."""
    notebook = nbformat.read(lab.notebook, as_version=4)
    for cell in notebook.cells:
        for name, code in codes.items():
            if f"exercise:{name}" in cell.metadata.get("tags", ()):
                cell.source = code
    nbformat.write(notebook, lab.notebook)


RIGHT = "def percentile(values, q):\n    return np.sort(values)[int(np.ceil(q / 100 * len(values))) - 1]"
UNSORTED = "def percentile(values, q):\n    return values[int(np.ceil(q / 100 * len(values))) - 1]"


def test_a_run_leaves_three_files_and_says_what_it_found(home, tmp_path):
    result = run_lab("example", {"runs": "150"}, progress=False)
    folder = tmp_path / "runs" / "example"
    assert sorted(path.name for path in folder.iterdir()) == ["example.html", "example.ipynb", "example.json"]
    run = json.loads((folder / "example.json").read_text(encoding="utf-8"))
    assert run == json.loads(json.dumps(result.to_dict()))
    assert set(run) == {"lab", "ok", "seconds", "notebook", "html", "readings", "checks", "claims"}
    assert (run["lab"], run["ok"]) == ("example", True)
    assert run["notebook"] == str(folder / "example.ipynb")
    assert [set(r) for r in run["readings"]] == [
        {"name", "value", "unit", "how", "by", "low", "high", "doubt", "made_on"}
    ] * 2
    assert run["readings"][0]["by"] == "150 runs of np.sort"
    assert [set(c) for c in run["checks"]] == [{"id", "passed", "message"}] * 2
    assert run["claims"][0]["id"] == "M2"
    executed = nbformat.read(folder / "example.ipynb", as_version=4)
    nbformat.validate(executed)
    facts = executed.metadata.edgelab.run
    assert facts.peak_memory_bytes == result.peak_memory_bytes > 20 * 2**20
    assert str(tmp_path) not in (folder / "example.ipynb").read_text(encoding="utf-8")
    assert "what a percentile is" in (folder / "example.html").read_text(encoding="utf-8")
    assert "GB at the peak, 2 of 2 checks passed" in str(result)
    assert not progress.location("example").exists()  # a solution's run is no try


def test_mine_runs_the_learners_notebook_and_counts(home, tmp_path):
    answer(home, percentile=UNSORTED)
    result = run_lab("example", mine=True, out=tmp_path / "o", progress=False)
    assert result.ok
    assert [check["passed"] for check in result.checks] == [False, False]
    assert "the values were not sorted" in result.checks[0]["message"]
    assert progress.load("example").exercises == {"percentile": progress.Effort(tries=1, hints=1, solved=False)}
    page = (tmp_path / "o" / "example.html").read_text(encoding="utf-8")
    assert "Not yet: percentile" in page


def test_a_cell_that_raises_is_named_and_the_last_result_stays(home, tmp_path):
    folder = tmp_path / "runs" / "example"
    folder.mkdir(parents=True)
    for ending in ("ipynb", "html", "json"):
        (folder / f"example.{ending}").write_text("before", encoding="utf-8")
    with pytest.raises(
        LabError, match=r"stopped in cell \d+ of \d+ \(FileNotFoundError: nowhere.txt not found"
    ) as caught:
        run_lab("example", {"my_times": "nowhere.txt"}, progress=False)
    assert "\n" not in str(caught.value)
    assert {path.read_text(encoding="utf-8") for path in folder.glob("example.[hij]*")} == {"before"}
    failed = folder / "example.failed.ipynb"
    assert "FileNotFoundError" in failed.read_text(encoding="utf-8")
    assert len(list(folder.iterdir())) == 4
    run_lab("example", progress=False)
    assert not failed.exists()


def test_a_page_that_cannot_be_made_leaves_the_last_result(home, tmp_path, monkeypatch):
    import edgelab.course.export

    folder = tmp_path / "runs" / "example"
    folder.mkdir(parents=True)
    (folder / "example.ipynb").write_text("before", encoding="utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(edgelab.course.export, "to_html", full)
    with pytest.raises(BadFile, match="No space left on device"):
        run_lab("example", progress=False)
    assert [path.read_text(encoding="utf-8") for path in folder.iterdir()] == ["before"]


def test_results_need_a_folder(home, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(BadFile, match="cannot be written"):
        run_lab("example", out=tmp_path / "file", progress=False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rnus": "3"}, "has no parameter 'rnus'; its parameters are seed, runs, my_times"),
        ({"runs": "many"}, "'runs' of 'example' takes int values, not 'many'"),
    ],
)
def test_wrong_parameters_are_one_sentence(home, given, says):
    with pytest.raises(BadInput, match=says):
        run_lab("example", given, progress=False)


def test_values_take_the_type_of_the_default(home):
    cell = nbformat.v4.new_code_cell(
        "a = 1\nb = 0.5\nc = True\nd = 'x'\ne = [1]\nf = None\ng: int = 3\nh = a + 1", metadata={"tags": ["parameters"]}
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    given = {"a": "2", "b": "2", "c": "no", "d": "5", "e": "[2, 3]", "f": "7", "g": "4", "h": "(1, 2)"}
    values = parse_parameters(home, notebook, given)
    assert values == {"a": 2, "b": 2.0, "c": False, "d": "5", "e": [2, 3], "f": 7, "g": 4, "h": (1, 2)}
    assert isinstance(values["b"], float)
    for bad in ({"c": "maybe"}, {"e": "{}"}, {"e": "import os"}, {"b": "x"}):
        with pytest.raises(BadInput):
            parse_parameters(home, notebook, bad)


def test_of_two_readings_with_one_name_the_later_counts():
    def cell(value):
        data = {"application/vnd.edgelab.reading+json": {"name": "a", "value": value}}
        return nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("display_data", data)])

    found = collect(nbformat.v4.new_notebook(cells=[cell(1), cell(2), nbformat.v4.new_markdown_cell("x")]))
    assert found == {"readings": ({"name": "a", "value": 2},), "checks": (), "claims": ()}


def test_grade_of_an_untouched_notebook(home):
    report = grade("example")
    assert report.solved == 0
    assert [g.status for g in report.grades] == ["open", "open"]
    assert report.to_dict()["checks"][0].keys() == {"id", "passed", "status", "message", "hint"}
    assert not progress.location("example").exists()


def test_grade_counts_tries_and_gives_the_next_hint(home):
    answer(home, percentile=UNSORTED, speed_up="def speed_up(b, a):\n    return percentile(b, 50) / percentile(a, 50)")
    first, second = grade("example"), grade("example")
    assert [g.status for g in first.grades] == ["failed", "passed"]  # on edgelab's own percentile
    assert first.grades[0].hint.startswith("Five sorted values")
    assert second.grades[0].hint.startswith("The rank is")
    assert "1 of 2 exercises solved" in str(first)
    assert "Hint: Five sorted values" in str(first)


def test_grade_of_somebody_elses_notebook_counts_nothing(home, tmp_path):
    answer(home, percentile=RIGHT)
    other = tmp_path / "theirs.ipynb"
    shutil.copy(home.notebook, other)
    assert grade("example", other).solved == 1
    assert not progress.location("example").exists()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def percentile(values, q)", "Your cell raised SyntaxError: expected ':' in line 1"),
        ("1 / 0", "Your cell raised ZeroDivisionError"),
        ("def percentile(v, q):\n    return helper(v)", "nothing else"),
        ("import os\ndef percentile(v, q):\n    os._exit(7)", "ended its whole process"),
        ("import ctypes\ndef percentile(v, q):\n    ctypes.string_at(0)", "ended its whole process"),
        ("def percentile(v, q):\n    while True:\n        pass", "a loop that never ends"),
        ("while True:\n    pass", "a loop that never ends"),
        ("import sys\ndef percentile(v, q):\n    sys.stdout.close()\n    return 1", "Found 1, expected 30"),
    ],
)
def test_a_hostile_answer_costs_its_exercise_and_no_other(home, code, says):
    answer(home, percentile=code, speed_up="def speed_up(b, a):\n    return percentile(b, 50) / percentile(a, 50)")
    report = grade("example", seconds=4)
    assert [g.status for g in report.grades] == ["failed", "passed"], report
    assert says in report.grades[0].message


def test_a_loop_that_no_signal_ends_is_killed(home, monkeypatch):
    monkeypatch.setattr("edgelab.course.grade._SPARE_SECONDS", 3.0)
    block = "import itertools\nsum(itertools.repeat(0))"  # a loop in C looks at no signal
    answer(home, percentile=block)
    report = grade("example", seconds=2)
    assert [g.status for g in report.grades] == ["failed", "open"]
    assert "no result within 5 s" in report.grades[0].message


def test_only_setup_cells_and_exercises_are_run(home):
    notebook = nbformat.read(home.notebook, as_version=4)
    notebook.cells.insert(4, nbformat.v4.new_code_cell("raise SystemExit('must not run')\nhelper = 1"))
    nbformat.write(notebook, home.notebook)
    answer(home, percentile=RIGHT)
    assert grade("example").solved == 1


def test_grade_refuses_bad_notebooks(home, tmp_path):
    with pytest.raises(LabError, match=r"nothing\.ipynb does not exist"):
        grade("example", tmp_path / "nothing.ipynb")
    bad = tmp_path / "bad.ipynb"
    bad.write_text("{", encoding="utf-8")
    with pytest.raises(LabError, match="is not a notebook"):
        grade("example", bad)
    notebook = nbformat.read(home.notebook, as_version=4)
    notebook.cells = [c for c in notebook.cells if "exercise:speed_up" not in c.metadata.get("tags", ())]
    nbformat.write(notebook, bad)
    with pytest.raises(LabError, match="no code cell tagged `exercise:speed_up`"):
        grade("example", bad)


def test_a_setup_that_does_not_run_is_one_sentence(home):
    notebook = nbformat.read(home.notebook, as_version=4)
    setup = next(cell for cell in notebook.cells if "setup" in cell.metadata.get("tags", ()))
    setup.source += "\nimport no_such_module"
    nbformat.write(notebook, home.notebook)
    with pytest.raises(LabError, match="A setup cell of 'example' does not run: ModuleNotFoundError"):
        grade("example")
    setup.source = "import os\nos._exit(1)"
    nbformat.write(notebook, home.notebook)
    with pytest.raises(LabError, match="could not be run: it ended its whole process"):
        grade("example")


def test_the_kernel_is_this_interpreter_even_beside_a_foreign_spec(home, tmp_path, monkeypatch):
    foreign = tmp_path / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/nonexistent/python", "-f", "{connection_file}"], "display_name": "other", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert run_lab("example", progress=False).ok


def test_the_memory_of_the_whole_process_tree_is_watched():
    grandchild = "import time; block = bytearray(150_000_000); print('ready', flush=True); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    watch = Watch()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout.readline() == b"ready\n"
        watch.follow(child.pid)
        for _ in range(100):
            if watch.peak_bytes > 150_000_000:
                break
            time.sleep(0.1)
        watch.stop()
        for process in psutil.Process(child.pid).children(recursive=True):
            process.kill()
    assert 150_000_000 < watch.peak_bytes < 400_000_000

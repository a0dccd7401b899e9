"""grade: the exercises of good, wrong and hostile notebooks, each in a process of its own and compared outside it."""

import shutil

import nbformat
import pytest

from edgelab.course import build, labs, progress
from edgelab.course.grade import grade
from edgelab.errors import LabError

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


RIGHT = "def my_percentile(values, q):\n    return np.sort(values)[int(np.ceil(q / 100 * len(values))) - 1]"
UNSORTED = "def my_percentile(values, q):\n    return values[int(np.ceil(q / 100 * len(values))) - 1]"


def test_grade_of_an_untouched_notebook(home):
    report = grade("example")
    assert report.solved == 0
    assert [g.status for g in report.grades] == ["open", "open"]
    assert report.to_dict()["checks"][0].keys() == {"id", "passed", "status", "message", "hint", "hints", "compared"}
    assert not progress.location("example").exists()


def test_grade_counts_tries_and_gives_the_next_hint(home):
    answer(home, percentile=UNSORTED, speed_up=FAST)
    first, again = grade("example"), grade("example")
    answer(home, percentile=UNSORTED.replace("values[", "values[0 + "))
    second = grade("example")
    assert [g.status for g in first.grades] == ["failed", "passed"]  # on edgelab's own percentile
    assert first.grades[0].hint.startswith("Five sorted values")
    assert again.grades[0].hint == first.grades[0].hint
    assert second.grades[0].hint.startswith("The rank is")
    assert second.grades[0].hints == (first.grades[0].hint, second.grades[0].hint)
    assert progress.load("example").exercises["percentile"] == progress.Effort(tries=2, hints=2, solved=False)
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
        ("def my_percentile(values, q)", "Your cell raised SyntaxError: expected ':' in line 1"),
        ("1 / 0", "Your cell raised ZeroDivisionError"),
        ("def my_percentile(v, q):\n    return helper(v)", "nothing else"),
        ("import os\ndef my_percentile(v, q):\n    os._exit(7)", "ended its whole process"),
        ("import ctypes\ndef my_percentile(v, q):\n    ctypes.string_at(0)", "ended its whole process"),
        ("def my_percentile(v, q):\n    while True:\n        pass", "a loop that never ends"),
        ("while True:\n    pass", "a loop that never ends"),
        ("import sys\ndef my_percentile(v, q):\n    sys.stdout.close()\n    return 1", "Found 1, expected 30"),
    ],
)
def test_a_hostile_answer_costs_its_exercise_and_no_other(home, code, says):
    answer(home, percentile=code, speed_up=FAST)
    report = grade("example", seconds=4)
    assert [g.status for g in report.grades] == ["failed", "passed"], report
    assert says in report.grades[0].message


def test_a_loop_that_no_signal_ends_is_killed(home):
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


FAST = "def my_speed_up(b, a):\n    return percentile(b, 50) / percentile(a, 50)"
FOOLING = {
    "the comparison is replaced": "import numpy\nnumpy.allclose = numpy.array_equal = lambda *a, **k: True\n"
    "import edgelab.course.checker as k\nk.same = lambda *a, **k: True\n",
    "the check's body is replaced": "from edgelab.course import session\nfrom edgelab.course.session import checks\n"
    "@checks('percentile')\ndef _(c, f):\n    c.passed.append('all of it')\n",
    "the check is replaced": "def check(identity, answer, fallback=None):\n    return answer\n",
}


@pytest.mark.parametrize("trick", FOOLING.values(), ids=FOOLING)
def test_what_an_answer_does_to_its_process_changes_no_verdict(home, trick):
    wrong = trick + "def my_percentile(values, q):\n    return -1.0"
    answer(home, percentile=wrong, speed_up="def my_speed_up(b, a):\n    return -1.0")
    report = grade("example")
    assert [(g.status, g.compared) for g in report.grades] == [("failed", "outside")] * 2, report
    assert "Found -1" in report.grades[0].message


def test_an_answer_cannot_read_what_is_expected_of_its_callers(home):
    spy = """
import sys
def my_percentile(values, q):
    frame = sys._getframe(1)
    while frame is not None:
        for value in frame.f_locals.values():
            if isinstance(value, float) and value == 30.0 or 'expected' in frame.f_locals:
                return frame.f_locals.get('expected', value)
        frame = frame.f_back
    return -1.0
"""
    answer(home, percentile=spy)
    assert grade("example").grades[0].status == "failed"


@pytest.mark.parametrize(
    "reading",
    ["open(next(paths.sources().glob('*.py'))).read()", "os.open(next(paths.sources().glob('*.py')), os.O_RDONLY)"],
)
def test_the_solutions_stay_shut(home, reading):
    text = f"import os\nfrom edgelab.course import paths\ntext = {reading}\n"
    answer(home, percentile=text + RIGHT)
    report = grade("example")
    assert report.grades[0].status == "failed"
    assert "the solutions stay shut" in report.grades[0].message


def test_other_exercises_are_edgelabs_own_whatever_the_notebook_holds(home):
    answer(home, percentile="def my_percentile(values, q):\n    return -1.0", speed_up=FAST)
    assert [g.status for g in grade("example").grades] == ["failed", "passed"]
    answer(home, percentile=RIGHT, speed_up=FAST.replace("percentile(b", "my_percentile(b"))
    assert [g.status for g in grade("example").grades] == ["passed", "open"]


def test_the_packages_function_under_another_name_is_not_the_learners(home):
    answer(home, percentile="from edgelab.measure.stats import percentile_interval as my_percentile")
    report = grade("example")
    assert report.grades[0].status == "open"
    assert "edgelab's own function" in report.grades[0].message


def test_what_is_changed_in_place_is_noticed(home):
    answer(home, percentile="def my_percentile(values, q):\n    values.sort()\n    return values[0]")
    assert "changed its argument 1 in place" in grade("example").grades[0].message


OPAQUE = """
class Opaque:
    def __len__(self):
        return 1

    def __array__(self, *_, **__):
        return np.array([1.0])
"""


def test_an_answer_that_cannot_be_sent_is_compared_where_it_is_made(home):
    source = home.source.read_text(encoding="utf-8")
    body = "def _(c, percentile):\n"
    assert body in source
    source = source.replace(body, f"{body}    c.equal(percentile(Opaque(), 50), 1.0, tested='an object')\n", 1)
    home.source.write_text(f'{source}\n# %% tags=["hidden"]{OPAQUE}', encoding="utf-8")
    answer(home, percentile="def my_percentile(values, q):\n    return len(values) + 1.0")
    first = grade("example").grades[0]
    assert (first.status, first.compared) == ("failed", "inside")
    assert "Found 2, expected 1" in first.message
    assert first.hint.startswith("Five sorted values")
    answer(home, percentile=RIGHT)
    first = grade("example").grades[0]
    assert (first.status, first.compared) == ("passed", "inside"), first
    assert progress.load("example").exercises["percentile"] == progress.Effort(tries=2, hints=1, solved=True)


def test_an_answer_may_call_back(home):
    source = home.source.read_text(encoding="utf-8")
    old = "    before, after = np.array([4.0, 4.0, 4.0, 4.0, 84.0]), np.array([2.0, 2.0, 2.0])\n"
    new = (
        "    asked = []\n    def works(n):\n        asked.append(n)\n        return n * 2\n"
        "    c.equal(speed_up(works, {'a': (1, None)}), 14, tested='x')\n    c.equal(asked, [3, 4], tested='y')\n"
        "    return\n"
    )
    assert old in source
    home.source.write_text(source.replace(old, new + old), encoding="utf-8")
    answer(home, speed_up="def my_speed_up(f, d):\n    return f(3) + f(4) if d == {'a': (1, None)} else 0")
    second = grade("example").grades[1]
    assert (second.status, second.compared) == ("passed", "outside"), second

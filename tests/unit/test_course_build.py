"""Lab sources: headers, rules, and the notebooks that are built from them."""

import json
import shutil
import subprocess
import sys

import nbformat
import pytest

from edgelab.course import build, labs, paths, rules
from edgelab.course.source import Cell, cells_of, exercises, read_cells, read_notebook, split_hints, stub
from edgelab.errors import LabError

from .course_home import EXAMPLE

SOURCE = (EXAMPLE / "solutions" / "90_example.py").read_text(encoding="utf-8")


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home of its own with a copy of the example lab; returns its source file."""
    source = tmp_path / "solutions" / "90_example.py"
    source.parent.mkdir()
    source.write_text(SOURCE, encoding="utf-8")
    monkeypatch.setenv("EDGELAB_HOME", str(tmp_path))
    return source


def test_the_header_is_read(home):
    (lab,) = labs.all_labs()
    assert (lab.id, lab.slug, lab.minutes, lab.memory_gb) == ("90", "example", 5, 0.5)
    assert lab.requires == ("numpy",)
    assert lab.claims == ("M2",)
    assert lab.to_dict() == {
        "id": "90",
        "slug": "example",
        "title": "Example: what a percentile is",
        "minutes": 5,
        "requires": ["numpy"],
        "optional": {},
        "form": 2,
    }


@pytest.mark.parametrize("name", ["example", "90", "90_example", "labs/90_example.ipynb", "solutions/90_example.py"])
def test_a_lab_has_many_names(home, name):
    assert labs.find(name).slug == "example"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# ---\n", "", "does not start with a `# ---` header"),
        ("#     minutes: 5\n", "", "lacks 'minutes'"),
        ("minutes: 5", "minutes: many", "wrong type"),
        ("requires: [numpy]", "requires: numpy", "is not a list"),
        ("#   edgelab:", "#   otherlab:", "no `edgelab:` block"),
        ("title: ", "title: [", "not valid YAML"),
        ("#     name: python3\n# ---\n", "#     name: python3\n", "not closed"),
    ],
)
def test_a_bad_header_is_one_sentence(home, old, new, says):
    home.write_text(SOURCE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(LabError, match=says) as caught:
        labs.all_labs()
    assert "\n" not in str(caught.value)


def test_two_labs_with_one_number_or_name(home):
    other = home.with_name("90_other.py")
    shutil.copy(home, other)
    with pytest.raises(LabError, match=r"Two labs in .* are called '90'"):
        labs.all_labs()
    other.rename(home.with_name("91_example.py"))
    with pytest.raises(LabError, match="called 'example'"):
        labs.all_labs()


def test_no_labs_anywhere(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGELAB_HOME", str(tmp_path))
    with pytest.raises(LabError, match="holds no solutions/ folder"):
        paths.home()


def test_the_home_is_found_from_below(home, monkeypatch):
    monkeypatch.delenv("EDGELAB_HOME")
    below = home.parent.parent / "labs" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert paths.home() == home.parent.parent
    monkeypatch.setenv("EDGELAB_RUNS", str(below / "r"))
    assert paths.runs() == below / "r"


def test_listing_labs_imports_no_notebook_tool():
    code = "import sys, edgelab.course.labs as l; l.all_labs(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=EXAMPLE)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"jupytext", "nbformat", "papermill", "numpy", "torch"}


# rules: each breaks one thing in the example, and the one sentence that must come of it
END = '    ### END SOLUTION\n\n\n# %% tags=["check:speed_up"]'
SIGNATURE = 'def my_speed_up(before, after):\n    """How'
SOLUTION = """    ### BEGIN SOLUTION
    return percentile(before, 50) / percentile(after, 50)
    ### END SOLUTION"""
OUTSIDE = "    return 0\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION"
CHECK = 'speed_up = check("speed_up", my_speed_up, fallback=lambda a, b: np.median(a) / np.median(b))'
RULES = [
    ("# # 90 Example", "# # 91 Example", "must be markdown that starts with `# 90 `"),
    ('tags=["parameters"]', 'tags=["setup"]', "exactly one cell tagged `parameters`"),
    ('begin("example")', 'begin("other")', 'must call begin("example")'),
    ('tags=["setup"]', 'tags=["preparation"]', "unknown tag `preparation`"),
    ("# ## Predict", "# ## Guess", "no section with the heading `## Predict`"),
    ("# ## Explore", "# ## Claims\n#\n# ## Explore", "`Claims` must come after `Explore`"),
    ("# TODO divide", "# divide", "'speed_up' needs a `# TODO` line"),
    (END, END.replace("    ### END SOLUTION", ""), "'speed_up' needs its solution between"),
    ('@checks("speed_up")', '@checks("other")', "'speed_up' needs a `hidden` cell tagged `check:speed_up`"),
    (CHECK, "pass", "'speed_up' needs a visible cell that calls check("),
    ("# 3. `percentile(before, 50)` is", "#", "'speed_up' needs one markdown cell tagged `hints:speed_up`"),
    ('tags=["hints:speed_up"]', 'tags=["hints:speedup"]', "`hints:speedup`, but there is no exercise 'speedup'"),
    ("# 3. `percentile(", "# 3. (for: percentiles) `percentile(", "'speed_up' needs one markdown cell tagged"),
    ("# 3. `percentile(", "# 3. x\n# 4. (for: no such mistake) `percentile(", 'for "no such mistake", which its check'),
    ("times = []\n", "guess = ui.predict('?', low=0, high=1)\n", "The prediction `guess` of cell 5 is never resolved"),
    ("times = []\n", "ui.predict('?', low=0, high=1)\n", "The prediction in cell 5 needs a name"),
    (CHECK, 'speed_up = check("speed_up", my_speed_up)', "The check of 'speed_up' must stand in for the learner's"),
    ("claims: [M2]", "claims: [M2, M4]", "promises the claim M4"),
    ("claims: [M2]", "claims: []", "tests the claim M2, which the header"),
    ('tags=["exercise:speed_up"]', 'tags=["exercise:percentile"]', "More than one cell is tagged"),
    ("times = []\n", "times = []\n" + "x = 1\n" * 30, "lines, more than 30"),
    ("# Sort the times and", "# It takes 5 ms and", 'states "5 ms": let a `finding` cell compute it'),
    ("finding(finding_settled,", "print(finding_settled,", "must show its sentence with finding(finding_settled, ...)"),
    (SIGNATURE, SIGNATURE.replace("after)", "after"), "'speed_up' is not valid Python"),
    (SOLUTION, OUTSIDE, "'speed_up' must stand inside a function"),
]


def test_a_prediction_is_resolved_by_against_further_down(home):
    asked = SOURCE.replace("times = []\n", "guess = ui.predict('?', low=0, high=1)\nengine.predict(numbers)\n", 1)
    home.write_text(asked.replace('claim("M2"', 'guess.against(tail)\nclaim("M2"', 1), encoding="utf-8")
    assert build.build().problems == ()


@pytest.mark.parametrize(("old", "new", "says"), RULES, ids=[says[:40] for _, _, says in RULES])
def test_a_broken_rule_is_found_and_nothing_is_built(home, old, new, says):
    assert old in SOURCE
    home.write_text(SOURCE.replace(old, new, 1), encoding="utf-8")
    report = build.build()
    assert any(says in problem for problem in report.problems), report.problems
    assert all(problem.startswith("90_example.py: ") for problem in report.problems)
    assert report.written == ()
    assert not home.with_suffix(".ipynb").exists()


def test_the_example_keeps_every_rule(home):
    assert rules.problems(labs.find("example"), read_cells(home)) == []


def test_raw_cells_are_refused(home):
    problems = rules.problems(labs.find("example"), [*read_cells(home), Cell("raw", "x")])
    assert any("is a raw cell" in problem for problem in problems)


def test_the_learner_gets_stubs_and_nothing_hidden(home):
    notebook = build.learner(labs.find("example"))
    text = "\n".join(cell.source for cell in notebook.cells)
    assert text.count("raise NotImplementedError") == 2
    assert "# TODO sort a copy" in text
    for secret in (
        "BEGIN SOLUTION",
        "@checks",
        "np.sort(values)[rank",
        "is nearly all of it",
        "percentile(before, 50) /",
    ):
        assert secret not in text
    assert 'check("percentile", my_percentile' in text
    (finding,) = [cell for cell in notebook.cells if "def finding_" in cell.source]
    assert finding.metadata.jupyter.source_hidden
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(cell.source, "cell", "exec")
            assert cell.outputs == []
            assert cell.execution_count is None


def test_the_solution_is_complete(home):
    notebook = build.solution(labs.find("example"))
    assert len(notebook.cells) == len(read_cells(home))
    hidden = [cell for cell in notebook.cells if "@checks" in cell.source]
    assert len(hidden) == 2
    assert all(cell.metadata.jupyter.source_hidden for cell in hidden)
    assert [cell.id for cell in notebook.cells if cell.metadata.get("jupyter")] == [
        cell.id for cell in notebook.cells if cell in hidden or "def finding_" in cell.source
    ]
    assert [cell.source for cell in notebook.cells] == [cell.text for cell in read_cells(home)]


def test_building_is_deterministic_and_valid(home):
    first = build.build()
    bytes_before = [path.read_bytes() for path in first.written]
    assert len(first.written) == 2
    assert build.build().written == ()
    for path in first.written:
        nbformat.validate(nbformat.read(path, as_version=4))
        path.unlink()
    assert [path.read_bytes() for path in build.build().written] == bytes_before
    ids = [cell["id"] for cell in json.loads(bytes_before[0])["cells"]]
    assert ids[0] == "90-example-000"
    assert len(set(ids)) == len(ids)


def test_check_names_what_is_stale_and_writes_nothing(home):
    build.build()
    home.write_text(SOURCE.replace("runs = 400", "runs = 500"), encoding="utf-8")
    report = build.build(check=True)
    assert [path.name for path in report.stale] == ["90_example.ipynb", "90_example.ipynb"]
    assert "run `edgelab build`" in str(report)
    assert "500" not in report.stale[0].read_text(encoding="utf-8")
    assert len(build.build(["example"]).written) == 2


def test_a_learners_work_is_never_overwritten_unasked(home):
    build.build()
    notebook = labs.find("example").notebook
    worked = notebook.read_text(encoding="utf-8").replace("raise NotImplementedError", "return 3")
    notebook.write_text(worked, encoding="utf-8")
    home.write_text(SOURCE.replace("runs = 400", "runs = 500"), encoding="utf-8")
    report = build.build()
    assert report.edited == (notebook,)
    assert "holds edits" in str(report)
    assert notebook.read_text(encoding="utf-8") == worked
    assert notebook in build.build(force=True).written


def test_outputs_alone_are_no_edits(home):
    build.build()
    notebook = labs.find("example").notebook
    ran = nbformat.read(notebook, as_version=4)
    ran.cells[1].execution_count = 3
    nbformat.write(ran, notebook)
    assert not build.has_edits(notebook)
    assert notebook in build.build().written


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', "null"])
def test_a_file_that_is_no_notebook_counts_as_edited(home, text):
    build.build()
    notebook = labs.find("example").notebook
    notebook.write_text(text, encoding="utf-8")
    assert build.build().edited == (notebook,)
    with pytest.raises(LabError, match="is not a notebook"):
        read_notebook(notebook)


def test_missing_and_unreadable_sources(home, tmp_path):
    with pytest.raises(LabError, match="does not exist"):
        read_cells(tmp_path / "nothing.ipynb")
    (tmp_path / "latin.ipynb").write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="could not be read"):
        read_cells(tmp_path / "latin.ipynb")


def test_exercises_in_order_with_their_hints(home):
    found = exercises(read_cells(home))
    assert list(found) == ["percentile", "speed_up"]
    assert len(found["percentile"].hints) == 3
    assert found["speed_up"].check.text == CHECK


def test_two_solutions_in_one_cell():
    one = "def f():\n    # TODO a\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"
    text = f"{one}\n\n\n{one}"
    assert stub(text).count("raise NotImplementedError") == 2
    assert "return" not in stub(text)


def test_hints_may_run_over_several_lines_and_hold_code():
    assert split_hints("1. One\n   goes on.\n2. `a = 1. + 2.`\n3. Three.") == (
        "One\ngoes on.",
        "`a = 1. + 2.`",
        "Three.",
    )


def test_tags_survive_the_percent_format(home):
    cells = read_cells(home)
    assert cells_of(read_notebook(home)) == cells
    assert {tag for cell in cells for tag in cell.tags} == {
        *("parameters", "setup", "hidden", "finding:settled", "challenge:few"),
        *(f"{kind}:{name}" for kind in ("exercise", "check", "hints") for name in ("percentile", "speed_up")),
    }

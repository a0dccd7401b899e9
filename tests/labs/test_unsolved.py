"""Each lab as a learner meets it, unsolved: nothing here measures, so other tests may run beside it."""

import tempfile

import nbclient

from edgelab.course import build, rules
from edgelab.course.kernel import Watch, manager_class
from edgelab.course.run import collect
from edgelab.course.source import cells_of, exercises, read_cells, read_notebook

from .conftest import HARD_LIMIT_SECONDS, each_lab


@each_lab
def test_the_lab_keeps_the_rules(case):
    assert rules.problems(case.lab, read_cells(case.lab.source)) == []


@each_lab
def test_the_notebooks_are_built_from_the_source(case, at_home):
    at_home(case)
    assert build.build([case.lab.slug], check=True).stale == ()


@each_lab
def test_the_unsolved_notebook_runs_from_top_to_bottom(case, at_home, tmp_path, monkeypatch):
    at_home(case)
    monkeypatch.chdir(tmp_path)
    notebook = build.learner(case.lab)
    watch = Watch()
    with tempfile.TemporaryFile() as words:
        client = nbclient.NotebookClient(
            notebook,
            timeout=HARD_LIMIT_SECONDS,
            kernel_manager_class=manager_class(watch, {}, words),
            store_widget_state=False,
        )
        client.execute()
    watch.stop()
    errors = [o for cell in notebook.cells for o in cell.get("outputs", ()) if o.output_type == "error"]
    assert errors == []
    checks = collect(notebook)["checks"]
    assert {check["id"] for check in checks} == set(exercises(cells_of(read_notebook(case.lab.source))))
    assert not any(check["passed"] for check in checks)
    assert all("Not solved yet" in check["message"] for check in checks)

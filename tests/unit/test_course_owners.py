"""Whose function a lab goes on with: the learner's once it passed, edgelab's before, and what a callout says of it."""

import tempfile
from functools import partial

import nbclient
import nbformat
import numpy as np
import pytest

from edgelab.course import check, progress, session, whose
from edgelab.course.checks import CHECK_MIME, OWN, fingerprint, run_check
from edgelab.course.kernel import Watch, manager_class
from edgelab.course.owners import WHOSE_MIME
from edgelab.errors import LabError

from .course_home import EXAMPLE

RIGHT = "def my_percentile(values, q):\n    return np.sort(values)[int(np.ceil(q / 100 * len(values))) - 1]"
WRONG = "def my_percentile(values, q):\n    return -1.0"
SETUP = (
    "from functools import partial\nimport numpy as np\nfrom edgelab.course import begin, check, session, whose\n"
    'begin("example")'
)
CHECK = 'percentile = check("percentile", my_percentile, fallback=partial(np.percentile, method="inverted_cdf"))'
FIGURE = (
    'print("value", percentile(np.array([30.0, 10.0, 20.0]), 50), session.passed("percentile"))\nwhose("percentile")'
)


@pytest.fixture
def example(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGELAB_HOME", str(EXAMPLE))
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path))
    monkeypatch.delenv("EDGELAB_PROGRESS", raising=False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    session.begin("example")
    yield tmp_path
    session._current.clear()


def right(values, q):
    return np.sort(values)[int(np.ceil(q / 100 * len(values))) - 1]


def wrong(values, q):
    return -1.0


def package():
    """As a check's cell makes it: a new object each time that the cell is run."""
    return partial(np.percentile, method="inverted_cdf")


def test_the_packages_own_function_is_never_graded_as_the_learners(example):
    answer = check("percentile", wrong, package())
    tries = progress.load("example").exercises["percentile"].tries
    result = run_check("percentile", answer, package())
    assert (result.status, result.message) == ("open", OWN)
    assert check("percentile", answer, package()).func is np.percentile
    assert run_check("percentile", package(), package()).status == "open"
    assert progress.load("example").exercises["percentile"].tries == tries == 1
    assert not session.passed("percentile")


def test_a_function_imported_from_edgelab_is_not_the_learners(example):
    from edgelab.measure.stats import percentile_interval

    assert run_check("percentile", percentile_interval).message == OWN


def test_a_pass_stays_a_pass_on_a_rerun_and_ends_with_a_failing_version(example):
    assert check("percentile", right, package()) is right
    assert check("percentile", right, package()) is right
    assert session.passed("percentile")
    session.begin("example")  # the setup cell again
    assert session.passed("percentile")
    check("percentile", wrong, package())
    assert not session.passed("percentile")


def test_the_callout_says_whose(example):
    assert str(whose("percentile")) == "Drawn with edgelab's `percentile`; yours will replace it once its check passes."
    check("percentile", right, package())
    assert str(whose("percentile")) == "Drawn with your `percentile`."
    assert (
        str(whose("percentile", "speed_up"))
        == "Drawn with your `percentile` and edgelab's `speed_up`; yours will replace it once its check passes."
    )
    check("percentile", wrong, package())
    assert "edgelab's `percentile` and `speed_up`; yours will replace them once their checks" in str(
        whose("percentile", "speed_up")
    )
    with pytest.raises(LabError, match="has no exercise 'nothing'; it has percentile, speed_up"):
        whose("nothing")
    with pytest.raises(LabError, match="got none"):
        whose()


def run_cells(folder, *cells):
    """The cells' outputs after a run in a real kernel of its own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    environment = {"EDGELAB_HOME": str(EXAMPLE), "EDGELAB_RUNS": str(folder), "EDGELAB_PROGRESS": ""}
    with tempfile.TemporaryFile() as words:
        manager = manager_class(Watch(), environment, words)
        nbclient.NotebookClient(notebook, timeout=120, kernel_manager_class=manager).execute()
    return notebook.cells


def said(cell):
    (payload,) = [o.data[WHOSE_MIME] for o in cell.outputs if WHOSE_MIME in o.get("data", {})]
    return payload


def printed(cell):
    return next(o.text for o in cell.outputs if o.output_type == "stream").strip()


def test_in_a_kernel_only_a_passed_function_feeds_a_figure(tmp_path, monkeypatch):
    cells = run_cells(
        tmp_path,
        SETUP,
        WRONG,
        CHECK,
        FIGURE,  # 3: edgelab's
        CHECK,
        RIGHT,
        FIGURE,  # 6: mended, not yet checked: still edgelab's
        CHECK,
        FIGURE,  # 8: the learner's
        WRONG,
        FIGURE,  # 10: broken again, not yet checked: the one that passed
        CHECK,
        FIGURE,  # 12: edgelab's
        "percentile = my_percentile",
        FIGURE,  # 14: the learner's own doing, and said
    )
    assert [printed(cells[i]) for i in (3, 6, 8, 10, 12)] == [
        "value 20.0 False",
        "value 20.0 False",
        "value 20.0 True",
        "value 20.0 True",
        "value 20.0 False",
    ]
    empty = {"yours": [], "package": [], "unproven": [], "edited": []}
    assert said(cells[3]) == {**empty, "package": ["percentile"]}
    assert said(cells[6]) == {**empty, "package": ["percentile"], "edited": ["my_percentile"]}
    assert said(cells[8]) == {**empty, "yours": ["percentile"]}
    assert said(cells[10]) == {**empty, "yours": ["percentile"], "edited": ["my_percentile"]}
    assert said(cells[12]) == {**empty, "package": ["percentile"]}
    assert said(cells[14]) == {**empty, "unproven": ["percentile"]}
    assert [o.data[CHECK_MIME]["passed"] for o in cells[4].outputs] == [False]
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path))
    effort = progress.load("example").exercises["percentile"]  # of five checks two were new attempts
    assert effort == progress.Effort(tries=2, hints=1, solved=True)
    assert effort.seen == [fingerprint(None, WRONG), fingerprint(None, RIGHT)]  # as `edgelab check` takes it

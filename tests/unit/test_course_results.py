"""What labs found on this machine: kept from kernels and runs, the later date first, never mixed up or lost."""

import json
import subprocess
import sys
import tempfile

import nbclient
import nbformat
import pytest

from edgelab.course import claim, results
from edgelab.course.kernel import Watch, manager_class
from edgelab.course.ledger import claims_table, last_claims
from edgelab.errors import BadFile
from edgelab.reading import Reading

from .course_home import EXAMPLE


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGELAB_HOME", str(EXAMPLE))
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("EDGELAB_PROGRESS", raising=False)
    return tmp_path / "runs"


def verdict(value=1.5, identity="M2"):
    return claim(identity, Reading(value, "x", "measured", "a test")).to_dict()


def test_before_and_after_a_run():
    (entry,) = last_claims()
    assert (entry.id, entry.labs, entry.verdict, entry.date) == ("M2", ("example",), None, None)
    assert "not run yet" in claims_table([entry]).text()
    results.add("example", "edgelab run", claims=[verdict()])
    (entry,) = last_claims()
    assert (entry.verdict, entry.lab, entry.where) == ("held", "example", "edgelab run")
    keys = {"id", "claim", "labs", "verdict", "reading", "why", "lab", "where", "date"}
    assert set(entry.to_dict()) == keys
    text = claims_table([entry]).text()
    assert "1.50x, measured" in text
    assert f"example, edgelab run, {entry.date[:10]}" in text


def test_a_claim_of_two_labs_is_listed_once_with_the_later_verdict(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "solutions").mkdir(parents=True)
    text = (EXAMPLE / "solutions" / "90_example.py").read_text(encoding="utf-8")
    for name in ("90_example", "91_other"):
        (home / "solutions" / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("EDGELAB_HOME", str(home))
    results.add("other", "notebook", claims=[verdict(0.5)])
    results.add("example", "notebook", claims=[verdict(1.5)])
    (entry,) = last_claims()
    assert (entry.labs, entry.lab, entry.verdict) == (("example", "other"), "example", "held")


def test_the_later_date_wins(runs):
    results.add("example", "notebook", claims=[verdict(1.5)])
    data = json.loads(results.location().read_text(encoding="utf-8"))
    data["claims"][0]["date"] = "2999-01-01T00:00:00+00:00"
    results.location().write_text(json.dumps(data), encoding="utf-8")
    results.add("example", "edgelab run", claims=[verdict(0.5)])
    assert last_claims()[0].reading.value == 1.5


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"claims": [3], "predictions": []}',
        '{"claims": [{"id": "M2", "reading": {}}], "predictions": []}',
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence_and_stays(runs, text):
    runs.mkdir()
    results.location().write_text(text, encoding="utf-8")
    for action in (last_claims, lambda: results.add("example", "notebook", claims=[verdict()])):
        with pytest.raises(BadFile, match=r"claims\.json") as caught:
            action()
        assert "\n" not in str(caught.value)
        assert results.location().read_text(encoding="utf-8") == text


def test_two_processes_at_once_lose_nothing(runs):
    code = (
        "import os\nfrom edgelab.course import results\n"
        "for n in range(15):\n"
        "    told = {'question': f'{os.getpid()} {n}', 'predicted': 1, 'found': 'x', 'sentence': 's'}\n"
        "    results.add('example', 'notebook', predictions=[told])\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert len(results.load()["predictions"]) == 30


SETUP = """
from edgelab import Reading
from edgelab.course import begin, claim
from edgelab.ui import predict
begin("example")
fast = Reading(1.5, "x", "measured", "a test")
"""
CELLS = (
    SETUP,
    'guess = predict("How many times?", unit="x", low=0, high=10)\nguess.commit(2)',
    'guess.against(fast)\npredict("Never answered?", low=0, high=1).against(fast)',
    'claim("M2", fast)',
)


def run_cells(cells, **environment):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    with tempfile.TemporaryFile() as words:
        manager = manager_class(Watch(), environment, words)
        nbclient.NotebookClient(notebook, timeout=120, kernel_manager_class=manager).execute()
    return notebook.cells


def test_a_notebooks_kernel_writes_what_it_found(runs):
    run_cells(CELLS)
    (entry,) = last_claims()
    assert (entry.verdict, entry.where, entry.lab) == ("held", "notebook", "example")
    (told,) = results.load()["predictions"]
    assert (told["question"], told["predicted"], told["found"]["value"]) == ("How many times?", 2, 1.5)


def test_a_solutions_kernel_writes_nothing(runs):
    run_cells(CELLS, EDGELAB_PROGRESS="off")
    assert not results.location().exists()


def test_in_a_kernel_a_broken_file_is_one_sentence_under_the_cell(runs):
    runs.mkdir()
    results.location().write_text("{", encoding="utf-8")
    cells = run_cells((SETUP, 'claim("M2", fast)'))
    texts = [output.data["text/plain"] for output in cells[1].outputs]
    assert any("This was not kept for `edgelab claims`" in text for text in texts)
    assert any("M2: held" in text for text in texts)
    assert results.location().read_text(encoding="utf-8") == "{"


@pytest.mark.parametrize("field", [{"date": "2099-01-01T00:00:00"}, {"id": ["M2"]}])
def test_a_date_without_a_zone_and_a_name_that_is_none_are_reported(field):
    results.add("start", "notebook", claims=[verdict()])
    data = json.loads(results.location().read_text())
    data["claims"][0].update(field)
    results.location().write_text(json.dumps(data))
    for act in (last_claims, lambda: results.add("start", "notebook", claims=[verdict()])):
        with pytest.raises(BadFile, match="does not hold what labs found"):
            act()

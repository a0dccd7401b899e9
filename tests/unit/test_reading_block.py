"""Ten recorded readings are one quiet block under the figure, and each is found in the executed file."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from edgelab.course.run import collect
from edgelab.reading import READING_MIME
from edgelab.reading_block import Recorded, block

CELLS = [
    "from edgelab import Reading, record\nfrom IPython.display import display\n"
    "found = [Reading(n, 'ms', how, '<a> clock') for n, how in ((1, 'measured'), (2, 'modelled'), (3, 'measured'))]",
    "for n, reading in enumerate(found):\n    record(f'run.{n}', reading)\nprint('figure')",
    "record('alone', found[0])",
    "record('kept', found[0])\nraise ValueError('later')",
    "print('nothing recorded here')",
    "record('again', found[1]); record('again', found[2])",
]


@pytest.fixture(scope="module")
def executed():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    return notebook


def shown(output):
    """What JupyterLab prefers and shows of an output, without markup."""
    text = re.sub(r"<style>.*?</style>", "", output["data"]["text/html"])
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_the_readings_of_a_cell_are_one_folded_block_at_its_end(executed):
    printed, first, *rest = executed.cells[1].outputs
    assert printed["text"] == "figure\n"
    assert shown(first).startswith(
        "3 readings: 2 measured, 1 modelled run.0 1 ms measured by &lt;a&gt; clock run.1 2 ms"
    )
    assert first["data"]["text/html"].count("<details") == 1
    assert [shown(output) for output in rest] == ["", ""]


def test_each_reading_has_its_data_and_its_words(executed):
    outputs = executed.cells[1].outputs[1:]
    assert [output["data"][READING_MIME]["name"] for output in outputs] == ["run.0", "run.1", "run.2"]
    assert [output["data"]["text/plain"] for output in outputs][1] == "run.1: 2 ms, modelled by <a> clock"
    names = [reading["name"] for reading in collect(executed)["readings"]]
    assert names == ["run.0", "run.1", "run.2", "alone", "kept", "again"]
    assert next(r for r in collect(executed)["readings"] if r["name"] == "again")["value"] == 3


def test_one_reading_says_its_figure_and_is_not_shown_twice(executed):
    (output,) = executed.cells[2].outputs
    assert shown(output).startswith("1 reading: alone 1 ms, measured")


def test_a_cell_that_fails_keeps_what_it_recorded(executed):
    assert [o["data"][READING_MIME]["name"] for o in executed.cells[3].outputs if "data" in o] == ["kept"]
    assert [o["output_type"] for o in executed.cells[4].outputs] == ["stream"]


def test_a_name_cannot_change_the_page():
    data = {"name": "<script>", "how": "measured", "by": "<b>"}
    assert "<script>" not in block([Recorded("m", data, "1 < 2", "")])

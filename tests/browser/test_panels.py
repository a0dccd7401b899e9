"""Panels and predictions in a real JupyterLab: keys, errors, buttons, haste, a reload, a restart."""

import sys
from pathlib import Path

import nbformat
import pytest

CELLS = {
    "setup": """
import sys, time
from edgelab import Reading, ui
print(sys.executable)
seen = []""",
    "panel": """
def draw(bits, fine, kind):
    seen.append(bits)
    n = 2**bits * (10 if fine else 1)
    return ui.lines({kind: ([0, 1], [0, n])}, title=f"{bits} bits, {kind}", x="input", y="levels")

ui.Panel(draw, alt="A rising line.", title="Levels", bits=ui.slider(1, 40, 1, value=3, label="bits"),
         fine=ui.toggle(False, label="finer"), kind=ui.choice(["signed", "unsigned"], label="kind"))""",
    "fails": """
def fails(bits):
    if bits == 4:
        raise ValueError("four is out of the question")
    return ui.lines({"a": ([0, 1], [0, bits])}, title=f"{bits}", x="x", y="y")

ui.Panel(fails, alt="A line.", bits=ui.slider(1, 8, 1, value=3, label="bits"))""",
    "button": """
def slow(runs):
    time.sleep(0.3)
    return ui.bars(["a"], [runs], title=f"{runs} runs", y="runs")

ui.Panel(slow, alt="A bar.", button="Measure", runs=ui.slider(1, 8, 1, value=3, label="runs"))""",
    "dead": """
def same(bits):
    return ui.bars(["a"], [1], title="always", y="y")

ui.Panel(same, alt="A bar.", bits=ui.slider(1, 8, 1, label="bits"))""",
    "predict": """
guess = ui.predict("How many times faster?", unit="x", low=1, high=9)
guess""",
    "against": 'guess.against(Reading(4.0, "x", "measured", "a stopwatch"))',
    "seen": "print(seen)",
    "still": 'ui.show(ui.stairs({"q": ([0, 1, 2], [0, 1, 1])}, title="A step", x="x", y="q"), alt="One step.")',
}
INDEX = {name: position for position, name in enumerate(CELLS)}
PAINTED = "(node) => edgelab.plots(node).length === 1 && edgelab.plots(node).every(edgelab.painted)"


def write(path, names):
    cells = [nbformat.v4.new_code_cell(CELLS[name].strip()) for name in names]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path.name


@pytest.fixture(scope="module")
def written(lab_home):
    """The cells above as a notebook."""
    return write(lab_home / "own.ipynb", CELLS)


@pytest.fixture(scope="module")
def own(shared_page, open_notebook, written):
    """The notebook, open in JupyterLab and run, for all tests here but those that take the page apart."""
    opened = open_notebook(shared_page, written)
    opened.run_all()
    yield opened
    opened.shutdown()


def panel(notebook, name):
    cell = notebook.show(INDEX[name])
    assert notebook.until(PAINTED, cell), f"the figure of '{name}' was not painted"
    return cell


def run_cell(notebook, name):
    """Run one cell again; the text that it leaves."""
    notebook.page.evaluate(
        """async (i) => {
          jupyterapp.shell.currentWidget.content.activeCellIndex = i;
          jupyterapp.shell.currentWidget.content.deselectAll();
          await jupyterapp.commands.execute('notebook:run-cell');
        }""",
        INDEX[name],
    )
    outputs = notebook.outputs()[INDEX[name]]
    return "".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in outputs)


def handle(cell):
    return cell.query_selector(".edgelab-panel .noUi-handle")


def to_first(notebook, cell):
    """Put the dial of a panel to 1 and wait for the figure."""
    handle(cell).focus()
    notebook.page.keyboard.press("Home")
    assert notebook.until("(node) => /\\|1( bits|\\|)/.test(edgelab.drawn(node))", cell)


def test_panels_by_keyboard(own):
    page = own.page
    executable = own.outputs()[INDEX["setup"]][0]["text"]
    assert Path("".join(executable).strip()).samefile(sys.executable)
    assert not [o for outputs in own.outputs() for o in outputs if o["output_type"] == "error"]

    cell = panel(own, "panel")
    assert handle(cell).get_attribute("aria-label") == "bits"
    assert own.move(handle(cell), cell)
    for selector in ("input[type=checkbox]", "select"):
        before = own.drawn(cell)
        cell.query_selector(selector).focus()
        page.keyboard.press("Space" if selector != "select" else "u")
        assert own.until("([node, before]) => edgelab.drawn(node) !== before", [cell, before]), selector
    assert "unsigned" in own.drawn(cell)

    cell = panel(own, "still")
    assert "One step." in cell.query_selector("details.edgelab-alt").text_content()


def test_haste_ends_at_the_last_value_and_queues_nothing(own):
    cell = panel(own, "panel")
    to_first(own, cell)
    for _ in range(30):
        own.page.keyboard.press("ArrowRight")
    assert own.until("(node) => edgelab.drawn(node).includes('31 bits')", cell)
    seen = [int(n) for n in run_cell(own, "seen").strip("[]\n ").split(",")]
    since = seen[len(seen) - seen[::-1].index(1) :]  # what was drawn after the dial stood at 1
    assert since[-1] == 31
    assert since == sorted(since)
    assert len(since) <= 30


def test_an_error_is_a_sentence_in_the_panel(own):
    cell = panel(own, "fails")
    to_first(own, cell)
    for _ in range(3):
        own.page.keyboard.press("ArrowRight")
    said = "(node) => node.querySelector('.edgelab-message')?.textContent ?? ''"
    assert own.until(f"(node) => ({said})(node).includes('four is out of the question')", cell)
    own.page.keyboard.press("ArrowRight")
    assert own.until(f"(node) => ({said})(node) === '' && edgelab.drawn(node).includes('5')", cell)


def test_a_button_asks_for_the_repaint(own):
    cell = panel(own, "button")
    assert own.move(handle(cell), cell)
    assert "4 runs" in own.drawn(cell)


def test_a_slider_that_changes_nothing_is_found_out(own):
    cell = panel(own, "dead")
    assert not own.move(handle(cell), cell, keys=("ArrowRight",))


def test_a_prediction_is_kept_and_held_against_the_reading(own):
    assert "no prediction" in run_cell(own, "against")
    cell = own.show(INDEX["predict"])
    dial = cell.query_selector(".edgelab-predict .noUi-handle")
    assert dial.get_attribute("aria-label")
    assert dial.get_attribute("aria-valuetext") == "no answer yet"
    dial.focus()
    own.page.keyboard.press("ArrowRight")
    assert own.until("(node) => !node.querySelector('button').disabled", cell)
    cell.query_selector("button").press("Enter")
    assert own.until("(node) => node.querySelector('button').disabled", cell)
    said = run_cell(own, "against")
    assert "You predicted 5" in said
    assert "4.00x" in said

    run_cell(own, "predict")  # as in another session: the commitment is there again
    cell = own.show(INDEX["predict"])
    assert own.until("(node) => node.textContent.includes('before.')", cell)
    assert "You predicted 5" in run_cell(own, "against")


def test_plotly_travels_once_and_survives_reload_and_restart(page, open_notebook, written):
    own = open_notebook(page, written)
    own.run_all()
    for name in ("panel", "fails", "button", "dead"):
        panel(own, name)
    large = []
    page.on(
        "websocket",
        lambda socket: socket.on(
            "framereceived", lambda data: large.append(len(data)) if len(data) > 500_000 else None
        ),
    )
    own.save()
    own.open()  # the page anew, the kernel goes on
    for name in ("panel", "fails", "button"):
        cell = panel(own, name)
        assert own.move(handle(cell), cell), f"'{name}' is dead after the reload"
    assert len(large) == 1, "plotly.js must come once for all panels"
    assert large[0] < 2_000_000

    own.restart()
    own.run_all()
    cell = panel(own, "panel")
    assert own.move(handle(cell), cell), "the panel is dead after the restart"
    own.shutdown()


def test_panels_live_where_scripts_load_late(page, open_notebook, lab_home):
    """anywidget drops all messages to a widget whose script is not there after 2 s; here its patience ends at once."""
    tripped = []
    page.on("pageerror", lambda error: tripped.append(error) if "Failed to initialize" in str(error) else None)
    page.add_init_script(
        """const patience = AbortSignal.timeout;
        AbortSignal.timeout = (ms) => patience.call(AbortSignal, ms === 2000 ? 0 : ms);"""
    )
    opened = open_notebook(page, write(lab_home / "late.ipynb", ("setup", "panel")))
    opened.run_all()
    cell = panel(opened, "panel")
    assert tripped, "anywidget waits differently now: this test has lost its subject"
    assert opened.move(handle(cell), cell), "painted once, then dead"
    opened.shutdown()

"""One of each output in the real JupyterLab: legible in both themes, and there again after a stop."""

import nbformat
import pytest

from tests.browser.legible import CONTRAST, LIGHT, PAINTED, SEEN, SPOKEN, THEMES, WIDE, marked, switch, violations

CELLS = {
    "setup": """
import numpy as np
from edgelab import Reading, record, ui
from edgelab.course import boxes
from edgelab.course.claims import claim
from edgelab.mcu.plans import Buffer, plan_buffers
values = np.random.default_rng(0).gamma(2.0, 0.5, 2000)
x = np.arange(1, 9)
measured = Reading(2.0, "x", "measured", "a stopwatch", low=1.5, high=2.2)""",
    "boxes": """
for colour in ("success", "warning", "danger", "info", "neutral"):
    box = boxes.Box(colour, f"A box: {colour}", ("It says `one` thing.",), (("Hint 1", "Some `code`."),))
    boxes.show(box, "application/vnd.edgelab.test+json", {})
claim("M4", measured)""",
    "readings": """
record("alone", measured)
record("modelled", Reading(3.0, "ms", "modelled", "a formula"))""",
    "lines": """
ui.show(ui.lines({f"series {i}": (x, x * (i + 1.0)) for i in range(6)}, "Six lines", "run", "ms"), "Six lines.")""",
    "scatter": """
points = {"fits": (x, x), "does not fit": (x, 2.0 * x)}
roles = {"fits": "right", "does not fit": "wrong"}
ui.show(ui.scatter(points, "Points", "a", "b", roles=roles, names={"fits": list("abcdefgh")}), "Points.")""",
    "bars": """
ui.show(ui.bars(["a", "b"], [measured, Reading(3.0, "x", "modelled", "a formula")], "Bars", "times"), "Two bars.")""",
    "histogram": 'ui.show(ui.histogram({"a": values, "b": 2 * values}, "Counts", "x"), "Two histograms.")',
    "heatmap": 'ui.show(ui.heatmap([[1.0, 2.0], [3.0, 4.0]], "A table", "to", "from", unit="ms"), "Four cells.")',
    "memory": """
plan = plan_buffers([Buffer("a", 640, 0, 1), Buffer("b", 320, 1, 2), Buffer("scratch 0 of 0 CONV_2D", 100, 1, 1)])
ui.show(ui.lifetime_figure(plan), ui.lifetime_words(plan))""",
    "arena": 'ui.show(ui.arena_figure(plan, {"tensors": 96, "operators": 64}), "A head and a tail.")',
    "lives": 'ui.tensor_lives({"a": (0, 1), "b": (1, 2)}, {"a": 640, "b": 320}, operators=("conv", "add"))',
    "map": 'ui.memory_map({"a": 640, "b": 320}, {"a": (0, 1), "b": (1, 2)}, {"a": 0, "b": 640}, bound=800)',
    "ribbon": 'ui.memory_ribbon([(0, 64, "c", "taken"), (64, 80, "s", "chosen"), (90, 96, "", "lost")], 160, "Gaps")',
    "thin": "ui.thin_product(8, 12, 2)",
    "halving": "ui.halving([(4, False), (6, True), (5, True)], 8)",
    "staircase": 'ui.show(ui.staircase(values, 0.1, 0, 4), "A staircase over the values that it clips.")',
    "range": "ui.range_to_integers([[0.0, 0.7, 1.3], [2.4, 0.31, 1.9]], 0.16, 0, 4)",
    "flow": 'ui.calibration_flow(samples=200, ranges={"stem": (0.0, 6.2)})',
    "scales": "ui.scale_per_channel(np.outer(2.0 ** np.arange(-4, 4), np.linspace(-1, 1, 9)), 4)",
    "convolution": 'ui.convolution("depthwise", in_channels=4)',
    "table": 'ui.worked_table([{"x": 0.7, "q": 4}, {"x": 1.3, "q": 8}], "Two numbers", marked=0)',
    "answers": """
images = np.random.default_rng(2).random((4, 3, 16, 16))
ui.side_by_side(images, [0, 1, 0, 1], [0, 0, 0, 1], [0, 1, 1, 1], names=["stop", "yield"])""",
    "panel": """
def draw(bits, fine):
    return ui.lines({"a": ([0, 1], [0, 2.0**bits])}, title=f"{bits} bits", x="input", y="levels")

ui.Panel(draw, alt="A rising line.", title="Levels", bits=ui.slider(1, 40, 1, value=3, label="bits"),
         fine=ui.toggle(False, label="finer"))""",
    "picture": """
ui.Panel(lambda bits: ui.range_to_integers([0.1, 0.9], 1 / 2**bits, 0, bits), title="Integers",
         bits=ui.slider(1, 4, 1, value=2, label="bits"))""",
    "predict": """
guess = ui.predict("How many times as fast?", unit="x", low=1, high=9)
guess""",
}
INDEX = {name: position for position, name in enumerate(CELLS)}


@pytest.fixture(scope="module")
def looks(shared_page, open_notebook, lab_home):
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab_home / "looks.ipynb")
    opened = open_notebook(shared_page, "looks.ipynb")
    opened.run_all()
    yield opened
    opened.shutdown()


@pytest.mark.timeout(420)
@pytest.mark.parametrize("theme", THEMES)
def test_every_output_is_legible(looks, theme):
    assert not [o for outputs in looks.outputs() for o in outputs if o["output_type"] == "error"]
    switch(looks, theme)
    found, texts = [], 0
    for name, index in INDEX.items():
        cell = looks.show(index)
        assert looks.until(PAINTED, cell), name
        counted = looks.page.evaluate(CONTRAST, cell)
        texts += counted["texts"]
        found += [f"{name}: {words}" for words in counted["low"]] + [f"{name}: white slab"] * counted["slabs"]
        if not looks.outputs()[index]:
            continue
        with marked(cell):
            found += [f"{name}: {words}" for words in violations(looks)]
    assert found == []
    assert texts > 200


def test_readings_are_one_quiet_block(looks):
    cell = looks.show(INDEX["readings"])
    shown = looks.page.evaluate(f"(node) => ({SPOKEN})(node).length", cell)
    assert shown == 1
    assert "2 readings: 1 measured, 1 modelled" in looks.page.evaluate(SEEN, cell)


def test_nothing_scrolls_sideways(looks):
    looks.page.set_viewport_size({"width": 1024, "height": 900})
    looks.page.wait_for_timeout(500)
    for name in ("range", "flow", "scales", "convolution", "answers", "boxes", "readings"):
        cell = looks.show(INDEX[name])
        assert not looks.page.evaluate(WIDE, cell), name
    looks.page.set_viewport_size({"width": 1300, "height": 1000})


def test_a_stop_leaves_the_last_state(looks):
    switch(looks, LIGHT)
    page = looks.page
    cell = looks.show(INDEX["predict"])
    dial = cell.query_selector(".noUi-handle")
    assert dial.get_attribute("aria-valuetext") == "no answer yet"
    assert cell.query_selector("button").is_disabled()
    dial.focus()
    page.keyboard.press("End")
    assert looks.until("(node) => !node.querySelector('button').disabled", cell)
    assert dial.get_attribute("aria-valuetext").startswith("9")
    cell.query_selector("button").press("Enter")
    assert looks.until("(node) => node.innerText.includes('You predict 9')", cell)

    for name, words in (("panel", "40 bits"), ("picture", "16 integers")):
        cell = looks.show(INDEX[name])
        cell.query_selector(".edgelab-panel .noUi-handle").focus()
        page.keyboard.press("End")
        told = f"(node) => (edgelab.drawn(node) + node.innerText).includes('{words}')"
        assert looks.until(told, cell), name
    page.wait_for_timeout(1500)  # the dials rest
    looks.save()
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
    looks.shutdown()
    looks.open()

    for name, words in (("predict", "You predicted 9"), ("panel", "40 bits"), ("picture", "16 integers")):
        cell = looks.show(INDEX[name])
        told = f"(node) => (edgelab.drawn(node) + ({SEEN})(node)).includes('{words}')"
        assert looks.until(told, cell, seconds=10), (name, page.evaluate(SEEN, cell))
        seen = page.evaluate(SEEN, cell)
        assert "model not found" not in seen, name
        assert "Loading widget" not in seen, name
    looks.run_all()  # and with a kernel all of them live again
    cell = looks.show(INDEX["panel"])
    assert looks.until("(node) => edgelab.plots(node).length === 1 && edgelab.painted(edgelab.plots(node)[0])", cell)
    assert looks.move(cell.query_selector(".edgelab-panel .noUi-handle"), cell)

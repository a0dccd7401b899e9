"""Each lab as a learner meets it: opened in JupyterLab, run, looked at, played with, and read offline."""

from pathlib import Path

import pytest

from edgelab.course.export import PLOTLY_MIME, to_html
from edgelab.course.run import collect
from edgelab.course.source import GIVEN, cells_of, exercises, read_notebook
from tests.browser.walk import WALKS, Newcomer

SOLUTIONS = Path(__file__).parents[2] / "solutions"
LABS = sorted((Path(__file__).parents[2] / "labs").glob("*.ipynb"))
PAINTED = "(node) => edgelab.plots(node).length > 0 && edgelab.plots(node).every(edgelab.painted)"


def figures_of(outputs):
    return [o["data"][PLOTLY_MIME] for o in outputs if PLOTLY_MIME in o.get("data", {})]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("lab", LABS, ids=lambda path: path.stem)
def test_lab(lab, page, open_notebook, chromium):
    notebook = open_notebook(page, f"labs/{lab.name}")
    newcomer = Newcomer(notebook, lab) if lab.stem.partition("_")[2] in WALKS else None
    if newcomer is None:
        notebook.run_all()
    else:
        newcomer.predicts()
        newcomer.runs_the_rest()
    cells = notebook.outputs()
    errors = [o["ename"] + ": " + o["evalue"] for outputs in cells for o in outputs if o["output_type"] == "error"]
    assert errors == []
    nothing_is_solved(read_notebook(notebook.save()), SOLUTIONS / lab.name)

    total = sliders = 0
    for index, outputs in enumerate(cells):
        figures = figures_of(outputs)
        if not figures:
            continue
        total += len(figures)
        cell = notebook.show(index)
        assert notebook.until(PAINTED, cell), f"cell {index}: a figure was not painted"
        assert len(notebook.page.evaluate_handle("(node) => edgelab.plots(node)", cell).get_properties()) == len(
            figures
        )
        assert all(figure["layout"]["meta"]["alt"] for figure in figures)
        assert len(cell.query_selector_all("details.edgelab-alt > summary")) >= len(figures), f"cell {index}: no words"
        for handle in cell.query_selector_all(".edgelab-panel .noUi-handle"):
            sliders += 1
            name = handle.get_attribute("aria-label")
            assert name, f"cell {index}: a slider has no name"
            assert notebook.move(handle, cell), f"cell {index}: the slider '{name}' changes nothing"
        assert not [m for m in cell.query_selector_all(".edgelab-message") if m.is_visible()], (
            f"cell {index}: a panel fails"
        )
    assert total > 0
    assert sliders > 0

    if newcomer is not None:
        newcomer.solves()
        newcomer.moves_the_panel()
        newcomer.looks_around()
        newcomer.comes_back()

    saved = notebook.save()
    notebook.shutdown()  # its memory is not the next lab's
    assert figures_painted_offline(to_html(saved, saved.with_suffix(".html")), chromium) == total


def nothing_is_solved(executed, solution):
    """The stubs were answered by the package's own functions: each check ran, and says that it is still open.

    Where the exercise starts from faulty code, the check has found the fault.
    """
    checks = collect(executed)["checks"]
    known = exercises(cells_of(read_notebook(solution)))
    assert {check["id"] for check in checks} == set(known)
    given = {name for name, exercise in known.items() if GIVEN in exercise.cell.text}
    texts = [o.get("data", {}).get("text/plain", "") for c in executed["cells"] for o in c.get("outputs", ())]
    heads = {line for text in texts for line in "".join(text).splitlines()[:1]}
    for check in checks:
        head = "Not yet" if check["id"] in given else "To do"
        assert f"{head}: {check['id']}" in heads, check
        assert not check["passed"]
        assert ("Not solved yet" in check["message"]) == (head == "To do")


def test_labs_are_there():
    assert LABS


def figures_painted_offline(html, chromium):
    """Open the page from disk without a network; how many figures it paints, each with words beside it."""
    context = chromium.new_context(offline=True, viewport={"width": 1100, "height": 900})
    wanted, errors = [], []
    page = context.new_page()
    page.on("request", lambda r: wanted.append(r.url) if r.url.startswith(("http", "ws")) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(html.as_uri())
    page.wait_for_function(
        """() => [...document.querySelectorAll('figure.edgelab-figure')].every((figure) => {
          const box = figure.querySelector('.main-svg')?.getBoundingClientRect();
          const marks = figure.querySelectorAll(
            '.scatterlayer path, .scatterlayer text, .barlayer path, .heatmaplayer image');
          return box && box.width > 100 && box.height > 100 && marks.length > 0;
        })""",
        timeout=60_000,
    )
    count = page.locator("figure.edgelab-figure").count()
    assert page.locator("figure.edgelab-figure [role=img][aria-label]:not([aria-label=''])").count() == count
    assert page.locator("figure.edgelab-figure details.edgelab-alt p").count() == count
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    context.close()
    assert wanted == []
    assert errors == []
    return count

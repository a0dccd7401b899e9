"""A newcomer's walk through a lab in a real JupyterLab, by keyboard, around the one run of the lab.

He predicts, runs the lab unsolved, answers wrongly, reads why, opens the hint, answers rightly, sees the figure become
his own, moves a panel, switches the theme, restarts the kernel, reloads the page, and finds everything kept.
"""

import importlib.util
import re
import statistics
from pathlib import Path

from edgelab.course import progress, results
from edgelab.course.owners import bound_name
from edgelab.course.source import cells_of, exercises, read_cells, read_notebook, split_hints
from tests.browser.legible import (
    CONTRAST,
    DARK,
    LIGHT,
    PAINTED,
    THEMES,
    WIDE,
    WIDE_SOURCE,
    laid_out,
    of_each_cell,
    said,
    switch,
    violations,
)

MISTAKES = Path(__file__).parents[1] / "labs" / "mistakes"
SOLUTIONS = Path(__file__).parents[2] / "solutions"
WALKS = {  # the exercise that the newcomer solves
    "start": "separable",
    "quantization": "affine",
    "lowrank": "break_even_rank",
    "search": "fits",
    "capstone": "against_floor",
}
PRESSES = 12
ARROWS = 3
# What the title of the visible figure states: it follows the dials, and is the same whatever the width of the figure.
FINDING = """(node) => [...node.querySelectorAll('.gtitle')]
  .filter((title) => title.checkVisibility()).map((title) => title.textContent).join(' ')"""
# From a key press to the frame after plotly has drawn.
TIMED = """(cell) => {
  const plot = edgelab.plots(cell)[0];
  let start = 0;
  cell.addEventListener('keydown', () => { start = performance.now(); window.edgelabTime = undefined; }, true);
  plot.on('plotly_afterplot', () => {
    if (!start) return;
    const begun = start;
    start = 0;
    requestAnimationFrame(() => { window.edgelabTime = performance.now() - begun; });
  });
}"""


def planted(slug):
    """The module of a lab's planted answers."""
    spec = importlib.util.spec_from_file_location(f"mistakes_{slug}", MISTAKES / f"{slug}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Newcomer:
    """A scripted learner with the notebook of a lab that is open and not run yet."""

    def __init__(self, notebook, lab):
        self.notebook, self.page = notebook, notebook.page
        self.slug = lab.stem.partition("_")[2]
        self.cells = cells_of(read_notebook(lab))
        source = read_cells(SOLUTIONS / f"{lab.stem}.py")
        self.exercise = exercises(source)[WALKS[self.slug]]
        self.hints = split_hints(next(c.text for c in source if c.tagged("hints") == self.exercise.id))
        self.wrong, self.words = planted(self.slug).MISTAKES[self.exercise.id][0]
        self.right = planted(self.slug).VARIANTS[self.exercise.id][0].strip("\n")
        self.dial = self.find("ui.predict(")
        self.answer = next(i for i, c in enumerate(self.cells) if c.tagged("exercise") == self.exercise.id)
        self.check = next(i for i, c in enumerate(self.cells) if c.tagged("check") == self.exercise.id)
        self.figure = self.find(f'whose("{self.exercise.id}")')
        self.panel = next(  # one with a slider that draws at once, not at the press of a button
            i
            for i, c in enumerate(self.cells)
            if c.kind == "code" and "ui.Panel(" in c.text and "ui.slider(" in c.text and "button=" not in c.text
        )
        self.predicted = ""

    def find(self, text):
        """The first code cell that holds a text."""
        return next(i for i, c in enumerate(self.cells) if c.kind == "code" and text in c.text)

    def predicts(self):
        """Run what stands above the first exercise, move the dial and commit to where it stands."""
        self.notebook.run_before(self.answer)
        cell = self.notebook.show(self.dial)
        dial = cell.query_selector(".noUi-handle")
        commit = cell.query_selector("button")
        assert dial.get_attribute("aria-valuetext") == "no answer yet"
        assert commit.is_disabled(), "an untouched dial can be committed"
        for _ in range(ARROWS):
            dial.focus()
            self.page.keyboard.press("ArrowRight")
        assert self.notebook.until("(node) => !node.querySelector('button').disabled", cell)
        self.page.wait_for_timeout(2000)  # a person looks at the dial before committing; its last step is in the kernel
        self.predicted = dial.get_attribute("aria-valuetext")
        commit.press("Enter")
        told = f"(node) => node.innerText.includes('You predict {self.predicted}')"
        assert self.notebook.until(told, cell), said(self.notebook, cell)

    def runs_the_rest(self):
        """Run the first exercise and everything below it, unsolved; what the run left."""
        self.notebook.run_from(self.answer)

    def solves(self):
        """Answer wrongly, read the message, take the hint, answer rightly; the figure becomes the learner's own."""
        name = bound_name(self.exercise)
        assert f"Drawn with edgelab's {name};" in self.told(self.figure)

        self.notebook.write(self.answer, self.wrong.strip("\n"))
        self.runs(self.answer)
        self.runs(self.check)
        box = self.told(self.check)
        assert f"Not yet: {self.exercise.id}" in box
        assert self.words in box
        self.takes_the_hint()
        self.runs(self.figure)
        assert f"Drawn with edgelab's {name};" in self.told(self.figure), "a wrong answer feeds a figure"

        self.notebook.write(self.answer, self.right)
        self.runs(self.answer)
        self.runs(self.check)
        assert f"Passed: {self.exercise.id}" in self.told(self.check)
        self.runs(self.figure)
        assert f"Drawn with your {name}." in self.told(self.figure)

    def takes_the_hint(self):
        """The first hint is there, folded; Enter opens it."""
        cell = self.notebook.show(self.check)
        folded = [found for found in cell.query_selector_all("details") if found.is_visible()]
        assert len(folded) == 1
        assert folded[0].query_selector("summary").inner_text() == "Hint 1"
        start = re.split("[?.$`]", self.hints[0])[0].strip()
        assert start not in said(self.notebook, cell), "the hint is open"
        folded[0].query_selector("summary").focus()
        self.page.keyboard.press("Enter")
        assert self.notebook.until(f"(node) => node.innerText.includes({start!r})", cell)

    def runs(self, index):
        """Run a cell; nothing in it may go wrong."""
        outputs = self.notebook.press_run(index)
        assert [o for o in outputs if o["output_type"] == "error"] == [], self.cells[index].text

    def told(self, index):
        """The words that are seen in a cell's outputs, once its figures are painted."""
        cell = self.notebook.show(index)
        assert self.notebook.until(PAINTED, cell), f"cell {index}: a figure was not painted"
        return said(self.notebook, cell)

    def moves_the_panel(self):
        """Move the panel, which draws with the learner's function now; the milliseconds of each key press."""
        cell = self.notebook.show(self.panel)
        dial = cell.query_selector(".edgelab-panel .noUi-handle")
        before = self.notebook.drawn(cell)
        self.page.evaluate(TIMED, cell)
        dial.focus()
        took = []
        for number in range(PRESSES):
            self.page.keyboard.press("ArrowLeft" if number % 4 < 2 else "ArrowRight")
            self.page.wait_for_function("() => window.edgelabTime !== undefined")
            took.append(self.page.evaluate("() => window.edgelabTime"))
            self.page.wait_for_timeout(80)
        self.page.keyboard.press("ArrowRight")
        assert self.notebook.until("([node, before]) => edgelab.drawn(node) !== before", [cell, before])
        self.page.wait_for_timeout(1500)  # the dial rests, and the panel leaves its state
        print(f"slider to painted figure: median {statistics.median(took):.0f} ms of {PRESSES}")
        return took

    def looks_around(self):
        """Both themes over all outputs, without a rerun; then a window of 1024 pixels."""
        notebook, page = self.notebook, self.page
        before, found, inks = notebook.outputs(), [], {}
        with laid_out(notebook):
            for theme in THEMES:
                switch(notebook, theme)
                for index, looks in enumerate(of_each_cell(notebook, CONTRAST)):
                    if looks["texts"]:
                        inks.setdefault(index, {})[theme] = looks["inks"]
                    found += [f"{theme}: cell {index}: {words}" for words in looks["low"]]
                    found += [f"{theme}: cell {index}: white slab"] * looks["slabs"]
                found += [f"{theme}: {words}" for words in violations(notebook, ".jp-Notebook .jp-Cell-outputArea")]
            assert found == [], found
            assert len(inks) > 10
            kept = [index for index, ink in inks.items() if ink[LIGHT] == ink[DARK]]
            assert kept == [], "figures that keep the other theme"
            assert notebook.outputs() == before, "the theme is a switch without a rerun"
            switch(notebook, LIGHT)
            page.set_viewport_size({"width": 1024, "height": 900})
            for _ in range(20):  # figures are drawn anew for the new width
                page.wait_for_timeout(500)
                wide = of_each_cell(notebook, f"(node) => ({WIDE})(node) || ({WIDE_SOURCE})(node)")
                scrolling = [
                    f"cell {index}: {self.cells[index].text[:60]}" for index, is_wide in enumerate(wide) if is_wide
                ]
                if not scrolling:
                    break
            assert scrolling == [], scrolling
            page.set_viewport_size({"width": 1300, "height": 1000})

    def comes_back(self):
        """Save, restart the kernel and reload: the page is as it was, and what was committed and solved is known."""
        notebook, page = self.notebook, self.page
        panel = page.evaluate(FINDING, notebook.show(self.panel))
        assert panel, "the panel's figure states nothing"
        notebook.save()
        page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
        before = notebook.outputs()
        notebook.restart()
        notebook.open()

        assert notebook.outputs() == before
        assert notebook.source(self.answer) == self.right
        assert f"Passed: {self.exercise.id}" in self.told(self.check)
        assert f"Drawn with your {bound_name(self.exercise)}." in self.told(self.figure)
        assert f"You predicted {self.predicted}" in self.told(self.dial)
        cell = notebook.show(self.panel)
        assert notebook.until(f"([node, panel]) => ({FINDING})(node) === panel", [cell, panel]), "another last state"
        for index in (i for i, cell in enumerate(self.cells) if "ui.Panel(" in cell.text or "ui.predict(" in cell.text):
            seen = self.told(index)
            assert "Run the cell to" in seen, f"cell {index}: {seen}"
            assert "model not found" not in seen, f"cell {index}"

        effort = progress.load(self.slug).exercises[self.exercise.id]
        assert (effort.tries, effort.hints, effort.solved) == (2, 1, True)
        kept = results.load()
        claimed = {name for cell in self.cells for name in cell.calls("claim")}
        assert claimed
        assert {c["id"] for c in kept["claims"] if c["lab"] == self.slug} == claimed
        sentences = [p["sentence"] for p in kept["predictions"] if p["lab"] == self.slug]
        assert any(f"You predicted {self.predicted}" in sentence for sentence in sentences), sentences

        for index, cell in enumerate(self.cells[: self.check + 1]):
            if "setup" in cell.tags or "parameters" in cell.tags or index in (self.dial, self.answer, self.check):
                self.runs(index)
        cell = notebook.show(self.dial)
        words = f"['You predicted {self.predicted}', ' before.']"
        told = f"(node) => {words}.every((part) => node.innerText.includes(part))"
        assert notebook.until(told, cell), said(notebook, cell)
        assert f"Passed: {self.exercise.id}" in self.told(self.check)
        assert progress.load(self.slug).exercises[self.exercise.id] == effort

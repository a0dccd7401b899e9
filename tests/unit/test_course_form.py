"""The form of a lab: what is measured, and that each broken rule of form 2 is one sentence."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgelab.course import form
from edgelab.course.labs import all_labs, find
from edgelab.course.source import Cell, read_cells


@pytest.fixture(scope="module")
def model():
    """The lab that is the model of the form, and its cells."""
    lab = find("quantization")
    return lab, read_cells(lab.source)


def sentences(lab, cells):
    return list(form.problems(lab, cells))


def without(cells, keep):
    return [cell for cell in cells if keep(cell)]


def changed(cells, old, new, kind="markdown"):
    assert any(cell.kind == kind and old in cell.text for cell in cells)
    return [replace(c, text=c.text.replace(old, new)) if c.kind == kind else c for c in cells]


def test_the_model_keeps_every_rule(model):
    lab, cells = model
    assert lab.form == 2
    assert sentences(lab, cells) == []
    found = form.measure(lab, cells)
    assert found.first_exercise < 1 / 3
    assert found.median_lines <= 8
    assert found.pictures >= 10
    assert found.formulas >= 20
    assert found.links >= 8
    assert found.steps == 6


def test_all_labs_are_measured_in_one_table():
    labs = all_labs()
    table = form.table([form.measure(lab, read_cells(lab.source)) for lab in labs])
    assert all(lab.slug in str(table) for lab in labs)
    assert "first at" in str(table)


def test_every_lab_has_the_form(model):
    lab, cells = model
    assert "There is no section with the heading `## Challenge`." in sentences(lab, cells[:4])
    assert {lab.form for lab in all_labs()} == {2}


def test_a_missing_and_a_misplaced_section(model):
    lab, cells = model
    assert any("`## Challenge`" in s for s in sentences(lab, changed(cells, "## Challenge", "## A task")))
    swapped = changed(changed(cells, "## Predict", "## Swap"), "## Explore", "## Predict")
    assert any("must come after" in s for s in sentences(lab, changed(swapped, "## Swap", "## Explore")))


def test_a_late_exercise(model):
    lab, cells = model
    padding = [Cell("markdown", "Words."), Cell("code", "ui.show(figure, alt='x')")] * 60
    assert any("behind the first third" in s for s in sentences(lab, padding + cells))


def test_code_cells_in_a_row(model):
    lab, cells = model
    row = [Cell("code", f"x = {n}") for n in range(5)]
    assert any("5 code cells in a row" in s for s in sentences(lab, [*row, cells[0], *cells]))


def test_figures_and_setup_break_a_row(model):
    lab, _ = model
    shown = [Cell("code", "x = 1"), Cell("code", "ui.show(f, alt='a')")] * 4
    assert form.measure(lab, shown).longest_row == 2
    assert form.measure(lab, [Cell("code", "x = 1", ("setup",))] * 6).longest_row <= 1


def test_long_cells_and_wide_lines(model):
    lab, cells = model
    long = [Cell("code", "\n".join(f"x = {n}" for n in range(12))), Cell("markdown", "w")] * 200
    assert any("The median code cell has 12 lines" in s for s in sentences(lab, cells + long))
    wide = Cell("code", "x = '" + "a" * 120 + "'")
    assert any("125 characters" not in s and "126 characters" in s for s in sentences(lab, [*cells, wide]))
    folded = replace(wide, tags=("folded",))
    assert not any("characters" in s for s in sentences(lab, [*cells, folded]))


@pytest.mark.parametrize(
    ("old", "new", "kind", "lack"),
    [
        ("$$", "", "markdown", "no formula"),
        ("ui.range_to_integers(", "print(", "code", "no picture"),
        ("whose(", "print(", "code", "whose function"),
    ],
)
def test_a_step_that_lacks_something(model, old, new, kind, lack):
    lab, cells = model
    if old == "$$":  # the first step alone
        cells = [
            replace(c, text=c.text.replace("$", ""))
            if c.kind == "markdown" and "describe the whole mapping" in c.text
            else c
            for c in cells
        ]
    else:
        cells = changed(cells, old, new, kind)
    assert any("The step under `From scratch`" in s and lack in s for s in sentences(lab, cells))


def test_a_step_without_an_exercise(model):
    lab, cells = model
    kept = [replace(c, tags=()) if c.tagged("exercise") == "sqnr" else c for c in cells]
    assert any("no exercise" in s for s in sentences(lab, kept))


def test_a_question_without_a_discussion(model):
    lab, cells = model
    place = next(i for i, c in enumerate(cells) if c.text.startswith("## Explore"))
    bare = [*cells[: place + 1], Cell("markdown", "What happens at 2 bits?"), *cells[place + 1 :]]
    assert any("no folded discussion" in s for s in sentences(lab, bare))


def test_no_challenge_and_no_links(model):
    lab, cells = model
    assert any("no challenge" in s for s in sentences(lab, without(cells, lambda c: not c.tagged("challenge"))))
    assert any("0 links" in s for s in sentences(lab, changed(cells, "](https://", "](somewhere/")))


def test_folded_cells_are_folded_for_the_learner(model):
    from edgelab.course.build import learner

    lab, cells = model
    notebook = learner(lab)
    folded = [c for c in notebook.cells if c.cell_type == "code" and c.metadata.get("jupyter", {}).get("source_hidden")]
    assert len(folded) == sum(c.folded and not c.hidden for c in cells)
    text = "\n".join(c.source for c in notebook.cells)
    assert "your_file = None" in text
    assert "standard_normal(images.shape)" in text  # the faulty code to mend
    assert "def reference" not in text
    assert Path(lab.source).read_text(encoding="utf-8").count("### GIVEN") == 2

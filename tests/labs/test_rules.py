"""Each lab keeps the rules that all of them share, and its notebooks are built from its source."""

from edgelab.course import build, rules
from edgelab.course.source import read_cells

from .conftest import each_lab


@each_lab
def test_the_lab_keeps_the_rules(case):
    assert rules.problems(case.lab, read_cells(case.lab.source)) == []


@each_lab
def test_the_notebooks_are_built_from_the_source(case, at_home):
    at_home(case)
    assert build.build([case.lab.slug], check=True).stale == ()

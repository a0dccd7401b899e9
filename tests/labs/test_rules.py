"""Each lab keeps the rules that all of them share, and its notebooks are built from its source."""

import ast
import importlib

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


def is_there(home, name):
    if hasattr(importlib.import_module(home), name):
        return True
    try:
        importlib.import_module(f"{home}.{name}")
    except ModuleNotFoundError:
        return False
    return True


@each_lab
def test_what_the_lab_takes_from_edgelab_is_there(case):
    """A merge can take away a name that a lab imports; this says so without running the lab."""
    trees = [cell.tree() for cell in read_cells(case.lab.source)]
    nodes = [node for tree in trees if tree is not None for node in ast.walk(tree)]
    taken = [
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "edgelab"
        for alias in node.names
    ]
    assert taken
    assert [f"{home}.{name}" for home, name in taken if not is_there(home, name)] == []

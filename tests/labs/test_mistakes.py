"""A check that cannot fail is a defect: solutions pass, stubs do not, plausible mistakes are rejected by name."""

import functools
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from edgelab.course.source import exercises, read_cells, stub

from .conftest import HERE, all_cases

FEWEST = 3
CASES = all_cases()
EXERCISES = [(case, name) for case in CASES for name in exercises(read_cells(case.lab.source))]


@functools.cache
def mistakes(case) -> dict[str, list[tuple[str, str]]]:
    if not case.mistakes.exists():
        return {}
    spec = importlib.util.spec_from_file_location(f"mistakes_{case.lab.slug}", case.mistakes)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MISTAKES


@functools.cache
def graded(case) -> dict[str, list[dict[str, str]]]:
    """For each exercise the grades of its solution, its stub and each planted mistake, in this order."""
    cells = read_cells(case.lab.source)
    tried = []
    for name, exercise in exercises(cells).items():
        attempts = [exercise.cell.text, stub(exercise.cell.text), *(code for code, _ in mistakes(case).get(name, ()))]
        parts = {"id": name, "stub": stub(exercise.cell.text), "check": exercise.check.text, "attempts": attempts}
        tried.append(parts)
    setup = [cell.text for cell in cells if cell.kind == "code" and {"parameters", "setup"} & set(cell.tags)]
    done = subprocess.run(
        [sys.executable, str(HERE / "try_answers.py")],
        input=json.dumps({"setup": setup, "exercises": tried}),
        env={**os.environ, "EDGELAB_HOME": str(case.home), "EDGELAB_PROGRESS": "off"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def ids(entries):
    return ["-".join([case.lab.slug, *map(str, rest)]) for case, *rest in entries]


@pytest.mark.parametrize("case", CASES, ids=[case.lab.slug for case in CASES])
def test_every_exercise_has_planted_mistakes(case):
    names = {name for other, name in EXERCISES if other == case}
    assert set(mistakes(case)) == names, f"{case.mistakes.name} must plant mistakes for {sorted(names)}"
    assert all(len(planted) >= FEWEST for planted in mistakes(case).values())
    codes = [code for planted in mistakes(case).values() for code, _ in planted]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(("case", "name"), EXERCISES, ids=ids(EXERCISES))
def test_the_solution_passes(case, name):
    grade = graded(case)[name][0]
    assert grade["status"] == "passed", grade["message"]


@pytest.mark.parametrize(("case", "name"), EXERCISES, ids=ids(EXERCISES))
def test_the_stub_does_not_pass(case, name):
    grade = graded(case)[name][1]
    assert grade["status"] == "open", grade["message"]


PLANTED = [(case, name, number) for case, name in EXERCISES for number in range(len(mistakes(case).get(name, ())))]


@pytest.mark.parametrize(("case", "name", "number"), PLANTED, ids=ids(PLANTED))
def test_a_plausible_mistake_is_rejected_by_name(case, name, number):
    _, phrase = mistakes(case)[name][number]
    grade = graded(case)[name][2 + number]
    assert grade["status"] == "failed", f"passed: {grade['message']}"
    assert phrase in grade["message"]

"""A check that cannot fail is a defect, and so is one that rejects correct work.

Solutions and right variants pass, stubs do not, and plausible mistakes are rejected by name, on inputs of one seed or,
with ``EDGELAB_CHECK_SEED=1,2,3``, of several.
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from edgelab.course.source import GIVEN, exercises, read_cells, stub

from .conftest import HERE, all_cases

FEWEST_MISTAKES, FEWEST_VARIANTS = 3, 2
SEEDS = [int(text) for text in os.environ.get("EDGELAB_CHECK_SEED", "4711").split(",")]
CASES = all_cases()
EXERCISES = [(case, name) for case in CASES for name in exercises(read_cells(case.lab.source))]


@functools.cache
def planted(case):
    """The module of a lab's planted answers: ``MISTAKES`` and ``VARIANTS`` by exercise."""
    spec = importlib.util.spec_from_file_location(f"mistakes_{case.lab.slug}", case.mistakes)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mistakes(case, name) -> list[tuple[str, str]]:
    return planted(case).MISTAKES.get(name, [])


def variants(case, name) -> list[str]:
    return planted(case).VARIANTS.get(name, [])


@functools.cache
def graded(case) -> dict[str, list[list[dict[str, str]]]]:
    """For each exercise what is said of its solution, stub, planted mistakes and variants, in this order."""
    cells = read_cells(case.lab.source)
    tried = []
    for name, exercise in exercises(cells).items():
        attempts = [exercise.cell.text, stub(exercise.cell.text)]
        attempts += [*(code for code, _ in mistakes(case, name)), *variants(case, name)]
        parts = {"id": name, "stub": stub(exercise.cell.text), "check": exercise.check.text, "attempts": attempts}
        tried.append(parts)
    setup = [cell.text for cell in cells if cell.kind == "code" and {"parameters", "setup"} & set(cell.tags)]
    done = subprocess.run(
        [sys.executable, str(HERE / "try_answers.py")],
        input=json.dumps({"setup": setup, "seeds": SEEDS, "exercises": tried}),
        env={**os.environ, "EDGELAB_HOME": str(case.home), "EDGELAB_PROGRESS": "off"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def hold(case, name, attempt, status, phrase=""):
    for seed, outcome in zip(SEEDS, graded(case)[name][attempt], strict=True):
        assert outcome["status"] == status, f"seed {seed}, {outcome['status']}: {outcome['message']}"
        assert phrase in outcome["message"], f"seed {seed}"


def ids(entries):
    return ["-".join([case.lab.slug, *map(str, rest)]) for case, *rest in entries]


@pytest.mark.parametrize("case", CASES, ids=[case.lab.slug for case in CASES])
def test_every_exercise_has_planted_answers(case):
    names = {name for other, name in EXERCISES if other == case}
    for kind, fewest in ((planted(case).MISTAKES, FEWEST_MISTAKES), (planted(case).VARIANTS, FEWEST_VARIANTS)):
        assert set(kind) == names, f"{case.mistakes.name} must plant mistakes and variants for {sorted(names)}"
        assert all(len(answers) >= fewest for answers in kind.values())
    codes = [code for answers in planted(case).MISTAKES.values() for code, _ in answers]
    codes += [code for answers in planted(case).VARIANTS.values() for code in answers]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(("case", "name"), EXERCISES, ids=ids(EXERCISES))
def test_the_solution_passes(case, name):
    hold(case, name, 0, "passed")


@pytest.mark.parametrize(("case", "name"), EXERCISES, ids=ids(EXERCISES))
def test_the_stub_does_not_pass(case, name):
    given = GIVEN in exercises(read_cells(case.lab.source))[name].cell.text  # faulty code to mend, not a stub
    hold(case, name, 1, "failed" if given else "open")


WRONG = [(case, name, number) for case, name in EXERCISES for number in range(len(mistakes(case, name)))]


@pytest.mark.parametrize(("case", "name", "number"), WRONG, ids=ids(WRONG))
def test_a_plausible_mistake_is_rejected_by_name(case, name, number):
    hold(case, name, 2 + number, "failed", mistakes(case, name)[number][1])


RIGHT = [(case, name, number) for case, name in EXERCISES for number in range(len(variants(case, name)))]


@pytest.mark.parametrize(("case", "name", "number"), RIGHT, ids=ids(RIGHT))
def test_another_right_answer_passes(case, name, number):
    hold(case, name, 2 + len(mistakes(case, name)) + number, "passed")

"""check() in a lab: it finds the body in the source, counts tries, uncovers hints, never raises."""

import json
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from edgelab.course import boxes, check, progress, session
from edgelab.course.checks import CHECK_MIME, fingerprint, run_check
from edgelab.course.session import checks
from edgelab.errors import LabError, MissingFramework

from .course_home import EXAMPLE


@pytest.fixture
def example(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGELAB_HOME", str(EXAMPLE))
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path))
    monkeypatch.delenv("EDGELAB_PROGRESS", raising=False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    session.begin("example")
    yield tmp_path
    session._current.clear()


def right(values, q):
    return np.sort(values)[int(np.ceil(q / 100 * len(values))) - 1]


def unsorted(values, q):
    return values[int(np.ceil(q / 100 * len(values))) - 1]


def open_stub(values, q):
    raise NotImplementedError


own = partial(np.percentile, method="inverted_cdf")


def test_a_passing_answer_is_what_the_lab_goes_on_with(example):
    assert check("percentile", right, fallback=own) is right
    kept = progress.load("example").exercises["percentile"]
    assert kept == progress.Effort(tries=1, hints=0, solved=True)


def rounded_down(values, q):
    return np.sort(values)[int(q / 100 * len(values)) - 1]


def from_zero(values, q):
    return np.sort(values)[min(int(np.ceil(q / 100 * len(values))), len(values) - 1)]


def nothing(values, q):
    pass


def constant(values, q):
    return 7.0


def test_a_failing_answer_is_replaced_and_a_rerun_uncovers_nothing(example):
    for _ in range(5):
        assert check("percentile", unsorted, fallback=own) is own
    assert len(run_check("percentile", unsorted).hints) == 1
    assert progress.load("example").exercises["percentile"] == progress.Effort(tries=1, hints=1, solved=False)


def test_each_changed_attempt_uncovers_one_hint_and_earlier_ones_stay(example):
    results = [run_check("percentile", answer) for answer in (unsorted, rounded_down, from_zero, nothing, constant)]
    assert [len(result.hints) for result in results] == [1, 2, 3, 3, 3]
    assert results[0].hint == "Five sorted values have the ranks 1 to 5, and the indices 0 to 4."
    assert results[-1].hint.startswith("`np.sort(values)")
    assert results[1].hints[:1] == results[0].hints
    assert "<summary>Hint 1</summary>" in results[1].box().markdown()
    assert "<summary>Hint 2</summary>" in results[1].box().markdown()
    assert len(run_check("percentile", unsorted).hints) == 3  # back to an earlier version: nothing new, all visible
    assert progress.load("example").exercises["percentile"] == progress.Effort(tries=5, hints=3, solved=False)


def test_comments_and_blanks_make_no_new_attempt(example):
    assert fingerprint(None, "def f(x):\n    return 1") == fingerprint(None, "def f(x):  # mine\n\n    return (1)\n")
    assert fingerprint(None, "def f(x):\n    return 1") != fingerprint(None, "def f(x):\n    return 2")
    assert fingerprint(None, "def f(x:") == fingerprint(None, "def  f(x:\n")
    assert fingerprint(unsorted) != fingerprint(constant)


def test_a_solved_exercise_gets_no_tries(example):
    run_check("percentile", unsorted)
    run_check("percentile", right)
    for answer in (constant, rounded_down, right):
        run_check("percentile", answer)
    assert progress.load("example").exercises["percentile"] == progress.Effort(tries=2, hints=1, solved=True)


def test_a_hint_for_the_mistake_that_was_made_comes_first_and_for_no_other(example, monkeypatch, tmp_path):
    home = tmp_path / "home"
    (home / "solutions").mkdir(parents=True)
    source = (EXAMPLE / "solutions" / "90_example.py").read_text(encoding="utf-8")
    source = source.replace("# 1. Five", "# 1. (for: the rank was `rounded` down) Up, not\n#    down.\n# 2. Five")
    (home / "solutions" / "90_example.py").write_text(source, encoding="utf-8")
    monkeypatch.setenv("EDGELAB_HOME", str(home))
    session.begin("example")
    assert run_check("percentile", unsorted).hint.startswith("Five")
    assert run_check("percentile", rounded_down).hint == "Up, not\ndown."
    assert [hint[:4] for hint in run_check("percentile", from_zero).hints] == ["Five", "Up, ", "The "]
    assert [hint[:4] for hint in run_check("percentile", constant).hints] == ["Five", "Up, ", "The ", "`np."]


def test_two_kernels_that_count_at_once_lose_nothing(example):
    code = (
        "from edgelab.course import progress\n"
        "for n in range(20):\n"
        "    with progress.changing('example') as kept:\n"
        "        kept.effort('percentile').note(f'{__import__(\"os\").getpid()} {n}', passed=False)\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert progress.load("example").exercises["percentile"].tries == 40


def test_the_untouched_stub_costs_no_try_and_no_hint(example):
    result = run_check("percentile", open_stub, own)
    assert (result.status, result.hint) == ("open", None)
    assert "edgelab's own function" in result.note
    assert not progress.location("example").exists()


def test_without_a_fallback_the_answer_stays(example):
    assert check("percentile", unsorted) is unsorted


def test_solved_stays_solved(example):
    run_check("percentile", right)
    run_check("percentile", unsorted)
    assert progress.load("example").exercises["percentile"].solved


def test_an_unknown_check_and_no_lab_are_sentences(example):
    result = run_check("nonsense", right)
    assert result.message == "The lab 'example' has no check 'nonsense'."
    session._current.clear()
    assert "run the setup cell" in run_check("percentile", right).message
    assert check("percentile", right, fallback=own) is own


def test_a_body_may_use_what_the_setup_made_and_changes_nothing_of_it(example, monkeypatch, tmp_path):
    home = tmp_path / "home"
    (home / "solutions").mkdir(parents=True)
    source = (EXAMPLE / "solutions" / "90_example.py").read_text(encoding="utf-8")
    source = source.replace("def _(c, percentile):\n", "def _(c, percentile):\n    numbers[0] = helper(1)\n")
    source += '\n# %% tags=["hidden"]\ndef helper(x):\n    return x\n'
    (home / "solutions" / "90_example.py").write_text(source, encoding="utf-8")
    monkeypatch.setenv("EDGELAB_HOME", str(home))
    session.begin("example")
    room = {"numbers": [0], "np": np}
    assert run_check("percentile", right, namespace=room).status == "passed"
    assert room.keys() == {"numbers", "np"}
    broken = run_check("percentile", right, namespace={})
    assert "numbers" in broken.message
    (home / "solutions" / "90_example.py").write_text(
        source.replace('@checks("percentile")', "@chekcs()"), encoding="utf-8"
    )
    assert "does not run (NameError" in run_check("percentile", right, namespace=room).message


def test_a_body_that_this_kernel_registered_comes_first(example):
    @checks("percentile", mutates=True)
    def _(c, percentile):
        c.equal(percentile, 3, tested="three")

    assert run_check("percentile", 3).status == "passed"


def test_a_progress_file_that_cannot_be_used_is_reported_and_kept(example):
    path = progress.location("example")
    path.parent.mkdir(parents=True)
    for text in ("{", "[]", "{}", '{"exercises": {"x": 1}}'):
        path.write_text(text, encoding="utf-8")
        result = run_check("percentile", unsorted)
        assert "Your progress was not saved" in result.note
        assert len(result.hints) == 1
        assert path.read_text(encoding="utf-8") == text


def test_a_full_disk_costs_the_count_and_not_the_check(example, monkeypatch):
    import errno
    import os

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run_check("percentile", right)
    assert result.passed
    assert "No space left on device" in result.note
    assert [path.suffix for path in progress.location("example").parent.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("variable", "value"), [("EDGELAB_PROGRESS", "off"), ("JPY_SESSION_NAME", "solutions/90.ipynb")]
)
def test_a_solution_run_is_no_try(example, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    run_check("percentile", right)
    assert list(example.iterdir()) == []


def test_begin_refuses_unknown_labs_and_missing_frameworks(example, monkeypatch):
    with pytest.raises(LabError, match="There is no lab 'nope'; the labs are example"):
        session.begin("nope")
    monkeypatch.setattr(session, "installed", lambda name: False)
    with pytest.raises(MissingFramework, match="needs numpy: run `"):
        session.begin("example")


def test_begin_pins_threads(example, monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    session.begin("example")
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    session.begin("example", threads=5)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("uv", "name", "command"),
    [
        (True, "tensorflow", "uv sync --inexact --group tensorflow"),
        (True, "torch", "uv sync --inexact"),
        (False, "tensorflow", "python -m pip install tensorflow"),
        (False, "ai_edge_litert", "python -m pip install ai-edge-litert"),
    ],
)
def test_the_command_that_adds_a_framework(monkeypatch, uv, name, command):
    monkeypatch.setattr(session, "made_by_uv", lambda: uv)
    assert session.add_command(name) == command


def test_versions_come_without_an_import():
    assert session.version("sklearn")[0].isdigit()
    assert session.version("no_such_thing") == "?"
    assert not session.installed("no_such_thing")


@pytest.mark.parametrize(
    "text",
    ["a*b*c", "<script>alert(1)</script>", "[1](x)", "$x$", "a_b_c", "# no heading", "` alone *x*", "\\ | ~~a~~ &lt;"],
)
def test_an_answers_own_text_cannot_change_the_page(text):
    import re
    from html import unescape

    import mistune

    shown = mistune.html(boxes.escape(text))
    assert unescape(re.sub(r"</?p>", "", shown)).strip() == text
    assert boxes.escape("`<a_b>` and <i>") == "`<a_b>` and &lt;i&gt;"


def test_boxes_say_in_words_what_they_say_in_colour():
    box = boxes.Box("danger", "Not yet: x", ("found 3",), (("Hint 1", "look"),))
    assert "**Not yet: x**" in box.markdown()
    assert "<summary>Hint 1</summary>" in box.markdown()
    assert box.text() == "Not yet: x\nfound 3\nHint 1: look"
    bundle = box.bundle(CHECK_MIME, {"id": "x"})
    assert json.loads(json.dumps(bundle))[CHECK_MIME] == {"id": "x"}


def test_what_is_alive_is_frozen_by_the_first_setup_alone(example, monkeypatch):
    frozen = []
    monkeypatch.setattr(session, "_current", [])
    monkeypatch.setattr(session, "kernel_shell", lambda: SimpleNamespace(user_ns={}))
    monkeypatch.setattr(session.gc, "freeze", lambda: frozen.append(1))
    session.begin("example")
    session.begin("example")
    assert frozen == [1]

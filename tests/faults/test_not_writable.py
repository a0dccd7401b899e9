"""Folders that cannot be written: found before any work is done for them, and the sentence says what to set."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgelab.course import boxes, build, session

EXAMPLE = Path(__file__).resolve().parents[1] / "labs" / "example"
NAMED = "cannot be written (Not a directory); set EDGELAB_RUNS to a folder of your own."


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A lab whose folder for runs lies below a file: nobody can make that, root neither."""
    (tmp_path / "home" / "solutions").mkdir(parents=True)
    shutil.copy(EXAMPLE / "solutions" / "90_example.py", tmp_path / "home" / "solutions")
    monkeypatch.setenv("EDGELAB_HOME", str(tmp_path / "home"))
    build.build()
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path / "file" / "runs"))
    monkeypatch.delenv("EDGELAB_PROGRESS", raising=False)
    return tmp_path / "home"


def edgelab(*words):
    return subprocess.run([sys.executable, "-m", "edgelab", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words", [("run", "example"), ("open", "example", "--no-browser"), ("check", "example"), ("progress",)]
)
def test_runs_that_cannot_be_kept_are_one_sentence_before_the_work(home, words):
    done = edgelab(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    (sentence,) = done.stderr.strip().splitlines()  # and no progress bar: no cell was run
    assert sentence.endswith(NAMED)
    assert not (home / "runs").exists()


def test_a_folder_that_was_asked_for_has_another_cure(home):
    done = edgelab("run", "example", "--out", str(home / "solutions" / "90_example.py" / "out"))
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "90_example.py/out cannot be written (Not a directory); choose another folder with --out."
    )


def test_check_of_somebody_elses_notebook_needs_no_folder(home):
    done = edgelab("check", "example", "--notebook", str(home / "labs" / "90_example.ipynb"))
    assert done.returncode == 0, done.stderr


def test_a_notebook_says_that_nothing_will_be_kept(home, monkeypatch):
    shown = []

    class Shell:
        user_ns = {}  # noqa: RUF012

    monkeypatch.setattr(session, "kernel_shell", Shell)
    monkeypatch.setattr(boxes, "show_markdown", lambda markdown, text: shown.append(text))
    session.begin("example")
    assert [text for text in shown if text.endswith(NAMED)]
    shown.clear()
    monkeypatch.setenv("EDGELAB_PROGRESS", "off")  # a solution's run keeps nothing anyway
    session.begin("example")
    assert not [text for text in shown if "EDGELAB_RUNS" in text]


MOUNTED = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
shift
exec "$@"
"""


def in_a_read_only_clone(home, *words):
    """Start a command where the clone is read-only, in a session of its own; its standard error goes to its output."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = [sys.executable, "-m", "edgelab", *words]
    return subprocess.Popen(
        ["unshare", "--mount", *user, "sh", "-c", MOUNTED, "sh", str(home), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("unshare"), reason="needs Linux's mount namespaces")
def test_a_run_in_a_read_only_clone_says_what_to_set(home, monkeypatch):
    monkeypatch.delenv("EDGELAB_RUNS")
    child = in_a_read_only_clone(home, "run", "example")
    said, _ = child.communicate(timeout=120)
    if child.returncode == 77 or said.startswith("unshare"):
        pytest.skip(f"no mount of its own is allowed here ({said.strip()})")
    assert child.returncode == 2, said
    assert "(Read-only file system)" in said
    assert "set EDGELAB_RUNS" in said


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("unshare"), reason="needs Linux's mount namespaces")
def test_a_lab_of_a_read_only_clone_opens_in_the_learners_home(home, monkeypatch, tmp_path):
    monkeypatch.delenv("EDGELAB_RUNS")
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    child = in_a_read_only_clone(home, "open", "example", "--no-browser", "--port", "9470")
    said = [child.stdout.readline()]
    while said[-1] and "serves at http" not in said[-1]:
        said.append(child.stdout.readline())
    child.terminate()  # the command itself: the shell before it has become it
    child.communicate(timeout=60)
    if child.returncode == 77 or said[0].startswith("unshare"):
        pytest.skip(f"no mount of its own is allowed here ({said[0].strip()})")
    place = tmp_path / "person" / "edgelab"
    assert f"is not yours to write to, so your work goes to {place}." in said[0]
    assert "/lab/tree/my/90_example.ipynb" in said[-1]
    assert (place / "my" / "90_example.ipynb").exists()
    assert not (home / "my").exists()

"""Folders that cannot be written: found before any work is done for them, and the sentence says what to set."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgelab.course import boxes, build, labs, session

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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_clone(home, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path / "mine"))
    (home / "labs").chmod(0o555)
    try:
        done = edgelab("open", "example", "--no-browser")
    finally:
        (home / "labs").chmod(0o755)
    assert done.returncode == 2
    assert "copy the clone to a folder of your own and set EDGELAB_HOME to it" in done.stderr
    assert labs.find("example")


MOUNTED = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
shift
exec "$@"
"""


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("unshare"), reason="needs Linux's mount namespaces")
@pytest.mark.parametrize(("runs", "cure"), [(None, "set EDGELAB_RUNS"), ("mine", "set EDGELAB_HOME")])
def test_a_clone_on_a_read_only_file_system(home, monkeypatch, tmp_path, runs, cure):
    monkeypatch.delenv("EDGELAB_RUNS")
    if runs:
        monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path / runs))
    command = [sys.executable, "-m", "edgelab", "open", "example", "--no-browser"]
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", "--mount", *user, "sh", "-c", MOUNTED, "sh", str(home), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip(f"no mount of its own is allowed here ({done.stderr.strip()})")
    assert done.returncode == 2, done.stderr
    assert "(Read-only file system)" in done.stderr
    assert cure in done.stderr

"""The learner's copy: made once, kept through updates, reset without loss, in the home where the clone is not his."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from edgelab.course import build, copies, grade, paths, progress, serve
from edgelab.course.labs import find

EXAMPLE = Path(__file__).parents[1] / "labs" / "example"
ANSWER = "def my_percentile(values, q):\n    return sorted(values)[-(-q * len(values) // 100) - 1]"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone that holds the example lab alone."""
    home = tmp_path / "clone"
    shutil.copytree(EXAMPLE, home)
    monkeypatch.setenv("EDGELAB_HOME", str(home))
    monkeypatch.delenv("EDGELAB_RUNS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    return home


def edit(path, change):
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def solve(notebook):
    (cell,) = [c for c in notebook.cells if "exercise:percentile" in c.metadata.get("tags", ())]
    cell.source = ANSWER


def newer(clone):
    """The lab as a later version of edgelab ships it: other words, and one cell more."""
    source = clone / "solutions" / "90_example.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("# ## Explore\n#\n", "# ## Explore\n#\n# New words.\n#\n", 1), encoding="utf-8")
    assert "New words." in source.read_text(encoding="utf-8")


def test_a_copy_is_made_once_and_the_labs_folder_stays_as_it_is(clone):
    lab = find("example")
    before = lab.notebook.read_bytes()
    made = copies.ready(lab)
    assert made.what == "made"
    assert made.path == clone / "my" / "90_example.ipynb"
    edit(made.path, solve)
    assert copies.ready(lab).what == "kept"
    assert ANSWER in [cell.source for cell in nbformat.read(made.path, as_version=4).cells]
    assert lab.notebook.read_bytes() == before
    assert copies.learners(lab) == made.path


def test_git_ignores_the_copies():
    assert "/my/" in (Path(__file__).parents[2] / ".gitignore").read_text(encoding="utf-8").split()


def test_an_update_keeps_answers_and_dials_and_loses_nothing(clone):
    lab = find("example")
    path = copies.ready(lab).path

    def work(notebook):
        solve(notebook)
        (dials,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
        dials.source = dials.source.replace("runs = 400", "runs = 600")
        notebook.cells.insert(4, nbformat.v4.new_code_cell("mine = 1"))

    edit(path, work)
    old = path.read_bytes()
    newer(clone)
    found = copies.ready(find("example"))
    assert found.what == "updated"
    assert set(found.answers) == {"percentile", "parameters"}
    assert found.left == 1
    assert found.before.read_bytes() == old
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    for wanted in (ANSWER, "runs = 600", "New words."):
        assert wanted in text
    assert "mine = 1" not in text
    assert "1 cells that you added or changed are in the old one alone" in str(found)
    assert copies.ready(find("example")).what == "kept"


def test_an_update_of_an_untouched_copy_takes_the_new_dials(clone):
    lab = find("example")
    path = copies.ready(lab).path
    source = clone / "solutions" / "90_example.py"
    source.write_text(source.read_text(encoding="utf-8").replace("runs = 400", "runs = 500"), encoding="utf-8")
    found = copies.ready(find("example"))
    assert (found.what, found.answers, found.left) == ("updated", (), 0)
    assert "runs = 500" in path.read_text(encoding="utf-8")


def test_a_reset_gives_a_fresh_copy_and_forgets_the_tries(clone):
    lab = find("example")
    path = copies.ready(lab).path
    edit(path, solve)
    kept = progress.Progress("example", {"percentile": progress.Effort(tries=3, hints=1, solved=True)})
    progress.save(kept)
    found = copies.reset(lab)
    assert path.read_text(encoding="utf-8") == build.dumps(build.learner(lab))
    assert "sorted(values)" in found.before.read_text(encoding="utf-8")
    assert progress.load("example").exercises == {}
    assert [p for p in progress.location("example").parent.iterdir() if p.name.startswith("example.")]


def test_a_reset_may_keep_the_progress(clone):
    progress.save(progress.Progress("example", {"percentile": progress.Effort(tries=3, hints=1, solved=True)}))
    copies.reset(find("example"), keep_progress=True)
    assert progress.load("example").exercises["percentile"].solved


def test_the_check_grades_the_copy(clone, monkeypatch):
    lab = find("example")
    edit(copies.ready(lab).path, solve)
    monkeypatch.setenv("EDGELAB_PROGRESS", "off")
    report = grade.grade("example")
    assert report.to_dict()["notebook"] == str(copies.place(lab))
    assert [check["status"] for check in report.to_dict()["checks"]] != ["open"]


def test_elsewhere_where_runs_say_so(clone, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path / "desk"))
    assert copies.ready(find("example")).path == tmp_path / "desk" / "my" / "90_example.ipynb"


def test_in_the_home_where_the_clone_is_not_the_learners(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "is_own", lambda _: False)
    lab = find("example")
    path = copies.ready(lab).path
    assert path == tmp_path / "person" / "edgelab" / "my" / "90_example.ipynb"
    command, environment = serve.server_command(path, 8888, "token")
    assert f"--ServerApp.root_dir={tmp_path / 'person' / 'edgelab'}" in command
    assert "--LabApp.default_url=/lab/tree/my/90_example.ipynb" in command
    assert environment["EDGELAB_RUNS"] == str(tmp_path / "person" / "edgelab")
    assert environment["EDGELAB_HOME"] == str(clone)


def test_a_clone_that_cannot_be_written_is_not_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(paths.os, "access", lambda *_: False)
    assert not copies.is_own(tmp_path)


def test_a_copy_that_is_no_notebook_is_left_alone(clone):
    lab = find("example")
    path = copies.ready(lab).path
    path.write_text("{broken", encoding="utf-8")
    with pytest.raises(Exception, match="is not a notebook"):
        copies.ready(lab)
    assert path.read_text(encoding="utf-8") == "{broken"
    assert copies.reset(lab).before.read_text(encoding="utf-8") == "{broken"


def test_a_full_disk_loses_nothing(clone, monkeypatch):
    lab = find("example")
    path = copies.ready(lab).path
    edit(path, solve)
    old = path.read_bytes()
    newer(clone)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies.shutil, "copy2", full)
    with pytest.raises(Exception, match="No space left"):
        copies.ready(find("example"))
    assert path.read_bytes() == old


def test_cells_know_what_was_shipped(clone):
    facts = json.loads(build.dumps(build.learner(find("example"))))["metadata"]["edgelab"]
    assert facts["cells"]
    assert all(len(mark) == 8 for mark in facts["cells"].values())

"""Commitments that outlive a kernel, and files that are no help."""

import json
from types import SimpleNamespace

import pytest

from edgelab import ui
from edgelab.errors import BadFile
from edgelab.ui import kept

HOW_MUCH = {"question": "How much?", "unit": "x", "low": 0.0, "high": 10.0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "predictions.json"


def test_a_commitment_is_there_again_and_can_be_changed(path):
    ui.predict(**HOW_MUCH, path=path).commit(3.0)
    ui.predict("Which?", options=["a", "b"], path=path).commit("b")
    assert json.loads(path.read_text()) == {"How much?": 3.0, "Which?": "b"}

    again = ui.predict(**HOW_MUCH, path=path)
    assert again.value == 3.0
    assert again._control.disabled
    assert "You predicted 3.00x before." in again._note.value
    assert ui.predict("Which?", options=["a", "b"], path=path).value == "b"

    again._commit.click()
    assert again.value is None
    assert not again._control.disabled
    again._control.value = 4.0
    again._commit.click()
    assert again.value == 4.0
    assert ui.predict(**HOW_MUCH, path=path).value == 4.0


@pytest.mark.parametrize("answer", [11.0, -1, "many", True, None, [3], {"a": 1}])
def test_an_answer_that_no_longer_fits_is_forgotten(path, answer):
    path.parent.mkdir()
    path.write_text(json.dumps({"How much?": answer}))
    prediction = ui.predict(**HOW_MUCH, path=path)
    assert prediction.value is None
    assert prediction._control.value == 5.0
    assert not prediction._control.disabled


def test_an_option_that_is_gone_is_forgotten(path):
    ui.predict("Which?", options=["a", "b"], path=path).commit("b")
    assert ui.predict("Which?", options=["a", "c"], path=path).value is None


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b""])
def test_a_broken_file_counts_as_none_and_is_replaced(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    prediction = ui.predict(**HOW_MUCH, path=path)
    assert prediction.value is None
    prediction.commit(2.0)
    assert json.loads(path.read_text()) == {"How much?": 2.0}


def test_a_full_disk_leaves_the_prediction_and_says_so(path, monkeypatch):
    ui.predict("Earlier?", low=0, high=1, path=path).commit(1.0)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    prediction = ui.predict(**HOW_MUCH, path=path)
    prediction.commit(2.0)
    assert prediction.value == 2.0
    assert "No space left" in prediction._note.value
    assert json.loads(path.read_text()) == {"Earlier?": 1.0}
    with pytest.raises(BadFile):
        kept.keep(path, "q", 1.0)


def test_nothing_is_kept_outside_a_notebook(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path))
    assert kept.place() is None
    ui.predict(**HOW_MUCH).commit(2.0)
    assert list(tmp_path.iterdir()) == []


def test_where_a_notebook_keeps_them(monkeypatch, tmp_path):
    home = tmp_path / "course"
    for folder in ("labs", "solutions"):
        (home / folder).mkdir(parents=True)
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    for name in ("EDGELAB_RUNS", "EDGELAB_HOME", "EDGELAB_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(home / "labs")
    assert kept.place() == home / "runs" / "predictions.json"
    monkeypatch.chdir(tmp_path)
    assert kept.place() is None
    monkeypatch.setenv("EDGELAB_HOME", str(home))
    assert kept.place() == home / "runs" / "predictions.json"
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path / "elsewhere"))
    assert kept.place() == tmp_path / "elsewhere" / "predictions.json"
    monkeypatch.setenv("EDGELAB_PROGRESS", "off")
    assert kept.place() is None

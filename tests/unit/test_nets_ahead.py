"""Figures made ahead: what is there is not made again, and every run is saved as it ends."""

import pytest

from edgelab.errors import BadFile
from edgelab.files import write_json
from edgelab.nets import ahead


def test_what_is_there_is_not_made_again_and_each_run_is_saved():
    known, saved, asked = [{"what": "a", "seed": 0, "found": 1}], [], []

    def make(wanted):
        asked.append(wanted)
        return [{**wanted, "found": 2}, {**wanted, "what": "b", "found": 3}]

    wanted = [{"what": what, "seed": seed} for seed in (0, 1) for what in "ab"]
    made = list(ahead.complete(known, wanted, make, lambda runs: saved.append(len(runs))))
    assert asked == [{"what": "b", "seed": 0}, {"what": "a", "seed": 1}]
    assert saved == [3, 5]
    assert known[1:] == made
    assert list(ahead.complete(known, wanted, make, saved.append)) == []


def test_a_run_that_is_stopped_loses_nothing_that_was_saved():
    known, saved = [], []

    def make(wanted):
        if wanted["seed"] == 1:
            raise KeyboardInterrupt
        return [wanted]

    with pytest.raises(KeyboardInterrupt):
        list(ahead.complete(known, [{"seed": 0}, {"seed": 1}], make, lambda runs: saved.append(list(runs))))
    assert saved == [[{"seed": 0}]]


def test_a_setting_that_is_missing_is_no_setting_of_none():
    assert not ahead.same({"edge_bits": None}, {"bits": 8})
    assert ahead.selected([{"edge_bits": None}, {"bits": 8}], edge_bits=None) == [{"edge_bits": None}]


@pytest.mark.parametrize("content", [None, [], {"runs": []}])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, content):
    path = tmp_path / "figures.json"
    if content is not None:
        write_json(path, content)
    with pytest.raises(BadFile, match=r"figures\.json does not hold figures of pruning"):
        ahead.read(path, "pruning", ("runs", "judged"))


def test_date_and_machine_are_those_of_the_last_run():
    runs = [{"date": "2026-01-02", "machine": "b"}, {"date": "2026-01-01", "machine": "a"}]
    assert ahead.made_on(runs) == ("2026-01-02", "b")
    assert set(ahead.here()) == {"date", "machine"}


def test_every_program_of_figures_takes_the_same_words(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["figures", "--anew", "--file", str(tmp_path / "f.json"), "--seconds", "3"])
    given = ahead.command_line("Again.", tmp_path / "usual.json", seconds=True)
    assert (given.anew, given.file, given.seconds) == (True, tmp_path / "f.json", 3.0)
    monkeypatch.setattr("sys.argv", ["figures"])
    given = ahead.command_line("Again.", tmp_path / "usual.json")
    assert (given.anew, given.file) == (False, tmp_path / "usual.json")
    assert not hasattr(given, "seconds")
    monkeypatch.setattr("sys.argv", ["figures", "--seconds", "3"])
    with pytest.raises(SystemExit):
        ahead.command_line("Again.", tmp_path / "usual.json")
    assert "--seconds" in capsys.readouterr().err

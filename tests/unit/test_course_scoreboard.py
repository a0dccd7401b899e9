"""The scoreboard of all labs: what runs and notebooks left, and a command where they left nothing."""

import json

import pytest

from edgelab.course import results
from edgelab.course.scoreboard import WANTED, scoreboard
from edgelab.reading import Reading


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path))
    return tmp_path


def keep(runs, lab, *readings):
    (runs / lab).mkdir()
    data = {"lab": lab, "readings": [r.to_dict() for r in readings]}
    (runs / lab / f"{lab}.json").write_text(json.dumps(data))


def named(name, value, unit="x"):
    return Reading(value, unit, "measured", "a test", name=name)


def test_without_runs_every_row_says_what_to_run(runs):
    board = scoreboard(but="capstone")
    assert board.run == 0
    assert board.labs >= 10
    assert all(score.where == f"uv run edgelab run {score.lab}" for score in board.scores)
    assert "capstone" not in {score.lab for score in board.scores}
    assert "not run yet" in str(board.table())


def test_a_run_fills_its_rows(runs):
    keep(runs, "quantization", named("size.file", 3.5), named("speed_up.int8", 1.6))
    keep(runs, "firmware", named("signs.dsp.instructions", 3_000_000, "instructions"))
    found = {(s.lab, s.what): s for s in scoreboard().scores if s.reading}
    assert len(found) == 3
    assert found["quantization", WANTED["quantization"][0][1]].reading.value == 3.5
    assert found["firmware", "instructions of one inference"].where == "edgelab run"
    assert scoreboard().run == 2


def test_a_notebooks_claims_count_too(runs):
    verdict = {
        "id": "Q1", "claim": "c", "verdict": "held", "why": "w",
        "reading": named("size.file", 3.9).to_dict(), "readings": [named("size.file", 3.9).to_dict()],
    }  # fmt: skip
    results.add("quantization", "notebook", claims=[verdict])
    score = next(s for s in scoreboard().scores if s.reading)
    assert (score.lab, score.reading.value, score.where) == ("quantization", 3.9, "a claim's verdict")


def test_a_broken_file_is_named_and_loses_nothing(runs):
    (runs / "mcu").mkdir()
    (runs / "mcu" / "mcu.json").write_text("{")
    keep(runs, "onnx", named("agreement.optimised", 100.0, "%"))
    board = scoreboard()
    assert board.run == 1
    assert len(board.trouble) == 1
    assert "mcu.json does not hold the readings of a run" in board.trouble[0]
    assert board.to_dict()["scores"]
    (runs / "claims.json").write_text("{")
    assert len(scoreboard().trouble) == 2


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", "null", '"readings"', '{"readings": 3}', '{"readings": [3]}', '{"readings": {"a": 1}}',
        '{"readings": [{"value": "3", "unit": "x", "how": "measured", "by": "b", "name": "arena.cortex_m.a"}]}',
        '{"readings": [{"value": null, "unit": "x", "how": "measured", "by": "b", "name": "arena.cortex_m.a"}]}',
        '{"readings": [{"value": 3, "unit": 4, "how": "measured", "by": "b", "name": "arena.cortex_m.a"}]}',
        '{"readings": [{"value": 3, "unit": "x", "how": "measured", "by": "b", "name": ["arena"]}]}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_run_is_one_sentence(runs, text):
    (runs / "mcu").mkdir()
    (runs / "mcu" / "mcu.json").write_text(text)
    (runs / "mcu" / "notes.json").write_text("{")
    (runs / "foreign").write_text("no folder")
    board = scoreboard()
    assert len(board.trouble) == 1
    assert "mcu.json does not hold the readings of a run" in board.trouble[0]
    assert "not run yet" in str(board.table())


def test_a_folder_or_bytes_in_the_place_of_a_file(runs):
    (runs / "mcu" / "mcu.json").mkdir(parents=True)
    (runs / "onnx").mkdir()
    (runs / "onnx" / "onnx.json").write_bytes(b"\xff\xfe\x00")
    (runs / "claims.json").mkdir()
    assert len(scoreboard().trouble) == 3


@pytest.mark.parametrize("readings", [3, [3], [{"value": 1}], "text", [None]])
def test_a_verdict_without_its_figures_is_one_sentence(runs, readings):
    verdict = {"id": "Q1", "claim": "c", "verdict": "held", "why": "w", "reading": named("size.file", 3.9).to_dict()}
    results.add("quantization", "notebook", claims=[{**verdict, "readings": readings}])
    board = scoreboard()
    assert board.trouble == tuple(t for t in board.trouble if "holds a verdict of quantization" in t)
    assert len(board.trouble) == 1


def test_labs_that_are_merged_later_have_good_names():
    assert {"lowrank", "search"} <= set(WANTED)

"""A server's answers while a rollout is under way, and the verb that edits it."""

import argparse
import json

import pytest

from edgelab.cli import rollout as verb
from edgelab.errors import BadFile, BadInput, EdgelabError
from edgelab.ota import rollout
from edgelab.ota.turns import answers, of_device, releases

HOUR = 3600.0


@pytest.fixture
def repo(tmp_path):
    for number in (3, 4, 5):
        path = tmp_path / "targets" / "signs" / f"{number}0abc.manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"release": number}))
    return tmp_path


def said(device, booted, **more):
    return {"device": device, "booted": booted, "latency_ms": [2.0, 3.0], "action": "none", "reason": "", **more}


def call(capsys, *words):
    parser = argparse.ArgumentParser()
    verb.add_verb(parser.add_subparsers())
    options = parser.parse_args(["rollout", *map(str, words)])
    options.json = True
    assert options.verb(options) == 0
    return json.loads(capsys.readouterr().out)


def test_without_a_rollout_everybody_is_offered_everything(repo):
    offer, report = answers(repo)
    assert offer({"device": "a", "running": None, "release": 5})["offer"]
    assert report(said("a", 5)) == {"kept": False}


def test_a_bad_release_is_held_back_taken_back_and_the_previous_one_is_the_way_out(repo, capsys):
    now = [0.0]
    offer, report = answers(repo, lambda: now[0])
    rollout.start(repo, 5, 4, [30, 100], now=0.0, hold_h=6, look_h=1)
    names = [f"device-{n}" for n in range(100)]
    running = dict.fromkeys(names, 4)
    for hour in range(3):
        now[0] = hour * HOUR
        for name in names:
            if offer({"device": name, "running": running[name], "release": 5})["offer"]:
                running[name] = 5
            report(said(name, running[name], crashes=int(running[name] == 5 and hour > 0)))
        if rollout.read(repo).status == "stopped":
            break
    now[0] += HOUR
    assert not offer({"device": names[0], "running": 4, "release": 5})["offer"]
    state = rollout.read(repo)
    assert state.status == "stopped"
    bad = next(name for name in names if running[name] == 5)
    assert not offer({"device": names[0], "running": 4, "release": 5})["offer"]
    for name in (bad, names[0]):  # 6: the previous model, published again
        assert offer({"device": name, "running": running[name], "release": 6})["offer"]
    assert rollout.read(repo).fallback == 6
    assert call(capsys, repo)["status"] == "stopped"


def test_a_newer_release_waits_for_a_rollout_of_its_own(repo):
    offer, _ = answers(repo, lambda: 1.0)
    rollout.start(repo, 5, 4, [100], now=0.0)
    assert offer({"device": "a", "running": 4, "release": 5})["offer"]
    answer = offer({"device": "a", "running": 5, "release": 6})
    assert not answer["offer"]
    assert "of its own" in answer["reason"]


def test_what_a_device_says_becomes_a_report(repo):
    state = rollout.start(repo, 5, 4, [50, 100], now=0.0)
    assert of_device(said("a", None), state, 1.0) is None
    assert of_device(said("a", 4), state, 1.0).latency.total == 2
    assert of_device(said("a", 4, reason="It needs 9 bytes. (space)"), state, 1.0).standing == "no space"
    assert of_device(said("a", 4, reason="Not for this. (hardware)"), state, 1.0).standing == "incompatible"
    assert of_device(said("a", 4, reason="Wrong answers. (smoke test)"), state, 1.0).standing == "rolled back"
    assert of_device(said("a", 4, rolled_back=[5]), state, 1.0).standing == "rolled back"
    assert of_device(said("a", 4, rolled_back=[2]), state, 1.0).standing == "ok"


@pytest.mark.parametrize(
    "change",
    [
        {"device": "../x"},
        {"device": ["a"]},
        {"booted": -1},
        {"booted": "4"},
        {"latency_ms": [-1]},
        {"latency_ms": "fast"},
        {"latency_ms": [1.0] * 20_000},
        {"reason": 7},
        {"rolled_back": 5},
        {"crashes": -1},
        {"crashes": "1"},
        {"right": 2},
    ],
)
def test_what_is_no_report_changes_nothing(repo, change):
    rollout.start(repo, 5, 4, [50, 100], now=0.0)
    before = (repo / rollout.FILE).read_text()
    with pytest.raises(BadInput):
        answers(repo, lambda: 1.0)[1]({**said("a", 4), **change})
    assert (repo / rollout.FILE).read_text() == before


def test_the_verb_starts_pauses_resumes_aborts_and_shows(repo, capsys):
    found = call(capsys, repo, "--waves", "1,10,100", "--hold", "24")
    assert (found["release"], found["previous"], found["waves"], found["hold_h"]) == (5, 4, [1, 10, 100], 24)
    for word, status in (("pause", "paused"), ("resume", "running"), ("abort", "aborted")):
        assert call(capsys, repo, word)["status"] == status
    assert call(capsys, repo)["status"] == "aborted"


@pytest.mark.parametrize(
    "words",
    [
        ["pause", "--waves", "1,100"],
        ["--hold", "3"],
        ["--waves", "100,1"],
        ["--waves", "100", "--hold", "-1"],
        ["--waves", "100", "--hold", "nan"],
        ["--waves", "100", "--release", "3"],
        ["--waves", "100", "--model", "other"],
        ["resume"],
        [],
    ],
)
def test_a_verb_that_cannot_be_done_says_so_and_changes_nothing(repo, capsys, words):
    with pytest.raises(EdgelabError):
        call(capsys, repo, *words)
    assert not (repo / rollout.FILE).exists()
    with pytest.raises(SystemExit):
        call(capsys, repo, "--waves", "a,b")


def test_releases_of_a_repository(repo, tmp_path):
    assert releases(repo) == ("signs", [3, 4, 5])
    (repo / "targets" / "signs" / "bad.manifest.json").write_text("{")
    other = repo / "targets" / "words" / "1.manifest.json"
    other.parent.mkdir()
    other.write_text(json.dumps({"release": 1}))
    with pytest.raises(BadInput, match="--model"):
        releases(repo)
    assert releases(repo, "signs") == ("signs", [3, 4, 5])
    with pytest.raises(BadFile):
        releases(tmp_path / "none")

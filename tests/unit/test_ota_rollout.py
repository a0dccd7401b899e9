"""Rollouts: who is in which wave, what stops one, what the verbs change, and reports that lie."""

import json
import math

import numpy as np
import pytest

from edgelab.errors import BadFile, BadInput
from edgelab.ota import rollout
from edgelab.ota.evidence import FEWEST, Follow
from edgelab.ota.histogram import LogHistogram
from edgelab.ota.reports import MOST_BYTES, Report
from edgelab.ota.rollout import Rollout, place_percent

HOUR = 3600.0
DEVICES = [f"device-{n}" for n in range(400)]


def usual(device, release, at, *, crash=0.0, slow=1.0, right=0.9, rng=None, standing="ok"):
    rng = np.random.default_rng() if rng is None else rng
    latency = LogHistogram.of(slow * np.exp(rng.normal(1, 0.2, 200)))
    return Report(device, release, 1.0, int(rng.random() < crash), latency, round(right * 100), 100, standing)


def hours(repo, count, *, start=0, held_back=(), **fault):
    """Devices that report every hour and boot what they are offered; ``fault`` is the new release's."""
    rng = np.random.default_rng(5)
    running = {name: each["release"] for name, each in rollout.read(repo).follow.devices.items()}
    state = rollout.read(repo)
    for hour in range(start, start + count):
        now = hour * HOUR
        reports = []
        for device in DEVICES:
            release = running.get(device, 4)
            standing = "no space" if device in held_back else "ok"
            mine = fault if release == 5 else {}
            reports.append(usual(device, release, now, rng=rng, standing=standing, **{"crash": 0.01, **mine}))
            offered = state.offer(device, release).release
            running[device] = release if device in held_back or offered is None else max(release, offered)
        state = rollout.take_reports(repo, reports, now)
    return state


@pytest.fixture
def repo(tmp_path):
    rollout.start(tmp_path, 5, 4, [10, 50, 100], now=0.0, hold_h=5)
    return tmp_path


def test_a_wave_is_the_same_every_time_and_a_fair_sample():
    places = np.array([place_percent("r5-0", f"d{n}") for n in range(20_000)])
    assert places.min() >= 0
    assert places.max() < 100
    assert abs((places < 10).mean() - 0.1) < 5 * math.sqrt(0.09 / 20_000)
    other = np.array([place_percent("r6-0", f"d{n}") for n in range(20_000)])
    assert abs(np.corrcoef(places, other)[0, 1]) < 0.04


def test_a_release_that_is_no_worse_reaches_everybody(repo):
    state = hours(repo, 24)
    assert state.status == "done", state.reason
    assert [each["what"] for each in state.history][:3] == [
        "wave 1: 10 percent",
        "wave 2: 50 percent",
        "wave 3: 100 percent",
    ]
    assert state.standings(24 * HOUR) == {"on the release": sorted(DEVICES)}
    assert rollout.read(repo).to_dict() == state.to_dict()


@pytest.mark.parametrize(
    ("fault", "word"), [({"crash": 0.5}, "crashed"), ({"slow": 1.5}, "slower"), ({"right": 0.7}, "wrong")]
)
def test_a_bad_release_is_stopped_in_the_first_wave_and_taken_back(repo, fault, word):
    state = hours(repo, 12, **fault)
    assert state.status == "stopped"
    assert word in state.reason
    assert state.wave == 0
    had_it = state.standings(12 * HOUR)["on the release"]
    assert all(state.in_wave(device) for device in had_it)
    other = next(device for device in DEVICES if device not in had_it)
    assert state.offer(other, 4).release == 4
    assert state.offer(had_it[0], 5).release is None  # devices refuse a lower counter
    assert "published again" in state.offer(had_it[0], 5).why
    with pytest.raises(BadInput, match="not newer"):
        rollout.republished(repo, 5, 13 * HOUR)
    state = rollout.republished(repo, 6, 13 * HOUR)
    assert state.offer(had_it[0], 5).release == state.offer(other, 4).release == 6


def test_a_device_that_rolled_back_by_itself_counts_against_the_release(repo):
    state = rollout.read(repo)
    for device in DEVICES:
        inside = state.in_wave(device)
        state.take(Report(device, 4, 1.0, standing="rolled back" if inside else "ok"), 1800)
    assert state.advance(2 * HOUR).stop
    assert state.status == "stopped"


def test_a_wave_waits_until_its_devices_have_booted_the_release(repo):
    inside = [device for device in DEVICES if rollout.read(repo).in_wave(device)]
    state = rollout.take_reports(repo, [Report(device, 4, 1.0) for device in inside], 7 * HOUR)
    assert state.wave == 0
    assert state.reason == f"waits: 0 of {len(inside)} devices of wave 1 have booted 5"
    state = rollout.take_reports(repo, [Report(device, 5, 1.0) for device in inside], 8 * HOUR)
    state = rollout.take_reports(repo, [], 9 * HOUR)
    assert state.wave == 1
    nobody = rollout.take_reports(repo, [], 300 * HOUR)
    assert nobody.wave == 1  # silence is no success


def test_devices_that_cannot_take_it_keep_theirs_until_its_end_of_life(repo):
    held_back = set(DEVICES[:20])
    state = hours(repo, 24, held_back=held_back)
    assert state.status == "done"
    assert state.standings(24 * HOUR)["no space"] == sorted(held_back)
    ends = state.offer(DEVICES[0], 4).end_of_life
    assert ends == pytest.approx(state.history[-1]["at"] + 90 * 24 * HOUR)
    assert state.offer(DEVICES[0], 4).required == 0
    assert rollout.take_reports(repo, [], ends + 1).offer(DEVICES[0], 4).required == 5
    rollout.start(repo, 9, 5, [100], now=ends + 2)
    assert rollout.read(repo).offer(DEVICES[0], 4).required == 5  # the next rollout forgets nothing
    assert "silent" in rollout.read(repo).standings(ends + 2)


def test_pausing_stops_the_clock_and_the_offers_and_not_the_gate(repo):
    hours(repo, 3)
    inside = next(device for device in DEVICES if rollout.read(repo).in_wave(device))
    state = rollout.pause(repo, 3 * HOUR)
    assert state.offer(inside, 4).release == 4
    assert state.offer(inside, 5).release == 5
    assert rollout.take_reports(repo, [], 50 * HOUR).held_h == pytest.approx(3)
    with pytest.raises(BadInput, match="is paused, not running"):
        rollout.pause(repo, 50 * HOUR)
    assert rollout.resume(repo, 60 * HOUR).wave == 0
    assert rollout.take_reports(repo, [], 61 * HOUR).held_h == pytest.approx(4)
    bad = [usual(d, 5 if state.in_wave(d) else 4, 0, crash=0.9 if state.in_wave(d) else 0) for d in DEVICES]
    rollout.pause(repo, 61 * HOUR)
    rollout.take_reports(repo, bad, 61.5 * HOUR)
    assert rollout.take_reports(repo, [], 63 * HOUR).status == "stopped"


def test_aborting_is_for_good(repo):
    assert rollout.abort(repo, HOUR).status == "aborted"
    for verb in (rollout.pause, rollout.resume, rollout.abort):
        with pytest.raises(BadInput, match="nothing was changed"):
            verb(repo, 2 * HOUR)
    assert "publish the model of release 4 again" in rollout.read(repo).table(2 * HOUR).text()
    rollout.start(repo, 7, 4, [100], now=3 * HOUR)


def test_one_rollout_at_a_time(repo):
    with pytest.raises(BadInput, match="abort that first"):
        rollout.start(repo, 6, 5, [100], now=1.0)


@pytest.mark.parametrize(
    "waves", [[], [1, 10], [10, 1, 100], [0, 100], [1, 1, 100], [1, 101], [math.nan, 100], ["1", 100]]
)
def test_waves_that_make_no_sense_are_refused(tmp_path, waves):
    with pytest.raises(BadInput, match="Waves"):
        rollout.start(tmp_path, 2, 1, waves, now=0.0)
    assert not (tmp_path / rollout.FILE).exists()


@pytest.mark.parametrize("settings", [{"hold_h": -1}, {"hold_h": math.nan}, {"alpha": 0}, {"look_h": 0}])
def test_settings_that_make_no_sense_are_refused(tmp_path, settings):
    with pytest.raises(BadInput):
        rollout.start(tmp_path, 2, 1, [100], now=0.0, **settings)
    with pytest.raises(BadInput, match="newer"):
        rollout.start(tmp_path, 1, 1, [100], now=0.0)


@pytest.mark.parametrize(
    "hostile", [{}, [], {"format": 2}, "text", {"follow": {}}, {"waves": [50]}, {"wave": 9}, {"looks": 1}]
)
def test_a_damaged_state_is_refused_and_kept(repo, hostile):
    path = repo / rollout.FILE
    whole = json.loads(path.read_text())
    content = {**whole, **hostile} if isinstance(hostile, dict) and hostile else hostile
    path.write_text(json.dumps(content))
    with pytest.raises(BadFile):
        rollout.read(repo)
    with pytest.raises(BadFile):
        rollout.pause(repo, 1.0)
    assert json.loads(path.read_text()) == content


def test_a_repository_without_a_rollout_says_how_to_start_one(tmp_path):
    with pytest.raises(BadFile, match="--waves 1,10,100"):
        rollout.read(tmp_path)


def test_a_clock_that_jumps_back_undoes_nothing(repo):
    rollout.take_reports(repo, [], 3 * HOUR)
    state = rollout.take_reports(repo, [], 1 * HOUR)
    assert state.held_h == pytest.approx(3)
    assert state.clock == 3 * HOUR


def test_a_report_counts_for_no_more_time_than_passed():
    follow = Follow()
    follow.take(Report("a", 4, 8784.0), "old", 0.0, baseline=True)
    follow.take(Report("a", 4, 8784.0), "old", 1800.0, baseline=True)
    assert follow.now["crashed"][3] == pytest.approx(24.5)


def test_a_device_is_compared_with_itself_before_the_release():
    follow, rng = Follow(), np.random.default_rng(0)
    follow.take(usual("new", 5, 0, rng=rng), "new", 0.0, baseline=False)
    assert follow.devices["new"]["p95_ms"] is None
    assert follow.now["slower"] == [0, 0, 0, 0]
    few = Report("old", 4, 1.0, latency=LogHistogram.of(np.ones(FEWEST - 1)), right=1, judged=FEWEST - 1)
    follow.take(few, "old", 0.0, baseline=True)
    assert follow.devices["old"]["p95_ms"] is follow.devices["old"]["accuracy"] is None


GOOD = {"device": "a", "release": 1, "hours": 1.0}


@pytest.mark.parametrize(
    "change",
    [
        {"device": "../etc"},
        {"device": ""},
        {"device": "a" * 65},
        {"device": 7},
        {"device": "a\n"},
        {"release": -1},
        {"release": 1.0},
        {"release": True},
        {"release": 2**60},
        {"hours": 0},
        {"hours": 1e9},
        {"hours": "1"},
        {"hours": math.nan},
        {"crashes": -1},
        {"right": 2, "judged": 1},
        {"standing": "fine"},
        {"standing": ["ok"]},
        {"latency": {}},
        {"latency": {**LogHistogram().to_dict(), "counts": [-1] * 256}},
        {"extra": 1},
    ],
)
def test_a_report_that_lies_is_refused_in_one_sentence(change):
    with pytest.raises(BadInput) as refused:
        Report.from_dict({**GOOD, **change})
    assert "\n" not in str(refused.value)
    with pytest.raises(BadInput):
        Report.from_json(json.dumps({**GOOD, **change}))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"[" * 9999, b"\xff", b" " * (MOST_BYTES + 1), b'{"hours": 1}']
)
def test_a_body_that_is_no_report_is_refused(body):
    with pytest.raises(BadInput):
        Report.from_json(body)


def test_a_report_survives_json():
    report = usual("a", 4, 0)
    assert len(json.dumps(report.to_dict())) < MOST_BYTES
    assert Report.from_json(json.dumps(report.to_dict())) == report
    with pytest.raises(BadInput):
        Rollout(5, 4, [100]).offer("no name!", 4)

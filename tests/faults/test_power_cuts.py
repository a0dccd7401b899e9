"""Power is cut after every operation of every way in which a device changes: it always starts, and goes on from there.

Single cuts are exhaustive over the places to cut. What may be lost at one is tried in every combination where there are
few such things, and sampled where there are many; `thorough` samples many more. The runtime is stubbed here.
"""

import random

import numpy as np
import pytest

from edgelab.ota.deltas import sha256
from edgelab.ota.flash import Cuts, Disk, Flash
from edgelab.ota.powercut import Verdict, cut_everywhere

from .ota_home import SETTINGS, START, Home, model_bytes


class Way:
    """One way in which a device changes: the disk before, the repository then, and what has to run afterwards."""

    def __init__(self, home, start, committed, expected, following):
        self.home, self.start, self.committed, self.expected = home, start, committed, expected
        self.following = following

    def run(self, flash):
        return self.home.device(flash).update(self.home.transport())

    def judge(self):
        return self.home.judge(self.expected, self.following)


def first_install(home):
    home.publish(model_bytes(1))
    return Disk(), 0, 1


def whole_file(home):
    home.publish(model_bytes(1))
    start, _ = home.installed()
    made = home.publish(model_bytes(2))
    assert made.deltas == ()
    return start, 1, 2


def difference(home):
    home.publish(model_bytes(1))
    start, _ = home.installed()
    made = home.publish(model_bytes(1, marks=b"tuned"))
    assert made.deltas[0].bytes < 100
    return start, 1, 2


def third_update(home):
    """Both slots hold a release."""
    home.publish(model_bytes(1))
    flash = Flash()
    home.device(flash).update(home.transport())
    home.publish(model_bytes(2))
    home.device(flash).update(home.transport())
    home.publish(model_bytes(2, marks=b"tuned"))
    return flash.disk(), 2, 3


def roll_back(home):
    """The new release fails on trial."""
    home.publish(model_bytes(1))
    start, _ = home.installed()
    home.publish(model_bytes(1, marks=b"BAD"))
    return start, 1, 1


def broken(home):
    """The new release fails its smoke test."""
    home.publish(model_bytes(1))
    start, _ = home.installed()
    home.publish(model_bytes(1, marks=b"BROKEN"))
    return start, 1, 1


def back_to_the_first(home):
    """A release with the content of the one before it, which the other slot still holds."""
    start, _, _ = difference(home)
    flash = Flash(start)
    home.device(flash).update(home.transport())
    content = home.publisher.repository / "targets" / "model" / f"{sha256(model_bytes(1))}.1.onnx"
    home.publish(content.read_bytes())
    del home.releases[sha256(model_bytes(1))]
    home.releases[sha256(model_bytes(1))] = 3
    return flash.disk(), 2, 3


def key_rotation(home):
    home.publish(model_bytes(1))
    start, _ = home.installed()
    for role in ("targets", "root", "timestamp"):
        home.publisher.rotate(role, START)
    home.publish(model_bytes(1, marks=b"new keys"))
    return start, 1, 2


def prune(home):
    """Parts of older downloads and of an interrupted write are there."""
    home.publish(model_bytes(1))
    start, _ = home.installed()
    made = home.publish(model_bytes(2))
    half = model_bytes(2)[:700]
    litter = {
        "download/0123.part": b"x" * 900,
        "download/4567.part": b"",
        f"download/{made.whole.sha256[:32]}.part": half,
        "state.json.part": b"half a sta",
    }
    return Disk({**start.files, **litter}, start.folders), 1, 2


PATHS = (
    *(first_install, whole_file, difference, third_update, roll_back, broken, back_to_the_first, key_rotation),
    prune,
)


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    made = {}

    def way(build):
        if build not in made:
            folder = tmp_path_factory.mktemp(build.__name__)
            home = Home.make(folder)
            start, committed, expected = build(home)
            following = home.copy(folder / "following")
            following.publish(model_bytes(9))
            made[build] = Way(home, start, committed, expected, following)
        return made[build]

    return way


def say(report):
    return "\n".join(f"after {b.operation}: {b.verdict.fault} {b.verdict.detail}" for b in report.bricks[:5])


@pytest.mark.parametrize("build", PATHS, ids=lambda b: b.__name__)
def test_one_cut_after_every_operation(ways, build):
    cut_once(ways(build), samples=1, everything=3, seed=0)


@pytest.mark.thorough
@pytest.mark.parametrize("build", PATHS, ids=lambda b: b.__name__)
def test_one_cut_after_every_operation_and_more_of_what_it_loses(ways, build):
    cut_once(ways(build), samples=40, everything=9, seed=1)


def cut_once(way, samples, everything, seed):
    flash = Flash(way.start)
    outcome = way.run(flash)
    assert outcome.running == way.expected, outcome
    draw = np.random.default_rng(seed)
    report = cut_everywhere(
        way.start, flash.log, way.judge(), committed=way.committed, draw=draw, samples=samples, everything=everything
    )
    print(report._repr_markdown_())
    assert report.operations > 20
    assert not report.bricks, say(report)


def test_several_cuts_in_a_row(ways):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    cut_often(ways, seed, rounds=8)


@pytest.mark.thorough
def test_many_cuts_in_a_row(ways):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    cut_often(ways, seed, rounds=300)


def cut_often(ways, seed, rounds):
    """Cut, start, cut during what the start does, and so on up to five times; then judge."""
    draw = np.random.default_rng(seed)
    for build in PATHS:
        way = ways(build)
        judge = way.judge()
        for number in range(rounds):
            disk, committed = way.start, way.committed
            for _ in range(int(draw.integers(2, 6))):
                flash = Flash(disk)
                way.run(flash)
                disk, committed = cut_at_random(disk, flash.log, committed, draw)
                running = way.home.device(Flash(disk)).boot()
                fault = way.home.fault(Flash(disk), running, committed)
                assert fault is None, f"seed {seed}, {build.__name__}, round {number}: {fault}"
            verdict = judge(Flash(disk), committed)
            assert not verdict.fault, f"seed {seed}, {build.__name__}, round {number}: {verdict}"


def cut_at_random(disk, log, committed, draw):
    cuts = Cuts(disk)
    for operation in log[: int(draw.integers(1, len(log) + 1))]:
        if operation.kind == "note":
            committed = operation.offset if operation.name == "committed" else committed
        else:
            cuts.do(operation)
    states = list(cuts.states(draw, samples=3, everything=3))
    return states[int(draw.integers(len(states)))], committed


def test_a_release_that_never_lives_through_its_trial_is_given_up(ways):
    """Power goes each time that the release on trial runs: after its starts the device goes back by itself."""
    way = ways(difference)
    flash = Flash(way.start)
    way.run(flash)
    started = [i for i, o in enumerate(flash.log) if str(o) == "rename state.json.part to state.json"]
    cuts = Cuts(way.start)
    for operation in flash.log[: started[1] + 2]:
        if operation.kind != "note":
            cuts.do(operation)
    (disk,) = cuts.states()
    flash = Flash(disk)
    ran = [way.home.device(flash).boot().release for _ in range(SETTINGS.trial_boots)]
    assert ran == [2, 2, 1]
    outcome = way.run(flash)
    assert (outcome.action, outcome.running, outcome.rolled_back) == ("refused", 1, (2,))
    assert "was rolled back here and is not run again" in outcome.reason


def test_a_cut_loses_little_of_a_download(ways):
    """What was synced of a download is gone on with."""
    way = ways(whole_file)
    flash = Flash(way.start)
    way.run(flash)
    synced = [i for i, o in enumerate(flash.log) if o.kind == "fsync" and o.name.startswith("download/")]
    cuts = Cuts(way.start)
    for operation in flash.log[: synced[0] + 1]:
        cuts.do(operation)
    disk = min(cuts.states(), key=lambda d: sum(map(len, d.files.values())))
    outcome = way.run(Flash(disk))
    assert outcome.running == way.expected
    assert 0 < outcome.bytes < len(model_bytes(2)) - SETTINGS.sync_bytes // 2


@pytest.mark.parametrize("left_out", ["fsync", "fsync_folder", "rename"])
def test_the_harness_finds_what_is_left_out(ways, left_out):
    """A device whose storage drops one kind of operation bricks: the harness can fail."""

    class Careless(Flash):
        def fsync(self, name):
            if left_out != "fsync":
                super().fsync(name)

        def fsync_folder(self, folder):
            if left_out != "fsync_folder":
                super().fsync_folder(folder)

        def rename(self, old, new):
            if left_out != "rename":
                super().rename(old, new)
                return
            content = self.read(old)
            self.create(new)
            self.write(new, 0, content)
            self.fsync(new)
            self.unlink(old)

    # A pointer that is lost is made again from the slots: without renames it takes a bad release to see the difference.
    way = ways(roll_back if left_out == "rename" else difference)
    flash = Careless(way.start)
    assert way.run(flash).running == way.expected
    draw = np.random.default_rng(0)
    report = cut_everywhere(way.start, flash.log, way.judge(), committed=1, draw=draw, samples=2, everything=3)
    assert report.bricks, f"nothing was found without {left_out}"


LEFT_OUT = (
    (first_install, "fsync_folder slots", 0),
    (difference, "fsync slots/b/manifest.json", 0),
    (difference, "fsync slots/b/golden.npz", 0),
    (difference, "fsync_folder slots/b", 0),
    (key_rotation, "fsync trusted.json.part", 0),
    (roll_back, "fsync state.json.part", -1),
    (roll_back, "fsync_folder ", -1),
)


@pytest.mark.parametrize(("build", "operation", "which"), LEFT_OUT, ids=lambda value: getattr(value, "__name__", value))
def test_the_harness_finds_each_single_operation_that_is_left_out(ways, build, operation, which):
    log = log_of(ways(build))
    place = [i for i, each in enumerate(log) if str(each) == operation][which]
    assert cut_log(ways(build), [*log[:place], *log[place + 1 :]]).bricks


SWAPPED = (
    (difference, "fsync_folder slots/b", "note committed", -1),
    (difference, "fsync slots/b/manifest.json", "note committed", -1),
    (roll_back, "fsync_folder ", "note rolled back", -1),
)


@pytest.mark.parametrize(("build", "first", "second", "which"), SWAPPED, ids=lambda v: getattr(v, "__name__", v))
def test_the_harness_finds_two_operations_in_the_wrong_order(ways, build, first, second, which):
    log = log_of(ways(build))
    later = [i for i, each in enumerate(log) if str(each) == second][which]
    place = [i for i, each in enumerate(log[:later]) if str(each) == first][which]
    assert cut_log(ways(build), [*log[:place], *log[place + 1 : later + 1], log[place], *log[later + 1 :]]).bricks


def log_of(way):
    flash = Flash(way.start)
    way.run(flash)
    return flash.log


def cut_log(way, log):
    """Starts only: what a device runs right after the cut."""

    def judged(flash, committed):
        try:
            return way.home.fault(flash, way.home.device(flash).boot(), committed) or Verdict("")
        except Exception as error:  # noqa: BLE001 - whatever it is, the device does not start
            return Verdict("does not start", str(error))

    draw = np.random.default_rng(0)
    return cut_everywhere(way.start, log, judged, committed=way.committed, draw=draw, samples=1, everything=3)

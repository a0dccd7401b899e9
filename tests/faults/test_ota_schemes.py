"""The schemes that devices use in earnest, under the harness of power cuts: which brick, and that it can tell."""

import pytest

from edgelab.ota import schemes
from edgelab.ota.flash import Disk, Flash, crash_states
from edgelab.ota.schemes import CRASHES, SCHEMES, WRONG, Scheme, brick_count

BY_NAME = {scheme.name: scheme for scheme in SCHEMES}
CAREFUL = {"fsync, rename, fsync of the folder", "two slots with fsync", "two slots with fsync and golden inputs"}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_good_release(name):
    report = brick_count(BY_NAME[name])
    assert (not report.bricks) is (name in CAREFUL), report._repr_markdown_()
    assert report.bad_cuts == 0 or report.share > 0.3


@pytest.mark.parametrize("mark", [CRASHES, WRONG], ids=["crashes", "wrong answers"])
def test_a_bad_release_stays_out_of_one_scheme_alone(mark):
    found = {name: brick_count(scheme, mark=mark).faults() for name, scheme in BY_NAME.items()}
    assert found.pop("two slots with fsync and golden inputs") == {}
    assert all("runs a bad release" in faults for faults in found.values()), found


def test_what_the_published_updater_does_wrong():
    """Each of its faults shows in a count, and goes with its repair."""
    assert set(brick_count(BY_NAME["as published"]).faults()) == {
        "has no model",
        "runs a broken model",
        "runs an older release than was announced",
    }

    def keeps_the_old_one(storage, release, content):
        """Copies instead of moving away; still without fsync."""
        if storage.size(schemes.MODEL) is not None:
            schemes.write_file(storage, schemes.BACKUP, storage.read(schemes.MODEL))
        schemes.rename_unsynced(storage, release, content)

    faults = brick_count(Scheme("keeps", keeps_the_old_one, schemes.start_model)).faults()
    assert "has no model" not in faults
    assert "runs a broken model" in faults


def test_the_same_seed_finds_the_same():
    one, other = (brick_count(BY_NAME["as published"], seed=3) for _ in range(2))
    assert one.to_dict() == other.to_dict()


def names_after(log, start=None):
    return [dict(disk.files) for disk in crash_states(start or Disk(), log)]


def test_a_rename_may_arrive_before_the_content():
    flash = Flash(Disk({"model": b"old"}))
    flash.create("new")
    flash.write("new", 0, b"new")
    flash.rename("new", "model")
    found = names_after(flash.log, Disk({"model": b"old"}))
    assert {"model": b""} in found
    assert {"model": b"old"} in found
    assert {"model": b"new"} in found
    flash = Flash(Disk({"model": b"old"}))
    schemes.write_file(flash, "model", b"new")
    assert names_after(flash.log, Disk({"model": b"old"})) == [{"model": b"new"}]


def test_an_fsync_of_a_file_says_nothing_about_its_name():
    flash = Flash()
    flash.create("model")
    flash.write("model", 0, b"new")
    flash.fsync("model")
    assert names_after(flash.log) == [{}, {"model": b"new"}]
    flash.fsync_folder("")
    assert names_after(flash.log) == [{"model": b"new"}]


def test_sectors_arrive_in_any_order_and_the_last_one_torn():
    flash = Flash(Disk({"model": b"o" * 1024}))
    flash.write("model", 0, b"n" * 1024)
    found = [content["model"] for content in names_after(flash.log, Disk({"model": b"o" * 1024}))]
    halves = {(content[:1], content[-1:]) for content in found}
    assert halves == {(b"o", b"o"), (b"n", b"o"), (b"o", b"n"), (b"n", b"n")}
    assert b"n" * 768 + b"o" * 256 in found


def test_renames_arrive_in_any_order():
    start = Disk({"a": b"1", "b": b"2"})
    flash = Flash(start)
    flash.rename("a", "old")
    flash.rename("b", "a")
    found = names_after(flash.log, start)
    assert {"a": b"2"} in found  # the second without the first: the first file has lost its name
    assert {"old": b"1", "a": b"2"} in found
    assert {"old": b"1", "b": b"2"} in found

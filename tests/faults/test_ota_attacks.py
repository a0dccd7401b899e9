"""A hostile server or a changed flash: what does not hold is refused for its reason, and the device serves on."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from edgelab.errors import BadFile
from edgelab.ota import deltas
from edgelab.ota.deltas import sha256
from edgelab.ota.flash import Flash
from edgelab.ota.manifest import Manifest, Refused
from edgelab.ota.slots import manifest_path
from edgelab.ota.trust import Unreachable

from .ota_home import START, Home, model_bytes


class Hostile:
    """A server that gives what it likes: ``change(path, content)`` gives other bytes, or an iterator of parts."""

    def __init__(self, home, change):
        self.inner, self.change = home.transport(), change

    def get(self, path, offset=0):
        changed = self.change(path, b"".join(self.inner.get(path)))
        if isinstance(changed, bytes):
            yield changed[offset:]
        else:
            yield from changed

    def post(self, path, data):
        return {}


@pytest.fixture
def home(tmp_path):
    """A device that runs release 1, and release 2 in the repository."""
    made = Home.make(tmp_path)
    made.publish(model_bytes(1))
    made.disk, _ = made.installed()
    made.old = {p.relative_to(made.repository).as_posix(): p.read_bytes() for p in metadata(made)}
    made.second = made.publish(model_bytes(2))
    return made


def metadata(home):
    return [p for p in (home.repository / "metadata").iterdir() if p.is_file()]


def flipped(content, place=-20):
    changed = bytearray(content)
    changed[place] ^= 4
    return bytes(changed)


def endless():
    while True:
        yield b"x" * 4096


def refused(home, transport, kind, **settings):
    """The device refuses for this reason, and still runs release 1, also after a restart."""
    flash = Flash(home.disk)
    outcome = home.device(flash, **settings).update(transport)
    assert outcome.action == "refused", outcome
    assert f"({kind})" in outcome.reason, outcome.reason
    assert outcome.running == 1
    restarted = home.device(Flash(flash.disk()), **settings).boot()
    assert restarted.release == 1
    assert sha256(flash.read(restarted.model)) == sha256(model_bytes(1))
    honest = home.device(Flash(flash.disk()))
    assert honest.update(home.transport()).running in (1, max(home.releases.values()))
    return outcome


def change_of(part, how):
    return lambda path, content: how(content) if part in path else content


CHANGES = {
    "a bit of the model": ("/{model}", flipped, "tampered"),
    "a bit of the manifest": ("manifest.json", flipped, "tampered"),
    "a bit of the golden inputs": ("golden-2", lambda c: flipped(c, 3), "tampered"),
    "a bit of the timestamp": ("timestamp.json", flipped, None),
    "a bit of the list": (".targets.json", flipped, None),
    "the model cut short": ("/{model}", lambda c: c[:-5], "truncated"),
    "the manifest cut short": ("manifest.json", lambda c: c[:-5], "truncated"),
    "the model with more behind it": ("/{model}", lambda c: c + b"more", "oversized"),
    "a model without end": ("/{model}", lambda _: endless(), "oversized"),
    "a manifest without end": ("manifest.json", lambda _: endless(), "oversized"),
    "a timestamp without end": ("timestamp.json", lambda _: endless(), "oversized"),
    "a timestamp that is no metadata": ("timestamp.json", lambda _: b"[]", "malformed"),
    "a list that is no metadata": (".targets.json", lambda _: b"{" * 3000, "malformed"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_the_server_changes_is_refused(home, what):
    part, how, kind = CHANGES[what]
    part = part.format(model=f"{home.second.whole.sha256}.2.onnx")
    transport = Hostile(home, change_of(part, how))
    if kind is None:  # the flipped bit lies in a signature, in its frame or in what is signed
        flash = Flash(home.disk)
        outcome = home.device(flash).update(transport)
        assert (outcome.action, outcome.running) == ("refused", 1)
    else:
        refused(home, transport, kind)


def test_every_bit_position_of_the_model_counts(home):
    name = f"{home.second.whole.sha256}.2.onnx"
    for place in (0, 1, 700, 1699):
        refused(home, Hostile(home, change_of(name, lambda c, at=place: flipped(c, at))), "tampered")


def test_replayed_metadata_is_refused(home):
    """The device has seen release 2's lists; the server goes back to those of before."""
    flash = Flash(home.disk)
    assert home.device(flash).update(home.transport()).running == 2
    old = home.old["metadata/timestamp.json"]
    outcome = home.device(flash).update(Hostile(home, change_of("timestamp.json", lambda _: old)))
    assert (outcome.action, outcome.running) == ("refused", 2)
    assert "(replayed)" in outcome.reason


def test_mixed_metadata_is_refused(home):
    """A new snapshot with the old list, and a manifest that names another model than the list."""
    old = home.old["metadata/2.targets.json"]
    outcome = home.device(Flash(home.disk)).update(Hostile(home, change_of(".targets.json", lambda _: old)))
    assert (outcome.action, outcome.running) == ("refused", 1)
    assert "(mixed)" in outcome.reason or "(replayed)" in outcome.reason
    wrong = replace(home.second, release=3, whole=replace(home.second.whole, sha256="0" * 64))
    home.publisher.sign_files({manifest_path("model"): wrong.to_bytes()}, START)
    refused(home, home.transport(), "mixed")


def test_another_models_manifest_is_refused(home):
    wrong = replace(home.second, release=3, model="doorbell")
    home.publisher.sign_files({manifest_path("model"): wrong.to_bytes()}, START)
    refused(home, home.transport(), "mixed")


def test_expired_metadata_is_refused_and_the_device_serves_on(home):
    outcome = refused(home, home.transport(), "expired", clock=lambda: START + timedelta(days=400))
    assert "has expired" in outcome.reason


def test_metadata_that_was_signed_anew_is_taken(home):
    def later():
        return START + timedelta(days=100)

    refused(home, home.transport(), "expired", clock=later)
    home.publisher.refresh(later())
    outcome = home.device(Flash(home.disk), clock=later).update(home.transport())
    assert outcome.running == max(home.releases.values())


def test_another_publishers_metadata_is_refused(home, tmp_path):
    other = Home.make(tmp_path / "other")
    for number in (1, 2, 3):
        other.publish(model_bytes(number + 50))
    refused(home, other.transport(), "wrong key")


def test_a_root_that_the_old_keys_did_not_sign_is_refused(home, tmp_path):
    other = Home.make(tmp_path / "other")
    other.publisher.rotate("root", START)
    foreign = (other.repository / "metadata" / "2.root.json").read_bytes()
    (home.repository / "metadata" / "2.root.json").write_bytes(foreign)
    flash = Flash(home.disk)
    outcome = home.device(flash).update(home.transport())
    assert (outcome.action, outcome.running) == ("refused", 1)
    assert "(wrong key)" in outcome.reason
    assert home.device(Flash(flash.disk())).trust.root_version() == 1


def test_revoked_keys_sign_nothing_any_more(home, tmp_path):
    """After a rotation the old key's lists are refused, and what was installed under it still starts."""
    copy = home.copy(tmp_path / "thief")
    home.publisher.rotate("targets", START)
    flash = Flash(home.disk)
    assert home.device(flash).update(home.transport()).running == 2
    copy.publish(b"malware" + model_bytes(66))
    for _ in range(3):
        copy.publish(b"malware" + model_bytes(67 + _))
    newer = {p.name: p.read_bytes() for p in metadata(home) if p.name.endswith("root.json")}
    for name, content in newer.items():
        (copy.repository / "metadata" / name).write_bytes(content)
    outcome = home.device(flash).update(copy.transport())
    assert (outcome.action, outcome.running) == ("refused", 2)
    assert "(wrong key)" in outcome.reason
    assert home.device(Flash(flash.disk())).boot().release == 2


def test_a_signed_release_that_is_older_is_refused(home):
    """Valid metadata, the right keys, a lower counter: The Update Framework takes it, the counter does not."""
    flash = Flash(home.disk)
    assert home.device(flash).update(home.transport()).running == 2
    home.disk = flash.disk()
    first = home.repository / "targets" / "model"
    manifest = next(p for p in first.iterdir() if p.name.endswith(".release-1.json")).read_bytes()
    home.publisher.sign_files({manifest_path("model"): manifest}, START)
    outcome = home.device(flash).update(home.transport())
    assert (outcome.action, outcome.running) == ("refused", 2)
    assert "(older)" in outcome.reason


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "a\\..\\b", "model/../../x", "C:/x", "model//x", ""]
)
def test_paths_that_leave_are_refused(home, path):
    for change in (
        {"whole": replace(home.second.whole, path=path)},
        {"golden": path},
        {"deltas": (replace(home.second.whole, path=path, method="aligned", from_sha256="0" * 64),)},
    ):
        wrong = replace(home.second, release=3, **change)
        home.publisher.sign_files({manifest_path("model"): wrong.to_bytes()}, START)
        refused(home, home.transport(), "path")


def test_what_a_device_cannot_run_is_refused_before_it_is_downloaded(home):
    def downloads(flash):
        return [o for o in flash.log if o.name.startswith("download/")]

    for settings, change, kind in (
        ({}, {"hardware": ("other-board",)}, "hardware"),
        ({"version": lambda _: "1.2"}, {"min_runtime": "1.10"}, "runtime"),
        ({"version": lambda _: ""}, {}, "runtime"),
    ):
        wrong = replace(home.second, release=3, **change)
        home.publisher.sign_files({manifest_path("model"): wrong.to_bytes()}, START)
        flash = Flash(home.disk)
        outcome = home.device(flash, **settings).update(home.transport())
        assert (outcome.action, outcome.running, outcome.bytes) == ("refused", 1, 0)
        assert f"({kind})" in outcome.reason
        assert not downloads(flash)
    home.publisher.sign_files({manifest_path("model"): home.second.to_bytes()}, START)
    full = Flash(home.disk, free_bytes=sum(len(c) for c in home.disk.files.values()) + 1000)
    outcome = home.device(full).update(home.transport())
    assert (outcome.action, outcome.running, outcome.bytes) == ("refused", 1, 0)
    assert "(space)" in outcome.reason
    assert not downloads(full)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "malformed"),
        (b"[]", "malformed"),
        (b"[" * 5000, "malformed"),
        (b'{"edgelab_manifest": 2}', "malformed"),
        (b'{"edgelab_manifest": 1}', "malformed"),
        (b"x" * 300_000, "oversized"),
    ],
    ids=["empty", "a list", "deep", "another version", "nothing else", "long"],
)
def test_a_manifest_of_something_else_is_refused(content, kind):
    with pytest.raises(Refused) as caught:
        Manifest.from_bytes(content)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("release", 0),
        ("release", -1),
        ("release", True),
        ("release", "2"),
        ("release", 1.5),
        ("bytes", 2**40),
        ("bytes", None),
        ("sha256", "abc"),
        ("format", "pickle"),
        ("published", "yesterday"),
        ("published", "2026-01-01T00:00:00"),
        ("card", {"target": 3}),
        ("deltas", None),
        ("min_sqnr_db", "high"),
        ("extra", 1),
    ],
)
def test_a_manifest_with_a_wrong_value_is_refused(home, key, value):
    stated = json.loads(home.second.to_bytes())
    stated[key] = value
    with pytest.raises(Refused) as caught:
        Manifest.from_bytes(json.dumps(stated).encode())
    assert caught.value.kind in ("malformed", "oversized")


def test_a_difference_that_was_made_badly_falls_back_to_the_whole_file(tmp_path):
    home = Home.make(tmp_path)
    home.publish(model_bytes(1))
    home.disk, _ = home.installed()
    made = home.publish(model_bytes(1, marks=b"tuned"))
    (delta,) = made.deltas
    for content in (b"", b"nonsense" * 40, deltas.pack(b"x" * 10_000_000), deltas.pack(model_bytes(7), model_bytes(1))):
        wrong = replace(delta, bytes=len(content) or 1, sha256=sha256(content or b"x"))
        changed = replace(made, deltas=(wrong,), whole=replace(made.whole))
        files = {manifest_path("model"): changed.to_bytes(), delta.path: content or b"x"}
        home.publisher.sign_files(files, START)
        outcome = home.device(Flash(home.disk)).update(home.transport())
        assert (outcome.action, outcome.running) == ("updated", 2), outcome
        if wrong.bytes < made.whole.bytes:
            assert "the whole file was taken" in outcome.reason


def test_a_slot_that_was_changed_on_the_flash_does_not_start(home):
    """At use: whoever can write the flash cannot make the device run what was not signed."""
    flash = Flash(home.disk)
    home.device(flash).update(home.transport())
    running = home.device(flash).boot()
    for name in ("manifest.json", "targets.json", "golden.npz", running.model.rpartition("/")[2]):
        changed = Flash(flash.disk())
        full = f"slots/{running.slot}/{name}"
        changed.files[full] = bytearray(flipped(bytes(changed.files[full]), len(changed.files[full]) // 2))
        started = home.device(changed).boot()
        assert started.release == 1, name
        again = home.device(changed).update(home.transport())
        assert (again.running, again.action) == (2, "updated"), again


def test_a_server_that_is_gone_or_breaks_off_changes_nothing(home):
    class Gone:
        def get(self, path, offset=0):
            raise Unreachable("No route.")
            yield b""

        def post(self, path, data):
            raise Unreachable("No route.")

    outcome = home.device(Flash(home.disk)).update(Gone())
    assert (outcome.action, outcome.running) == ("none", 1)
    assert "goes on with what it has" in outcome.reason
    later = home.device(Flash(home.disk), clock=lambda: START + timedelta(days=200)).update(Gone())
    assert "last reached 199 days ago" in later.reason
    assert later.running == 1


def test_a_report_that_fails_rolls_nothing_back(home):
    class Deaf(Hostile):
        def post(self, path, data):
            if path == "report":
                raise Unreachable("The server answers 500.", 500)
            return {}

    flash = Flash(home.disk)
    outcome = home.device(flash).update(Deaf(home, lambda _path, content: content))
    assert (outcome.action, outcome.running) == ("updated", 2)
    assert "The report did not arrive" in outcome.reason
    assert home.device(Flash(flash.disk())).boot().release == 2


def test_a_device_without_a_clock_updates_and_says_so(home):
    outcome = home.device(Flash(home.disk), clock=lambda: START.replace(year=1970)).update(home.transport())
    assert (outcome.action, outcome.running) == ("updated", 2)
    assert "The clock shows 1970" in outcome.reason


def test_a_device_trusts_whom_it_was_made_with(home, tmp_path):
    other = Home.make(tmp_path / "other")
    flash = Flash(home.disk)
    home.root = other.root
    with pytest.raises(BadFile, match="another root"):
        home.device(flash)
    for root, says in ((b"{}", "no sound root"), (b"", "no sound root")):
        home.root = root
        with pytest.raises(BadFile, match=says):
            home.device(Flash())
    home.root = home.old["metadata/timestamp.json"]
    with pytest.raises(BadFile, match=r"metadata of another role|no sound root"):
        home.device(Flash())

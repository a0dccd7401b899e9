"""Golden files that are cut, flipped, exchanged or foreign, and a full disk: one sentence, and nothing is lost."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab import cli, golden
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import Arrays, save_arrays
from edgelab.golden.file import read_golden

CASES = Path(__file__).parents[1] / "data" / "cases"
FLOAT, INT8 = CASES / "same_float.tflite", CASES / "same_int8.tflite"
X = np.random.default_rng(0).normal(size=(6, 2, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "g.golden"
    golden.make(FLOAT, Arrays(X, np.arange(6) % 4), path)
    return path


def refused(path):
    with pytest.raises((BadFile, BadInput)) as caught:
        read_golden(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert path.name in sentence
    return sentence


def test_every_cut_is_a_sentence(kept, tmp_path):
    whole = kept.read_bytes()
    path = tmp_path / "cut.golden"
    for end in range(0, len(whole), max(1, len(whole) // 50)):
        path.write_bytes(whole[:end])
        refused(path)


def test_a_flip_is_refused_or_changes_nothing_that_is_read(kept, tmp_path):
    whole, sound = kept.read_bytes(), read_golden(kept)
    path = tmp_path / "flip.golden"
    draw = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[draw.integers(len(whole))] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        try:
            found = read_golden(path)
        except (BadFile, BadInput) as error:
            assert "\n" not in str(error)  # noqa: PT017 - most are refused, some bits carry nothing
            continue
        assert found.model == sound.model
        for name, y in sound.outputs.items():
            assert np.array_equal(found.outputs[name], y)


def test_arrays_that_were_exchanged_are_noticed(kept, tmp_path):
    with np.load(kept) as arrays:
        parts = {name: arrays[name] for name in arrays.files}
    path = tmp_path / "changed.golden"

    def written(**changes):
        np.savez(tmp_path / "changed.npz", **{**parts, **changes})
        (tmp_path / "changed.npz").rename(path)
        return refused(path)

    assert "checksum" in written(y=(parts["y"] + 1) % 4)
    assert "checksum" in written(output_0=parts["output_0"] + 1)
    assert "header" in written(header=np.frombuffer(b"{", np.uint8))
    assert "header" in written(header=np.frombuffer(b"[1]", np.uint8))
    assert "header" in written(header=np.zeros((2, 2)))
    header = json.loads(parts["header"].tobytes())
    for key, value, says in (
        ("edgelab_golden", 99, "version 99"),
        ("logits", "nothing", "no sound golden file"),
        ("items", 7, "no sound golden file"),
        ("model", {}, "no sound golden file"),
        ("inputs", [{}], "no sound golden file"),
        ("layers", None, "no sound golden file"),
    ):
        text = json.dumps({**header, key: value}).encode()
        assert says in written(header=np.frombuffer(text, np.uint8))


def test_foreign_files(tmp_path):
    save_arrays(tmp_path / "data.npz", X)
    assert "no header of a golden file" in refused(tmp_path / "data.npz")
    (tmp_path / "text").write_text("not an archive")
    refused(tmp_path / "text")
    refused(tmp_path / "missing")
    assert "is a folder" in refused(tmp_path)


def test_a_pickle_in_it_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trap = np.empty(1, dtype=object)
    trap[0] = Trap()
    np.savez(tmp_path / "g.npz", header=trap)
    refused(tmp_path / "g.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="limits of a process are POSIX, /dev/full Linux")
def test_a_full_disk_leaves_the_old_file(kept, tmp_path, capfd):
    import resource
    import signal

    target = tmp_path / "g.golden"
    target.write_bytes(kept.read_bytes())
    save_arrays(tmp_path / "d.npz", X)
    words = ["golden", "make", str(FLOAT), "--data", str(tmp_path / "d.npz"), "-o", str(target), "--overwrite"]
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
        status = cli.main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    said = capfd.readouterr().err.strip()
    assert status == 2
    assert "could not be written" in said
    assert said.count("\n") == 0
    assert target.read_bytes() == kept.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.npz", "g.golden"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["check", "KEPT", str(FLOAT), "--reference", str(INT8)], "another file than"),
        (["check", "KEPT", "missing.tflite"], "does not exist"),
        (["check", str(FLOAT), str(FLOAT)], "not a readable .npz"),
        (["check", "KEPT", str(CASES / "ids_mask.tflite")], "ids"),
        (["check", "KEPT", str(FLOAT), "--max-loss", "nan"], "max_loss must be a number"),
        (["check", "KEPT", str(FLOAT), "--exclude-out", "KEPT", "--overwrite"], "one of the files that are read"),
        (["check", "KEPT", str(FLOAT), "--exclude-out", str(CASES)], "is a folder"),
        (["make", str(FLOAT), "--data", "missing.npz", "-o", "new"], "does not exist"),
        (["make", str(CASES / "13_git_lfs_pointer.onnx"), "--data", "missing.npz", "-o", "new"], "Git LFS"),
        (["make"], "required"),
    ],
)
def test_the_command_says_one_sentence(kept, tmp_path, monkeypatch, capfd, words, says):
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(["golden", *(str(kept) if word == "KEPT" else word for word in words)])
    except SystemExit as left:
        status = left.code
    told = capfd.readouterr()
    assert status == 2
    assert told.out == ""
    assert told.err.strip().count("\n") == 0
    assert says in told.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a shell stands in for a runtime that dies")
def test_a_runtime_that_dies_is_a_sentence(kept, monkeypatch):
    from edgelab.engines.litert import LiteRTEngine

    def dies(self, inputs):
        os.kill(self.raw.pid, 9)
        return real(self, inputs)

    real = LiteRTEngine.run
    monkeypatch.setattr(LiteRTEngine, "run", dies)
    assert cli.main(["golden", "check", str(kept), str(INT8)]) == 2

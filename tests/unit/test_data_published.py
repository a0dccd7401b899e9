"""The three real data sets, read from files in their published formats that the test makes."""

import functools
import gzip
import hashlib
import io
import struct
import tarfile
import wave

import numpy as np
import pytest

from edgelab.data import cifar10, fashion_mnist, speech_commands
from edgelab.data.cifar10 import FILE as CIFAR_FILE
from edgelab.data.fashion import FILES as FASHION_FILES
from edgelab.data.speech import FILES as SPEECH_FILES
from edgelab.errors import BadFile, BadInput

WORDS = ("yes", "no")

packed = functools.partial(gzip.compress, mtime=0)  # the same bytes, and names of tests, every time


def put(folder, file, content):
    """Store what stands for a published file, and return its checksum."""
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return "sha256:" + hashlib.sha256(content).hexdigest()


def idx(array):
    return packed(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def archive(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def sound(samples, rate=16000, channels=1, width=2):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(np.asarray(samples, "<i2" if width == 2 else "u1").tobytes())
    return stream.getvalue()


def fashion_arrays(train=240, test=60, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "train images": rng.integers(0, 256, (train, 28, 28), np.uint8),
        "train labels": (np.arange(train) % 10).astype(np.uint8),
        "test images": rng.integers(0, 256, (test, 28, 28), np.uint8),
        "test labels": (np.arange(test) % 10).astype(np.uint8),
    }


def load_fashion(folder, arrays=None, **contents):
    packed = {key: idx(array) for key, array in (arrays or fashion_arrays()).items()} | contents
    sums = {FASHION_FILES[key].name: put(folder, FASHION_FILES[key], content) for key, content in packed.items()}
    return fashion_mnist(folder=folder, checksums=sums)


class TestFashion:
    def test_items_labels_and_splits(self, tmp_path):
        arrays = fashion_arrays()
        data = load_fashion(tmp_path, arrays)
        assert data.input_shape == (1, 28, 28)
        assert [len(split) for split in data.splits.values()] == [220, 20, 60]
        np.testing.assert_allclose(data.test.x[:, 0] * 255, arrays["test images"], atol=1e-4)
        np.testing.assert_array_equal(data.test.y, arrays["test labels"])
        both = np.concatenate([data.train.x, data.validation.x])[:, 0]
        mine = sorted(np.rint(image * 255).astype(np.uint8).tobytes() for image in both)
        assert mine == sorted(image.tobytes() for image in arrays["train images"])

    def test_brightness_is_by_class_and_limits_come_from_training(self, tmp_path):
        arrays = fashion_arrays()
        arrays["test images"][:30], arrays["test images"][30:] = 0, 255
        data = load_fashion(tmp_path, arrays)
        assert data.test.groups["brightness"].tolist() == ["dark"] * 30 + ["bright"] * 30

    def test_validation_is_fixed_by_the_seed(self, tmp_path):
        first = load_fashion(tmp_path)
        np.testing.assert_array_equal(first.validation.x, load_fashion(tmp_path).validation.x)
        assert np.bincount(first.validation.y).tolist() == [2] * 10

    @pytest.mark.parametrize(
        ("key", "content", "words"),
        [
            ("train images", b"\x1f\x8b not gzip", "cut off or corrupt"),
            ("train images", b"", "not an IDX file"),
            ("train images", idx(np.zeros((2, 28, 28), np.uint8))[:-8], "cut off or corrupt"),
            ("train images", packed(b"\0\0\x08\x03\0\0"), "states the shape"),
            ("train images", packed(struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**31, 4)), "states the shape"),
            ("train images", packed(struct.pack(">4B3I", 0, 0, 9, 3, 1, 1, 1) + b"\0"), "not an IDX file"),
            ("train labels", idx(np.zeros(7, np.uint8)), "7 labels for 240"),
            ("train labels", idx(np.full(240, 10, np.uint8)), "labels above 9"),
        ],
    )
    def test_a_file_that_is_not_what_its_name_says(self, tmp_path, key, content, words):
        with pytest.raises(BadFile, match=words) as caught:
            load_fashion(tmp_path, **{key: content})
        assert str(FASHION_FILES[key].name) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_gzip_bomb_is_refused(self, tmp_path):
        with pytest.raises(BadFile, match="unpacks to more than"):
            load_fashion(tmp_path, **{"train images": packed(bytes(80 * 1024 * 1024))})


def cifar_records(n, seed=0):
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (n, 3073), np.uint8)
    records[:, 0] = np.arange(n) % 10
    return records


def cifar_members():
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    folder = "cifar-10-batches-bin"
    batches = {f"{folder}/{name}": cifar_records(40, i) for i, name in enumerate(names)}
    return batches, [(f"{folder}/batches.meta.txt", b"airplane\n"), *((n, b.tobytes()) for n, b in batches.items())]


def load_cifar(folder, members):
    return cifar10(folder=folder, checksum=put(folder, CIFAR_FILE, archive(members)))


class TestCifar:
    def test_items_labels_and_splits(self, tmp_path):
        batches, members = cifar_members()
        data = load_cifar(tmp_path, members)
        assert data.input_shape == (3, 32, 32)
        assert [len(split) for split in data.splits.values()] == [180, 20, 40]
        last = batches["cifar-10-batches-bin/test_batch.bin"]
        # Red plane first, then green, then blue, each row by row.
        np.testing.assert_allclose(data.test.x[7, 2, 3, 4] * 255, last[7, 1 + 2 * 1024 + 3 * 32 + 4], atol=1e-4)
        np.testing.assert_array_equal(data.test.y, last[:, 0])
        assert set(data.test.groups["brightness"]) <= {"dark", "medium", "bright"}

    def test_the_order_in_the_archive_does_not_matter(self, tmp_path):
        _, members = cifar_members()
        first = load_cifar(tmp_path, members)
        np.testing.assert_array_equal(first.train.x, load_cifar(tmp_path, members[::-1]).train.x)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda m: m[:-1], "lacks test_batch.bin"),
            (lambda m: [*m[:-1], (m[-1][0], m[-1][1][:-1])], "no multiple of 3073"),
            (lambda m: [*m[:-1], (m[-1][0], b"\x0a" + m[-1][1][1:])], "the label 10"),
            (lambda m: [*m[:-1], (m[-1][0], b"")], "no multiple of 3073"),
        ],
    )
    def test_another_archive_is_refused(self, tmp_path, change, words):
        _, members = cifar_members()
        with pytest.raises(BadFile, match=words):
            load_cifar(tmp_path, change(members))


def speech_members(per_word=60, words=(*WORDS, "cat"), seed=0):
    """Recordings by word and the two lists; every third speaker is for testing, every fourth of the rest validates."""
    rng = np.random.default_rng(seed)
    members, lists = [], {"validation_list.txt": [], "testing_list.txt": []}
    for word in words:
        for i in range(per_word):
            name = f"{word}/{i:08x}_nohash_0.wav"
            length = 16000 if i % 5 else 9000
            members.append((f"./{name}", sound(rng.integers(-3000, 3000, length) * (1 + i % 3))))
            if i % 3 == 0:
                lists["testing_list.txt"].append(name)
            elif i % 4 == 0:
                lists["validation_list.txt"].append(name)
    members.append(("./_background_noise_/noise.wav", sound(np.zeros(30000))))
    members += [(f"./{name}", "\n".join(names).encode()) for name, names in lists.items()]
    return members, lists


def load_speech(folder, members, **settings):
    checksum = put(folder, SPEECH_FILES["v0.02"], archive(members))
    return speech_commands(**{"classes": WORDS, "folder": folder, "checksum": checksum, **settings})


class TestSpeech:
    def test_published_splits_and_silence_at_the_end(self, tmp_path):
        members, lists = speech_members()
        data = load_speech(tmp_path, members)
        assert data.input_shape == (1, 16000)
        assert len(data.test) == sum(n.split("/")[0] in WORDS for n in lists["testing_list.txt"])
        assert len(data.validation) == sum(n.split("/")[0] in WORDS for n in lists["validation_list.txt"])
        speakers = [set(split.groups["speaker"].tolist()) for split in data.splits.values()]
        assert sum(map(len, speakers)) == len(set.union(*speakers))
        short = np.flatnonzero([int(s, 16) % 5 == 0 for s in data.test.groups["speaker"]])
        assert (data.test.x[short, 0, 9000:] == 0).all()
        assert abs(data.test.x[short, 0, :9000]).max() > 0

    def test_samples_are_those_of_the_file(self, tmp_path):
        members, _ = speech_members()
        data = load_speech(tmp_path, members)
        item = int(np.flatnonzero((data.test.groups["speaker"] == f"{3:08x}") & (data.test.y == 1))[0])
        with wave.open(io.BytesIO(dict(members)[f"./no/{3:08x}_nohash_0.wav"])) as expected:
            samples = np.frombuffer(expected.readframes(16000), "<i2")
        np.testing.assert_allclose(data.test.x[item, 0] * 32768, samples, atol=1e-2)

    def test_loudness_is_measured(self, tmp_path):
        data = load_speech(tmp_path, speech_members()[0])
        loud = data.train.x[data.train.groups["loudness"] == "loud"].std()
        assert loud > 1.5 * data.train.x[data.train.groups["loudness"] == "quiet"].std()

    def test_a_limit_keeps_the_same_recordings_whatever_the_order(self, tmp_path):
        members, _ = speech_members()
        first = load_speech(tmp_path, members, per_class=40)
        again = load_speech(tmp_path, members[::-1], per_class=40)
        assert sum(len(split) for split in first.splits.values()) == 80
        for split in ("train", "validation", "test"):
            np.testing.assert_array_equal(first.splits[split].x, again.splits[split].x)
        everything = load_speech(tmp_path, members, per_class=None)
        kept = {x.tobytes() for x in first.train.x}
        assert kept < {x.tobytes() for x in everything.train.x}

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"classes": ("yes", "nope")}, "nope is not in .* it holds cat, no, yes"),
            ({"classes": ("yes",)}, "two different words"),
            ({"version": "v3"}, "v0.01, v0.02"),
            ({"per_class": 3}, "10 or more"),
        ],
    )
    def test_wrong_settings(self, tmp_path, settings, words):
        with pytest.raises(BadInput, match=words):
            load_speech(tmp_path, speech_members()[0], **settings)

    @pytest.mark.parametrize(
        "content",
        [b"RIFF", b"", sound([0] * 9, rate=8000), sound([0] * 10, channels=2), sound([0] * 9, width=1)],
    )
    def test_a_recording_of_another_form_is_named(self, tmp_path, content):
        members, _ = speech_members()
        with pytest.raises(BadFile, match="yes/broken"):
            load_speech(tmp_path, [("./yes/broken.wav", content), *members])

    def test_an_archive_without_its_lists_is_refused(self, tmp_path):
        with pytest.raises(BadFile, match="lacks"):
            load_speech(tmp_path, speech_members()[0][:-1])


@pytest.mark.parametrize(
    ("card", "files"),
    [("fashion_mnist", FASHION_FILES), ("cifar10", {"": CIFAR_FILE}), ("speech_commands", SPEECH_FILES)],
)
def test_the_card_states_what_the_code_checks(card, files, request):
    text = (request.config.rootpath / "datasets" / f"{card}.md").read_text(encoding="utf-8")
    for file in files.values():
        assert file.name in text
        assert file.checksum.partition(":")[2] in text
        assert f"{file.size_bytes:,}" in text
        assert file.path == f"{card}/{file.name}"

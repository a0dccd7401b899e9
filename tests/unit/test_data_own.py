"""A learner's own images, arrays and signals become a data set as documented."""

import csv

import numpy as np
import pytest
from PIL import Image

from edgelab.data import from_csv, from_folder, from_npz, vibration


def paint(path, colour, size=(20, 30), mode="RGB", **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **settings)


def picture_folder(root, per_class=10, classes=("red", "green"), prefix=""):
    for name in classes:
        for i in range(per_class):
            shade = 120 + 10 * i
            paint(root / prefix / name / f"day{i % 2}_{i}.png", (shade, 0, 0) if name == "red" else (0, shade, 0))
    return root


class TestFolder:
    def test_classes_values_and_splits(self, tmp_path):
        data = from_folder(picture_folder(tmp_path / "pictures"), size=(8, 12))
        assert data.class_names == ("green", "red")
        assert data.name == "pictures"
        assert data.input_shape == (3, 8, 12)
        assert [len(split) for split in data.splits.values()] == [12, 4, 4]
        for split in data.splits.values():
            assert (split.x[split.y == 0][:, 1] >= 120 / 255).all()
            assert (split.x[split.y == 0][:, 0] == 0).all()
            assert set(split.y) == {0, 1}
        assert set(data.train.groups["brightness"].tolist()) == {"dark", "medium", "bright"}

    def test_the_split_is_fixed_by_the_seed(self, tmp_path):
        root = picture_folder(tmp_path)
        np.testing.assert_array_equal(from_folder(root).test.x, from_folder(root).test.x)
        assert not np.array_equal(from_folder(root).test.x, from_folder(root, seed=5).test.x)

    @pytest.mark.parametrize("name", ["validation", "val", "Valid"])
    def test_stated_splits_are_kept(self, tmp_path, name):
        for part, n in (("train", 6), (name, 2), ("test", 3)):
            picture_folder(tmp_path, n, prefix=part)
        assert [len(split) for split in from_folder(tmp_path).splits.values()] == [12, 4, 6]

    def test_validation_is_taken_from_train_and_test_is_left_alone(self, tmp_path):
        picture_folder(tmp_path, 20, prefix="train")
        picture_folder(tmp_path, 3, prefix="test")
        assert [len(split) for split in from_folder(tmp_path).splits.values()] == [34, 6, 6]

    def test_groups_come_from_the_path(self, tmp_path):
        data = from_folder(picture_folder(tmp_path), group=lambda file: file.stem.split("_")[0])
        assert set(data.test.groups["group"].tolist()) <= {"day0", "day1"}
        assert "brightness" not in data.test.groups

    def test_grey_transparency_16_bits_and_orientation(self, tmp_path):
        for name in ("a", "b"):
            for i in range(3):
                paint(tmp_path / name / f"{i}.png", 128, mode="L")

        def top_left(file, **settings):
            target = tmp_path / "a" / "0.png"
            file.replace(target)
            root = tmp_path
            found = [
                split.x for split in from_folder(root, size=4, channels=1, fit="stretch", **settings).splits.values()
            ]
            odd = [x for x in np.concatenate(found) if not np.allclose(x, 128 / 255, atol=1e-3)]
            return odd[0][0]

        clear = tmp_path / "clear.png"
        paint(clear, (0, 0, 0, 0), mode="RGBA")
        np.testing.assert_allclose(top_left(clear), 1, atol=1e-6)

        deep = tmp_path / "deep.png"
        Image.fromarray(np.full((9, 9), 0xC0C0, np.uint16)).save(deep)
        np.testing.assert_allclose(top_left(deep), 0xC0 / 255, atol=1e-6)

        turned = tmp_path / "turned.png"
        pixels = np.zeros((8, 8), np.uint8)
        pixels[:4] = 255
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        Image.fromarray(pixels).save(turned, exif=exif)
        image = top_left(turned)
        assert image[0].max() < 0.2
        assert image[3].min() > 0.8

    @pytest.mark.parametrize(("fit", "corner", "middle"), [("pad", 0, 1), ("crop", 1, 1), ("stretch", 1, 1)])
    def test_fit(self, tmp_path, fit, corner, middle):
        for name in ("a", "b"):
            for i in range(3):
                paint(tmp_path / name / f"{i}.png", (255, 255, 255), size=(40, 10))
        x = from_folder(tmp_path, size=16, fit=fit).test.x
        assert (x[0, 0, 0, 0], x[0, 0, 8, 8]) == (corner, middle)

    def test_files_of_the_system_are_not_read(self, tmp_path):
        root = picture_folder(tmp_path)
        (root / "red" / ".DS_Store").write_bytes(b"\0")
        (root / "red" / "Thumbs.db").write_bytes(b"\0")
        (root / ".ipynb_checkpoints").mkdir()
        (root / "readme.txt").write_text("about these pictures")
        assert sum(len(split) for split in from_folder(root).splits.values()) == 20


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


class TestNpz:
    def test_what_a_data_set_writes_comes_back(self, tmp_path):
        split = vibration(200).test
        data = from_npz(split.to_npz(tmp_path / "v.npz", group="sensor"), validation=0.2, test=0.2)
        assert data.input_shape == (1, 1024)
        assert data.class_names == ("0", "1", "2", "3", "4")
        rows = {x.tobytes(): (y, g) for x, y, g in zip(split.x, split.y, split.groups["sensor"], strict=True)}
        for part in data.splits.values():
            for x, y, g in zip(part.x, part.y, part.groups["group"], strict=True):
                assert rows.pop(x.tobytes()) == (y, g)
        assert not rows

    @pytest.mark.parametrize(
        ("shape", "kind", "layout", "expected"),
        [
            ((20, 8, 9, 3), "uint8", "auto", (3, 8, 9)),
            ((20, 3, 8, 9), "uint8", "auto", (3, 8, 9)),
            ((20, 16, 8, 9), "float32", "auto", (16, 8, 9)),
            ((20, 3, 5, 3), "float32", "last", (3, 3, 5)),
            ((20, 3, 5, 3), "float32", "first", (3, 5, 3)),
            ((20, 28, 28), "uint8", "auto", (1, 28, 28)),
            ((20, 28, 30), "float32", "grey", (1, 28, 30)),
            ((20, 100, 3), "float32", "auto", (3, 100)),
            ((20, 3, 100), "float64", "auto", (3, 100)),
            ((20, 7), "float16", "auto", (7,)),
            ((20, 7), "float32", "last", (7,)),
        ],
    )
    def test_layouts(self, tmp_path, shape, kind, layout, expected):
        x = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
        data = from_npz(save(tmp_path / "a.npz", x=x, y=np.arange(20) % 2), layout=layout)
        assert data.input_shape == expected
        divisor = 255 if kind == "uint8" else 1
        total = sum(split.x.sum(dtype=np.float64) for split in data.splits.values())
        assert total == pytest.approx(x.sum(dtype=np.float64) / divisor, rel=1e-6)

    def test_channels_last_are_moved_and_not_reshaped(self, tmp_path):
        x = np.zeros((20, 4, 5, 3), np.float32)
        x[..., 2] = 1
        data = from_npz(save(tmp_path / "a.npz", x=x, y=np.arange(20) % 2), layout="last")
        assert (data.test.x[:, 2] == 1).all()
        assert (data.test.x[:, :2] == 0).all()

    def test_stated_splits_text_labels_and_groups(self, tmp_path):
        arrays = {}
        for part, n in (("train", 30), ("validation", 6), ("test", 8)):
            arrays |= {
                f"x_{part}": np.full((n, 4), n, np.float32),
                f"y_{part}": np.array(["on", "off"] * (n // 2)),
                f"group_{part}": np.array(["a"] * n),
            }
        data = from_npz(save(tmp_path / "a.npz", **arrays))
        assert data.class_names == ("off", "on")
        assert [(len(split), split.x.max()) for split in data.splits.values()] == [(30, 30), (6, 6), (8, 8)]
        assert data.test.groups["group"].tolist() == ["a"] * 8

    def test_the_form_of_keras_with_columns_of_labels(self, tmp_path):
        x = np.zeros((40, 6, 6, 3), np.uint8)
        y = (np.arange(40) % 2)[:, None]
        data = from_npz(save(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:10], y_test=y[:10]), ["cat", "dog"])
        assert [len(split) for split in data.splits.values()] == [34, 6, 10]
        assert data.class_names == ("cat", "dog")

    def test_without_a_group_items_are_grouped_by_what_is_measured(self, tmp_path):
        y = np.arange(60) % 2
        signal = np.random.default_rng(0).standard_normal((60, 1, 50)) * np.arange(1, 61)[:, None, None]
        data = from_npz(save(tmp_path / "a.npz", x=signal, y=y))
        loud = data.train.groups["level"] == "high"
        assert data.train.x[loud].std() > data.train.x[~loud].std()


def write_csv(path, header, rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


class TestCsv:
    def windows(self, n=30):
        return [[f"m{i % 5}", *(i + 0.5 * t for t in range(6)), ("idle", "run")[i % 2]] for i in range(n)]

    def header(self):
        return ["machine", *(f"s{t}" for t in range(6)), "label"]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_a_window_in_each_row(self, tmp_path, delimiter):
        path = write_csv(tmp_path / "a.csv", self.header(), self.windows(), delimiter)
        data = from_csv(path, group="machine")
        assert data.input_shape == (1, 6)
        assert data.class_names == ("idle", "run")
        items = np.concatenate([split.x[:, 0] for split in data.splits.values()])
        assert sorted(items[:, 0]) == list(range(30))
        for split in data.splits.values():
            for x, y, machine in zip(split.x, split.y, split.groups["machine"], strict=True):
                i = int(x[0, 0])
                assert (y, machine) == (i % 2, f"m{i % 5}")
                np.testing.assert_array_equal(x[0], i + 0.5 * np.arange(6))

    def test_a_recording_lies_in_one_split(self, tmp_path):
        rows = [[f"rec{i // 5}", float(i), 1.0, (i // 5) % 2] for i in range(60)]
        path = write_csv(tmp_path / "a.csv", ["rec", "a", "b", "label"], rows)
        data = from_csv(path, recording="rec")
        seen = [set(split.groups["rec"].tolist()) for split in data.splits.values()]
        assert sum(map(len, seen)) == len(set.union(*seen)) == 12
        assert all(set(split.y) == {0, 1} for split in data.splits.values())

    def long_rows(self, n=400):
        """Two stretches: the value is the row number, so a window shows where it was cut."""
        return [[i, -i, "still" if i < n // 2 else "move"] for i in range(n)]

    def test_samples_in_rows_are_cut_into_windows_in_time(self, tmp_path):
        path = write_csv(tmp_path / "a.csv", ["ax", "ay", "activity"], self.long_rows())
        data = from_csv(path, "activity", window=10, hop=5)
        assert data.input_shape == (2, 10)
        rows = {}
        for part, split in data.splits.items():
            np.testing.assert_array_equal(np.diff(split.x[:, 0]), 1)
            np.testing.assert_array_equal(split.x[:, 1], -split.x[:, 0])
            rows[part] = {(int(y), int(r)) for x, y in zip(split.x, split.y, strict=True) for r in x[0]}
            names = np.array(data.class_names)[split.y]
            assert ((split.x[:, 0].max(axis=1) < 200) == (names == "still")).all()
        # No row is in two splits, and of each label the beginning trains and the end tests.
        assert sum(map(len, rows.values())) == len(set.union(*rows.values()))
        for label in (0, 1):
            of = {part: [r for y, r in found if y == label] for part, found in rows.items()}
            assert max(of["train"]) < min(of["validation"]) < max(of["validation"]) < min(of["test"])

    def test_the_hop_is_half_a_window_unless_stated(self, tmp_path):
        path = write_csv(tmp_path / "a.csv", ["ax", "ay", "label"], self.long_rows())
        starts = np.sort(from_csv(path, window=10).train.x[:, 0, 0])
        assert set(np.diff(starts[starts < 100])) == {5}

    def test_windows_respect_recordings(self, tmp_path):
        rows = [[i, f"run{i // 50}", "a" if (i // 50) % 2 else "b"] for i in range(600)]
        path = write_csv(tmp_path / "a.csv", ["ax", "run", "label"], rows)
        data = from_csv(path, window=20, hop=10, recording="run")
        for split in data.splits.values():
            first, last = split.x[:, 0, 0].astype(int) // 50, split.x[:, 0, -1].astype(int) // 50
            np.testing.assert_array_equal(first, last)
            assert [f"run{r}" for r in first] == split.groups["run"].tolist()
        assert sum(len(set(split.groups["run"].tolist())) for split in data.splits.values()) == 12

    def test_a_person_with_several_activities_lies_in_one_split(self, tmp_path):
        rows = [[i, f"p{i // 60}", "ab"[(i // 30) % 2]] for i in range(600)]
        path = write_csv(tmp_path / "a.csv", ["ax", "person", "label"], rows)
        data = from_csv(path, window=10, recording="person")
        people = [set(split.groups["person"].tolist()) for split in data.splits.values()]
        assert sum(map(len, people)) == len(set.union(*people)) == 10

    def test_a_byte_order_mark_blank_lines_and_blanks_around_names(self, tmp_path):
        path = tmp_path / "a.csv"
        lines = ["\ufeffa , b, label", *(f"{i}, {i + 1}, {'x' if i % 2 else 'y'}" for i in range(12)), "", ""]
        path.write_text("\r\n".join(lines), encoding="utf-8")
        assert from_csv(path).class_names == ("x", "y")

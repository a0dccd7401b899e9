"""Tables, arrays and pictures as people have them: taken rightly and aloud, or refused in one sentence."""

import io
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgelab.data import DataWarning, from_csv, from_folder, from_npz
from edgelab.errors import BadFile, BadInput, EdgelabError

CASES = Path(__file__).parents[1] / "data" / "cases"
pytestmark = pytest.mark.filterwarnings("ignore::edgelab.data.DataWarning")
RNG = np.random.default_rng(0)
N = 60


def table(path, **columns):
    columns = {"a": RNG.normal(size=N).round(3), "b": RNG.normal(size=N).round(3), **columns}
    columns.setdefault("label", np.array(["x", "y"])[np.arange(N) * 2 // N])
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


class TestTables:
    @pytest.mark.parametrize(
        ("file", "channels", "words"),
        [
            ("05_pandas_index.csv", 16, "without a name numbers the rows"),
            ("timestamp_numeric_column.csv", 2, "'time' tells the time"),
        ],
    )
    def test_the_cases(self, file, channels, words):
        with pytest.warns(DataWarning, match=words):
            data = from_csv(CASES / file)
        assert data.input_shape[-1] == channels
        assert words in data.notes[0]
        assert words in data._repr_markdown_()
        assert data.to_dict()["notes"] == list(data.notes)
        kept = from_csv(CASES / file, drop=())
        assert kept.input_shape[-1] == channels + 1
        assert "was kept" in kept.notes[0]

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("Unnamed: 0", np.arange(N)),
            ("Unnamed: 0", RNG.permutation(N)),
            ("", np.arange(N) % 20),
            ("", [f"row{i}" for i in range(N)]),
            ("unknown", np.arange(N)),
            ("unknown", np.arange(1, N + 1)),
            ("unknown", RNG.permutation(N) + 7),
            ("id", np.sort(RNG.choice(1000, N, replace=False))),
            ("sample", np.arange(N) % 20),
            ("timestamp", 1_700_000_000 + np.arange(N) // 7),
            ("ts", np.cumsum(RNG.exponential(size=N)).round(4)),
            ("Time (s)", np.arange(N) % 30 / 50),
            ("elapsed_ms", np.arange(N) * 20),
            ("unknown", 1_700_000_000_000 + 20 * np.arange(N)),
            ("unknown", 1_700_000_000 + 3 * RNG.permutation(N)),
            ("unknown", (np.arange(N) * 0.02 + RNG.normal(size=N) * 0.001).round(4)),
            ("when", [f"2024-01-05 12:00:{i:02d}.5" for i in range(N)]),
            ("when", [f"05.01.2024 12:{i:02d}" for i in range(N)]),
            ("when", [f"12:00:{i:02d}" for i in range(N)]),
            ("ticks", (60_000 + np.arange(N) * 200) % 2**16),
            ("unknown", (2**32 - 600 + np.arange(N) * 20) % 2**32),
            ("when", [f"2024-01-05T12:00:{i:02d}+01:00" for i in range(N)]),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("window", [None, 4])
    def test_what_numbers_rows_or_tells_time_is_left_out(self, tmp_path, name, values, window):
        data = from_csv(table(tmp_path / "t.csv", **{name: values}), window=window)
        assert data.input_shape == ((1, 2) if window is None else (2, window))
        (note,) = data.notes
        assert "was left out" in note

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("temperature", (20 + np.arange(N) * 0.05 + RNG.normal(size=N) * 0.2).round(2)),
            ("time_of_flight", RNG.normal(size=N).round(3)),
            ("t", RNG.normal(size=N).round(3)),
            ("steps", np.cumsum(RNG.integers(0, 3, N))),
            ("counter", RNG.integers(0, 4, N)),
            ("pressure", 101_325 + RNG.integers(0, 9, N)),
            ("constant", np.ones(N)),
            ("sawtooth", np.arange(N) % 7),
            ("adc", (32_768 + 32_000 * np.sin(np.arange(N))).astype(int)),
        ],
        ids=lambda v: v if isinstance(v, str) else "",
    )
    def test_a_measurement_is_kept(self, tmp_path, name, values):
        data = from_csv(table(tmp_path / "t.csv", **{name: values}))
        assert data.input_shape == (1, 3)
        assert data.notes == ()

    def test_one_decides_oneself(self, tmp_path):
        path = table(tmp_path / "t.csv", time=np.arange(N) / 50)
        assert from_csv(path, drop="b").input_shape == (1, 2)  # and the clock is kept, aloud
        assert from_csv(path, drop=["time", "b"]).input_shape == (1, 1)
        for wrong, words in (("c", "no column 'c' to drop"), ("label", "cannot be dropped")):
            with pytest.raises(BadInput, match=words):
                from_csv(path, drop=[wrong])

    @pytest.mark.parametrize("missing", ["nan", "NaN", "", "  ", "NA", "<NA>", "#N/A"])
    def test_a_missing_label_is_said_and_no_class(self, tmp_path, missing):
        labels = ["x", "y", missing] * (N // 3)
        with pytest.raises(BadFile, match=r"Line 4 of .* has no label.*, nor have 19 more lines"):
            from_csv(table(tmp_path / "t.csv", label=labels))

    def test_the_case_of_nan(self):
        with pytest.raises(BadFile, match=r"Line 14 .* \('nan' is not one\), nor have 2 more"):
            from_csv(CASES / "nan_label.csv")

    @pytest.mark.parametrize(
        ("labels", "names", "said"),
        [
            ([1, 2, 3], ("1", "2", "3"), True),
            ([-1, 1], ("-1", "1"), True),
            ([0, 90000], ("0", "90000"), True),
            (["1.0", "10.0", "2"], ("1", "2", "10"), True),
            ([0, 1], ("0", "1"), False),
            (["none", "null"], ("none", "null"), False),
        ],
    )
    def test_labels_are_mapped_aloud(self, tmp_path, labels, names, said):
        data = from_csv(table(tmp_path / "t.csv", label=np.array(labels)[np.arange(N) % len(labels)]))
        assert data.class_names == names
        assert bool(data.notes) is said

    def test_a_measurement_is_no_label(self, tmp_path):
        with pytest.raises(BadInput, match="a measurement and no class"):
            from_csv(table(tmp_path / "t.csv", label=np.arange(N) % 3 + 0.5))

    def test_a_decimal_comma_is_named_and_a_blank_line_is_none(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("a;b;label\n0,5;1;x\n", encoding="utf-8")
        with pytest.raises(BadFile, match=r"Line 2 .*'0,5' in column 'a'.* decimal comma"):
            from_csv(path)
        table(path)
        path.write_text(path.read_text(encoding="utf-8") + "   \n\n", encoding="utf-8")
        assert from_csv(path).classes == 2
        path.write_text(path.read_text(encoding="utf-8") + ",,\n", encoding="utf-8")
        with pytest.raises(BadFile, match="Line 63"):
            from_csv(path)

    def test_a_pointer_and_the_home_folder(self, tmp_path, monkeypatch):
        shutil.copy(CASES / "13_git_lfs_pointer.onnx", tmp_path / "t.csv")
        with pytest.raises(BadFile, match="Git LFS pointer"):
            from_csv(tmp_path / "t.csv")
        monkeypatch.setenv("HOME", str(tmp_path))
        table(tmp_path / "u.csv")
        assert from_csv("~/u.csv").classes == 2


X = RNG.normal(size=(30, 1, 8)).astype(np.float32)
Y = np.arange(30) % 3


class TestArrays:
    @pytest.mark.parametrize(
        ("file", "words"),
        [
            ("17_0_d_group.npz", "lacks a group for each item"),
            ("17_0_d_y.npz", r"y in .* has the shape \(\)"),
            ("17_member_that_is_no_npy.npz", "holds x, which is no array"),
        ],
    )
    def test_the_cases_that_are_refused(self, file, words):
        with pytest.raises(EdgelabError, match=words):
            from_npz(CASES / file)

    @pytest.mark.parametrize(
        ("file", "names"),
        [
            ("17_labels_1__3.npz", ("1", "2", "3")),
            ("17_labels_0_90000.npz", ("0", "90000")),
            ("17_bytes_labels_latin1.npz", ("b", "c", "\u00e4")),
        ],
    )
    def test_the_cases_that_are_mapped(self, file, names):
        with pytest.warns(DataWarning, match=r"became 0 to \d in this order"):
            data = from_npz(CASES / file)
        assert data.class_names == names
        assert set(data.train.y.tolist()) == set(range(len(names)))

    @pytest.mark.parametrize(
        ("y", "names"),
        [
            (Y * 2 - 1, ("-1", "1", "3")),
            (Y.astype(float), ("0", "1", "2")),
            (Y.astype(np.float16) + 1, ("1", "2", "3")),
            (Y.astype(np.uint64) + 2**63, tuple(str(2**63 + i) for i in range(3))),
            (Y > 0, ("False", "True")),
            (np.array(["on", "off", "b"])[Y], ("b", "off", "on")),
            (np.array([b"on", b"off", b"b"])[Y], ("b", "off", "on")),
            (np.array(["10", "9", "-1"])[Y], ("-1", "9", "10")),
        ],
        ids=str,
    )
    def test_labels_are_mapped_aloud(self, tmp_path, y, names):
        np.savez(tmp_path / "a.npz", x=X, y=y)
        data = from_npz(tmp_path / "a.npz")
        assert data.class_names == names
        assert data.notes
        assert not from_npz(self.plain(tmp_path)).notes

    def plain(self, folder):
        np.savez(folder / "plain.npz", x=X, y=Y)
        return folder / "plain.npz"

    def test_names_for_labels_from_1(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=X, y=Y + 1)
        data = from_npz(tmp_path / "a.npz", ["a", "b", "c"])
        assert data.class_names == ("a", "b", "c")
        assert "Labels 1, 2, 3 became 0 to 2" in data.notes[0]

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"y": Y + 0.25}, "0.25 for item 0, which is a measurement"),
            ({"y": np.where(Y == 2, np.nan, Y)}, r"no label for item 2 \(nan\)"),
            ({"y": np.array(["a", "nan", "c"])[Y]}, "no label for item 1"),
            ({"y": np.array(["a", "", "c"])[Y]}, "no label for item 1"),
            ({"y": np.array(["a", "b", "c"], object)[Y]}, "holds Python objects in y"),
            ({"y": Y.astype("datetime64[s]")}, "must be integers, or text"),
            ({"y": Y.astype(complex)}, "must be integers, or text"),
            ({"y": np.eye(3)[Y]}, r"y.argmax\(axis=1\)"),
            ({"y": Y[:7]}, "30 items in x and 7 labels"),
            ({"group": np.array("a")}, "lacks a group for each item"),
            ({"group": np.array([None] * 30)}, "Python objects in group"),
            ({"group": np.zeros((30, 2))}, r"group in .* has the shape \(30, 2\)"),
            ({"x": np.float32(1)}, "has the shape"),
            ({"x": np.array([{}] * 30)}, "Python objects in x"),
        ],
    )
    def test_what_is_none_of_it_is_one_sentence(self, tmp_path, arrays, words):
        np.savez(tmp_path / "a.npz", **{"x": X, "y": Y, **arrays})
        with pytest.raises(EdgelabError, match=words) as caught:
            from_npz(tmp_path / "a.npz")
        assert "\n" not in str(caught.value)
        assert "a.npz" in str(caught.value)

    def test_what_is_not_asked_for_is_not_read(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=X, y=Y, meta=np.array({"who": "me"}))
        assert from_npz(tmp_path / "a.npz").classes == 3

    def bomb(self, path, shape, content, method=zipfile.ZIP_DEFLATED):
        header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in ("x", "y"):
                with archive.open(f"{name}.npy", "w") as stream:
                    stream.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
                    for _ in range(content):
                        stream.write(bytes(2**20))
        return path

    def test_bombs_are_refused_before_they_unpack(self, tmp_path, monkeypatch):
        monkeypatch.setattr("edgelab.files._ONE_GB", 2**23)  # a whole one takes seconds to make
        path = self.bomb(tmp_path / "true.npz", (9 * 2**18,), 9)
        assert path.stat().st_size < 30_000
        with pytest.raises(BadFile, match=r"unpacks to 9,437,\d+ bytes .* use a part of it"):
            from_npz(path)
        path = self.bomb(tmp_path / "stated.npz", (2**40, 9), 1)
        with pytest.raises(BadFile, match="unpacks to"):
            from_npz(path)
        path = self.bomb(tmp_path / "small.npz", (2**24,), 1)
        with pytest.raises(BadFile, match="cannot be read"):
            from_npz(path)
        for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            with pytest.raises(BadFile, match="unpack without end"):
                from_npz(self.bomb(tmp_path / "b.npz", (2**18,), 1, method))

    def test_bombs_for_the_commands(self, tmp_path, monkeypatch):
        monkeypatch.setattr("edgelab.files._ONE_GB", 2**23)
        from edgelab.feeding.arrays import load_arrays

        with pytest.raises(BadFile, match="unpacks to"):
            load_arrays(self.bomb(tmp_path / "a.npz", (9 * 2**18,), 9))
        with pytest.raises(BadFile, match="unpack without end"):
            load_arrays(self.bomb(tmp_path / "b.npz", (2**18,), 1, zipfile.ZIP_BZIP2))

    def test_a_pointer_and_the_home_folder(self, tmp_path, monkeypatch):
        shutil.copy(CASES / "13_git_lfs_pointer.onnx", tmp_path / "a.npz")
        with pytest.raises(BadFile, match="Git LFS pointer"):
            from_npz(tmp_path / "a.npz")
        monkeypatch.setenv("HOME", str(self.plain(tmp_path).parent))
        assert from_npz("~/plain.npz").classes == 3


def pictures(root, write, suffix="png"):
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            write(root / name / f"{i}.{suffix}", i)
    return root


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png(values):
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def ramp(highest, channels):
    """8 x 8 pixels that differ by far less than an 8-bit step, with one at the top."""
    values = np.full((8, 8, channels), highest // 2) + np.arange(64).reshape(8, 8, 1) * max(1, highest // 4096)
    values[0, 0] = highest
    return values.astype(np.uint16)


class TestPictures:
    @pytest.mark.parametrize("file", ["14_mpo_camera.jpg", "15_exif_struct_error.jpg", "15b_exif_type_error.jpg"])
    def test_the_cases(self, tmp_path, file):
        data = from_folder(pictures(tmp_path, lambda path, _: shutil.copy(CASES / file, path), "jpg"), size=16)
        assert data.input_shape == (3, 16, 16)
        assert bool(data.notes) is file.startswith("14")

    def test_a_damaged_picture_is_turned_as_it_says(self, tmp_path):
        with Image.open(CASES / "15_exif_struct_error.jpg") as image:
            upright = image.convert("L").transpose(Image.Transpose.ROTATE_270).resize((16, 16), 2)
        root = pictures(tmp_path, lambda path, _: shutil.copy(CASES / "15_exif_struct_error.jpg", path), "jpg")
        found = from_folder(root, size=16, channels=1, fit="stretch").train.x[0, 0]
        np.testing.assert_allclose(found, np.asarray(upright) / 255, atol=1e-6)

    @pytest.mark.parametrize("highest", [1023, 4095, 65535])
    @pytest.mark.parametrize(("kind", "channels"), [("png", 1), ("png", 3), ("pgm", 1), ("ppm", 3), ("tif", 1)])
    def test_levels_are_kept(self, tmp_path, highest, kind, channels):
        values = ramp(highest, channels)

        def write(path, _):
            if kind == "png":
                path.write_bytes(deep_png(values))
            elif kind == "tif":
                Image.fromarray(values[..., 0]).save(path)
            else:
                path.write_bytes(
                    f"P{5 if channels == 1 else 6} 8 8 {highest}\n".encode() + values.astype(">u2").tobytes()
                )

        data = from_folder(pictures(tmp_path, write, kind), size=8, channels=channels, fit="stretch")
        np.testing.assert_allclose(data.train.x[0], values.transpose(2, 0, 1) / highest, atol=1e-6)
        bits = highest.bit_length()
        assert data.scaling == f"{bits}-bit value / {highest}, so 0 to 1"
        assert bool(data.notes) is (bits < 16)

    def test_bits_can_be_stated(self, tmp_path):
        root = pictures(tmp_path, lambda path, _: path.write_bytes(deep_png(ramp(4095, 1))))
        assert from_folder(root, size=8, channels=1, bits=16).train.x.max() == pytest.approx(4095 / 65535)
        with pytest.raises(BadInput, match=r"4,095, too large for bits=10"):
            from_folder(root, bits=10)
        with pytest.raises(BadInput, match="bits=9 is not one of"):
            from_folder(root, bits=9)

    @pytest.mark.parametrize(
        ("mode", "suffix", "colour", "expected"),
        [
            ("CMYK", "jpg", (0, 0, 0, 0), 1.0),
            ("P", "png", 0, 1.0),
            ("LA", "png", (0, 0), 1.0),
            ("1", "png", 1, 1.0),
            ("L", "webp", 255, 1.0),
        ],
    )
    def test_modes(self, tmp_path, mode, suffix, colour, expected):
        settings = {"transparency": 0} if mode == "P" else {}
        root = pictures(tmp_path, lambda path, _: Image.new(mode, (9, 9), colour).save(path, **settings), suffix)
        np.testing.assert_allclose(from_folder(root, size=8).train.x, expected, atol=0.02)

    def test_what_cannot_be_read_is_named(self, tmp_path):
        root = pictures(tmp_path, lambda path, i: Image.new("RGB", (40, 40), (i, 9, 9)).save(path), "jpg")
        bad = root / "b" / "2.jpg"
        stream = io.BytesIO()
        Image.fromarray(RNG.integers(0, 256, (60, 60, 3), np.uint8)).save(stream, "JPEG")
        transparent = chunk(b"tRNS", b"\0\1" * 3)
        deep = deep_png(ramp(65535, 3))
        for content, words in (
            (stream.getvalue()[:-700], "truncated"),
            (b"", "not a readable image"),
            ((CASES / "13_git_lfs_pointer.onnx").read_bytes(), "Git LFS pointer"),
            (b"P5 3000000 20000000 4095\n" + bytes(99), "far more pixels"),
            (b"P5 30 20 4095\n" + bytes(99), "cut off"),
            (deep[:33] + transparent + deep[33:], "transparent colour"),
            (deep[:-60], "not a readable image"),
        ):
            bad.write_bytes(content)
            with pytest.raises(BadFile, match=words) as caught:
                from_folder(root)
            assert str(bad) in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_the_home_folder(self, tmp_path, monkeypatch):
        pictures(tmp_path / "p", lambda path, i: Image.new("L", (9, 9), i).save(path))
        monkeypatch.setenv("HOME", str(tmp_path))
        assert from_folder("~/p").classes == 2

"""A learner's own data that are wrong: one sentence that says what, where, and what to do; nothing skipped."""

import io
import os
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgelab.data import from_csv, from_folder, from_npz
from edgelab.errors import BadFile, BadInput, EdgelabError


def one_sentence(caught):
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert message.endswith((".", "...")), message
    return message


@pytest.fixture
def pictures(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.new("RGB", (16, 16), (i * 40, 0, 0)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def png(width, height):
    """A PNG whose header states a size, with next to nothing in it."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


class TestPictures:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "not a readable image"),
            (b"no picture", "not a readable image"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a readable image"),
            (png(16, 16), "not a readable image"),
            (png(30_000, 30_000), "far more pixels"),
            (png(9_000, 9_000), "more than 64,000,000"),
        ],
    )
    def test_a_file_that_is_no_picture_is_named(self, pictures, content, words):
        (pictures / "dog" / "bad.png").write_bytes(content)
        with pytest.raises(BadFile, match=words) as caught:
            from_folder(pictures)
        assert str(pictures / "dog" / "bad.png") in one_sentence(caught)

    def test_every_truncation_of_a_picture_is_noticed(self, pictures):
        stream = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(stream, "PNG")
        whole = stream.getvalue()
        for cut in range(0, len(whole) - 24, 40):
            (pictures / "cat" / "cut.png").write_bytes(whole[:cut])
            with pytest.raises(BadFile, match=r"cut\.png"):
                from_folder(pictures)

    def test_several_pictures_in_one_file_and_32_bits(self, pictures):
        frames = [Image.new("L", (8, 8), i * 50) for i in range(3)]
        frames[0].save(pictures / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
        with pytest.raises(BadFile, match="holds 3 pictures"):
            from_folder(pictures)
        (pictures / "cat" / "moving.gif").unlink()
        Image.fromarray(np.zeros((8, 8), np.float32)).save(pictures / "cat" / "deep.tif")
        with pytest.raises(BadFile, match="32-bit"):
            from_folder(pictures)

    def test_what_belongs_nowhere_is_not_skipped(self, pictures):
        (pictures / "0.png").write_bytes((pictures / "cat" / "0.png").read_bytes())
        with pytest.raises(BadInput, match="belongs to no class"):
            from_folder(pictures)
        (pictures / "0.png").unlink()
        (pictures / "cat" / "more").mkdir()
        with pytest.raises(BadInput, match="folder inside a class"):
            from_folder(pictures)
        (pictures / "cat" / "more").rmdir()
        (pictures / "cat" / "notes.txt").write_text("hello")
        with pytest.raises(BadFile, match=r"notes\.txt"):
            from_folder(pictures)

    def test_what_is_no_regular_file(self, pictures):
        link = pictures / "cat" / "z.png"
        link.symlink_to("nowhere.png")
        with pytest.raises(BadFile, match=r"z\.png is a link to a file that is not there"):
            from_folder(pictures)
        link.unlink()
        os.mkfifo(link)
        with pytest.raises(BadFile, match=r"z\.png is no regular file"):
            from_folder(pictures)

    def test_a_folder_is_no_archive(self, tmp_path):
        with pytest.raises(BadFile, match=r"is a folder, not an \.npz file"):
            from_npz(tmp_path)

    def test_a_broken_link_is_named(self, pictures):
        (pictures / "cat" / "gone.png").symlink_to(pictures / "nowhere.png")
        with pytest.raises(EdgelabError, match=r"gone\.png"):
            from_folder(pictures)

    def test_no_classes_one_class_too_few(self, tmp_path, pictures):
        with pytest.raises(BadInput, match="is not a folder"):
            from_folder(tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with pytest.raises(BadInput, match="holds no images in class folders"):
            from_folder(tmp_path / "empty")
        (tmp_path / "empty").rmdir()
        for i in (2, 3, 4):
            (pictures / "dog" / f"{i}.png").unlink()
        with pytest.raises(BadInput, match=r"'dog' in .* has 2 items; at least 3") as caught:
            from_folder(pictures)
        one_sentence(caught)
        for i in (0, 1):
            (pictures / "dog" / f"{i}.png").unlink()
        with pytest.raises(BadInput, match="a single class"):
            from_folder(pictures)

    def test_stated_splits_that_do_not_fit(self, tmp_path):
        for part, classes in (("train", "ab"), ("test", "abc")):
            for name in classes:
                (tmp_path / part / name).mkdir(parents=True)
                for i in range(4):
                    Image.new("L", (8, 8), i).save(tmp_path / part / name / f"{i}.png")
        with pytest.raises(BadInput, match=r"'c' of .* has test items and no training items"):
            from_folder(tmp_path)
        (tmp_path / "other").mkdir()
        with pytest.raises(BadInput, match="holds other beside its split folders"):
            from_folder(tmp_path)

    @pytest.mark.parametrize("wrong", [{"size": 0}, {"size": (8, 99999)}, {"channels": 2}, {"fit": "zoom"}])
    def test_settings(self, pictures, wrong):
        with pytest.raises(BadInput, match="cannot be made"):
            from_folder(pictures, **wrong)

    def test_more_than_memory_is_refused_before_reading(self, pictures, monkeypatch):
        monkeypatch.setattr("edgelab.data.own.MOST_BYTES", 1000)
        with pytest.raises(BadInput, match="choose a smaller size"):
            from_folder(pictures)

    @pytest.mark.parametrize("shares", [{"validation": 0.6, "test": 0.6}, {"test": 0}])
    def test_shares(self, pictures, shares):
        with pytest.raises(BadInput, match="leave no room"):
            from_folder(pictures, **shares)


X, Y = np.zeros((20, 1, 8), np.float32), np.arange(20) % 2


class TestArrays:
    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"x": X}, "must hold x and y"),
            ({"a": X, "b": Y}, "it holds a, b"),
            ({"x_train": X, "y_train": Y, "x_test": X}, "must hold x and y"),
            ({"x": X, "y": Y[:19]}, "20 items in x and 19 labels in y"),
            ({"x": X.astype(int), "y": Y}, "must be floating"),
            ({"x": X.astype(complex), "y": Y}, "must be floating"),
            ({"x": X[..., None, None], "y": Y}, "has the shape"),
            ({"x": X[:0], "y": Y[:0]}, "not empty"),
            ({"x": np.zeros((20, 8, 8), np.float32), "y": Y}, "state layout="),
            ({"x": np.zeros((20, 3, 8, 3), np.float32), "y": Y}, "state layout="),
            ({"x": X, "y": Y + 0.5}, "0.5 for item 0, which is a measurement"),
            ({"x": X, "y": np.where(Y, np.nan, 0)}, "no label for item 1"),
            ({"x": X, "y": np.eye(2)[Y]}, "one label for each item"),
            ({"x": X, "y": Y * 0}, "a single class"),
            ({"x": X, "y": np.r_[np.zeros(18, int), 1, 1]}, "'1' in .* has 2 items"),
            ({"x": X, "y": Y, "group": Y[:5].astype(str)}, "lacks a group for each item"),
            ({"x": np.where(np.arange(20)[:, None, None] == 7, np.nan, X), "y": Y}, "item 7"),
            ({"x": np.full((20, 1, 8), 1e300), "y": Y}, "infinite value in item 0"),
            ({"x_train": X, "y_train": Y, "x_test": X[..., :4], "y_test": Y}, "different shapes"),
            ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "'2' of .* test items and no training"),
            ({"x_train": X, "y_train": Y * 0, "x_test": X, "y_test": Y}, "a single class"),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path, arrays, words):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(EdgelabError, match=words) as caught:
            from_npz(tmp_path / "a.npz")
        assert "a.npz" in one_sentence(caught)

    def test_names_that_do_not_fit(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=X, y=Y)
        with pytest.raises(BadInput, match="the label 1 and there are 1 class names"):
            from_npz(tmp_path / "a.npz", ["only"])
        np.savez(tmp_path / "b.npz", x=X, y=np.array(["u", "v"])[Y])
        with pytest.raises(BadInput, match="leave class_names out"):
            from_npz(tmp_path / "b.npz", ["v", "u"])

    def test_pickles_are_never_loaded(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return (os.mkdir, (str(tmp_path / "exploded"),))

        np.savez(tmp_path / "a.npz", x=np.array([Bomb()] * 3, object), y=Y[:3])
        with pytest.raises(BadFile, match="pickled objects are not loaded"):
            from_npz(tmp_path / "a.npz")
        assert not (tmp_path / "exploded").exists()

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04rest"])
    def test_a_file_that_is_no_npz(self, tmp_path, content):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(BadFile, match=r"not an \.npz file") as caught:
            from_npz(tmp_path / "a.npz")
        one_sentence(caught)

    def test_a_missing_file_and_a_folder(self, tmp_path):
        with pytest.raises(BadFile, match="does not exist"):
            from_npz(tmp_path / "none.npz")
        with pytest.raises(BadFile):
            from_npz(tmp_path)

    def test_every_cut_and_flipped_byte_ends_in_a_sentence_or_in_data(self, tmp_path):
        np.savez_compressed(tmp_path / "whole.npz", x=np.random.default_rng(0).random((20, 1, 8)), y=Y)
        whole = (tmp_path / "whole.npz").read_bytes()
        refused = 0
        for i in range(0, len(whole), 19):
            for content in (whole[:i], whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :]):
                (tmp_path / "a.npz").write_bytes(content)
                try:
                    from_npz(tmp_path / "a.npz")
                except EdgelabError:
                    refused += 1
        assert refused > len(whole) // 19

    def test_a_header_that_promises_more_than_there_is(self, tmp_path):
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9), }"
        npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"1234"
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", npy)
            archive.writestr("y.npy", npy)
        with pytest.raises(BadFile, match="unpacks to 3,599,999,999,964 bytes in x"):
            from_npz(tmp_path / "a.npz")

    def test_a_bomb_is_refused_before_it_is_unpacked(self, tmp_path, monkeypatch):
        monkeypatch.setattr("edgelab.data.arrays.MOST_BYTES", 100_000)
        np.savez_compressed(tmp_path / "a.npz", x=np.zeros((20, 1, 8000)), y=Y)
        with pytest.raises(BadFile, match="unpacks to 1,28"):
            from_npz(tmp_path / "a.npz")

    def test_an_unknown_layout(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=X, y=Y)
        with pytest.raises(BadInput, match="'auto', 'first', 'last' or 'grey'"):
            from_npz(tmp_path / "a.npz", layout="NHWC")
        np.savez(tmp_path / "a.npz", x=X[:, :, 0], y=Y)
        with pytest.raises(BadInput, match="layout='grey'"):
            from_npz(tmp_path / "a.npz", layout="grey")


ROWS = ["a,b,label", *(f"{i},{i * 2},{'x' if i % 2 else 'y'}" for i in range(12))]


def changed(line, text):
    """The good file with one line (counted from 1, the header) replaced."""
    rows = list(ROWS)
    rows[line - 1] = text
    return rows


class TestSignals:
    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            (changed(5, "1,2"), "Line 5 of .* has 2 fields and the header 3"),
            (changed(5, "1,2,x,9"), "Line 5 of .* has 4 fields"),
            (changed(7, "1,two,x"), "Line 7 of .* 'two' in column 'b'"),
            (changed(7, "1,,x"), "Line 7 of .* '' in column 'b'"),
            (changed(7, "nan,2,x"), "Line 7 of .* 'nan' in column 'a'"),
            (changed(7, "1,-inf,x"), "Line 7 of .* '-inf' in column 'b'"),
            (changed(7, "1,1e99,x"), "Line 7 of .* '1e99' in column 'b'"),
            (changed(7, '1,"2,5",x'), "Line 7 of .* '2,5' in column 'b'"),
            (changed(9, "1,2,"), "Line 9 of .* has no label"),
            (changed(9, '1,2,"x'), "not a readable CSV"),
            (changed(9, "1,2\0,x"), "in column 'b'"),
            (changed(1, "a,b,class"), "no column 'label'; its columns are a, b, class"),
            (changed(1, "a,label,label"), "more than one column 'label'"),
            (["label", "x", "y"], "at least two columns"),
            ([], "at least two columns"),
            (ROWS[:1], "a header and no rows"),
            ([ROWS[0], *ROWS[2::2]], "a single class"),
            (ROWS[:5], "has 2 items; at least 3"),
        ],
    )
    def test_rows_that_are_wrong_are_named(self, tmp_path, rows, words):
        path = tmp_path / "a.csv"
        path.write_text("\n".join(rows))
        with pytest.raises(EdgelabError, match=words) as caught:
            from_csv(path)
        assert "a.csv" in one_sentence(caught)

    @pytest.mark.parametrize(
        "content",
        [b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xfea\0,\0b\0", "a,b,label\n1,2,\u00e4".encode("latin-1"), bytes(100)],
    )
    def test_what_is_no_csv(self, tmp_path, content):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(BadFile) as caught:
            from_csv(tmp_path / "a.csv")
        assert "a.csv" in one_sentence(caught)

    def test_a_missing_file_and_a_folder(self, tmp_path):
        with pytest.raises(BadFile, match="does not exist"):
            from_csv(tmp_path / "none.csv")
        with pytest.raises(BadFile, match="cannot be read"):
            from_csv(tmp_path)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"window": 1}, "cannot be cut"),
            ({"window": 4, "hop": 0}, "cannot be cut"),
            ({"hop": 4}, "state window="),
            ({"window": 50}, "no stretch of 50 rows"),
            ({"window": 2, "group": "machine"}, "no column 'machine'"),
            ({"delimiter": ", "}, "not one character"),
            ({"validation": 0.9, "test": 0.2}, "leave no room"),
        ],
    )
    def test_settings(self, tmp_path, wrong, words):
        path = tmp_path / "a.csv"
        path.write_text("\n".join(ROWS))
        with pytest.raises(EdgelabError, match=words) as caught:
            from_csv(path, **wrong)
        one_sentence(caught)

    def test_more_windows_than_memory_holds(self, tmp_path, monkeypatch):
        path = tmp_path / "a.csv"
        path.write_text("\n".join(["v,label", *(f"{i},{i // 100}" for i in range(200))]))
        monkeypatch.setattr("edgelab.data.signals.MOST_BYTES", 4000)
        with pytest.raises(BadInput, match="choose a longer hop"):
            from_csv(path, window=10, hop=1)
        assert len(from_csv(path, window=10, hop=10).train)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.text(alphabet="ab,;\t\n\r\"'0123456789.-eE\0 ", max_size=30), max_size=30), st.booleans())
    def test_any_text_ends_in_a_sentence_or_in_data(self, lines, headed):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.csv"
            path.write_text("\n".join([*(["a,label"] if headed else []), *lines]), encoding="utf-8", newline="")
            try:
                data = from_csv(path)
            except EdgelabError as error:
                sentence = str(error)
            else:
                sentence = data._repr_markdown_()
                assert data.classes >= 2
        assert "a.csv" in sentence

    def test_too_few_recordings(self, tmp_path):
        rows = ["v,rec,label", *(f"{i},r{i // 10},{'xy'[i // 10 % 2]}" for i in range(40))]
        path = tmp_path / "a.csv"
        path.write_text("\n".join(rows))
        with pytest.raises(BadInput, match="at least 3 recordings of each class"):
            from_csv(path, recording="rec", window=4)

    def test_a_stretch_too_short_for_three_splits_is_said(self, tmp_path):
        rows = ["v,label", *(f"{i},{'x' if i < 200 else 'y'}" for i in range(220))]
        path = tmp_path / "a.csv"
        path.write_text("\n".join(rows))
        with pytest.raises(BadInput, match=r"'y' of .* has no validation window"):
            from_csv(path, window=10)

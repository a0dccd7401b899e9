"""Golden data that is damaged, foreign or wrong: one sentence, and nothing is unpickled or left behind."""

import contextlib
import os
import zipfile

import numpy as np
import pytest

from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import load_arrays, save_arrays

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.arange(6) % 2


def refused(path):
    with pytest.raises((BadFile, BadInput)) as caught:
        load_arrays(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert path.name in sentence
    return sentence


def test_a_round_trip(tmp_path):
    path = save_arrays(tmp_path / "a.npz", X, Y, ["a", "b"] * 3)
    arrays = load_arrays(path)
    assert np.array_equal(arrays.x, X)
    assert arrays.y.tolist() == Y.tolist()
    assert arrays.group.tolist() == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"y": Y}, "lacks x, or inputs by their names; it holds y"),
        ({"y": Y, "group": Y}, "lacks x, or inputs by their names; it holds y, group"),
        ({"ids": Y, "mask": Y[:4]}, "mask holds 4 items and the first input 6"),
        ({"mask": np.full((6, 2), np.nan)}, "mask holds NaN"),
        ({"ids": Y.astype(complex)}, "ids must be float32, not complex128"),
        ({"x": X.astype(np.float64), "y": Y}, "must be float32"),
        ({"x": X, "y": Y.astype(float)}, "integers"),
        ({"x": X, "y": Y[:-1]}, "6 integers"),
        ({"x": X, "y": Y - 1}, "classes count from 0"),
        ({"x": X[:0], "y": Y[:0]}, "at least one item"),
        ({"x": np.float32(1), "y": Y}, "at least one item"),
        ({"x": np.where(X > 1, np.nan, X), "y": Y}, "NaN or infinity"),
        ({"x": np.where(X > 1, np.inf, X), "y": Y}, "NaN or infinity"),
        ({"x": X, "y": Y, "group": np.array(["a"] * 5)}, "6 labels"),
        ({"x": X, "y": Y, "group": np.full(6, np.nan)}, "without NaN"),
    ],
)
def test_wrong_arrays(tmp_path, parts, says):
    np.savez(tmp_path / "a.npz", **parts)
    assert says in refused(tmp_path / "a.npz")


def test_labels_are_optional_and_inputs_have_names(tmp_path):
    path = save_arrays(tmp_path / "x.npz", X)
    assert load_arrays(path).y is None
    assert list(load_arrays(path).inputs) == ["x"]
    ids, mask = np.arange(12).reshape(6, 2), np.full((6, 2), -np.inf, np.float32)
    path = save_arrays(tmp_path / "two.npz", {"ids": ids, "mask": mask}, Y)
    arrays = load_arrays(path)
    assert list(arrays.inputs) == ["ids", "mask"]
    assert arrays.inputs["ids"].dtype == np.int64
    assert arrays.y.tolist() == Y.tolist()
    assert len(arrays) == 6


def test_y_and_group_are_labels_unless_an_input_is_called_so(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=X + 1)
    assert "integers" in refused(tmp_path / "a.npz")
    arrays = load_arrays(tmp_path / "a.npz", ["x", "y"])
    assert arrays.y is None
    assert np.array_equal(arrays.inputs["y"], X + 1)
    np.savez(tmp_path / "b.npz", x=X, other=X, y=Y)
    assert list(load_arrays(tmp_path / "b.npz").inputs) == ["x"]
    assert list(load_arrays(tmp_path / "b.npz", ["serving_default_x:0", "serving_default_other:0"]).inputs) == [
        "x",
        "other",
    ]
    with pytest.raises(BadInput, match="called 'y' like the labels"):
        save_arrays(tmp_path / "c.npz", {"y": X}, Y)


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trap = np.empty(1, dtype=object)
    trap[0] = Trap()
    np.savez(tmp_path / "a.npz", x=trap, y=Y)
    refused(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_missing_foreign_and_folders(tmp_path):
    refused(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    refused(tmp_path / "text.npz")
    (tmp_path / "folder.npz").mkdir()
    refused(tmp_path / "folder.npz")
    np.save(tmp_path / "single.npy", X)
    refused(tmp_path / "single.npy")
    with zipfile.ZipFile(tmp_path / "notes.npz", "w") as archive:
        archive.writestr("x", "no array")
        archive.writestr("y", "no array")
    refused(tmp_path / "notes.npz")


def test_every_cut_and_many_flips_end_in_a_sentence_or_in_arrays(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=X, y=Y)
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        refused(path)
    draw = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.integers(len(whole))] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        with contextlib.suppress(BadFile, BadInput):
            load_arrays(path)


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000,), }".ljust(117)
        + b"\n"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header)
        archive.writestr("y.npy", header)
    refused(path)


def test_nothing_is_left_when_saving_fails(tmp_path):
    with pytest.raises(BadInput):
        save_arrays(tmp_path / "a.npz", X, Y[:2])
    assert list(tmp_path.iterdir()) == []

"""Weight matrices of a file of one's own, and what is said of files that have none."""

import io
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgelab.convert.onnx import export
from edgelab.errors import BadFile
from edgelab.slim.lowrank_files import read_matrices


def test_every_kind_gives_its_matrices(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    save_file({"a": weight.half(), "bias": torch.zeros(3), "n": torch.ones(2, 2).long()}, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", a=weight.numpy(), steps=np.arange(4).reshape(2, 2), row=np.ones((1, 5)))
    for name in ("w.safetensors", "w.npz"):
        found = read_matrices(tmp_path / name)
        assert list(found) == ["a"]
        assert torch.equal(found["a"], weight)
        assert found["a"].dtype == torch.float32
    layer = nn.Linear(4, 3)
    export(nn.Sequential(layer), torch.randn(2, 4), tmp_path / "net.onnx")
    (matrix,) = read_matrices(tmp_path / "net.onnx").values()
    assert sorted(matrix.shape) == [3, 4]


def test_bad_files_are_one_sentence(tmp_path):
    (tmp_path / "w.txt").write_text("1 2")
    for name in ("w.npz", "w.safetensors", "w.onnx"):
        (tmp_path / name).write_bytes(b"no such thing")
        with pytest.raises(BadFile, match="cannot be read as"):
            read_matrices(tmp_path / name)
    with pytest.raises(BadFile, match="is none of"):
        read_matrices(tmp_path / "w.txt")
    with pytest.raises(BadFile):
        read_matrices(tmp_path / "none.npz")
    np.savez(tmp_path / "flat.npz", a=np.ones(4))
    with pytest.raises(BadFile, match="no matrix of real numbers"):
        read_matrices(tmp_path / "flat.npz")
    np.savez(tmp_path / "nan.npz", a=np.full((2, 2), np.nan))
    with pytest.raises(BadFile, match="NaN, infinity"):
        read_matrices(tmp_path / "nan.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([[object()] * 2] * 2), allow_pickle=True)
    with pytest.raises(BadFile, match="no matrix of real numbers"):
        read_matrices(tmp_path / "objects.npz")
    np.savez(tmp_path / "large.npz", a=np.full((2, 2), 1e300))
    with pytest.raises(BadFile, match="what float32 cannot hold"):
        read_matrices(tmp_path / "large.npz")
    np.save(tmp_path / "one.npy", np.ones((2, 2)))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(BadFile, match="single array without a name"):
        read_matrices(tmp_path / "one.npz")
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    with pytest.raises(BadFile, match="cannot be read as"):
        read_matrices(tmp_path / "huge.npz")


def test_objects_and_zeros_beside_a_matrix_are_left_out(tmp_path):
    objects = np.array([[object()] * 2] * 2)
    np.savez(tmp_path / "mixed.npz", a=np.eye(3), o=objects, z=np.zeros((2, 4)), allow_pickle=True)
    assert list(read_matrices(tmp_path / "mixed.npz")) == ["a"]

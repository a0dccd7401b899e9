"""The parts of updates by themselves: differences, storage, golden inputs, manifests, keys."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelab.errors import BadFile, BadInput
from edgelab.ota import deltas
from edgelab.ota.keys import make_key, next_name, private_files
from edgelab.ota.manifest import Card, Refused
from edgelab.ota.storage import DiskStorage, checked_name, write_file


def network(weights, bias):
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
            onnx.helper.make_node("Cast", ["b"], ["bf"], to=1),
            onnx.helper.make_node("Add", ["h", "bf"], ["y"]),
        ],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [None, weights.shape[0]])],
        [onnx.helper.make_tensor_value_info("y", 1, [None, weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    return onnx.helper.make_model(graph).SerializeToString()


def test_tensors_are_found_where_they_lie():
    draw = np.random.default_rng(0)
    weights, bias = draw.standard_normal((30, 20)).astype(np.float32), draw.integers(-99, 99, 20).astype(np.int32)
    content = network(weights, bias)
    found = deltas.tensors(content, "onnx")
    assert {name: (size, width) for name, (_, size, width) in found.items()} == {"w": (2400, 4), "b": (80, 4)}
    place, size, _ = found["w"]
    assert content[place : place + size] == weights.tobytes()
    assert deltas.tensors(b"no model", "onnx") == {}
    assert deltas.tensors(b"no model at all, but long enough", "tflite") == {}


def test_a_few_changed_weights_are_a_small_difference():
    draw = np.random.default_rng(0)
    weights, bias = draw.standard_normal((300, 200)).astype(np.float32), draw.integers(-99, 99, 200).astype(np.int32)
    changed = weights.copy()
    changed[:, 7] += 1e-3
    old, new = network(weights, bias), network(changed, bias)
    best = deltas.best_delta(old, new, "onnx")
    assert best.method == "aligned"
    assert len(best.content) < 0.01 * len(new)
    assert deltas.apply_delta(best.method, best.content, old, len(new)) == new


def test_the_form_of_the_file_may_change():
    draw = np.random.default_rng(0)
    old = network(draw.standard_normal((30, 20)).astype(np.float32), np.zeros(20, np.int32))
    new = network(draw.standard_normal((30, 24)).astype(np.float32), np.ones(24, np.int32))
    made = deltas.aligned(old, new, "onnx")
    assert deltas.apply_delta("aligned", made, old, len(new)) == new


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=900), st.binary(max_size=900), st.integers(0, 900), st.sampled_from(["onnx", "tflite"]))
def test_every_difference_gives_the_file_back(old, new, place, kind):
    new = old[:place] + new + old[place:]
    for method, content in (
        ("raw", new),
        ("zstd", deltas.pack(new)),
        ("dictionary", deltas.pack(new, old)),
        ("aligned", deltas.aligned(old, new, kind)),
    ):
        assert deltas.apply_delta(method, content, old, len(new)) == new


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=60, max_size=400), st.data())
def test_a_damaged_difference_is_refused_or_gives_some_file_of_that_size(old, data):
    new = old[::-1]
    content = bytearray(deltas.aligned(old, new, "onnx"))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(content), bytes(content[: data.draw(st.integers(0, len(content)))])):
        try:
            assert len(deltas.apply_delta("aligned", damaged, old, len(new))) == len(new)
        except Refused as error:
            assert error.kind in ("tampered", "truncated")  # noqa: PT017 - both ways are right


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 0, 1, 255]), max_size=1500), st.sampled_from([1, 2, 4]))
def test_sparse_differences_and_their_planes_come_back(values, width):
    left = np.array(values, np.uint8)
    assert np.array_equal(deltas._from_gaps(deltas._gaps(left), len(left)), left)
    usable = len(left) // (2 * width) * width
    new, old = left[:usable], left[usable : 2 * usable]
    assert np.array_equal(deltas._sum(deltas._subtract(new, old, width), old, width), new)


def test_a_bomb_is_refused_before_it_unpacks():
    bomb = deltas.pack(bytes(50_000_000))
    assert len(bomb) < 10_000
    with pytest.raises(Refused, match="states 50,000,000 bytes"):
        deltas.apply_delta("zstd", bomb, b"", 1000)


def test_a_file_on_disk_is_replaced_whole(tmp_path):
    storage = DiskStorage(tmp_path / "device")
    storage.make_folder("slots/a")
    write_file(storage, "slots/a/model", b"one")
    write_file(storage, "slots/a/model", b"two")
    assert storage.names("slots/a") == ["model"]
    assert storage.read("slots/a/model") == b"two"
    assert storage.size("nothing") is None
    with storage.scratch() as scratch:
        (scratch / "left").write_bytes(b"x")
    assert not scratch.exists()
    (tmp_path / "device" / "scratch-left").mkdir()
    with storage.scratch():
        assert not (tmp_path / "device" / "scratch-left").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadFile, match="cannot be made a device's folder"):
        DiskStorage(tmp_path / "file" / "device")


@pytest.mark.parametrize("name", ["..", "a/../b", "/a", "a//b", "", "a\\b", "C:a", "a\0b", "./a", "x" * 500])
def test_names_that_leave_their_folder(name):
    with pytest.raises(BadInput, match="leaves its folder"):
        checked_name(name)


def test_keys_are_private_and_never_replaced(tmp_path):
    make_key(tmp_path / "keys", "root-1")
    assert next_name(tmp_path / "keys", "root") == "root-2"
    assert [file.name for file in private_files(tmp_path)] == ["root-1.key"]
    with pytest.raises(BadFile, match="is there already"):
        make_key(tmp_path / "keys", "root-1")


def test_a_card_has_three_texts():
    assert Card.of({"fails": "at night"}) == Card(fails="at night")
    for wrong in ({"author": "x"}, {"fails": 3}):
        with pytest.raises(BadInput, match="A model card has the texts"):
            Card.of(wrong)

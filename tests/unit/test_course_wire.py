"""Values and calls between two processes: equal on the other side, as copies, and nothing that runs code."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgelab.course.checker import same
from edgelab.course.values import Codec, Unsendable
from edgelab.course.wire import Ended, Link
from edgelab.reading import Reading


@dataclass
class Box:
    items: list


VALUES = [
    None,
    True,
    2**100,
    0.1,
    float("inf"),
    "a text",
    b"bytes",
    1 + 2j,
    [1, (2, "x"), [None]],
    {"a": 1, (1, 2): [3], 5: {6}},
    frozenset({1}),
    range(3),
    slice(1, None, 2),
    np.float32(0.1),
    np.str_("day"),
    np.arange(12, dtype=np.int8).reshape(3, 4)[:, ::2],
    np.array(["a", None], dtype=object),
    np.array([], dtype=">f4"),
    np.dtype("int8"),
    np.int8,
    Path("a"),
]


@pytest.fixture
def codec():
    return Codec({"__name__": __name__, "Box": Box}, lambda _: 0, lambda *_: None)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_arrives_equal_and_of_its_type(codec, value):
    import json

    got = codec.decode(json.loads(json.dumps(codec.encode(value))))
    assert type(got) is type(value) or isinstance(value, Path)
    assert same(got, value, None) if isinstance(value, np.ndarray) else got == value
    if isinstance(value, np.ndarray):
        assert got.dtype == value.dtype
        assert got.flags.writeable


def test_objects_arrive_as_their_class_or_as_their_values(codec):
    reading = Reading(1.5, "x", "measured", "a test", low=1, high=2)
    assert codec.decode(codec.encode(reading)) == reading
    assert codec.decode(codec.encode(Box([1]))) == Box([1])
    assert codec.decode(codec.encode(SimpleNamespace(a=1))) == SimpleNamespace(a=1)
    data = codec.encode(Box([1]))
    assert codec.decode({**data, "class": "subprocess:Popen"}) == SimpleNamespace(items=[1])
    assert codec.decode({**data, "class": "edgelab.course.wire:os"}) == SimpleNamespace(items=[1])


def test_tensors_arrive_as_tensors(codec):
    import torch

    tensor = torch.arange(6.0).reshape(2, 3).T
    got = codec.decode(codec.encode(tensor))
    assert torch.equal(got, tensor)
    with pytest.raises(Unsendable):
        codec.encode(tensor.requires_grad_())


def test_what_cannot_be_sent_says_so(codec):
    loop = []
    loop.append(loop)
    for value in (object(), iter([1]), Box, np.zeros(1, dtype=[("a", "i4")]), loop):
        with pytest.raises(Unsendable):
            codec.encode(value)


@pytest.mark.parametrize(
    "data",
    [
        {"t": "no"},
        {},
        {"t": "array", "dtype": "O", "shape": [1], "v": "AAAAAAAAAAA="},
        {"t": "type", "v": ["os", "system"]},
    ],
)
def test_what_nobody_sends_is_refused(codec, data):
    with pytest.raises(ValueError):
        codec.decode(data)


@pytest.fixture
def links():
    """Two ends; what the second one keeps under handle 0 is called by the first."""
    there, back = os.pipe(), os.pipe()
    first, second = Link(back[0], there[1], {}), Link(there[0], back[1], {})
    yield first, second
    for end in (*there, *back):
        os.close(end)


def call(links, function, *arguments):
    first, second = links
    remote = first.decode(second.encode(function))

    def serve():
        second.answer(second.receive())

    server = threading.Thread(target=serve)
    server.start()
    try:
        return remote(*arguments)
    finally:
        server.join(10)


def test_a_call_changes_the_callers_arguments_as_its_own(links):
    def change(array, items, facts):
        array *= 2
        items.append(3)
        del facts["a"]
        return array.sum()

    array, items, facts = np.ones(3), [1], {"a": 1, "b": 2}
    assert call(links, change, array, items, facts) == 6.0
    assert array.tolist() == [2, 2, 2]
    assert items == [1, 3]
    assert facts == {"b": 2}


def test_an_error_keeps_its_name_and_standard_ones_their_class(links):
    class Own(Exception):
        pass

    for error, caught in ((ValueError("x"), ValueError), (np.linalg.LinAlgError("x"), np.linalg.LinAlgError)):
        with pytest.raises(caught, match="x"):
            call(links, lambda error=error: (_ for _ in ()).throw(error))
    with pytest.raises(Exception, match="mine") as found:
        call(links, lambda: (_ for _ in ()).throw(Own("mine")))
    assert type(found.value).__name__ == "Own"


def test_a_function_among_the_arguments_is_called_back(links):
    asked = []

    def works(size):
        asked.append(size)
        return size > 3

    assert call(links, lambda f: [f(2), f(5)], works) == [False, True]
    assert asked == [2, 5]


def test_a_result_that_cannot_be_sent_is_told(links):
    with pytest.raises(Unsendable, match="a list_iterator"):
        call(links, lambda: iter([1]))


@pytest.mark.parametrize("frame", [b"", b"\0" * 7 + b"\2[]", b"\xff" * 8, b"\0" * 7 + b"\2{x"])
def test_a_side_that_goes_or_babbles_has_ended(frame):
    read, write = os.pipe()
    os.write(write, frame)
    os.close(write)
    with pytest.raises(Ended):
        Link(read, read, {}).receive()
    os.close(read)

"""Differences between two releases of a model: zstd with the old file as its dictionary, and aligned subtraction.

A fine-tuned network has the same tensors at nearly the same values. `aligned` lays each new tensor over the old one of
its name and subtracts, element by element; what is left is small numbers and zeros, which zstd packs well. The decoder
needs no knowledge of the format: the difference lists which bytes lie over which. A result is held against its hash.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadFile
from edgelab.ota.manifest import Refused

LEVEL = 19
_LENGTH = struct.Struct("<I")
_SHORTEST_TENSOR = 16
_ESCAPE = 255
_WIDTHS = {"FLOAT32": 4, "INT32": 4, "UINT32": 4, "FLOAT16": 2, "INT16": 2, "UINT16": 2}
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Span:
    """Bytes of the new file that lie over bytes of the old one, as elements of ``width`` bytes."""

    new: int
    old: int
    size: int
    width: int


@dataclass(frozen=True)
class Delta:
    """A difference: how it was made, and its bytes."""

    method: str
    content: bytes


def best_delta(old: bytes, new: bytes, kind: str) -> Delta:
    """The smallest of all differences and of the new file packed by itself.

    Parameters
    ----------
    old, new
        Two model files.
    kind
        Their format, ``"onnx"`` or ``"tflite"``.

    Examples
    --------
    >>> old = bytes(range(256)) * 8
    >>> new = bytearray(old); new[700] += 1
    >>> delta = best_delta(old, bytes(new), "onnx")
    >>> len(delta.content) < 100, apply_delta(delta.method, delta.content, old, len(new)) == new
    (True, True)
    """
    made = [Delta("zstd", pack(new)), Delta("dictionary", pack(new, old)), Delta("aligned", aligned(old, new, kind))]
    return min(made, key=lambda delta: len(delta.content))


def apply_delta(method: str, content: bytes, old: bytes, size: int) -> bytes:
    """The new file, of ``size`` bytes, from a difference and the old one.

    Raises
    ------
    Refused
        If the difference is damaged or gives another size; it never allocates more than that.
    """
    try:
        if method == "raw":
            made = content
        elif method == "zstd":
            made = unpack(content, size)
        elif method == "dictionary":
            made = unpack(content, size, old)
        elif method == "aligned":
            made = _add(content, old, size)
        else:
            raise ValueError(f"no method {method!r}")  # noqa: TRY301
    except (ValueError, KeyError, TypeError, IndexError, struct.error, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise Refused("tampered", f"The download does not unpack ({reason}).") from None
    if len(made) != size:
        raise Refused("truncated", f"The download unpacks to {len(made):,} bytes in place of {size:,}.")
    return made


def pack(content: bytes, dictionary: bytes = b"") -> bytes:
    """Zstd, with the dictionary's bytes as what came before."""
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        source_size=len(content) + len(dictionary),
        write_content_size=1,
        enable_ldm=len(dictionary) > 2**20,
    )
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=_dictionary(dictionary)).compress(content)


def unpack(content: bytes, size: int, dictionary: bytes = b"") -> bytes:
    """What `pack` packed.

    Raises
    ------
    ValueError
        If it is damaged, or states more than ``size`` bytes.
    """
    import zstandard

    try:
        stated = zstandard.frame_content_size(content)
        if not 0 <= stated <= size:
            raise ValueError(f"it states {stated:,} bytes where at most {size:,} are due")
        return zstandard.ZstdDecompressor(dict_data=_dictionary(dictionary), max_window_size=2**31).decompress(content)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _dictionary(content: bytes) -> Any:
    import zstandard

    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if content else None


def aligned(old: bytes, new: bytes, kind: str) -> bytes:
    """The difference by aligned subtraction: a packed list of spans, then the packed differences and other bytes."""
    before, after = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    spans = []
    for span in align(old, new, tensors(old, kind), tensors(new, kind)):
        same = np.array_equal(after[span.new : span.new + span.size], before[span.old : span.old + span.size])
        spans.append(Span(span.new, span.old, span.size, 1 if same else span.width))
    spans = _merged(spans)
    parts, place = [], 0
    rest = bytearray()
    for span in spans:
        rest += new[place : span.new]
        place = span.new + span.size
        parts.append(_subtract(after[span.new : place], before[span.old : span.old + span.size], span.width))
    rest += new[place:]
    listed = pack(_list_spans(spans))
    left = np.concatenate([np.zeros(0, np.uint8), *parts])
    body = min((mark + pack(how(left)) for mark, how in ((b"p", _plain), (b"g", _gaps))), key=len)
    packed_rest = pack(bytes(rest), old) if rest else b""
    return b"".join((_LENGTH.pack(len(listed)), listed, _LENGTH.pack(len(body)), body, packed_rest))


def _add(content: bytes, old: bytes, size: int) -> bytes:
    """Undo `aligned`."""
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    spans = _read_spans(unpack(content[_LENGTH.size : start], 64 * 2**20))
    (length,) = _LENGTH.unpack_from(content, start)
    start += _LENGTH.size
    mark, packed = content[start : start + 1], content[start + 1 : start + length]
    due = sum(span.size for span in spans)
    if due > size:
        raise ValueError("its spans are longer than the file")
    if mark == b"g":
        body = _from_gaps(unpack(packed, 3 * size + 8), due)
    else:
        body = np.frombuffer(unpack(packed, size), np.uint8)
    rest = unpack(content[start + length :], size, old) if content[start + length :] else b""
    before = np.frombuffer(old, np.uint8)
    made, place, used, taken = bytearray(), 0, 0, 0
    for span in spans:
        gap = span.new - place
        inside = 0 <= span.old <= span.old + span.size <= len(old) and span.new + span.size <= size
        if gap < 0 or span.size <= 0 or not inside or span.width not in (1, 2, 4) or span.size % span.width:
            raise ValueError("a span lies outside of its file")
        made += rest[used : used + gap]
        part = body[taken : taken + span.size]
        made += _sum(part, before[span.old : span.old + span.size], span.width).tobytes()
        used, taken, place = used + gap, taken + span.size, span.new + span.size
    return bytes(made + rest[used:])


def _list_spans(spans: Sequence[Span]) -> bytes:
    """Spans as four columns: bytes before each, by how much the two files are shifted, size, width."""
    columns: list[list[int]] = [[], [], [], []]
    place = 0
    for span in spans:
        for column, value in zip(columns, (span.new - place, span.old - span.new, span.size, span.width), strict=True):
            column.append(value)
        place = span.new + span.size
    return np.array(columns, "<i4").view(np.uint8).reshape(4, -1, 4).transpose(0, 2, 1).tobytes()


def _read_spans(content: bytes) -> list[Span]:
    planes = np.frombuffer(content, np.uint8).reshape(4, 4, -1)
    columns = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<i4").reshape(4, -1)
    spans, place = [], 0
    for before, shift, size, width in columns.T.tolist():
        spans.append(Span(place + before, place + before + shift, size, width))
        place += before + size
    return spans


def _plain(left: Bytes) -> bytes:
    return left.tobytes()


def _gaps(left: Bytes) -> bytes:
    """Sparse differences: how many zeros stand before each other value, then the values.

    A Huffman code spends a bit on each zero at least; on a gap it spends a few for all of them.
    """
    places = np.flatnonzero(left)
    gaps = np.diff(places, prepend=-1) - 1
    full, short = np.divmod(gaps, _ESCAPE)
    ends = np.cumsum(full + 1) - 1
    coded = np.full(int(full.sum()) + len(gaps), _ESCAPE, np.uint8)
    coded[ends] = short
    return _LENGTH.pack(len(coded)) + coded.tobytes() + left[places].tobytes()


def _from_gaps(content: bytes, size: int) -> Bytes:
    (count,) = _LENGTH.unpack_from(content)
    coded = np.frombuffer(content, np.uint8, count, _LENGTH.size)
    values = np.frombuffer(content, np.uint8, -1, _LENGTH.size + count)
    ends = np.flatnonzero(coded != _ESCAPE)
    places = np.cumsum(coded.astype(np.int64))[ends] + np.arange(len(ends))
    if len(ends) != len(values) or (len(places) and places[-1] >= size):
        raise ValueError("its gaps do not fit its values")
    left = np.zeros(size, np.uint8)
    left[places] = values
    return left


def _subtract(new: Bytes, old: Bytes, width: int) -> Bytes:
    """Differences modulo the element's range, small ones of either sign as small numbers (zigzag), plane by plane."""
    left = (new.copy().view(f"<u{width}") - old.copy().view(f"<u{width}")).view(f"<i{width}")
    folded = (left << 1) ^ (left >> (8 * width - 1))
    return np.ascontiguousarray(folded.view(np.uint8).reshape(-1, width).T).reshape(-1)


def _sum(left: Bytes, old: Bytes, width: int) -> Bytes:
    folded = np.ascontiguousarray(left.reshape(width, -1).T).reshape(-1).view(f"<u{width}")
    one = folded.dtype.type(1)
    unfolded = (folded >> one) ^ (~(folded & one) + one)
    added: Bytes = (unfolded + old.copy().view(folded.dtype)).view(np.uint8)
    return added


def align(
    old: bytes, new: bytes, before: Mapping[str, tuple[int, int, int]], after: Mapping[str, tuple[int, int, int]]
) -> list[Span]:
    """Which bytes of the new file lie over which of the old one.

    Tensors of the same name and size do, and so does what stands between two of them if it is as long in both files.
    ``before`` and ``after`` are ``{name: (offset, bytes, width)}``, as `tensors` gives them.
    """
    pairs: list[Span] = []
    for name, (place, size, width) in sorted(after.items(), key=lambda item: item[1][0]):
        held = before.get(name)
        if held is None or held[1:] != (size, width) or (pairs and place < pairs[-1].new + pairs[-1].size):
            continue
        pairs.append(Span(place, held[0], size, width))
    spans: list[Span] = []
    ends = [*pairs, Span(len(new), len(old), 0, 1)]
    place = held_place = 0
    for pair in ends:
        gap, held_gap = pair.new - place, pair.old - held_place
        if gap == held_gap and gap > 0:
            spans.append(Span(place, held_place, gap, 1))
        if pair.size:
            spans.append(pair)
        place, held_place = pair.new + pair.size, pair.old + pair.size
    return _merged(spans)


def _merged(spans: Sequence[Span]) -> list[Span]:
    made: list[Span] = []
    for span in spans:
        last = made[-1] if made else None
        follows = last and last.new + last.size == span.new and last.old + last.size == span.old
        if last and follows and last.width == span.width:
            made[-1] = Span(last.new, last.old, last.size + span.size, last.width)
        else:
            made.append(span)
    return made


def tensors(content: bytes, kind: str) -> dict[str, tuple[int, int, int]]:
    """Where the tensors of a model file lie: ``{name: (offset, bytes, width of an element)}``.

    None where the file is not read here: a difference is then less small, and as right.
    """
    try:
        named = _onnx_tensors(content) if kind == "onnx" else _tflite_tensors(content)
    except (BadFile, ValueError, KeyError, IndexError, struct.error):
        return {}
    found: dict[str, tuple[int, int, int]] = {}
    cursor = 0
    for name, raw, width in named:
        place = content.find(raw, cursor)
        place = content.find(raw) if place < 0 else place
        if place >= 0 and len(raw) % width == 0:
            found.setdefault(name, (place, len(raw), width))
            cursor = place + len(raw)
    return found


def _onnx_tensors(content: bytes) -> list[tuple[str, bytes, int]]:
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # noqa: BLE001 - protobuf's own error type
        raise ValueError(str(error)) from None
    held = [(i.name, i.raw_data, i.data_type) for i in model.graph.initializer if len(i.raw_data) >= _SHORTEST_TENSOR]
    return [(name, raw, _width(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)) for name, raw, kind in held]


def _tflite_tensors(content: bytes) -> list[tuple[str, bytes, int]]:
    from edgelab.models.flatbuffer import FlatReader

    reader = FlatReader("the model", content)
    found = []
    for graph in reader.graphs():
        for i in range(graph.TensorsLength()):
            tensor = graph.Tensors(i)
            raw = reader.stored(reader.model.Buffers(tensor.Buffer()), content)
            if raw is not None and len(raw) >= _SHORTEST_TENSOR:
                width = _WIDTHS.get(reader.element_type(tensor), 1)
                found.append((reader.text(tensor.Name()), raw, width))
    return found


def _width(size: int) -> int:
    return size if size in (1, 2, 4) else 1


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()

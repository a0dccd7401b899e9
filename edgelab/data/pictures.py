"""One picture of a learner's, as cameras, microscopes and drawing programs write them: the right one, the right way up.

Values keep their levels: a picture of more than 8 bits is resized as numbers, and its range is settled when all
pictures are known (`levels_of`), because a file of 16 bits often holds the 10 or 12 of a sensor.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadFile
from edgelab.files import refuse_pointer

Fit = Literal["crop", "pad", "stretch"]
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 64_000_000
DEPTHS = (8, 10, 12, 14, 16)
_ORIENTATION, _SUBFILE, _BITS, _LARGEST_VALUE, _REDUCED = 0x0112, 254, 258, 281, 1


@dataclass(frozen=True)
class Picture:
    """One picture brought to its size.

    ``values`` (C, H, W) are from 0 to 1 where ``highest`` is None. Otherwise they are the file's own numbers of up to
    16 bits, whose largest before resizing was ``highest``. ``remarks`` say what was passed over.
    """

    values: NDArray[np.float32]
    highest: int | None = None
    remarks: tuple[str, ...] = ()


def read_picture(file: Path, size: tuple[int, int], channels: int, fit: Fit) -> Picture:
    """Read a picture and bring it to ``size`` (width, height) and 1 or 3 channels.

    Raises
    ------
    BadFile
        If it is no readable picture, is cut off, holds several or values without a known range, or has more than
        64 million pixels; the sentence names the file.
    """
    from PIL import Image

    try:
        refuse_pointer(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow says of damaged side data; the picture itself is checked
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as opened:
                return _read(file, opened, size, channels, fit)
    except BadFile:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadFile(f"{file} unpacks to far more pixels than an image of a data set has; remove it.") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadFile(f"{file} is not a readable image ({reason}); repair it or move it away.") from error


def levels_of(highest: int, bits: int | None) -> int:
    """The bits of pictures of more than 8 whose largest value is ``highest``, where they are not stated.

    Examples
    --------
    >>> levels_of(4011, None), levels_of(61_234, None), levels_of(4011, 16)
    (12, 16, 16)
    """
    return bits if bits is not None else next(depth for depth in DEPTHS if highest < 2**depth)


def _read(file: Path, image: Any, size: tuple[int, int], channels: int, fit: Fit) -> Picture:
    from PIL import Image

    remarks = _turn_to_the_picture(file, image)
    if image.width * image.height > MOST_PIXELS:
        raise BadFile(f"{file} has {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}; shrink it.")
    deep = _deep_values(file, image)
    if deep is None:
        image.load()
        if image.mode in ("I", "F"):
            raise BadFile(f"{file} holds 32-bit values, whose range is not known; save it with 8 or 16 bits.")
    turn, remark = _orientation(image)
    remarks += [remark] if remark else []
    if deep is not None:
        planes = [Image.fromarray(plane) for plane in np.moveaxis(deep, -1, 0).astype(np.float32)]
        sized = _as_channels([_fitted(turn(plane), size, fit) for plane in planes], channels)
        highest = max(int(deep.max()), _stated_highest(file, image))
        return Picture(np.stack(sized).astype(np.float32), highest, tuple(remarks))
    image = turn(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = _fitted(image.convert("RGB" if channels == 3 else "L"), size, fit)
    pixels = np.asarray(image, np.float32).reshape(size[1], size[0], channels) / np.float32(255)
    return Picture(np.ascontiguousarray(pixels.transpose(2, 0, 1)), None, tuple(remarks))


def _turn_to_the_picture(file: Path, image: Any) -> list[str]:
    """Of a file with several pictures go to the one that the others are previews of, and say so."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1:
        return []
    if image.format == "MPO":  # a camera's picture, then previews or other views (CIPA DC-007)
        image.seek(0)
        return ["hold previews or other views beside the picture, whose first was taken"]
    if image.format == "TIFF" and frames <= 64:
        whole = []
        for frame in range(frames):
            image.seek(frame)
            if not int(image.tag_v2.get(_SUBFILE, 0)) & _REDUCED:
                whole.append(frame)
        if len(whole) == 1:
            image.seek(whole[0])
            return ["hold smaller copies beside the picture, which were passed over"]
    raise BadFile(f"{file} holds {frames} pictures; save the one you mean as a PNG.")


def _orientation(image: Any) -> tuple[Callable[[Any], Any], str]:
    """What turns the picture upright, and a remark where its EXIF data are damaged.

    Only the orientation is read; nothing of the rest, which cameras and editors damage, is decoded or written.
    """
    from PIL import Image

    kind = Image.Transpose
    turns = {
        2: kind.FLIP_LEFT_RIGHT,
        3: kind.ROTATE_180,
        4: kind.FLIP_TOP_BOTTOM,
        5: kind.TRANSPOSE,
        6: kind.ROTATE_270,
        7: kind.TRANSVERSE,
        8: kind.ROTATE_90,
    }
    try:
        stated = image.getexif().get(_ORIENTATION, 1)
        way = turns.get(int(stated))
    except Exception:  # noqa: BLE001 - Pillow raises struct.error, TypeError, SyntaxError, ... on damaged EXIF
        return (lambda same: same), "have damaged EXIF data and were taken as they are stored"
    if way is None:
        return (lambda same: same), ""
    return (lambda stored: stored.transpose(way)), ""


def _fitted(image: Any, size: tuple[int, int], fit: Fit) -> Any:
    from PIL import Image, ImageOps

    if fit == "stretch":
        return image.resize(size, Image.Resampling.BILINEAR)
    return (ImageOps.fit if fit == "crop" else ImageOps.pad)(image, size, Image.Resampling.BILINEAR)


def _as_channels(planes: list[Any], channels: int) -> list[NDArray[np.float32]]:
    """Grey to colours or colours to grey (ITU-R BT.601, as Pillow has it); a fourth plane is how opaque it is."""
    arrays = [np.asarray(plane, np.float32) for plane in planes]
    if len(arrays) in (1, 2):
        return arrays[:1] * channels
    if channels == 3:
        return arrays[:3]
    red, green, blue = arrays[:3]
    return [np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue]


def _deep_values(file: Path, image: Any) -> NDArray[np.uint16] | None:
    """The values (H, W, C) of a picture of more than 8 bits for each colour, or None for one of up to 8."""
    if image.format == "PNG" and file.stat().st_size > 25:
        with file.open("rb") as stream:
            start = stream.read(26)
        if start[:8] == b"\x89PNG\r\n\x1a\n" and start[24] == 16 and start[25] != 0:
            return _deep_png(file, image)
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS, (1,))
        widest = max(bits) if isinstance(bits, tuple) else int(bits)
        if 8 < widest <= 16 and image.mode not in ("I;16", "I;16B", "I;16L", "F"):
            return _deep_tiff(file, image, widest)
    if image.format == "PPM" and image.mode in ("I", "RGB"):
        return _deep_ppm(file)
    if image.mode.startswith("I;16"):
        image.load()
        if "transparency" in image.info:
            raise BadFile(f"{file} has 16 bits and a transparent grey; save it without transparency.")
        values: NDArray[np.uint16] = np.asarray(image).astype(np.uint16)[..., None]
        return values
    return None


def _deep_png(file: Path, image: Any) -> NDArray[np.uint16]:
    """A PNG of 16-bit colours, of which Pillow keeps the upper 8 bits; torchvision keeps all."""
    from torchvision.io import ImageReadMode, decode_png

    if "transparency" in image.info:
        raise BadFile(f"{file} has 16 bits and a transparent colour; save it without transparency, or with 8 bits.")
    image.load()  # notices what is cut off
    import torch

    with file.open("rb") as stream:
        data = torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8)
    values: NDArray[np.uint16] = decode_png(data, mode=ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
    return _on_white(values)


def _deep_tiff(file: Path, image: Any, bits: int) -> NDArray[np.uint16]:
    """A TIFF of 16-bit colours that lie unpacked and side by side; Pillow keeps the upper 8 bits of any."""
    tags = image.tag_v2
    samples = int(tags.get(277, 1))
    plain = tags.get(259, 1) == 1 and tags.get(284, 1) == 1 and bits == 16 and samples in (3, 4) and 324 not in tags
    if not plain or image.mode not in ("RGB", "RGBA", "RGBX"):
        raise BadFile(f"{file} holds colours of {bits} bits in a way that keeps 8 of them; save it as a 16-bit PNG.")
    with file.open("rb") as stream:
        content = stream.read()
    parts = [content[at : at + n] for at, n in zip(_many(tags[273]), _many(tags[279]), strict=True)]
    order: Literal["<u2", ">u2"] = "<u2" if content[:2] == b"II" else ">u2"
    values = np.frombuffer(b"".join(parts), order)
    if values.size < image.width * image.height * samples:
        raise BadFile(f"{file} is not a readable image (it is cut off); repair it or move it away.")
    values = values[: image.width * image.height * samples].reshape(image.height, image.width, samples)
    return (
        _on_white(values.astype(np.uint16))
        if samples == 4 and image.mode == "RGBA"
        else values[..., :3].astype(np.uint16)
    )


def _stated_highest(file: Path, image: Any) -> int:
    """The largest value that a picture's file says it can have; 0 where it says nothing beyond its 16 bits."""
    if image.format == "PPM":
        return int(_ppm_header(file.read_bytes())[0][3])
    if image.format == "TIFF":
        bits = _many(image.tag_v2.get(_BITS, (1,)))[0]
        largest = _many(image.tag_v2.get(_LARGEST_VALUE, (0,)))[0]
        return 2**bits - 1 if bits < 16 else largest if 255 <= largest < 65535 else 0
    return 0


def _ppm_header(content: bytes) -> tuple[list[bytes], int]:
    """The four words of a PGM's or PPM's header (kind, width, height, largest value), and where they end."""
    tokens: list[bytes] = []
    at = 0
    while len(tokens) < 4 and at < len(content):
        while content[at : at + 1].isspace():
            at += 1
        if content[at : at + 1] == b"#":
            at = content.find(b"\n", at) + 1 or len(content)
            continue
        end = at
        while end < len(content) and not content[end : end + 1].isspace():
            end += 1
        tokens.append(content[at:end])
        at = end
    return tokens, at


def _deep_ppm(file: Path) -> NDArray[np.uint16] | None:
    """A PGM or PPM whose largest value is stated as more than 255; its numbers as they stand there (netpbm)."""
    content = file.read_bytes()
    tokens, at = _ppm_header(content)
    if len(tokens) < 4 or tokens[0] not in (b"P2", b"P3", b"P5", b"P6") or int(tokens[3]) < 256:
        return None
    width, height, highest = (int(token) for token in tokens[1:])
    channels = 3 if tokens[0] in (b"P3", b"P6") else 1
    count = width * height * channels
    if tokens[0] in (b"P5", b"P6"):
        raw = content[at + 1 : at + 1 + 2 * count]
        values = np.frombuffer(raw, ">u2", len(raw) // 2)
    else:
        values = np.array(content[at:].split()[:count], np.int64)
    if values.size < count or highest > 65535 or int(values.max()) > highest:
        raise BadFile(
            f"{file} is not a readable image (it is cut off or exceeds its range); repair it or move it away."
        )
    return values.reshape(height, width, channels).astype(np.uint16)


def _on_white(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Colours on white where there is an opacity; a picture that has one uses its 16 bits."""
    if values.shape[-1] not in (2, 4):
        return values
    opaque = values[..., -1:].astype(np.float64) / 65535
    return np.round(values[..., :-1] * opaque + 65535 * (1 - opaque)).astype(np.uint16)


def _many(value: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, tuple | list) else (int(value),)

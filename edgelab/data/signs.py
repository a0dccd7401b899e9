"""Ten classes of traffic signs drawn by a procedure: small, offline, and hard where the real thing is hard.

Every image starts as signed distances in the sign's own plane, so edges are smooth at any size; then come
perspective, occlusion, light, blur and sensor noise. What was drawn is known, so each item carries its
subgroups: lighting, size, occlusion, and whether its class is rare in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.data.dataset import Dataset, Split
from edgelab.errors import BadInput

Floats = NDArray[np.float32]

SIDE = 32
CLASSES = (
    "stop",
    "no entry",
    "yield",
    "warning",
    "animals",
    "speed 30",
    "speed 80",
    "turn left",
    "turn right",
    "crossing",
)
RARE_CLASS = "animals"
RARE_SHARE = 0.02

# Name, share of the items.
LIGHTING = {"day": 0.45, "dusk": 0.25, "night": 0.20, "glare": 0.10}
SIZE = {"near": 0.35, "middle": 0.40, "far": 0.25}
OCCLUSION = {"none": 0.80, "partial": 0.20}
# Half the sign's height in pixels.
_RADIUS = {"near": (10.5, 14.0), "middle": (8.0, 10.5), "far": (5.5, 8.0)}
# Light falling on the scene, noise of the sensor at that light (its gain goes up as the light goes down).
_LIGHT = {"day": (0.80, 1.10), "dusk": (0.40, 0.65), "night": (0.16, 0.32), "glare": (0.70, 1.00)}
_NOISE = {"day": (0.01, 0.03), "dusk": (0.02, 0.05), "night": (0.03, 0.06), "glare": (0.01, 0.04)}
_TINT = {"day": (1.0, 1.0, 1.0), "dusk": (1.1, 0.95, 0.80), "night": (0.85, 0.95, 1.15), "glare": (1.0, 1.0, 0.95)}

_RED, _WHITE, _BLUE, _BLACK = (0.78, 0.08, 0.12), (0.94, 0.94, 0.92), (0.06, 0.25, 0.68), (0.06, 0.06, 0.07)
_BLOCK = 500
_SPLITS = {"train": 0, "validation": 1, "test": 2}


def _floats(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True)
class _Plane:
    """Sign coordinates of every pixel: u to the right, v downwards, the sign's half height is 1."""

    u: Floats
    v: Floats
    pixels: Floats
    """Pixels per unit, for edges one pixel wide."""

    def cover(self, distance: Floats) -> Floats:
        """How much of each pixel lies inside a shape, from the signed distance to its edge (negative inside)."""
        return _floats(np.clip(0.5 - distance * self.pixels, 0, 1))

    def disc(self, radius: float, u: float = 0, v: float = 0) -> Floats:
        return _floats(np.hypot(self.u - u, self.v - v) - np.float32(radius))

    def box(self, u0: float, u1: float, v0: float, v1: float) -> Floats:
        across, down = abs(self.u - (u0 + u1) / 2) - (u1 - u0) / 2, abs(self.v - (v0 + v1) / 2) - (v1 - v0) / 2
        return _floats(np.maximum(across, down))

    def octagon(self, apothem: float) -> Floats:
        a, b = abs(self.u), abs(self.v)
        return _floats(np.maximum(np.maximum(a, b), (a + b) * np.float32(0.5**0.5)) - np.float32(apothem))

    def triangle(self, inradius: float, v: float, up: bool) -> Floats:
        """Equilateral, centred at (0, v)."""
        w = (self.v - v) * (1 if up else -1)
        return _floats(np.maximum(w, np.float32(0.75**0.5) * abs(self.u) - 0.5 * w) - np.float32(inradius))

    def arrow(self, sign: int) -> Floats:
        a, b = self.u * sign, abs(self.v)
        head = np.maximum(-a, 0.66 * a + 0.75 * b - 0.44)
        shaft = self.box(-0.55, 0.1, -0.12, 0.12) if sign > 0 else self.box(-0.1, 0.55, -0.12, 0.12)
        return _floats(np.minimum(shaft, head))

    def ring(self, radius: float, u: float, v: float, stroke: float = 0.09) -> Floats:
        return _floats(abs(self.disc(radius, u, v)) - np.float32(stroke))


Layer = tuple[Floats, tuple[float, float, float]]


def _layers(name: str, p: _Plane) -> list[Layer]:
    """Plate first, then what is painted on it. The first layer is the sign's outline."""
    if name in ("stop", "no entry"):
        plate = p.octagon(0.95) if name == "stop" else p.disc(1)
        return [(plate, _RED), (p.box(-0.66, 0.66, -0.2, 0.2), _WHITE)]
    if name == "yield":
        return [(p.triangle(0.62, -0.2, up=False), _RED), (p.triangle(0.36, -0.2, up=False), _WHITE)]
    if name in ("warning", "animals"):
        triangle = [(p.triangle(0.62, 0.2, up=True), _RED), (p.triangle(0.4, 0.2, up=True), _WHITE)]
        if name == "warning":
            mark = np.minimum(p.box(-0.08, 0.08, -0.25, 0.2), p.disc(0.1, 0, 0.42))
        else:
            body = np.minimum(p.box(-0.3, 0.24, 0.1, 0.3), p.disc(0.13, 0.26, 0.02))
            mark = np.minimum(body, np.minimum(p.box(-0.28, -0.18, 0.3, 0.5), p.box(0.1, 0.2, 0.3, 0.5)))
        return [*triangle, (mark, _BLACK)]
    if name in ("speed 30", "speed 80"):
        digit = np.minimum(p.ring(0.2, -0.3, -0.19), p.ring(0.2, -0.3, 0.19))
        if name == "speed 30":  # a 3 is an 8 without its left side
            digit = np.maximum(digit, -0.36 - p.u)
        zero = abs(np.hypot((p.u - 0.3) * 1.7, p.v) - np.float32(0.38)) - np.float32(0.1)
        return [(p.disc(1), _RED), (p.disc(0.76), _WHITE), (np.minimum(digit, zero), _BLACK)]
    if name in ("turn left", "turn right"):
        return [(p.disc(1), _BLUE), (p.arrow(-1 if name == "turn left" else 1), _WHITE)]
    mark = np.minimum(p.disc(0.12, 0, -0.12), p.box(-0.07, 0.07, -0.02, 0.42))
    return [
        (np.maximum(abs(p.u), abs(p.v)) - np.float32(0.88), _BLUE),
        (p.triangle(0.42, 0.18, up=True), _WHITE),
        (mark, _BLACK),
    ]


def _draw_labels(rng: np.random.Generator, rare_share: float) -> NDArray[np.int64]:
    """One block's labels: equal shares, but for the rare class."""
    common = [i for i, name in enumerate(CLASSES) if name != RARE_CLASS]
    rare = round(rare_share * _BLOCK)
    labels = np.resize(rng.permutation(common), _BLOCK)
    labels[:rare] = CLASSES.index(RARE_CLASS)
    return rng.permutation(labels).astype(np.int64)


def _choose(rng: np.random.Generator, shares: Mapping[str, float], n: int) -> NDArray[np.str_]:
    return rng.choice(np.array(list(shares)), size=n, p=list(shares.values()))


def _between(rng: np.random.Generator, groups: NDArray[np.str_], limits: Mapping[str, tuple[float, float]]) -> Floats:
    low, high = np.array([limits[g] for g in groups]).T
    return _floats(rng.uniform(low, high))[:, None, None]


def _texture(rng: np.random.Generator, n: int) -> Floats:
    """Backgrounds (n, 3, side, side): two hues that flow into each other, with coarse and fine structure."""

    def uniform(*shape: int) -> Floats:
        return rng.random(shape, dtype=np.float32)

    grey = 0.15 + 0.7 * uniform(n, 2, 1, 1, 1)
    hues = _floats(np.clip(grey + 0.3 * (uniform(n, 2, 3, 1, 1) - 0.5), 0, 1))
    coarse = np.repeat(np.repeat(uniform(n, 1, 4, 4), 8, axis=2), 8, axis=3)
    for _ in range(3):
        coarse = _smooth(coarse, np.full((n, 1, 1, 1), 1 / 3, np.float32))
    fine = np.repeat(np.repeat(uniform(n, 1, 16, 16), 2, axis=2), 2, axis=3) - 0.5
    return _floats(hues[:, 0] * coarse + hues[:, 1] * (1 - coarse) + 0.3 * uniform(n, 1, 1, 1) * fine)


def _smooth(x: Floats, weight: Floats) -> Floats:
    """Blur by (w, 1-2w, w) along both axes, edges repeated."""
    for axis in (-1, -2):
        padded = np.pad(x, [(0, 0), (0, 0), (1, 1) if axis == -2 else (0, 0), (1, 1) if axis == -1 else (0, 0)], "edge")
        before, after = (padded[..., :-2], padded[..., 2:]) if axis == -1 else (padded[..., :-2, :], padded[..., 2:, :])
        x = x + weight * (before + after - 2 * x)
    return x


def _block(rng: np.random.Generator, rare_share: float) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, Any]]:
    n = _BLOCK
    y = _draw_labels(rng, rare_share)
    lighting, size, occlusion = (_choose(rng, shares, n) for shares in (LIGHTING, SIZE, OCCLUSION))

    def uniform(low: float, high: float, *shape: int) -> Floats:
        return _floats(rng.uniform(low, high, (n, *shape)))

    # Where each pixel lies in the sign's plane.
    pixels = _between(rng, size, _RADIUS)
    room = np.maximum(SIDE / 2 + 1 - pixels, 1)
    grid = np.arange(SIDE, dtype=np.float32) + 0.5 - SIDE / 2
    x = (grid[None, None, :] - uniform(-1, 1, 1, 1) * room) / pixels
    z = (grid[None, :, None] - uniform(-1, 1, 1, 1) * room) / pixels
    angle = uniform(-0.22, 0.22, 1, 1)
    u = (np.cos(angle) * x + np.sin(angle) * z) / uniform(0.7, 1, 1, 1)
    v = np.cos(angle) * z - np.sin(angle) * x
    far = 1 + uniform(-0.18, 0.18, 1, 1) * u + uniform(-0.12, 0.12, 1, 1) * v
    far = np.maximum(far, np.float32(0.3))
    u, v = u / far, v / far

    # Plate and pictogram over the background, class by class; paint fades from sign to sign.
    image = _texture(rng, n)
    fade = uniform(0.75, 1.05, 1, 1, 1)
    for index, name in enumerate(CLASSES):
        chosen = np.flatnonzero(y == index)
        plane = _Plane(u[chosen], v[chosen], pixels[chosen])
        part = image[chosen]
        for distance, colour in _layers(name, plane):
            cover = plane.cover(distance)[:, None]
            part += cover * (np.array(colour, np.float32)[:, None, None] * fade[chosen] - part)
        image[chosen] = part

    # A leaf or a post in front: the part of the plane beyond a line, in a colour of its own.
    hidden = np.flatnonzero(occlusion == "partial")
    turn = uniform(-np.pi, np.pi, 1, 1)[hidden]
    edge = uniform(0.1, 0.45, 1, 1)[hidden] - (np.cos(turn) * u[hidden] + np.sin(turn) * v[hidden])
    cover = np.clip(0.5 - edge * pixels[hidden], 0, 1)[:, None]
    leaf = uniform(0.05, 0.6, 3, 1, 1)[hidden] + 0.15 * rng.standard_normal((len(hidden), 1, SIDE, SIDE), np.float32)
    image[hidden] += cover * (leaf - image[hidden])

    # Light, glare, blur, and the sensor.
    image *= (
        _between(rng, lighting, _LIGHT)[:, None] * np.array([_TINT[g] for g in lighting], np.float32)[..., None, None]
    )
    bright = np.flatnonzero(lighting == "glare")
    reach = (x - uniform(-0.8, 0.8, 1, 1))[bright] ** 2 + (z - uniform(-0.8, 0.8, 1, 1))[bright] ** 2
    image[bright] += (
        uniform(0.6, 1.3, 1, 1, 1)[bright] * np.exp(-reach / uniform(0.3, 1.2, 1, 1)[bright])[:, None] + 0.1
    )
    blur = uniform(0, 0.33, 1, 1, 1)
    image = _smooth(_smooth(image, blur), blur)
    image += _between(rng, lighting, _NOISE)[:, None] * rng.standard_normal(image.shape, np.float32)
    levels = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    rarity = np.where(y == CLASSES.index(RARE_CLASS), "rare", "common")
    return levels, y, {"lighting": lighting, "size": size, "occlusion": occlusion, "rarity": rarity}


def signs(train: int = 8000, validation: int = 1000, test: int = 2000, seed: int = 0) -> Dataset:
    """Ten classes of traffic signs, 32x32 RGB, drawn anew at each call: about 3 seconds, nothing downloaded.

    Parameters
    ----------
    train, validation, test
        Items of each split, at least 500. One class is rare in training (2 percent) and has its full share in the other
        splits, so that its accuracy can be measured.
    seed
        Of everything that is drawn.

    Returns
    -------
    Dataset
        x (N, 3, 32, 32) from 0 to 1. Groups: ``lighting`` (day, dusk, night, glare), ``size`` (near, middle,
        far), ``occlusion`` (none, partial), ``rarity`` (common, rare); see ``datasets/signs.md``.

    Raises
    ------
    BadInput
        If a split is too small to hold every class.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    for part, items in sizes.items():
        if items < _BLOCK:
            raise BadInput(
                f"{part}={items}: a split of signs needs at least {_BLOCK} items, so that no class is missing."
            )
    return Dataset(
        name="signs",
        **{part: _split(items, part, seed) for part, items in sizes.items()},
        notes=(),
        class_names=CLASSES,
        source=f"drawn by edgelab.data.signs with seed {seed}",
        licence="Apache-2.0",
        card="datasets/signs.md",
        scaling="8-bit levels / 255, so 0 to 1",
    )


def _split(n: int, split: str, seed: int) -> Split:
    rare_share = RARE_SHARE if split == "train" else 1 / len(CLASSES)
    # Each block has a generator of its own, so that a longer split begins like a shorter one.
    blocks = [_block(np.random.default_rng([seed, _SPLITS[split], k]), rare_share) for k in range(-(-n // _BLOCK))]
    x = np.concatenate([b[0] for b in blocks])[:n].astype(np.float32) / np.float32(255)
    y = np.concatenate([b[1] for b in blocks])[:n]
    return Split(x, y, {key: np.concatenate([b[2][key] for b in blocks])[:n] for key in blocks[0][2]})

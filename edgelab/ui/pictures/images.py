"""Small images with their labels: what the data look like by class and group, and which answers changed."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.ui.pictures.picture import SELECTOR, Picture

_PIXELS = 64
_MOST_IMAGES = 120
_MOST_STORED_PIXELS = 96
_STYLE = (
    f"<style>{SELECTOR} .rows{{display:grid;grid-template-columns:max-content 1fr;gap:8px 14px;align-items:center}}"
    f"{SELECTOR} .label{{font-size:14px;line-height:1.3;text-align:right;max-width:150px}}"
    f"{SELECTOR} .strip{{display:flex;flex-wrap:wrap;gap:6px}}"
    f"{SELECTOR} img{{width:{_PIXELS}px;height:{_PIXELS}px;object-fit:contain;image-rendering:pixelated;"
    "border-radius:4px;border:1px solid var(--el-grid);margin:0;display:block}"
    f"{SELECTOR} .cards{{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:10px}}"
    f"{SELECTOR} .card{{border:2px solid var(--el-grid);border-radius:8px;padding:8px 10px;font-size:13px;"
    "line-height:1.45;display:flex;gap:10px;align-items:center}"
    f"{SELECTOR} .card.lost{{border-style:dashed;border-color:var(--el-orange)}}"
    f"{SELECTOR} .card.gained{{border-color:var(--el-green)}}"
    f"{SELECTOR} .right{{color:var(--el-green);font-weight:600}}"
    f"{SELECTOR} .wrong{{color:var(--el-orange);font-weight:600}}"
    f"{SELECTOR} .quiet{{color:var(--el-quiet)}}{SELECTOR} .count{{font-size:14px;margin:0 0 8px}}</style>"
)


def images_by(
    x: ArrayLike,
    y: ArrayLike,
    names: Sequence[str],
    group: ArrayLike | None = None,
    *,
    title: str = "",
    per_row: int = 6,
    classes: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    seed: int = 0,
) -> Picture:
    """Small multiples: one row a class, or one row a group, with examples drawn at random.

    Parameters
    ----------
    x
        Images (N, C, H, W) with one or three channels; shown from the lowest value of all drawn to the highest where
        they are not all between 0 and 1.
    y
        Labels (N,), from 0.
    names
        The class names.
    group
        One label an item (N,), for example the lighting: then each row is a group, with the same classes from left to
        right wherever a group has them.
    title
        The caption; without it, what the rows are.
    per_row
        Images in a row, 1 to 12.
    classes
        With ``group``: the names of the classes to show, in this order; the first ``per_row`` of them without it.
    rows
        With ``group``: the groups to show, in this order; all of them by name without it.
    seed
        Of the draw.

    Raises
    ------
    BadInput
        If the shapes do not fit, a label has no name, or there are more than 120 images to show.
    """
    images, labels = _images(x), _labels(y, names)
    if len(images) != len(labels):
        raise BadInput(f"images_by(): there are {len(images)} images and {len(labels)} labels.")
    if not 1 <= per_row <= 12:
        raise BadInput(f"images_by(): per_row={per_row} must be between 1 and 12.")
    generator = np.random.default_rng(seed)
    strips: list[tuple[str, list[int]]] = []
    if group is None:
        for c in np.unique(labels):
            found = generator.permutation(np.flatnonzero(labels == c))[:per_row]
            strips.append((names[c], [int(i) for i in found]))
    else:
        groups = np.asarray(group).astype(str)
        if groups.shape != labels.shape:
            raise BadInput(f"images_by(): there are {len(labels)} items and group has the shape {groups.shape}.")
        wanted = _classes(classes, names, labels)[:per_row]
        for value in dict.fromkeys(sorted(groups.tolist()) if rows is None else rows):
            picks = [np.flatnonzero((groups == value) & (labels == c)) for c in wanted]
            chosen = [int(generator.choice(found)) for found in picks if len(found)]
            if not chosen:
                continue
            strips.append((value, chosen))
    shown = [i for _, row in strips for i in row]
    if not 1 <= len(shown) <= _MOST_IMAGES:
        raise BadInput(f"images_by() shows 1 to {_MOST_IMAGES} images; these settings give {len(shown)}.")
    low, high = _span(images[shown])
    parts = [
        f'<div class="label">{html.escape(name)}</div><div class="strip">'
        + "".join(_tag(images[i], low, high, f"{names[labels[i]]}, {name}" if group is not None else name) for i in row)
        + "</div>"
        for name, row in strips
    ]
    what = "groups" if group is not None else "classes"
    told = "; ".join(
        f"{name}: {', '.join(names[labels[i]] for i in row) if group is not None else len(row)}" for name, row in strips
    )
    return Picture(
        f'{_STYLE}<div class="rows">{"".join(parts)}</div>',
        title or f"Examples of {len(strips)} {what}",
        f"Small images, one row for each of {len(strips)} {what}. {told}.",
    )


@dataclass(frozen=True)
class _Card:
    index: int
    truth: str
    before: str
    after: str

    @property
    def kind(self) -> str:
        was, now = self.before == self.truth, self.after == self.truth
        return {(True, False): "lost", (False, True): "gained"}.get((was, now), "same")


def side_by_side(
    images: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
    truth: ArrayLike,
    *,
    names: Sequence[str],
    labels: tuple[str, str] = ("before", "after"),
    title: str = "",
    most: int = 12,
) -> Picture:
    """Right and wrong answers before and after: first what was lost, then what was gained, then other changes.

    A right answer carries a tick and the word, a wrong one a cross and the word; what was lost has a dashed edge.

    Parameters
    ----------
    images
        (N, C, H, W), as for `images_by`.
    before, after, truth
        Class numbers (N,); for answers also logits (N, classes), of which the largest counts.
    names
        The class names.
    labels
        What stands for before and after: ``("float32", "4 bits")``.
    title
        The caption; without it, what is compared.
    most
        The number of images, 1 to 48; lost and gained ones share it. Without a change, the first four items.

    Raises
    ------
    BadInput
        If the shapes do not fit or a class has no name.
    """
    pixels, true = _images(images), _labels(truth, names)
    was, now = (_labels(_answers(answers), names) for answers in (before, after))
    if not len(pixels) == len(true) == len(was) == len(now):
        raise BadInput(
            f"side_by_side(): {len(pixels)} images, {len(was)} answers before, {len(now)} after, {len(true)} labels."
        )
    if not 1 <= most <= 48:
        raise BadInput(f"side_by_side(): most={most} must be between 1 and 48.")
    lost, gained = (was == true) & (now != true), (was != true) & (now == true)
    other = (was != now) & ~lost & ~gained
    changed = int((was != now).sum())
    order = _chosen([np.flatnonzero(part) for part in (lost, gained, other)], most)
    if not order:
        order = list(range(min(len(true), most, 4)))
    cards = [_Card(i, names[true[i]], names[was[i]], names[now[i]]) for i in order]
    low, high = _span(pixels[[card.index for card in cards]])
    count = f"{int(lost.sum())} lost, {int(gained.sum())} gained, of {len(true)}"
    shown = "" if changed <= most else f"; {len(cards)} of {changed} changes are shown"
    told = "; ".join(
        f"{card.truth}: {labels[0]} {_judged(card.before, card.truth)}, {labels[1]} {_judged(card.after, card.truth)}"
        for card in cards
    )
    body = "".join(_card(pixels[card.index], low, high, card, labels) for card in cards)
    return Picture(
        f'{_STYLE}<p class="count">{labels[0]} to {labels[1]}: {count}{shown}.</p><div class="cards">{body}</div>',
        title or f"What {labels[1]} changed in the answers of {labels[0]}",
        f"{count}{shown}. {told}.",
    )


def _chosen(kinds: Sequence[NDArray[np.int64]], most: int) -> list[int]:
    """At most ``most`` items, in turn from each kind, so that no kind crowds out the others; kind by kind."""
    taken = [0] * len(kinds)
    while sum(taken) < most and any(t < len(kind) for t, kind in zip(taken, kinds, strict=True)):
        for k, kind in enumerate(kinds):
            if taken[k] < len(kind) and sum(taken) < most:
                taken[k] += 1
    return [int(i) for count, kind in zip(taken, kinds, strict=True) for i in kind[:count]]


def _card(pixels: NDArray[np.float64], low: float, high: float, card: _Card, labels: tuple[str, str]) -> str:
    lines = []
    for label, answer in zip(labels, (card.before, card.after), strict=True):
        right = answer == card.truth
        mark = '<span class="right">✓ right</span>' if right else '<span class="wrong">✗ wrong</span>'
        said = "" if right else f" {html.escape(answer)}"
        lines.append(f'<div><span class="quiet">{html.escape(label)}:</span> {mark}{said}</div>')
    return (
        f'<div class="card {card.kind}">{_tag(pixels, low, high, card.truth)}'
        f"<div><div><strong>{html.escape(card.truth)}</strong></div>{''.join(lines)}</div></div>"
    )


def _judged(answer: str, truth: str) -> str:
    return "right" if answer == truth else f"wrong ({answer})"


def _tag(pixels: NDArray[np.float64], low: float, high: float, words: str) -> str:
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{_png(pixels, low, high)}">'


def _png(pixels: NDArray[np.float64], low: float, high: float) -> str:
    from PIL import Image

    scaled = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
    bytes_ = np.rint(255 * scaled).astype(np.uint8)
    image = Image.fromarray(bytes_[0] if len(bytes_) == 1 else np.moveaxis(bytes_, 0, -1))
    image.thumbnail((_MOST_STORED_PIXELS, _MOST_STORED_PIXELS))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _images(x: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise BadInput(f"Images are (N, C, H, W) with one or three channels; these have the shape {array.shape}.")
    if not np.isfinite(array).all():
        raise BadInput("An image holds NaN or an infinite value.")
    return array


def _span(drawn: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(drawn.min()), float(drawn.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _answers(answers: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(answers)
    return array.argmax(axis=1) if array.ndim == 2 else array


def _labels(y: ArrayLike, names: Sequence[str]) -> NDArray[np.int64]:
    labels = np.asarray(y)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise BadInput(f"Class numbers are whole numbers (N,); these are {labels.dtype} of the shape {labels.shape}.")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
        raise BadInput(f"Class {int(labels.max())} has no name; there are {len(names)} names.")
    return labels.astype(np.int64)


def _classes(classes: Sequence[str] | None, names: Sequence[str], labels: NDArray[np.int64]) -> list[int]:
    if classes is None:
        return [int(c) for c in np.unique(labels)]
    strangers = [name for name in classes if name not in names]
    if strangers:
        raise BadInput(f"images_by(): '{strangers[0]}' is none of the classes {', '.join(names)}.")
    return [list(names).index(name) for name in classes]

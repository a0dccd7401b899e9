"""Small images beside what a network says of each: its probabilities as bars, the label named."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from edgelab.errors import BadInput
from edgelab.ui.pictures.images import _images, _labels, _span, _tag
from edgelab.ui.pictures.picture import SELECTOR, Picture

_MOST_CARDS = 24
_STYLE = (
    f"<style>{SELECTOR} .cards{{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:10px}}"
    f"{SELECTOR} .card{{border:2px solid var(--el-grid);border-radius:8px;padding:8px 10px;font-size:13px;"
    "line-height:1.5;display:flex;gap:10px;align-items:center}"
    f"{SELECTOR} img{{width:64px;height:64px;object-fit:contain;image-rendering:pixelated;border-radius:4px;"
    "border:1px solid var(--el-grid);margin:0;display:block}"
    f"{SELECTOR} .bars{{display:grid;grid-template-columns:max-content 70px max-content;gap:0 8px;align-items:center}}"
    f"{SELECTOR} .bar{{height:10px;border-radius:2px;background:var(--el-blue)}}"
    f"{SELECTOR} .value{{text-align:right;font-variant-numeric:tabular-nums}}</style>"
)


def soft_targets(
    x: ArrayLike,
    probabilities: ArrayLike,
    y: ArrayLike,
    names: Sequence[str],
    *,
    title: str = "",
    most: int = 4,
) -> Picture:
    """Images, and beside each the classes to which a network gives the highest probabilities.

    Parameters
    ----------
    x
        Images (N, C, H, W), at most 24.
    probabilities
        (N, classes), each row from 0 to 1.
    y
        Labels (N,); a label stands in bold over its card, and carries a mark among the bars.
    names
        The class names.
    title
        The caption.
    most
        Classes a card.

    Raises
    ------
    BadInput
        If the shapes do not fit, or the rows are no probabilities.

    Examples
    --------
    >>> picture = soft_targets(np.zeros((1, 1, 8, 8)), [[0.7, 0.3]], [0], ["stop", "yield"])
    >>> picture.alt
    'stop: stop 0.70, yield 0.30.'
    """
    images, labels, rows = _images(x), _labels(np.asarray(y), names), np.asarray(probabilities, dtype=np.float64)
    if len(images) > _MOST_CARDS or rows.shape != (len(images), len(names)) or len(labels) != len(images):
        raise BadInput(
            f"soft_targets(): {len(images)} images, {len(labels)} labels and probabilities of shape {rows.shape} for "
            f"{len(names)} names; one row each is wanted, at most {_MOST_CARDS}."
        )
    if not np.isfinite(rows).all() or rows.min() < 0 or rows.max() > 1:
        raise BadInput("soft_targets(): probabilities lie between 0 and 1.")
    low, high = _span(images)
    cards, told = [], []
    for image, row, label in zip(images, rows, labels, strict=True):
        order = np.argsort(-row, kind="stable")[:most]
        bars = "".join(
            f"<div>{html.escape(names[c])}{' ✓' if c == label else ''}</div>"
            f'<div><div class="bar" style="width:{100 * row[c]:.0f}%"></div></div>'
            f'<div class="value">{row[c]:.2f}</div>'
            for c in order
        )
        cards.append(
            f'<div class="card">{_tag(image, low, high, names[label])}'
            f'<div><div><strong>{html.escape(names[label])}</strong></div><div class="bars">{bars}</div></div></div>'
        )
        told.append(f"{names[label]}: " + ", ".join(f"{names[c]} {row[c]:.2f}" for c in order))
    return Picture(
        f'{_STYLE}<div class="cards">{"".join(cards)}</div>', title or "What the network says", "; ".join(told) + "."
    )

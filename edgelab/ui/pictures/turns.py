"""A race drawn as lanes of turns, with the time in which another program ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import WIDTH, Canvas
from edgelab.ui.pictures.picture import Picture, drawn

_HIGH = 44.0
_LANE = 96.0
_MOST_TURNS = 40
_MOST_LANES = 4
_COLOURS = ("blue", "green", "pink", "quiet")


def turns(
    lanes: Mapping[str, Sequence[str]], title: str, *, busy: tuple[int, int] | None = None, disturbance: str = ""
) -> Picture:
    """The order in which contenders ran, a lane for each way to do it, and whom a disturbance hit.

    Parameters
    ----------
    lanes
        Name of the lane to the contenders in the order of their turns, all of the same length in time.
    title
        The caption.
    busy
        The first turn in which another program ran, and the one after its last, from 0.
    disturbance
        What ran then; "another program runs" without it.

    Raises
    ------
    BadInput
        If there is no lane or more than four, a lane is empty or has more than 40 turns, or ``busy`` lies outside.

    Examples
    --------
    >>> lanes = {"in a row": ["A", "A", "B", "B"], "in turn": ["A", "B", "B", "A"]}
    >>> turns(lanes, "Two races", busy=(0, 2)).alt
    'In a row: A A B B; another program runs during 2 turns of A and 0 of B. In turn: A B B A; 1 turn of A and 1 of B.'
    """
    if not 1 <= len(lanes) <= _MOST_LANES:
        raise BadInput(f"turns() draws 1 to {_MOST_LANES} lanes; there are {len(lanes)}.")
    longest = max(len(order) for order in lanes.values())
    if not all(lanes.values()) or longest > _MOST_TURNS:
        raise BadInput(f"turns() draws 1 to {_MOST_TURNS} turns in a lane; there are up to {longest}.")
    if busy is not None and not 0 <= busy[0] < busy[1] <= longest:
        raise BadInput(f"turns(): busy={busy} must lie within the {longest} turns.")
    names = list(dict.fromkeys(name for order in lanes.values() for name in order))
    what = disturbance or "another program runs"
    canvas = Canvas(30 + _LANE * len(lanes) - 14)
    wide = (WIDTH - 8) / longest
    left = right = 0.0
    if busy is not None:
        left, right = 4 + busy[0] * wide, 4 + busy[1] * wide
        canvas.rect(left, 4, 22, 14, fill="orange-soft", stroke="orange", dash="5 4")
        canvas.text(left + 30, 16, what, size=14, colour="orange")
    told = []
    for i, (lane, order) in enumerate(lanes.items()):
        top = 30 + _LANE * i
        if busy is not None:
            canvas.rect(left, top + 21, right - left, _HIGH + 10, fill="orange-soft", stroke="orange", dash="5 4")
        hit = [sum(name == one for one in order[slice(*busy)]) for name in names] if busy else []
        counts = ", ".join(
            f"{n} {'turn' if n == 1 else 'turns'} of {name}" for n, name in zip(hit, names, strict=False)
        )
        for j, name in enumerate(order):
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            fill = f"{colour}-soft" if colour != "quiet" else "soft"
            canvas.rect(4 + j * wide + 1.5, top + 26, wide - 3, _HIGH, fill=fill, stroke=colour, line=1.6)
            canvas.text(4 + (j + 0.5) * wide, top + 26 + _HIGH / 2 + 5, name, anchor="middle", bold=True)
        canvas.text(6, top + 17, lane + (f"; disturbed: {counts}" if counts else ""), size=14)
        said = f"{lane[0].upper()}{lane[1:]}: {' '.join(order)}"
        words = " and ".join(
            f"{n}{' turn' if n == 1 and k == 0 else ' turns' if k == 0 else ''} of {name}"
            for k, (n, name) in enumerate(zip(hit, names, strict=False))
        )
        told.append(said + (f"; {f'{what} during ' if i == 0 else ''}{words}." if words else "."))
    return drawn(canvas, title, " ".join(told))

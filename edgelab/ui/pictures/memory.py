"""Pictures of a small memory: who is alive when, who lies where, which bytes are free, and how a search halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import WIDTH, Canvas, scale_of, text_width
from edgelab.ui.pictures.picture import Picture, drawn

_MOST_ROWS, _MOST_STEPS = 24, 24
_FILLS = {
    "taken": ("blue-soft", "blue", "", "taken"),
    "scratch": ("pink-soft", "pink", "5 3", "scratch"),
    "chosen": ("green-soft", "green", "", "placed here"),
    "tail": ("orange-soft", "orange", "", "tail"),
    "lost": ("grid", "line", "2 3", "lost to alignment"),
    "free": ("paper", "line", "4 3", "free"),
}
"""Fill, edge, dashes and word of each kind of range."""


@dataclass(frozen=True)
class Range:
    """Bytes from ``start`` up to ``end``, which belongs to the next: what lies there and of which kind it is."""

    start: int
    end: int
    label: str
    kind: str = "taken"


def tensor_lives(
    lives: Mapping[str, tuple[int, int]],
    sizes: Mapping[str, int],
    *,
    operators: Sequence[str] = (),
    sums: bool = True,
    title: str = "",
) -> Picture:
    """A row for each tensor and a column for each step: filled while the tensor is alive.

    Parameters
    ----------
    lives
        First and last step by name, from 0.
    sizes
        Bytes by name.
    operators
        What runs at step 1, 2 and so on; step 0 is the inputs'.
    sums
        Whether the bytes alive stand below each step, the largest sum marked.
    title
        The caption; without it, the step of the largest sum, or the longest life.

    Raises
    ------
    BadInput
        If a tensor has no size or ends before it begins, or there are more than 24 of them or of steps.

    Examples
    --------
    >>> tensor_lives({"image": (0, 1), "a": (1, 2)}, {"image": 80, "a": 48}).alt
    'image, 80 bytes, steps 0 to 1; a, 48 bytes, steps 1 to 2. Bytes alive at each step: 80, 128, 48.'
    """
    if not lives or len(lives) > _MOST_ROWS or any(name not in sizes for name in lives):
        raise BadInput(f"tensor_lives() draws 1 to {_MOST_ROWS} tensors, each with its size; there are {len(lives)}.")
    if any(not 0 <= first <= last < _MOST_STEPS for first, last in lives.values()):
        raise BadInput(f"tensor_lives(): a life goes from its first step to its last, 0 to {_MOST_STEPS - 1}.")
    steps = 1 + max(last for _, last in lives.values())
    alive = [sum(sizes[n] for n, (f, e) in lives.items() if f <= t <= e) for t in range(steps)]
    left, top, row = 190.0, 46.0 if operators else 28.0, 34.0 if len(lives) <= 8 else 22.0
    wide = (WIDTH - left - 6) / steps
    canvas = Canvas(top + row * len(lives) + (44 if sums else 8))
    small = 13 if wide >= 44 else 11
    for t in range(steps):
        middle = left + (t + 0.5) * wide
        canvas.text(middle, 18, str(t), anchor="middle", size=small, bold=True)
        word = "inputs" if t == 0 and operators else operators[t - 1] if 0 < t <= len(operators) else ""
        if word and text_width(word, small) < wide:
            canvas.text(middle, 36, word, anchor="middle", size=small, colour="quiet")
    canvas.text(0, 18, "step", size=13, bold=True)
    for i, (name, (first, last)) in enumerate(lives.items()):
        y = top + i * row
        canvas.text(0, y + row / 2 + 5, _cut(name, 15), size=14 if row > 30 else 12)
        canvas.text(left - 12, y + row / 2 + 5, f"{sizes[name]:,}", size=14 if row > 30 else 12, anchor="end")
        canvas.line(left, y + row, WIDTH - 6, y + row, colour="grid", width=1)
        width = (last - first + 1) * wide - 4
        canvas.rect(left + first * wide + 2, y + 4, width, row - 8, fill="blue-soft", stroke="blue")
        if text_width(f"{sizes[name]:,}", 13) < wide - 8 and row > 30:
            for t in range(first, last + 1):
                canvas.text(left + (t + 0.5) * wide, y + row / 2 + 5, f"{sizes[name]:,}", anchor="middle", size=13)
    peak = max(range(steps), key=alive.__getitem__)
    if sums:
        y = top + row * len(lives) + 4
        canvas.text(0, y + 24, "bytes alive", bold=True, size=14)
        for t, total in enumerate(alive):
            here = t == peak
            fill, edge = ("orange-soft", "orange") if here else ("soft", "line")
            canvas.rect(left + t * wide + 2, y + 4, wide - 4, 30, fill=fill, stroke=edge, line=2.2 if here else 1.2)
            words = f"{total:,}" if text_width(f"{total:,}", 13) < wide - 4 else f"{total / 1024:.0f}K"
            canvas.text(left + (t + 0.5) * wide, y + 24, words, anchor="middle", size=small, bold=here)
    longest = max(lives, key=lambda n: lives[n][1] - lives[n][0])
    caption = title or (
        f"Most is alive at step {peak}: {alive[peak]:,} bytes"
        if sums
        else f"{longest} lives longest, from step {lives[longest][0]} to step {lives[longest][1]}"
    )
    told = "; ".join(f"{n}, {sizes[n]:,} bytes, steps {f} to {e}" for n, (f, e) in lives.items())
    ends = f" Bytes alive at each step: {', '.join(f'{n:,}' for n in alive)}." if sums else ""
    return drawn(canvas, caption, f"{told}.{ends}")


def memory_map(
    sizes: Mapping[str, int],
    lives: Mapping[str, tuple[int, int]],
    addresses: Mapping[str, int],
    *,
    bound: int = 0,
    title: str = "",
) -> Picture:
    """A small memory over time: each tensor a box over its steps, at its address, as high as it has bytes.

    Parameters
    ----------
    sizes, lives, addresses
        By name; tensors without an address are not drawn.
    bound
        The least that any arrangement needs, as a dashed line; 0 leaves it out.
    title
        The caption; without it, how many bytes the arrangement takes.

    Raises
    ------
    BadInput
        If there is nothing to draw.

    Examples
    --------
    >>> memory_map({"a": 64, "b": 16}, {"a": (0, 1), "b": (1, 2)}, {"a": 0, "b": 64}, bound=80).caption
    '80 bytes, as few as can be'
    """
    if not addresses or any(name not in sizes or name not in lives for name in addresses):
        raise BadInput("memory_map() needs addresses, and a size and a life for each tensor that has one.")
    steps = 1 + max(last for _, last in lives.values())
    end = max(addresses[n] + sizes[n] for n in addresses)
    left, right, top, floor = 74.0, WIDTH - 8.0, 16.0, 286.0
    canvas = Canvas(floor + 44)
    wide = (right - left) / steps
    place = scale_of(0, max(end, bound), floor, top)
    for t in range(steps + 1):
        canvas.line(left + t * wide, top, left + t * wide, floor, colour="grid", width=1)
    edges = sorted({0, *(addresses[n] for n in addresses), *(addresses[n] + sizes[n] for n in addresses)})
    written = floor + 99.0
    for edge in edges:
        canvas.line(left - 5, place(edge), left, place(edge), colour="line")
        if written - place(edge) >= 13:
            canvas.text(left - 9, place(edge) + 4, f"{edge:,}", anchor="end", size=12, colour="quiet")
            written = place(edge)
    if bound:
        canvas.line(left, place(bound), right, place(bound), colour="ink", dash="7 5", width=1.8)
    colours = ("blue", "orange", "green", "pink")
    for i, name in enumerate(addresses):
        first, last = lives[name]
        y = place(addresses[name] + sizes[name])
        height = place(addresses[name]) - y
        colour = colours[i % len(colours)]
        x, width = left + first * wide, (last - first + 1) * wide
        canvas.rect(x + 1, y + 1, width - 2, height - 2, fill=f"{colour}-soft", stroke=colour, corner=3, line=1.6)
        words = f"{name}, {sizes[name]:,}"
        size = min(14.0, max(height - 3, 9.0))
        canvas.text(x + width / 2, y + height / 2 + size / 3, words, anchor="middle", size=size)
    for t in range(steps):
        canvas.text(left + (t + 0.5) * wide, floor + 19, str(t), anchor="middle", size=13)
    canvas.text((left + right) / 2, floor + 38, "step", anchor="middle", size=13, colour="quiet")
    canvas.text(2, floor + 38, "address, bytes", size=13, colour="quiet")
    over = f"; the dashed line: no arrangement needs fewer than {bound:,}" if bound else ""
    caption = title or (f"{end:,} bytes, as few as can be" if end == bound else f"{end:,} bytes{over}")
    told = "; ".join(
        f"{n} from {addresses[n]:,} to {addresses[n] + sizes[n]:,} in steps {lives[n][0]} to {lives[n][1]}"
        for n in addresses
    )
    return drawn(canvas, caption, f"{told}. In all {end:,} bytes{over}.")


def memory_ribbon(ranges: Sequence[Range | tuple[int, int, str, str]], size_bytes: int, title: str) -> Picture:
    """A small memory from address 0 on the left to its end on the right, and what lies in it.

    Parameters
    ----------
    ranges
        (start, end, label, kind), none over another; the kind is taken, scratch, chosen, tail or lost. What they leave
        is drawn as free, with its bytes.
    size_bytes
        The end of the memory.
    title
        What the picture shows.

    Raises
    ------
    BadInput
        If ranges overlap, leave the memory, or a kind is unknown.

    Examples
    --------
    >>> memory_ribbon([(0, 64, "c", "taken"), (80, 128, "a", "taken")], 160, "Two gaps").alt
    '0 to 64 c (taken); 64 to 80 free; 80 to 128 a (taken); 128 to 160 free.'
    """
    cells = _with_gaps([r if isinstance(r, Range) else Range(*r) for r in ranges], size_bytes)
    place = scale_of(0, size_bytes, 12, WIDTH - 24)
    canvas = Canvas(132)
    written = told_to = -99.0
    for cell in cells:
        fill, edge, dash, word = _FILLS[cell.kind]
        x, width = place(cell.start), place(cell.end) - place(cell.start)
        canvas.rect(x + 1, 30, width - 2, 56, fill=fill, stroke=edge, dash=dash, corner=2)
        label = cell.label if cell.kind != "lost" else ""
        lines = [label, f"{cell.end - cell.start:,}"] if label else [f"{cell.end - cell.start:,}"]
        above = "" if label and text_width(label, 13) <= width + 2 else label
        for i, line in enumerate(lines[1:] if above else lines):
            if text_width(line, 13) <= width + 2:
                canvas.text(
                    x + width / 2, 63 + 18 * i - 9 * (len(lines) - 1 - bool(above)), line, anchor="middle", size=13
                )
        over = above or (word if cell.kind in ("free", "lost", "chosen") else "")
        middle = min(x + width / 2, WIDTH - 30)
        if over and (above or text_width(over, 12) <= width + 8) and middle - text_width(over, 12) / 2 >= told_to:
            canvas.text(middle, 22, over, anchor="middle", size=12, colour="quiet")
            told_to = middle + text_width(over, 12) / 2
        half = 0.6 * text_width(f"{cell.start:,}", 12)
        if x - written >= half + 16 and (x == place(0) or place(size_bytes) - x >= 2 * half + 12):
            canvas.text(x, 104, f"{cell.start:,}", anchor="middle", size=12, colour="quiet")
            written = x
    canvas.text(place(size_bytes), 104, f"{size_bytes:,}", anchor="middle", size=12, colour="quiet")
    canvas.text(WIDTH / 2, 124, "address, bytes", anchor="middle", size=12, colour="quiet")
    told = "; ".join(
        f"{c.start:,} to {c.end:,} {c.label + ' ' if c.label else ''}"
        f"{'free' if c.kind == 'free' else f'({_FILLS[c.kind][3]})'}"
        for c in cells
    )
    return drawn(canvas, title, f"{told}.")


def halving(attempts: Sequence[tuple[int, bool]], enough: int, *, title: str = "") -> Picture:
    """A search that halves: a row for each attempt, with what is still open before it and what it found.

    Parameters
    ----------
    attempts
        (size tried, whether it worked), in their order.
    enough
        A size that works, where the search starts; 0 does not work.
    title
        The caption; without it, the smallest size that worked.

    Raises
    ------
    BadInput
        If there are no attempts or more than 24.

    Examples
    --------
    >>> halving([(4, False), (6, True), (5, True)], 8).alt
    'Open 0 to 8, 4 does not work; open 4 to 8, 6 works; open 4 to 6, 5 works. The smallest that works: 5.'
    """
    if not 1 <= len(attempts) <= _MOST_ROWS:
        raise BadInput(f"halving() draws 1 to {_MOST_ROWS} attempts; there are {len(attempts)}.")
    low, high = 0, enough
    row, top = 27.0, 12.0
    canvas = Canvas(top + row * len(attempts) + 30)
    place = scale_of(0, enough, 12, WIDTH - 190)
    told = []
    for i, (size, works) in enumerate(attempts):
        y = top + i * row
        canvas.rect(place(low), y + 5, max(place(high) - place(low), 2), 14, fill="soft", stroke="line", corner=2)
        colour, word = ("green", "works") if works else ("orange", "does not work")
        canvas.dot(place(size), y + 12, radius=6, colour=colour)
        canvas.text(WIDTH - 176, y + 17, f"{size:,} {word}", size=13, colour=colour, bold=works)
        told.append(f"open {low:,} to {high:,}, {size:,} {word}")
        low, high = (low, min(high, size)) if works else (max(low, size), high)
    y = top + row * len(attempts) + 16
    canvas.text(place(0), y, "0", size=12, colour="quiet")
    canvas.text(place(enough), y, f"{enough:,} bytes", anchor="middle", size=12, colour="quiet")
    words = "; ".join(told)
    return drawn(
        canvas,
        title or f"After {len(attempts)} attempts: {high:,} bytes are the smallest that work",
        f"{words[0].upper()}{words[1:]}. The smallest that works: {high:,}.",
    )


def _with_gaps(ranges: Sequence[Range], size_bytes: int) -> list[Range]:
    """The ranges by address, and what lies free between them."""
    cells: list[Range] = []
    free = 0
    for entry in sorted(ranges, key=lambda r: (r.start, r.end)):
        if entry.kind not in _FILLS or not free <= entry.start < entry.end <= size_bytes:
            raise BadInput(f"memory_ribbon(): {entry} overlaps another, leaves the memory, or is of no known kind.")
        if entry.start > free:
            cells.append(Range(free, entry.start, "", "free"))
        cells.append(entry)
        free = entry.end
    if free < size_bytes:
        cells.append(Range(free, size_bytes, "", "free"))
    return cells


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"

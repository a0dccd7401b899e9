"""The readings that a cell records, as one quiet block at the end of the cell instead of a line for each.

Each reading still has an output of its own with its data; the first carries the block, the others show nothing.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_STYLE = (
    "<style>.edgelab-readings{margin:6px 0;font-size:13px;line-height:1.45}"
    ".edgelab-readings summary{cursor:pointer}"
    ".edgelab-readings table{border-collapse:collapse;margin:4px 0 4px 1em;font-size:13px}"
    ".edgelab-readings :is(th,td){padding:2px 12px 2px 0;text-align:left;border:0;background:none;font-weight:400;"
    "vertical-align:top}"
    ".jp-OutputArea-child:has(.edgelab-reading-data){display:none}</style>"
)
_DATA = '<span class="edgelab-reading-data"></span>'


@dataclass(frozen=True)
class Recorded:
    """One reading as it is left behind: its data under ``mime``, its texts."""

    mime: str
    data: Mapping[str, Any]
    figure: str
    markdown: str

    @property
    def plain(self) -> str:
        """One line without markup."""
        return html.unescape(self.markdown.replace("**", "").replace("*", ""))


_waiting: list[Recorded] = []


def leave(shell: Any, recorded: Recorded) -> None:
    """Show a reading at the end of the cell that runs in ``shell``; at once where none runs, as under a dial."""
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    if parent.get("header", {}).get("msg_type") != "execute_request":
        _display([recorded])
        return
    if not _waiting:
        shell.events.register("post_execute", _flush_of(shell))
    _waiting.append(recorded)


def _flush_of(shell: Any) -> Any:
    def flush() -> None:
        shell.events.unregister("post_execute", flush)
        found = list(_waiting)
        _waiting.clear()
        _display(found)

    return flush


def _display(found: list[Recorded]) -> None:
    from IPython.display import display

    for number, recorded in enumerate(found):
        bundle = {
            recorded.mime: dict(recorded.data),
            "text/html": block(found) if number == 0 else _DATA,
            "text/markdown": recorded.markdown,
            "text/plain": recorded.plain,
        }
        display(bundle, raw=True)


def block(found: list[Recorded]) -> str:
    """The block as HTML: folded, with a line that says how many readings there are and how they were obtained."""
    ways = Counter(str(recorded.data["how"]) for recorded in found)
    if len(found) == 1:
        said = f"1 reading: {found[0].data['name']} {found[0].figure}, {found[0].data['how']}"
    else:
        said = f"{len(found)} readings: {', '.join(f'{count} {how}' for how, count in ways.items())}"
    rows = "".join(
        f'<tr><th scope="row">{html.escape(str(recorded.data["name"]))}</th><td>{html.escape(recorded.figure)}</td>'
        f"<td>{html.escape(str(recorded.data['how']))} by {html.escape(str(recorded.data['by']))}</td></tr>"
        for recorded in found
    )
    return (
        f'{_STYLE}<details class="edgelab-readings"><summary>{html.escape(said)}</summary>'
        f"<table><tbody>{rows}</tbody></table></details>"
    )

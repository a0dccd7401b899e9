"""A picture with its words: SVG or HTML that follows JupyterLab's theme and is legible on a white page as well."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from edgelab.errors import BadInput
from edgelab.ui.palette import TOKENS, dark_page_css, variables_css
from edgelab.ui.pictures.canvas import Canvas

SELECTOR = ".edgelab-picture"
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


def _style() -> str:
    shapes = "".join(
        f"{SELECTOR} .f-{name}{{fill:var(--el-{name})}}{SELECTOR} .s-{name}{{stroke:var(--el-{name})}}"
        for name in TOKENS["light"]
    )
    frame = (
        f"{SELECTOR}{{background:var(--el-paper);color:var(--el-ink);font-family:{FONT}}}"
        f"figure{SELECTOR}{{max-width:760px;margin:4px 0 10px;padding:10px 12px;border:1px solid var(--el-grid);"
        "border-radius:8px;box-sizing:border-box}"
        f"{SELECTOR} figcaption{{font-size:15px;line-height:1.45;font-weight:600;margin:0 0 6px}}"
        f"{SELECTOR} .edgelab-alt{{font-size:13px;line-height:1.45;margin:6px 0 0}}"
        f"{SELECTOR} summary{{cursor:pointer;color:var(--el-quiet)}}{SELECTOR} .edgelab-alt p{{margin:4px 0 0}}"
    )
    return f"{variables_css(SELECTOR)}\n{dark_page_css(SELECTOR)}\n{frame}\n{shapes}"


STYLE = _style()


@dataclass(frozen=True)
class Picture:
    """What stands in a notebook as a figure: a body of SVG or HTML, a caption and words for those who cannot see it.

    Parameters
    ----------
    body
        The markup of the picture itself.
    caption
        One line that says what the picture shows.
    alt
        The same facts in sentences.
    svg
        The picture as a file of its own, with the light colours and those of a dark page; empty for HTML.
    """

    body: str
    caption: str
    alt: str
    svg: str = ""

    def __post_init__(self) -> None:
        for name in ("body", "caption", "alt"):
            if not getattr(self, name).strip():
                raise BadInput(f"A picture needs a {name}; it is empty.")

    def html(self) -> str:
        """The picture as a ``<figure>`` with its style, caption and text alternative."""
        words = html.escape(self.alt)
        return (
            f'<style>{STYLE}</style><figure class="edgelab-picture">'
            f"<figcaption>{html.escape(self.caption)}</figcaption>{self.body}"
            f'<details class="edgelab-alt"><summary>Text alternative</summary><p>{words}</p></details></figure>'
        )

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        still = {"image/svg+xml": self.svg} if self.svg else {}
        return {"text/html": self.html(), **still, "text/plain": f"{self.caption}\n{self.alt}"}

    def show(self) -> None:
        """Display the picture in a running notebook, wherever in the cell it stands."""
        from IPython.display import display

        display(self)


def drawn(canvas: Canvas, caption: str, alt: str) -> Picture:
    """The picture of what was drawn on ``canvas``."""
    words, name = html.escape(alt), html.escape(caption)
    size = f'viewBox="0 0 {canvas.width:g} {canvas.height:g}"'
    told = f'role="img" aria-label="{html.escape(f"{caption}. {alt}")}"'
    content = f"<title>{name}</title><desc>{words}</desc>{canvas.body}"
    inline = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {told} style="width:100%;height:auto;display:block" '
        f'font-family="{html.escape(FONT)}">{content}</svg>'
    )
    alone = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} width="{canvas.width:g}" height="{canvas.height:g}" {told} '
        f'class="edgelab-picture" font-family="{html.escape(FONT)}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" class="f-paper"/>{content}</svg>'
    )
    return Picture(inline, caption, alt, alone)

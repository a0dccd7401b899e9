"""An executed notebook as one HTML file that shows every figure with the network off.

plotly.js stands in the page once. A content security policy in the page forbids it to load anything, so what
opens today opens in ten years. Panels show the figure that they started with; text alternatives stay reachable.
"""

from __future__ import annotations

import base64
import html
import json
import mimetypes
import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edgelab.course import formulas
from edgelab.errors import BadFile
from edgelab.files import expanded, write_text

PLOTLY_MIME = "application/vnd.plotly.v1+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_ASSETS = Path(__file__).with_name("page")
_SHOWN = ("text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg", "text/plain")
_PROGRESS_BAR = re.compile(r"\d+%\|.*\||\?it/s")
_REMOTE = re.compile(r"^\s*(https?:|//)", re.IGNORECASE)
_TITLE_LINE_PIXELS = 24
_SHORT_CELL = 28  # characters that stay on one line of a table


def to_html(notebook_path: str | os.PathLike[str], html_path: str | os.PathLike[str]) -> Path:
    """Write an executed notebook as one self-contained HTML file.

    Parameters
    ----------
    notebook_path
        The executed ``.ipynb``. Pictures that it names by relative path are embedded.
    html_path
        The page to write; it appears whole or not at all.

    Returns
    -------
    Path
        ``html_path``.

    Raises
    ------
    BadFile
        If the notebook is missing or is not one, or the page cannot be written.
    """
    source, target = expanded(notebook_path), expanded(html_path)
    return write_text(target, page(read(source), folder=source.parent, name=source.stem))


def read(path: Path) -> Any:
    """The notebook at ``path`` in the current format.

    Raises
    ------
    BadFile
        If it is missing, unreadable, or no notebook.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist; execute the notebook first.") from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise BadFile(f"{path} is not a notebook that can be shown ({reason}).") from error
    return notebook


def page(notebook: Any, folder: Path, name: str) -> str:
    """The whole page as text; ``folder`` is where relative pictures lie, ``name`` the title if no heading gives one."""
    import jinja2
    from nbconvert import HTMLExporter
    from plotly.offline import get_plotlyjs

    figures = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], found = _shown(cell.get("outputs", []))
            figures += found
    notebook["metadata"].pop("widgets", None)
    kept = formulas.set_aside(notebook)
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"path": str(folder), "name": name}})
    body, title = _tidy(formulas.put_back(body, kept), folder)
    frame = jinja2.Environment(autoescape=False).from_string(_asset("page.html"))  # noqa: S701  parts are HTML already
    return frame.render(
        title=title or name,
        body=body,
        style=_asset("page.css") + _code_style(),
        script=_asset("page.js"),
        library=get_plotlyjs() if figures else "",
    )


def _shown(outputs: list[Any]) -> tuple[list[Any], int]:
    """The outputs as the page has them, and how many of them are figures."""
    kept: list[Any] = []
    figures = 0
    words = None  # the text alternative of the figure before, which brings its own
    for output in outputs:
        if output["output_type"] not in ("display_data", "execute_result"):
            kept.append(output)
            words = None
            continue
        data = output["data"]
        if PLOTLY_MIME in data:
            figure = data[PLOTLY_MIME]
            words = _alternative(figure)
            data = {"text/html": figure_html(figure)}
            figures += 1
        elif words is not None and 'class="edgelab-alt"' in _text(data.get("text/html", "")):
            words = None
            continue
        else:
            words = None
            if WIDGET_MIME in data and "text/html" not in data:
                data = _stand_in(data)
        data = {mime: content for mime, content in data.items() if mime in _SHOWN}
        if data:
            output["data"] = data
            kept.append(output)
    return kept, figures


def figure_html(figure: dict[str, Any]) -> str:
    """The place of one figure in the page: a titled frame to paint in, its data, its text alternative.

    Parameters
    ----------
    figure
        Plotly JSON; ``layout.meta`` may hold ``alt``, ``live`` and ``title`` (of a panel).
    """
    figure = json.loads(json.dumps(figure))
    layout = figure.setdefault("layout", {})
    words, meta = _alternative(figure), _meta(figure)
    title, lines = _title(layout)
    if title:
        layout.pop("title")
        top = layout.setdefault("margin", {}).get("t", 100 if lines else 0)
        layout["margin"]["t"] = max(24, top - _TITLE_LINE_PIXELS * lines)
        if "height" in layout:
            layout["height"] -= top - layout["margin"]["t"]
    payload = json.dumps(figure, separators=(",", ":")).replace("<", "\\u003c")
    live = f"<strong>{html.escape(str(meta['title']))}</strong> · " if meta.get("title") else ""
    live = f'<p class="edgelab-live">{live}A panel, live in JupyterLab; here as it was left.</p>'
    height = int(layout.get("height") or 400)
    return "".join(
        [
            '<figure class="edgelab-figure">',
            live if meta.get("live") else "",
            f'<p class="edgelab-title">{html.escape(title)}</p>' if title else "",
            '<div class="edgelab-frame">',
            f'<div class="edgelab-plot" role="img" aria-label="{html.escape(words)}" style="height:{height}px"></div>',
            "</div>",
            f'<script type="application/json">{payload}</script>',
            '<figcaption><details class="edgelab-alt"><summary>Text alternative</summary>',
            f"<p>{html.escape(words)}</p></details></figcaption></figure>",
        ]
    )


def _tidy(body: str, folder: Path) -> tuple[str, str]:
    """Take out or embed whatever would be loaded, let wide tables scroll; the body and its first heading."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(body, "html.parser")
    for tag in soup.select("script:not([type='application/json']), link, base, meta, object, embed, iframe"):
        tag.decompose()
    _embed_pictures(soup, folder)
    _let_tables_scroll(soup)
    folded = {".celltag_hidden": "Code of the check", "[class*='celltag_finding:']": "Code of the sentence"}
    for cells, title in folded.items():
        for cell in soup.select(f"{cells} .input_area"):
            fold = cell.wrap(soup.new_tag("details"))
            summary = soup.new_tag("summary")
            summary.string = title
            fold.insert(0, summary)
    for cell in soup.select(".code_cell"):
        if not cell.get_text(strip=True) and not cell.select("img, svg"):
            cell.decompose()
    heading = soup.find(["h1", "h2"])
    return str(soup), heading.get_text(strip=True) if heading else ""


def _embed_pictures(soup: Any, folder: Path) -> None:
    for image in soup.select("img[src]"):
        if str(image["src"]).startswith("data:"):
            continue
        content = _picture(str(image["src"]), folder)
        if content:
            image["src"] = content
        else:
            image.replace_with(f"[picture that is not in this page: {image.get('alt') or image['src']}]")


def _let_tables_scroll(soup: Any) -> None:
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
    for cell in soup.select("th, td"):
        if len(cell.get_text(strip=True)) <= _SHORT_CELL:
            cell["class"] = [*cell.get("class", []), "short"]


def _picture(source: str, folder: Path) -> str:
    """A picture that lies beside the notebook as a data address, or nothing if there is none or it is elsewhere."""
    kind = mimetypes.guess_type(source)[0] or ""
    if _REMOTE.match(source) or not kind.startswith("image/"):
        return ""
    try:
        path = (folder / unquote(source)).resolve()
        if not path.is_relative_to(folder.resolve()):
            return ""
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    except (OSError, ValueError):
        return ""


def _stand_in(data: dict[str, Any]) -> dict[str, Any]:
    """What a widget without a picture of its own becomes: nothing for a progress bar, else a note."""
    if _PROGRESS_BAR.search(_text(data.get("text/plain", ""))):
        return {}
    return {"text/html": '<p class="edgelab-live">A control stands here in JupyterLab.</p>'}


def _meta(figure: dict[str, Any]) -> dict[str, Any]:
    meta = figure.get("layout", {}).get("meta")
    return meta if isinstance(meta, dict) else {}


def _alternative(figure: dict[str, Any]) -> str:
    title, _ = _title(figure.get("layout", {}))
    return str(_meta(figure).get("alt") or title or "A figure without a text alternative.")


def _title(layout: dict[str, Any]) -> tuple[str, int]:
    """The figure's title without markup, and how many lines it takes."""
    title = layout.get("title")
    text = str((title.get("text") if isinstance(title, dict) else title) or "")
    plain = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"<br\s*/?>", " ", text)))
    return " ".join(plain.split()), text.count("<br") + 1 if text else 0


def _text(content: Any) -> str:
    return "".join(content) if isinstance(content, list) else str(content)


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


@cache
def _code_style() -> str:
    """Colours of the code, for light and dark pages, from Pygments."""
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return (
        f"\n{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n.highlight {{ background: none }}\n"
    )

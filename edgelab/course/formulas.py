"""Formulas of a page that has to read without a network: LaTeX becomes MathML, which browsers draw themselves.

JupyterLab draws LaTeX with a library that it brings; an exported page brings none.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\\w$])\$(?P<inline>[^$\n]+?)\$(?![\w$])", re.DOTALL)


def set_aside(notebook: Any) -> dict[str, str]:
    """Put a token in place of each formula in the markdown cells, and return token to MathML.

    The tokens pass through the conversion of markdown as words do; `put_back` replaces them in its HTML.
    """
    kept: dict[str, str] = {}

    def token(match: re.Match[str]) -> str:
        name = f"edgelabformula{len(kept)}x"
        kept[name] = mathml(match["block"] or match["inline"], block=match["block"] is not None)
        return name

    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = cell["source"]
            code = list(_CODE.finditer(text))
            ends = [0, *(edge for match in code for edge in match.span()), len(text)]
            parts = [text[start:end] for start, end in pairwise(ends)]
            cell["source"] = "".join(part if i % 2 else _FORMULA.sub(token, part) for i, part in enumerate(parts))
    return kept


def put_back(page: str, kept: Mapping[str, str]) -> str:
    """The page with its formulas in place of their tokens."""
    return re.sub(r"edgelabformula\d+x", lambda match: kept.get(match[0], match[0]), page)


def mathml(latex: str, *, block: bool = False) -> str:
    r"""A formula as MathML; what cannot be converted stays readable as its own source.

    Examples
    --------
    >>> "<mfrac>" in mathml(r"s = \frac{a}{b}")
    True
    """
    from latex2mathml.converter import convert

    try:
        made = convert(latex.strip(), display="block" if block else "inline")
    except Exception:  # noqa: BLE001  a page with one plain formula is better than none
        return f"<code>{html.escape(latex.strip())}</code>"
    return str(made)

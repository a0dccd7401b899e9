"""The colours of everything that a lab shows, for light pages and for dark ones.

Series are those of Okabe and Ito (Color Universal Design, 2008), which readers with any common colour vision tell
apart, with orange, sky blue and pink darkened: each of the six has a contrast of at least 3 to 1 with white and with
JupyterLab's dark backgrounds, so that a figure needs no colours of its own for each theme. Text and pictures take
their colours from CSS variables that `variables_css` defines for both themes: 4.5 to 1 for text.

A colour means the same everywhere: `ROLES` names what is right or fits, what is wrong or does not fit, and what is
neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgelab.errors import BadInput

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C06A99", "#B07A00", "#2E94D1")
ROLES: Mapping[str, str] = {"right": "#009E73", "wrong": "#D55E00", "neutral": "#7a828c", "marked": "#0072B2"}
"""Right and fits; wrong and does not fit; neither; what the figure is about."""

INK, QUIET, PATCH = "#6a717a", "#6b727b", "#fefefe"
"""What plotly writes text, axes and the ground under a label with: legible on white by themselves.

`plotly_css` finds them by their very value and puts the theme's own colours in their place, without a rerun.
"""
GRID = "rgba(140, 148, 158, 0.3)"
PAPER = "rgba(0, 0, 0, 0)"

PAPERS = {"light": ("#ffffff", "#f5f5f5"), "dark": ("#111111", "#212121")}
"""JupyterLab's backgrounds: of a notebook, and of what stands on it."""

TOKENS: Mapping[str, Mapping[str, str]] = {
    "light": {
        "ink": "#1f2328",
        "quiet": "#57606a",
        "line": "#868e96",
        "grid": "#d0d7de",
        "paper": "#ffffff",
        "soft": "#eef1f4",
        "blue": "#00619a",
        "orange": "#b04a00",
        "green": "#00704f",
        "pink": "#9c3f75",
        "blue-soft": "#dcecf7",
        "orange-soft": "#fbe6d8",
        "green-soft": "#d9f0e6",
        "pink-soft": "#f7e4ee",
    },
    "dark": {
        "ink": "#f0f3f6",
        "quiet": "#b3bcc6",
        "line": "#8b939d",
        "grid": "#444c56",
        "paper": "#111111",
        "soft": "#262b31",
        "blue": "#6cbdf0",
        "orange": "#ff9d5c",
        "green": "#3fcf9f",
        "pink": "#eda6cf",
        "blue-soft": "#12324a",
        "orange-soft": "#4a2710",
        "green-soft": "#0e3a2c",
        "pink-soft": "#45203a",
    },
}
"""The variables ``--el-NAME`` and their values. A ``-soft`` colour fills what its colour or ``ink`` writes on."""

_FROM_JUPYTER = {
    "ink": "--jp-content-font-color1",
    "paper": "--jp-layout-color0",
}


def series_colours(labels: Sequence[str], roles: Mapping[str, str] | None) -> list[str]:
    """One colour a series: that of its role, else the next that no role of the figure takes.

    Raises
    ------
    BadInput
        If a role is unknown. A role of a series that is not there today is no mistake.
    """
    named = {label: role for label, role in (roles or {}).items() if label in labels}
    for label, role in named.items():
        if role not in ROLES:
            raise BadInput(f"roles: '{label}' is '{role}', which is none of {', '.join(ROLES)}.")
    taken = {ROLES[role] for role in named.values()}
    free = [colour for colour in COLOURS if colour not in taken]
    rest = iter(range(len(labels)))
    return [ROLES[named[label]] if label in named else free[next(rest) % len(free)] for label in labels]


def variables_css(selector: str) -> str:
    """CSS that gives ``selector`` the palette: JupyterLab's theme where there is one, the light colours elsewhere.

    Examples
    --------
    >>> "--el-ink:var(--jp-content-font-color1,#1f2328)" in variables_css(".edgelab-picture")
    True
    """
    light, dark = (_declarations(TOKENS[theme]) for theme in ("light", "dark"))
    return f'{selector}{{{light}}}\nbody[data-jp-theme-light="false"] {selector}{{{dark}}}'


def plotly_css() -> str:
    """CSS that gives figures in JupyterLab the inks and the paper of its theme."""
    scope = "body[data-jp-theme-light] .js-plotly-plot"
    rules = [
        f'{scope} {tag}[style*="{kind}: {rgb(colour)}"]{{{kind}:var(--el-{name})!important}}'
        for name, colour in (("ink", INK), ("quiet", QUIET))
        for tag, kind in (("text", "fill"), ("tspan", "fill"), ("path", "stroke"))
    ]
    rules.append(f'{scope} rect[style*="fill: {rgb(PATCH)}"]{{fill:var(--el-paper)!important}}')
    rules.append(f"{scope}.jp-RenderedPlotly{{overflow:hidden}}")  # else a scroll bar that no key reaches
    return "\n".join([variables_css(".js-plotly-plot"), *rules])


def dark_page_css(selector: str) -> str:
    """CSS for the exported page of a lab, whose own background follows the reader's system into the dark."""
    plain = ";".join(f"--el-{name}:{value}" for name, value in TOKENS["dark"].items())
    return f"@media screen and (prefers-color-scheme: dark){{.edgelab-page {selector}{{{plain}}}}}"


def _declarations(tokens: Mapping[str, str]) -> str:
    def value(name: str, colour: str) -> str:
        return f"var({_FROM_JUPYTER[name]},{colour})" if name in _FROM_JUPYTER else colour

    return ";".join(f"--el-{name}:{value(name, colour)}" for name, colour in tokens.items())


def rgb(colour: str) -> str:
    """A colour as browsers write it.

    Examples
    --------
    >>> rgb("#6a717a")
    'rgb(106, 113, 122)'
    """
    return "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))

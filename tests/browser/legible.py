"""What a person sees of a notebook's outputs: contrast, axe-core's rules, what scrolls sideways, words, themes."""

import contextlib

from axe_playwright_python.base import AXE_SCRIPT

LIGHT, DARK = THEMES = ("JupyterLab Light", "JupyterLab Dark")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
# Contrast of the text in figures, which axe does not judge: as painted, with the paper of the page.
CONTRAST = """(node) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paper = getComputedStyle(document.querySelector(".jp-Notebook")).getPropertyValue("--jp-layout-color0");
  const seen = (...colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0.05);
  const texts = [...node.querySelectorAll(".js-plotly-plot text, .edgelab-picture svg text")]
    .filter((text) => text.checkVisibility() && text.textContent.trim() && !text.closest("[fill-opacity='0']"))
    .filter((text) => !(text.closest(".textpoint") && node.querySelector(".heatmaplayer image")));
  const low = [], inks = [];
  for (const text of texts) {
    const ink = getComputedStyle(text).fill;
    const [one, two] = [light(seen(paper, ink)), light(seen(paper))].sort((a, b) => b - a);
    inks.push(ink);
    if (one / two < 4.5) low.push(`${text.textContent}: ${(one / two).toFixed(2)}`);
  }
  const slabs = [...node.querySelectorAll(".js-plotly-plot, .js-plotly-plot .main-svg, .edgelab-plot")]
    .filter((part) => !["rgba(0, 0, 0, 0)", "transparent"].includes(getComputedStyle(part).backgroundColor));
  return { texts: texts.length, low, slabs: slabs.length, inks: [...new Set(inks)].sort() };
}"""
# Plots are taken out for axe, which judges no text in SVG and would take minutes over thousands of their nodes.
AXE = """async ([outputs, rules]) => {
  const taken = [...document.querySelectorAll(".js-plotly-plot .svg-container")]
    .map((node) => [node, node.parentNode, node.nextSibling]);
  taken.forEach(([node]) => node.remove());
  const { violations } = await axe.run({ include: [outputs] }, rules);
  taken.forEach(([node, parent, next]) => parent.insertBefore(node, next));
  return violations;
}"""
PAINTED = "(node) => edgelab.plots(node).every(edgelab.painted)"
SPOKEN = "(node) => [...node.querySelectorAll('.jp-OutputArea-output')].filter((o) => o.checkVisibility())"
SEEN = f"(node) => ({SPOKEN})(node).map((o) => o.innerText).join(' ')"
WIDE = f"(node) => ({SPOKEN})(node).some((o) => o.scrollWidth > o.clientWidth + 1)"
# The same of the words and the code of a cell.
WIDE_SOURCE = """(node) => [...node.querySelectorAll(".cm-scroller, .jp-RenderedMarkdown")]
  .some((part) => part.checkVisibility() && part.scrollWidth > part.clientWidth + 1)"""


def switch(notebook, theme):
    """Change JupyterLab's theme, as its settings menu does."""
    notebook.page.evaluate("(theme) => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    light = str("Light" in theme).lower()
    notebook.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{light}'")
    notebook.page.wait_for_timeout(500)


def said(notebook, cell):
    """The words in a cell's outputs that can be seen now."""
    return notebook.page.evaluate(SEEN, cell)


def violations(notebook, outputs="[data-looked-at] .jp-Cell-outputArea"):
    """What axe-core finds in the outputs, a line each: those of a cell `marked`, or all that a selector names."""
    page = notebook.page
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(AXE, [outputs, RULES])
    return [f"{v['id']}: {node['html'][:160]} {node['failureSummary']}" for v in found for node in v["nodes"]]


@contextlib.contextmanager
def marked(cell):
    """A cell for `violations`."""
    cell.evaluate("(node) => node.setAttribute('data-looked-at', '')")
    yield
    cell.evaluate("(node) => node.removeAttribute('data-looked-at')")


@contextlib.contextmanager
def laid_out(notebook):
    """All cells laid out, those out of view as well, so that one look takes in the whole page."""
    style = notebook.page.add_style_tag(content=".jp-Notebook .jp-Cell { content-visibility: visible !important }")
    yield
    style.evaluate("(node) => node.remove()")


def of_each_cell(notebook, function):
    """What a function of a cell's node says of each cell."""
    return notebook.page.evaluate(f"() => edgelab.cells().map((cell) => ({function})(cell.node))")

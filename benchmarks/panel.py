"""From a key press to the painted figure in JupyterLab: a panel against plotly's own FigureWidget, in turn, in one run.

A real JupyterLab in a headless Chromium holds two figures with the same two lines and the same slider. The time runs
in the page, from the key event to the frame after plotly says that it has drawn. Target: a panel's median is below
100 ms. Needs Chromium, Chrome or Edge. Usage: ``python benchmarks/panel.py [--rounds N] [--json]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

from edgelab import Reading, Table
from edgelab.course import browser
from edgelab.errors import EdgelabError
from edgelab.measure import stats
from edgelab.measure.machine import machine

PRESSES = 4  # of one contender before it is the other's turn
WARM_UP_ROUNDS = 2
START_SECONDS = 60
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
FIGURE = """
import numpy as np
from edgelab import ui

x = np.arange(1, 41)

def draw(n):
    series = {"falls": (x, 100 / x + n), "rises": (x, n * np.sqrt(x))}
    return ui.lines(series, title=f"n is {n}", x="batch", y="milliseconds")
"""
CELLS = {
    "Panel": 'ui.Panel(draw, alt="Two lines.", n=ui.slider(1, 99, value=50, label="n"))',
    "FigureWidget": """
import ipywidgets
import plotly.graph_objects as go

widget = go.FigureWidget(draw(50))
slider = ipywidgets.IntSlider(min=1, max=99, value=50, description="n")

def moved(change):
    figure = draw(change["new"])
    with widget.batch_update():
        for old, new in zip(widget.data, figure.data):
            old.y = new.y
        widget.layout.title.text = figure.layout.title.text
        widget.layout.yaxis.range = figure.layout.yaxis.range
        for old, new in zip(widget.layout.annotations, figure.layout.annotations):
            old.y, old.yshift = new.y, new.yshift

slider.observe(moved, names="value")
ipywidgets.VBox([slider, widget])
""",
}
READY = """() => window.jupyterapp?.shell.currentWidget?.context?.isReady
  && jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'"""
DRAWN = "(n) => document.querySelectorAll('.jp-Notebook .js-plotly-plot .main-svg .gtitle').length === n"
PREPARE = """(which) => {
  const plot = document.querySelectorAll('.jp-Notebook .js-plotly-plot')[which];
  const cell = plot.closest('.jp-Cell');
  cell.scrollIntoView();
  cell.querySelector('.noUi-handle').focus();
  if (cell.dataset.timed) return;
  cell.dataset.timed = 'yes';
  let start = 0;
  cell.addEventListener('keydown', () => { start = performance.now(); window.edgelabTime = undefined; }, true);
  plot.on('plotly_afterplot', () => {
    if (!start) return;
    const begun = start;
    start = 0;
    requestAnimationFrame(() => { window.edgelabTime = performance.now() - begun; });
  });
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        times = measure(arguments.rounds)
    except EdgelabError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    by = (
        f"{arguments.rounds} rounds of {PRESSES} key presses each, in turn, JupyterLab in headless Chromium, "
        f"{machine().cpu}"
    )
    readings = {}
    for name, series in times.items():
        for q in (50, 95):
            value, low, high = stats.percentile_interval(series, q)
            readings[f"{name} p{q}"] = Reading(value, "ms", "measured", by, low, high)
    value, low, high = stats.median_ratio_interval(times["Panel"], times["FigureWidget"])
    readings["Panel / FigureWidget"] = Reading(value, "x", "measured", by, low, high)
    if arguments.json:
        print(json.dumps({name: r.to_dict() for name, r in readings.items()}, indent=1))
    else:
        rows = [(name, r.figure()) for name, r in readings.items()]
        print(Table("Key press to painted figure", ("what", "time (interval)"), rows, by))
    return 0


def measure(rounds: int) -> dict[str, np.ndarray[Any, Any]]:
    """Milliseconds of each key press of each contender, arrays (rounds, presses)."""
    chromium = browser.find()
    if chromium is None:
        raise browser.NoBrowser(f"There is no browser to measure in; {browser.HOW}.")
    from playwright.sync_api import sync_playwright

    names = list(CELLS)
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    with jupyterlab() as address, sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(chromium), args=FLAGS)
        page = running.new_page(viewport={"width": 1200, "height": 1000})
        page.goto(address)
        page.wait_for_function(READY, timeout=START_SECONDS * 1000)
        page.evaluate("() => { void jupyterapp.commands.execute('notebook:run-all-cells') }")
        page.wait_for_function(DRAWN, arg=len(names), timeout=START_SECONDS * 1000)
        page.wait_for_timeout(1000)
        for turn in range(-WARM_UP_ROUNDS, rounds):
            for which, name in enumerate(names):
                found = presses(page, which, "ArrowRight" if turn % 2 else "ArrowLeft")
                if turn >= 0:
                    times[name].append(found)
        running.close()
    return {name: np.array(series) for name, series in times.items()}


def presses(page: Any, which: int, key: str) -> list[float]:
    """Press ``key`` on a slider, each time when the figure of the press before has been painted."""
    page.evaluate(PREPARE, which)
    found = []
    for _ in range(PRESSES):
        page.keyboard.press(key)
        page.wait_for_function("() => window.edgelabTime !== undefined")
        found.append(page.evaluate("() => window.edgelabTime"))
        page.wait_for_timeout(80)
    return found


@contextlib.contextmanager
def jupyterlab() -> Iterator[str]:
    """A JupyterLab of its own, and the address of the notebook in it; it ends, by its id, with the block."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        root = Path(folder)
        cells = [nbformat.v4.new_code_cell(source.strip()) for source in (FIGURE, *CELLS.values())]
        kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        (root / "home").mkdir()
        nbformat.write(notebook, root / "home" / "panel.ipynb")
        free.bind(("127.0.0.1", 0))
        port, token = free.getsockname()[1], secrets.token_hex(16)
        free.close()
        own = ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
        environment = {
            **os.environ,
            **{name: str(root / name.lower()) for name in own},
            "OMP_NUM_THREADS": "1",
            "JUPYTER_TOKEN": token,
        }
        settings = [
            *("--no-browser", "--allow-root", "--LabApp.expose_app_in_browser=True", "--log-level=ERROR"),
            *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root / 'home'}"),
        ]
        command = [sys.executable, "-m", "jupyterlab", *settings]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen(command, env=environment, cwd=root, **quiet)
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={token}", server)
            yield f"http://127.0.0.1:{port}/lab/tree/panel.ipynb?token={token}&reset"
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):  # noqa: S310  our own server
            return
        time.sleep(0.2)
    raise EdgelabError("JupyterLab did not start; `python -m jupyterlab` in a terminal says why.")


if __name__ == "__main__":
    sys.exit(main())

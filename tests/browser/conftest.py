"""A real JupyterLab and a headless Chromium without a network.

The server is the one that `edgelab open` starts, on a copy of the labs. Every request that would leave this
machine finds no host and is counted, and a test that saw one fails.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgelab.course import browser as course_browser
from edgelab.course import labs, serve

HOME = Path(__file__).parents[2]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # No name is looked up, so that nothing leaves this machine, whatever a page wants.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
RUN_SECONDS = 300
# How often a page is asked whether a run has ended. Without it playwright asks at every frame, and each question looks
# at the outputs of all cells: that took more of the processor than the labs themselves.
POLL_MS = 400
# anywidget says so of every widget whose script is not there after 2 s, however well it works later.
TIMER = "[anywidget] Failed to initialize model."
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

HELPERS = """
window.edgelab = {
  cells: () => jupyterapp.shell.currentWidget.content.widgets,
  // How often each mime type stands in a cell's outputs, and what went wrong there.
  outputs: (cell) => {
    const found = [];
    const list = cell.model.outputs;
    for (let i = 0; i < (list?.length ?? 0); i++) {
      const output = list.get(i).toJSON();
      found.push(output);
    }
    return found;
  },
  failed: (cell) => {
    const list = cell.model.outputs;
    for (let i = 0; i < (list?.length ?? 0); i++) if (list.get(i).type === "error") return true;
    return false;
  },
  marks: (plot) => plot.querySelectorAll(
    ".scatterlayer path, .scatterlayer text, .barlayer path, .heatmaplayer image, .imagelayer image").length,
  painted: (plot) => {
    const box = plot.querySelector(".main-svg")?.getBoundingClientRect();
    return Boolean(box) && box.width > 100 && box.height > 100 && edgelab.marks(plot) > 0;
  },
  // Those that can be seen: under a live panel lies its last state, hidden, for when no kernel is there.
  plots: (node) => [...node.querySelectorAll(".js-plotly-plot")].filter((plot) => plot.checkVisibility()),
  // Everything that is drawn, as text: two figures that look different have different texts.
  drawn: (node) => edgelab.plots(node).map((plot) => [
    ...[...plot.querySelectorAll("path[d]")].map((path) => path.getAttribute("d")),
    ...[...plot.querySelectorAll("text")].map((text) => text.textContent),
    ...[...plot.querySelectorAll("image")].map((image) => image.getAttribute("href")),
  ].join("|")).join("||"),
};
"""


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium; where there is none, a failure on CI and a skip with advice elsewhere."""
    found = course_browser.find()
    if found is None:
        sentence = f"No browser was found for this test: {course_browser.HOW}."
        if os.environ.get("CI", "").casefold() in ("1", "true"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(found), args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def context(chromium):
    """One context for all pages: what JupyterLab consists of is fetched and compiled once."""
    made = chromium.new_context(viewport={"width": 1300, "height": 1000}, reduced_motion="reduce")
    made.add_init_script(HELPERS)
    yield made
    made.close()


@contextlib.contextmanager
def new_page(context):
    """A page that can reach this machine and nothing else, and that tells if it wanted to."""
    wanted, errors = [], []
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.on("request", lambda request: None if _stays_here(request.url) else wanted.append(request.url))
    opened.on("pageerror", lambda error: None if TIMER in str(error) else errors.append(str(error)))
    opened.on("dialog", lambda dialog: dialog.accept())
    yield opened
    opened.close()
    assert wanted == [], "the page wanted something from the network"
    assert errors == [], "a script of the page failed"


def _stays_here(url):
    return urlsplit(url).hostname in _LOOPBACK or not url.startswith(("http", "ws"))


@pytest.fixture
def page(context):
    with new_page(context) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_page(context):
    """The same page for all tests of a module."""
    with new_page(context) as opened:
        yield opened


@pytest.fixture(scope="session")
def lab_home(tmp_path_factory):
    """A copy of the labs with everything that JupyterLab and the course write beside it."""
    root = tmp_path_factory.mktemp("browser")
    home = root / "home"
    for folder in ("labs", "solutions"):
        shutil.copytree(HOME / folder, home / folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "*.part"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGELAB_HOME", str(home))
        patch.setenv("EDGELAB_RUNS", str(root / "runs"))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(root / name.lower()))
        yield home


@pytest.fixture(scope="session")
def server(lab_home):
    """JupyterLab on `lab_home`, as `edgelab open` serves it; it ends, by its id, with the session."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    port = 8901 + 100 * number  # two processes that look for a free port at the same time find the same one
    with serve.serving(labs.all_labs()[0], port, ("--LabApp.expose_app_in_browser=True",)) as running:
        yield running


class OpenNotebook:
    """A notebook that is open in JupyterLab."""

    def __init__(self, page, server, home, path):
        self.page = page
        self.file = home / path
        self.address = f"http://127.0.0.1:{server.port}/lab/tree/{path}?token={server.token}"
        self.open()

    def open(self):
        self.page.goto(f"{self.address}&reset")
        self.page.wait_for_function(
            """() => window.jupyterapp?.shell.currentWidget?.context?.isReady
              && jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'"""
        )

    def run_all(self):
        """Run all cells and wait until the last has run or one has failed."""
        self._run("notebook:run-all-cells", 0, None)

    def run_before(self, index):
        """Run the cells above one and wait for them."""
        self._run("notebook:run-all-above", 0, index)

    def run_from(self, index):
        """Run a cell and all below it and wait for them."""
        self._run("notebook:run-all-below", index, None)

    def _run(self, command, first, end):
        self.page.evaluate(
            """([command, first]) => {
              jupyterapp.shell.currentWidget.content.activeCellIndex = first;
              void jupyterapp.commands.execute(command);
            }""",
            [command, first if end is None else end],
        )
        self.page.wait_for_function(
            """([first, end]) => {
              const code = edgelab.cells().slice(first, end ?? undefined)
                .filter((c) => c.model.type === 'code' && c.model.sharedModel.source.trim());
              return code.some(edgelab.failed) || (code.every((c) => c.model.executionCount !== null)
                && jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle');
            }""",
            arg=[first, end],
            polling=POLL_MS,
            timeout=RUN_SECONDS * 1000,
        )

    def press_run(self, index):
        """Run one cell by its keys, and wait for it; its outputs."""
        node = self.show(index)
        # after a restart the kernel counts from 1 again, so that a cell may get the number that it has
        self.page.evaluate("(i) => { edgelab.cells()[i].model.executionCount = null; }", index)
        self.page.evaluate("() => jupyterapp.shell.currentWidget.content.node.focus()")
        self.page.keyboard.press("Control+Enter")
        ran = """(i) => {
          const count = edgelab.cells()[i].model.executionCount;
          return count !== null
            && jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle';
        }"""
        self.page.wait_for_function(ran, arg=index, polling=50, timeout=RUN_SECONDS * 1000)
        assert node.is_visible()
        return self.page.evaluate("(i) => edgelab.outputs(edgelab.cells()[i])", index)

    def write(self, index, code):
        """Write ``code`` into a cell in the place of what stands there, by the keyboard."""
        node = self.show(index)
        node.query_selector(".cm-content").focus()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(code)
        assert self.source(index) == code
        self.page.keyboard.press("Escape")

    def source(self, index):
        """What stands in a cell."""
        return self.page.evaluate("(i) => edgelab.cells()[i].model.sharedModel.source", index)

    def restart(self):
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.page.wait_for_function(
            "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
        )

    def shutdown(self):
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    def outputs(self):
        """The outputs of each cell."""
        return self.page.evaluate("() => edgelab.cells().map((cell) => edgelab.outputs(cell))")

    def show(self, index):
        """Bring a cell into view; its node."""
        self.page.evaluate(
            """async (i) => {
              const notebook = jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = i;
              await notebook.scrollToItem(i, 'start');
            }""",
            index,
        )
        node = self.page.evaluate_handle("(i) => edgelab.cells()[i].node", index).as_element()
        node.scroll_into_view_if_needed()
        return node

    def save(self):
        """Write the notebook with its outputs, as JupyterLab does; the file."""
        self.page.evaluate("async () => { await jupyterapp.commands.execute('docmanager:save') }")
        return self.file

    def until(self, expression, node, seconds=30.0):
        """Wait until a JavaScript function of ``node`` is true; False if it never is."""
        deadline = time.monotonic() + seconds
        while not (held := self.page.evaluate(expression, node)) and time.monotonic() < deadline:
            self.page.wait_for_timeout(50)
        return bool(held)

    def drawn(self, node):
        """Everything that the figures in ``node`` show, as text."""
        return self.page.evaluate("(node) => edgelab.drawn(node)", node)

    def move(self, handle, cell, keys=("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft")):
        """Press arrow keys on a slider until the figures of its cell look different; whether they did.

        Where the panel has a button, the figure must stay as it is until the button is pressed.
        """
        before = self.drawn(cell)
        button = cell.query_selector(".edgelab-panel button")
        for key in keys:
            handle.focus()
            self.page.keyboard.press(key)
            if button is not None:
                self.page.wait_for_timeout(300)
                assert self.drawn(cell) == before, "it repaints unasked"
                button.click()
            changed = "([node, before]) => edgelab.drawn(node) !== before"
            if self.until(changed, [cell, before], seconds=30 if button is not None else 3):
                return True
        return False


@pytest.fixture(scope="session")
def open_notebook(server, lab_home):
    """Open a notebook of `lab_home` by its path in JupyterLab, in a page."""
    return lambda page, path: OpenNotebook(page, server, lab_home, path)

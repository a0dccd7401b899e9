"""Around the labs: the doctor, the progress page, the browser for the tests, the server for the learner."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from edgelab import cli
from edgelab.course import (
    browser,
    build,
    copies,
    doctor,
    labs,
    progress,
    progress_page,
    results,
    serve,
    session,
    testing,
)
from edgelab.errors import BadInput, LabError, MissingFramework

from .course_home import EXAMPLE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(monkeypatch, tmp_path):
    (tmp_path / "solutions").mkdir()
    shutil.copy(EXAMPLE / "solutions" / "90_example.py", tmp_path / "solutions")
    monkeypatch.setenv("EDGELAB_HOME", str(tmp_path))
    monkeypatch.delenv("EDGELAB_RUNS", raising=False)
    build.build()
    return tmp_path


def test_the_doctor_imports_no_framework(home):
    code = "import sys\nfrom edgelab.course.doctor import examine\nexamine()\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "tensorflow", "onnxruntime", "coremltools", "ai_edge_litert"}


def test_the_doctor_names_what_is_missing_and_the_command(home, monkeypatch):
    source = home / "solutions" / "90_example.py"
    text = source.read_text(encoding="utf-8")
    text = text.replace("requires: [numpy]", "requires: [numpy, tensorflow]").replace(
        "memory_gb: 0.5", "memory_gb: 1e6"
    )
    source.write_text(text, encoding="utf-8")
    real = session.installed
    monkeypatch.setattr(doctor, "installed", lambda name: name != "tensorflow" and real(name))
    monkeypatch.setattr(session, "made_by_uv", lambda: True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    health = doctor.examine()
    assert not health.ok
    first, second = health.labs[0].reasons
    assert first == "needs tensorflow: uv sync --inexact --group tensorflow."
    assert second.startswith("needs 1e+06 GB of memory")
    missing = next(entry for entry in health.to_dict()["frameworks"] if entry["name"] == "tensorflow")
    assert missing == {"name": "tensorflow", "version": None, "add": "uv sync --inexact --group tensorflow"}
    assert "missing" in str(health)
    assert any("disk is free" in warning for warning in health.warnings)
    monkeypatch.setattr(doctor, "PYTHONS", ((3, 90), (3, 91)))
    assert any("is untested" in warning for warning in doctor.examine().warnings)
    monkeypatch.setenv("EDGELAB_CHROMIUM", "/nonexistent")
    assert doctor.examine().browser is None


class Page(HTMLParser):
    """The tags of a page, every one closed, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_progress_page(home):
    kept = progress.Progress("example", {"percentile": progress.Effort(3, 2, solved=True)})
    progress.save(kept)
    notebook = nbformat.read(labs.find("example").notebook, as_version=4)
    reading = {"name": "r", "value": 2.5, "unit": "x", "how": "measured", "by": "t", "low": None, "high": None}
    for predicted, found in ((2.0, reading), (None, reading), ("a <b>", "b")):
        data = {progress_page.PREDICTION_MIME: {"question": "how <many>?", "predicted": predicted, "found": found}}
        notebook.cells[2].outputs.append(nbformat.v4.new_output("display_data", data))
    nbformat.write(notebook, labs.find("example").notebook)
    path = progress_page.write_page()
    assert path == home / "runs" / "progress.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "1 of 2 exercises solved" in page.text
    assert "Which of the runs is the percentile?solved32" in page.text.replace("\n", "")
    assert "How many times as fast?to do00" in page.text.replace("\n", "")
    assert "how <many>?2.00x2.50x" in page.text.replace("\n", "")
    assert page.text.count("how <many>?") == 2
    assert "a <b>" in page.text
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert not [a for _, a in page.tags if "src" in a or "http" in a.get("href", "")]
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(set(ids)) == len(ids)
    assert all(a["aria-labelledby"] in ids for _, a in page.tags if "aria-labelledby" in a)
    assert ("html", {"lang": "en"}) in page.tags
    assert names.count("h1") == 1
    assert names.count("caption") == names.count("table") == 2
    assert next(a for tag, a in page.tags if tag == "progress")["value"] == "1"


def test_predictions_of_a_kernel_come_before_those_of_the_saved_notebook(home):
    reading = {"name": "r", "value": 2.5, "unit": "ms", "how": "measured", "by": "t", "low": None, "high": None}
    told = {"question": "How long?", "predicted": 4, "found": reading, "sentence": "a sentence"}
    results.add("example", "notebook", predictions=[told])
    results.add("other", "notebook", predictions=[{**told, "question": "Elsewhere?"}])
    page = Page(progress_page.write_page().read_text(encoding="utf-8"))
    assert "How long?4 ms2.50 ms" in page.text.replace("\n", "")
    assert "Elsewhere?" not in page.text


def test_a_lab_opens_without_what_is_optional_and_says_what_it_leaves_out(home, monkeypatch, capsys):
    source = home / "solutions" / "90_example.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(
        text.replace("requires: [numpy]", "requires: [numpy]\n#     optional: {coremltools: the size on a phone}"),
        encoding="utf-8",
    )
    real = session.installed
    monkeypatch.setattr(session, "installed", lambda name: name != "coremltools" and real(name))
    monkeypatch.setattr(session, "made_by_uv", lambda: True)
    says = "Left out here, without coremltools: the size on a phone. `uv sync --inexact --group coreml` adds it."
    shown = []
    monkeypatch.setattr(session.boxes, "show_markdown", lambda markdown, _text: shown.append(markdown))
    session.begin("example")
    assert shown[0].endswith(says)
    assert "coremltools" not in shown[0].removesuffix(says)
    health = doctor.examine()
    assert health.ok
    assert health.to_dict()["labs"][0]["left_out"] == [says]
    assert f"yes {says}" in str(health)
    assert labs.find("example").to_dict()["optional"] == {"coremltools": "the size on a phone"}
    monkeypatch.setattr(serve, "open_lab", lambda *_, **__: 0)
    assert cli.main(["open", "example", "--no-browser"]) == 0
    assert capsys.readouterr().out == f"{says}\n"
    for old, new in (("{coremltools: the size on a phone}", "[coremltools]"), ("requires", "form: 3\n#     requires")):
        source.write_text(source.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        with pytest.raises(LabError, match=r"header of 90_example\.py has a wrong type"):
            labs.find("example")


def test_the_page_reports_a_bad_progress_file_and_forgives_a_bad_notebook(home):
    progress.location("example").parent.mkdir(parents=True)
    progress.location("example").write_text("{", encoding="utf-8")
    labs.find("example").notebook.write_text('{"cells": [3]}', encoding="utf-8")
    page = Page(progress_page.write_page().read_text(encoding="utf-8"))
    assert "not readable JSON" in page.text
    assert "0 of 2 exercises solved" in page.text


def test_a_browser_is_found_where_it_is_named(monkeypatch, tmp_path):
    named = tmp_path / "browser"
    monkeypatch.setenv("EDGELAB_CHROMIUM", str(named))
    with pytest.raises(BadInput, match=r"EDGELAB_CHROMIUM names .* not a file"):
        browser.find()
    named.write_text("", encoding="utf-8")
    assert browser.find() == named


def test_a_browser_is_found_on_the_path(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGELAB_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser, "_PLACES", {})
    assert browser.find() is None
    chrome = tmp_path / ("google-chrome.exe" if os.name == "nt" else "google-chrome")
    chrome.write_text("", encoding="utf-8")
    chrome.chmod(0o755)
    assert browser.find() == chrome
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(browser, "_PLACES", {sys.platform: (str(chrome),)})
    assert browser.find() == chrome


def fake_program(folder, name, text):
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="apt-get is not for Windows")
@pytest.mark.parametrize(
    ("apt", "root", "sudo", "says"),
    [
        (None, True, None, "install Chromium, Chrome or Edge"),
        ("exit 0", False, None, "run `sudo apt-get install chromium`"),
        ("exit 0", False, "exit 1", "run `sudo apt-get install chromium`"),
        ("echo 'E: no network' >&2; exit 100", True, None, "`apt-get update -qq` failed (E: no network)"),
        ("exit 0", True, None, "installed no browser"),
        ("MAKE", True, None, None),
        ("MAKE", False, 'shift; exec "$@"', None),
    ],
)
def test_a_browser_is_installed_where_that_is_allowed(monkeypatch, tmp_path, apt, root, sudo, says):
    monkeypatch.delenv("EDGELAB_CHROMIUM", raising=False)
    monkeypatch.setattr(browser, "_PLACES", {})
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    for name in ("true", "touch", "chmod"):
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    made = tmp_path / "chromium"
    if apt:
        fake_program(tmp_path, "apt-get", f"touch {made}; chmod +x {made}" if apt == "MAKE" else apt)
    if sudo:
        fake_program(tmp_path, "sudo", sudo)
    if says is None:
        assert browser.install() == made
    else:
        with pytest.raises(browser.NoBrowser) as caught:
            browser.install()
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.fixture
def no_browser(home, monkeypatch):
    monkeypatch.setattr(browser, "find", lambda: None)

    def install():
        raise browser.NoBrowser("No browser; install one.")

    monkeypatch.setattr(browser, "install", install)
    monkeypatch.setattr(testing.shutil, "which", lambda program: program)
    calls = []

    def run(words, **_):
        calls.append(words[1:])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(testing.subprocess, "run", run)
    return calls


def test_without_a_browser_its_tests_are_left_out_and_said_so(no_browser, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    said = []
    assert testing.run_tests(["-x"], said.append) == 0
    assert no_browser == [["-m", "pytest", "-m", "not thorough and not browser", "-x"]]
    assert said[-1] == "No browser; install one. The browser tests are left out."


def test_without_a_browser_ci_fails(no_browser, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(browser.NoBrowser):
        testing.run_tests([], lambda text: None)
    assert no_browser == []


@pytest.mark.parametrize(
    ("by_uv", "tensorflow", "variable", "told"),
    [(True, False, "", True), (True, False, "1", False), (True, True, "", False), (False, False, "", False)],
)
def test_the_doctor_tells_how_a_light_environment_stays_light(home, monkeypatch, by_uv, tensorflow, variable, told):
    monkeypatch.setattr(doctor, "made_by_uv", lambda: by_uv)
    monkeypatch.setattr(doctor, "installed", lambda name: tensorflow or name not in session.GROUPS)
    monkeypatch.setenv("UV_NO_DEFAULT_GROUPS", variable)
    assert any("UV_NO_DEFAULT_GROUPS=1" in warning for warning in doctor.examine().warnings) == told


@pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed")
def test_uv_adds_no_group_to_a_light_environment(monkeypatch):
    if not (ROOT / "uv.lock").exists():
        pytest.skip("this environment was not made by `uv run`")
    command = ["uv", "export", "--project", str(ROOT), "--offline", "--frozen", "--quiet", "--no-hashes"]
    listed = {}
    for value in ("0", "1"):
        monkeypatch.setenv("UV_NO_DEFAULT_GROUPS", value)
        listed[value] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "tensorflow" in listed["0"]
    assert "coremltools" in listed["0"]
    assert not [word for word in ("tensorflow", "coremltools", "pytest==") if word in listed["1"]]
    assert "onnxruntime" in listed["1"]


def test_quick_is_one_part_and_looks_for_no_browser(no_browser, monkeypatch):
    monkeypatch.setenv("CI", "true")
    said = []
    assert testing.run_tests(["--quick", "-x"], said.append) == 0
    ((*_, last),) = no_browser
    words = set(no_browser[0])
    assert last == "-x"
    assert {"not thorough", "tests/unit", "tests/labs/test_rules.py", "tests/labs/test_mistakes.py", "edgelab"} <= words
    assert not [word for word in words if word.startswith(("tests/browser", "tests/oracle", "tests/faults"))]
    assert said == []


def test_thorough_leaves_nothing_out(home, no_browser, monkeypatch, tmp_path):
    monkeypatch.setattr(browser, "find", lambda: tmp_path / "chromium")
    assert testing.run_tests(["--thorough"], lambda text: None) == 0
    assert [words[:4] for words in no_browser] == [["-m", "pytest", "-m", ""]] * 2
    parts = {word for words in no_browser for word in words if word.startswith(("tests/", "edgelab"))}
    folders = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").iterdir() if list(path.glob("test_*.py"))}
    labs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "labs").glob("test_*.py")}
    assert parts == {*folders - {"tests/labs"}, *labs, "edgelab"}, "every test stands in one part"


def test_quick_and_thorough_exclude_each_other():
    with pytest.raises(BadInput, match="give one of them"):
        testing.run_tests(["--quick", "--thorough"], lambda text: None)


@pytest.mark.parametrize(("codes", "wanted"), [((0, 1), 1), ((5, 0), 0), ((5, 5), 5), ((4, 1), 4), ((2, 0), 2)])
def test_the_first_part_that_fails_gives_the_status(home, no_browser, monkeypatch, codes, wanted):
    monkeypatch.delenv("CI", raising=False)
    left = list(codes)
    done = subprocess.CompletedProcess
    monkeypatch.setattr(testing.subprocess, "run", lambda words, **_: done(words, left.pop(0)))
    assert testing.run_tests([], lambda text: None) == wanted
    assert bool(left) == (wanted == 2), "after an interrupt nothing is begun"


def test_the_cpu_seconds_of_parts_and_labs_are_said(home, no_browser, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    lines = [
        {"tests/unit/test_a.py": 2, "tests/browser/test_labs.py start": 30.04, "edgelab/files.py": 1, "collecting": 3},
        {"tests/labs/test_run.py start": 20, "tests/labs/test_run.py mcu": 51, "tests/unit/test_b.py": 0.5},
    ]

    def run(words, env, **_):
        with Path(env[testing.CPU_FILE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(lines.pop(0)) + "\n")
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(testing.subprocess, "run", run)
    said = []
    testing.run_tests([], said.append)
    assert said[-1].splitlines() == [
        "CPU seconds of the tests: 108",
        "  tests/labs              71.0",
        "  tests/browser           30.0",
        "  collecting               3.0",
        "  tests/unit               2.5",
        "  edgelab                  1.0",
        "of them by lab:",
        "  mcu                     51.0  (run 51.0)",
        "  start                   50.0  (browser 30.0, run 20.0)",
    ]


def test_without_pytest(monkeypatch):
    monkeypatch.setattr(testing, "installed", lambda name: False)
    with pytest.raises(MissingFramework, match="uv sync --inexact --group dev"):
        testing.run_tests([], lambda text: None)


def test_a_taken_port_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve.free_port(port) > port


def test_no_free_port(monkeypatch):
    monkeypatch.setattr(serve, "_PORTS", 0)
    with pytest.raises(LabError, match="No port from 8888 on is free"):
        serve.free_port(8888)


@pytest.mark.parametrize(
    ("variables", "platform", "screen"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "a b"}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_TTY": "x"}, "darwin", False),
        ({}, "win32", True),
    ],
)
def test_whether_there_is_a_screen(monkeypatch, variables, platform, screen):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert serve.has_screen() is screen


def get(address, token=""):
    headers = {"Authorization": f"token {token}"} if token else {}
    asked = urllib.request.Request(address, headers=headers)  # noqa: S310  our own server
    with urllib.request.urlopen(asked, timeout=120) as answer:  # noqa: S310
        return answer.read().decode()


def test_a_caller_that_talks_to_itself_waits_on(home):
    """Until the server listens, a connection may reach its own end, and the answer is what was asked."""
    notebook = copies.place(labs.find("example"))
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child,
    ):

        def answer():
            for echo in (True, False):
                peer, _ = server.accept()
                with peer:
                    asked = peer.recv(4096)
                    peer.sendall(
                        asked if echo else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        try:
            assert f":{port}/lab/tree/" in serve._when_ready(child, port, "secret", notebook, io.BytesIO())
        finally:
            child.kill()
        thread.join(10)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_open_serves_the_lab_and_ends_on_an_interrupt(home):
    notebook = copies.place(labs.find("example"))
    assert not notebook.exists()  # it is made
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = subprocess.Popen(
            [sys.executable, "-m", "edgelab", "open", "--port", str(port), "--no-browser"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # a shell's background job, as the tests may be, ignores interrupts, and so would its children
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        first, line = child.stdout.readline(), child.stdout.readline()
    assert first.startswith("Your copy of the lab is "), child.communicate()
    assert line.startswith("JupyterLab serves at http://127.0.0.1:"), child.communicate()
    address = line.split()[-1]
    base, token = address.split("/lab/")[0], address.split("token=")[1]
    assert not base.endswith(f":{port}")
    assert address.startswith(f"{base}/lab/tree/my/90_example.ipynb")
    assert "JupyterLab" in get(address)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(f"{base}/api/contents")
    assert json.loads(get(f"{base}/api/contents/my/90_example.ipynb?content=0", token))["type"] == "notebook"
    settings = json.loads(get(f"{base}/lab/api/settings/@jupyterlab/apputils-extension:notification", token))
    assert settings["schema"]["properties"]["fetchNews"]["default"] == "false"
    settings = json.loads(get(f"{base}/lab/api/settings/@jupyterlab/notebook-extension:tracker", token))
    assert settings["schema"]["properties"]["codeCellConfig"]["default"]["lineWrap"] is True
    assert notebook.exists()
    server = next(int(line.split()[0]) for line in processes() if f"--ServerApp.port={base.rsplit(':')[-1]}" in line)
    command = next(line for line in processes() if line.split()[0] == str(server))
    assert token not in command
    assert "--ServerApp.ip=127.0.0.1" in command
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=120)
    assert child.returncode == 0
    for _ in range(100):
        if not any(line.split()[0] == str(server) for line in processes()):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the server outlived the command")


def processes():
    import psutil

    alive = [
        process.info
        for process in psutil.process_iter(["pid", "cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
    ]
    return [f"{facts['pid']} {' '.join(facts['cmdline'] or ())}" for facts in alive]


def test_a_server_that_does_not_start_is_one_sentence(home, monkeypatch):
    monkeypatch.setattr(
        serve, "server_command", lambda *_: ([sys.executable, "-c", "raise SystemExit('no lab')"], None)
    )
    with (
        pytest.raises(LabError, match=r"JupyterLab did not start \(no lab\)"),
        serve.serving(labs.find("example"), 9000),
    ):
        pass

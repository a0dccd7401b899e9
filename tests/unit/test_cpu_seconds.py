"""The suite's own account: CPU seconds by file and lab, children included, alone and in two processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import subprocess, sys
import pytest

BUSY = "import time\\nwhile time.process_time() < 0.4: pass"

@pytest.fixture(scope="session")
def server():
    words = BUSY + "\\nprint(flush=True)\\ntime.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()

def test_child_that_ends():
    subprocess.run([sys.executable, "-c", BUSY])

class Case:
    class lab:
        slug = "example"

@pytest.mark.parametrize("case", [Case])
def test_child_that_lives(case, server):
    server.stdout.readline()
"""


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadgroup")], ids=["alone", "two processes"])
def test_children_are_counted(tmp_path, options):
    folder = tmp_path / "tests"
    folder.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    (folder / "test_it.py").write_text(TESTS, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=tmp_path,
        env=clean | {"EDGELAB_TEST_CPU": str(tmp_path / "cpu")},
        check=True,
    )
    (line,) = (tmp_path / "cpu").read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert set(found) == {"tests/test_it.py", "tests/test_it.py example", "collecting"}
    assert 0.35 < found["tests/test_it.py"] < 1.9
    assert 0.2 < found["tests/test_it.py example"] < 1.9


def test_a_file_and_a_lab_stay_in_one_process(tmp_path):
    """What a group shares is made once: a scheduler that loses the groups makes it twice and says nothing."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    names = ["test_a.py", "test_b.py", "test_c.py"]
    for name in names:
        (folder / name).write_text(
            "import os, pytest\n"
            "@pytest.mark.parametrize('number', range(8))\n"
            "def test_it(number):\n"
            "    with open(os.environ['SEEN'], 'a') as file:\n"
            f"        file.write(f'{name} {{os.getpid()}}\\n')\n",
            encoding="utf-8",
        )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"],
        cwd=tmp_path,
        env=clean | {"SEEN": str(tmp_path / "seen"), "EDGELAB_TEST_CPU": str(tmp_path / "cpu")},
        check=True,
    )
    seen = [line.split() for line in (tmp_path / "seen").read_text(encoding="utf-8").splitlines()]
    assert len(seen) == 8 * len(names)
    assert len({(name, pid) for name, pid in seen}) == len(names)
    assert len({pid for _, pid in seen}) == 2

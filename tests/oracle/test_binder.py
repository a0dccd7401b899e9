"""pip, which hosted environments use, takes the pins of the light environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PINS = Path(__file__).resolve().parents[2] / "binder" / "requirements.txt"
UNREACHABLE = ("NewConnectionError", "Name or service not known", "Temporary failure in name", "No route to host")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "options", [("--no-deps",), pytest.param((), marks=pytest.mark.thorough)], ids=["each", "together"]
)
def test_pip_takes_the_pins(tmp_path, options):
    """Each pin has a file for this Python and system; together, which fetches gigabytes, they satisfy one another."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    python = tmp_path / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--dry-run", "--only-binary", ":all:", *options, "-r", str(PINS)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    if (
        done.returncode
        and any(words in said for words in UNREACHABLE)
        and os.environ.get("CI", "") not in ("1", "true")
    ):
        pytest.skip("the package index is not reachable from here")
    assert done.returncode == 0, said[-2000:]
    assert "Would install" in said
    assert "onnxruntime" in said

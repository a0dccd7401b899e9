"""The pins: pip, which hosted environments use, takes the light ones, and each system that the README names has all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PINS = Path(__file__).resolve().parents[2] / "binder" / "requirements.txt"
UNREACHABLE = (
    "NewConnectionError",
    "Failed to fetch",
    "Name or service not known",
    "Temporary failure in name",
    "No route to host",
)


def skip_without_network(status, said):
    if status and any(words in said for words in UNREACHABLE) and os.environ.get("CI", "") not in ("1", "true"):
        pytest.skip("the package index is not reachable from here")


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


@pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed")
@pytest.mark.parametrize(
    ("platform", "resolves"),
    [
        ("x86_64-unknown-linux-gnu", True),
        ("aarch64-unknown-linux-gnu", True),
        ("aarch64-apple-darwin", True),
        ("x86_64-pc-windows-msvc", True),
        ("x86_64-apple-darwin", False),
        ("aarch64-pc-windows-msvc", False),
    ],
)
def test_the_platforms_of_the_readme_are_those_that_resolve(platform, resolves):
    groups = [word for group in ("tensorflow", "coreml", "dev") for word in ("--group", group)]
    done = subprocess.run(
        ["uv", "pip", "compile", "pyproject.toml", *groups, "--only-binary", ":all:", "--python-platform", platform],
        cwd=PINS.parents[1],
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
        capture_output=True,
        text=True,
        check=False,
    )
    skip_without_network(done.returncode, done.stderr)
    assert (done.returncode == 0) == resolves, done.stderr[-2000:]
    if not resolves:
        assert "ai-edge-litert" in done.stderr

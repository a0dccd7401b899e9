"""Where the example lab lives, which the tests of the course build, break and run."""

from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "labs" / "example"

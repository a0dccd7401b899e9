"""Every lab that there is, and the example lab, held by the same tests."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgelab.course import labs as course_labs

HERE = Path(__file__).parent
HOMES = (HERE.parents[1], HERE / "example")
collect_ignore_glob = ["example/*", "offline/*"]  # notebooks and a module that switches the network off
LIMIT_SECONDS = 60
HARD_LIMIT_SECONDS = 180
_TIMES = pytest.StashKey[list]()


@dataclass(frozen=True)
class Case:
    """A lab and the folder that it lives in."""

    home: Path
    lab: course_labs.Lab

    @property
    def mistakes(self) -> Path:
        return HERE / "mistakes" / f"{self.lab.slug}.py"


def all_cases() -> list[Case]:
    found = []
    for home in HOMES:
        sources = sorted((home / "solutions").glob("[0-9][0-9]_*.py"))
        found += [Case(home, course_labs.read_lab(source)) for source in sources]
    return found


each_lab = pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.lab.slug)


@pytest.fixture
def at_home(monkeypatch, tmp_path):
    """Make this process look for labs where a case lives, and keep its runs out of the tree."""

    def go(case: Case) -> None:
        monkeypatch.setenv("EDGELAB_HOME", str(case.home))
        monkeypatch.setenv("EDGELAB_RUNS", str(tmp_path / "runs"))

    return go


@pytest.fixture
def note_time(request):
    """Keep what a lab's run took, for the summary at the end."""
    return request.config.stash.setdefault(_TIMES, []).append


def pytest_terminal_summary(terminalreporter, config):
    times = config.stash.get(_TIMES, [])
    if not times:
        return
    terminalreporter.section("labs, network off")
    for slug, seconds, gigabytes in times:
        slow = f"  SLOWER THAN {LIMIT_SECONDS} s" if seconds > LIMIT_SECONDS else ""
        terminalreporter.line(f"{slug:20} {seconds:6.1f} s  {gigabytes:5.2f} GB at the peak{slow}")

"""Rules for the words of a lab: typed results, what is given, and the shape of a finding."""

import pytest

from edgelab.course import prose
from edgelab.course.source import Cell

FINDING = """def finding_speed(ratio):
    side = side_of(ratio, 1)
    return "Faster." if side == "above" else "Slower." if side == "below" else "Cannot tell."


finding(finding_speed, speed_up)
"""


def problems(*cells):
    return list(prose.problems(list(cells)))


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("Stored in 8 bits it is **four times** smaller.", ["four times smaller"]),
        ("It runs 1.32x faster and 2 to 4 times as fast.", ["1.32x", "2 to 4 times as"]),
        ("Entropy loses 3.95 points,\nmin-max half a percent.", ["3.95 points"]),
        ("Conversions take 0.9 % to 12%, one percent at least.", ["0.9 %", "12%", "one percent"]),
        ("p50 is 1.25 ms, p99 is 3 milliseconds; it lasts 3 months.", ["1.25 ms", "3 milliseconds", "3 months"]),
        ("The file has 298 KB, the arena 1,600 bytes and 64 KiB.", ["298 KB", "1,600 bytes", "64 KiB"]),
        ("Each bit is worth 6 dB.", ["6 dB"]),
        ("It takes a hundred times those of the others.", ["a hundred times those"]),
        ("It needs 1.7 times.", ["1.7 times"]),
    ],
)
def test_a_typed_result_is_found(text, figures):
    assert prose.typed_figures(text) == figures
    found = problems(Cell("markdown", text))
    assert all(f'states "{figure}"' in sentence for figure, sentence in zip(figures, found, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        'It must answer in <span class="given" title="the camera\'s budget">100 ms</span>.',
        'The field says "8 to 9 times fewer operations" and “INT8 is 4 times smaller”.',
        "`x * 100 %` and $20 \\log_{10} 2 = 6.02 dB$ are sums.",
        "```c\nsleep(10 ms)\n```",
        "Images of 32 x 32 pixels, a 3x3 kernel, int8, 8 bits, the 99th percentile, step 3, year 2019.",
        "Run the cell three times; 5 operators at once; see lab 10.",
        "See [a page](https://example.org/10%20ms).",
    ],
)
def test_what_is_given_quoted_code_or_no_measure_is_left_alone(text):
    assert problems(Cell("markdown", text)) == []


def test_a_mark_without_a_source_or_around_a_paragraph_is_refused():
    (first, second) = problems(Cell("markdown", 'It takes <span class="given">5 ms</span>.'))
    assert 'states "5 ms"' in first
    assert "says who gives it" in second
    (empty, _) = problems(Cell("markdown", 'It takes <span class="given" title=" ">5 ms</span>.'))
    assert 'states "5 ms"' in empty
    (long,) = problems(Cell("markdown", f'<span class="given" title="the lab">{"5 ms and " * 20}</span>'))
    assert "mark the figure alone" in long


def test_hints_are_not_searched():
    assert problems(Cell("markdown", "1. It is 5 ms.", ("hints:x",))) == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ('ui.bars(a, b, title="INT8 is 2 times faster")', 'The `title` in code cell 1 states "2 times faster"'),
        ('ui.show(f, alt="It ends near 40 ms.")', 'The `alt` in code cell 1 states "40 ms"'),
        ('claim("Q1", r, because=f"Nearly four times smaller; see {x}.")', 'The `because` in code cell 1 states "four'),
        ('claim("Q3", r, because="Small layers gain little.")', "is the same whatever was read"),
    ],
)
def test_fixed_words_beside_a_figure_state_no_result(code, says):
    assert any(says in sentence for sentence in problems(Cell("code", code))), problems(Cell("code", code))


def test_computed_words_are_fine():
    code = 'ui.bars(a, b, title=f"{x:.1f} times faster")\nclaim("Q3", r, because=finding_speed(r))\nx = "5 ms"'
    assert problems(Cell("code", code)) == []


def test_a_good_finding():
    assert problems(Cell("code", FINDING, ("finding:speed",))) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("def finding_speed", "def say_speed", "must define the function finding_speed(...)"),
        ("finding(finding_speed,", "print(finding_speed,", "must show its sentence with finding(finding_speed, ...)"),
        ("side_of(ratio, 1)", "side_of(speed_up, 1)", "finding_speed uses `speed_up` from outside"),
        ('return "Faster."', "\n" * 20 + '    return "Faster."', "lines, more than"),
        ('"Faster."', '"Faster by 20 %."', 'The `finding_speed` in code cell 1 states "20 %" in fixed words'),
    ],
)
def test_a_finding_that_cannot_be_tested_is_refused(old, new, says):
    found = problems(Cell("code", FINDING.replace(old, new), ("finding:speed",)))
    assert any(says in sentence for sentence in found), found


def test_a_finding_may_compute_with_numpy_and_inner_names():
    code = FINDING.replace(
        "side = side_of(ratio, 1)", "side = max([side_of(r, math.exp(0)) for r in [ratio]], key=len)"
    )
    assert problems(Cell("code", code, ("finding:speed",))) == []


def test_two_findings_of_one_name_and_no_code():
    cells = [Cell("code", FINDING, ("finding:speed",))] * 2
    assert any("More than one cell is tagged `finding:speed`" in sentence for sentence in problems(*cells))
    (sentence,) = problems(Cell("markdown", "Faster.", ("finding:speed",)))
    assert "must define the function" in sentence

# ---
# jupyter:
#   edgelab:
#     title: "Example: what a percentile is"
#     minutes: 5
#     memory_gb: 0.5
#     requires: [numpy]
#     form: 2
#     claims: [M2]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 90 Example: what a percentile is
#
# The smallest lab that keeps every rule. Contributors copy it; the tests build it, break it and run it. It answers one
# question: how much slower than usual is one run in a hundred?

# %% tags=["parameters"]
seed = 0
runs = 400
my_times = ""  # bring your own: a text file with one time in milliseconds a line

# %% tags=["setup"]
import time
from functools import partial

import numpy as np

from edgelab import Reading, Table, record, ui
from edgelab.course import Target, begin, challenge, check, claim, finding, side_of, whose

begin("example")
generator = np.random.default_rng(seed)
numbers = generator.standard_normal(20_000)

# %% [markdown]
# ## Predict
#
# The cell below sorts the same numbers again and again. How much slower than usual is one run in a hundred?

# %%
times = []
for _ in range(runs):
    start = time.perf_counter_ns()
    np.sort(numbers)
    times.append((time.perf_counter_ns() - start) / 1e6)
times = np.array(times) if not my_times else np.loadtxt(my_times)

# %% [markdown]
# ## From scratch
#
# ### Which of the runs is the percentile?
#
# Sort the times and count. Of five runs, the third is the median: three of the five took no longer.

# %%
ui.worked_table(
    [
        {"rank": rank, "time": value, "share that took no longer": f"{100 * rank // 5} %"}
        for rank, value in enumerate((10, 20, 30, 40, 50), 1)
    ],
    "Five sorted times and their ranks",
    marked=2,
    mark="median",
)

# %% [markdown]
# By the nearest-rank rule the percentile $q$ of $n$ sorted times is the one at rank $r = \lceil q n / 100 \rceil$.


# %% tags=["exercise:percentile"]
def my_percentile(values, q):
    """The smallest of `values` that at least `q` percent (0 < q <= 100) do not exceed."""
    # TODO sort a copy of the values
    # TODO find the rank: q percent of their number, rounded up; ranks count from 1
    # TODO return the value at that rank
    ### BEGIN SOLUTION
    rank = int(np.ceil(q / 100 * len(values)))
    return np.sort(values)[rank - 1]
    ### END SOLUTION


# %% tags=["check:percentile"]
own = partial(np.percentile, method="inverted_cdf")
percentile = check("percentile", my_percentile, fallback=own)


# %% tags=["check:percentile", "hidden"]
@checks("percentile")
def _(c, percentile):
    values = np.array([30.0, 10.0, 50.0, 20.0, 40.0])
    c.equal(
        percentile(values, 50),
        30.0,
        tested="the median of five unsorted values",
        mistakes={
            "the values were not sorted": 50.0,
            "the rank was rounded down": 20.0,
            "ranks count from 1, indices from 0": 40.0,
        },
    )
    c.equal(percentile(values, 100), 50.0, tested="the largest value is the 100th percentile")
    c.equal(
        percentile(values, 41),
        30.0,
        tested="a rank between two values",
        mistakes={"the rank was rounded to the nearest value instead of up": 20.0},
    )


# %% [markdown] tags=["hints:percentile"]
# 1. Five sorted values have the ranks 1 to 5, and the indices 0 to 4.
# 2. The rank is `q / 100 * len(values)`, rounded **up**: look at `np.ceil`.
# 3. `np.sort(values)[int(np.ceil(q / 100 * len(values))) - 1]` is nearly all of it.

# %%
by_hand = percentile(times, 99)
whose("percentile")
Table("Your percentiles", ("q", "ms"), [(q, percentile(times, q)) for q in (50, 95, 99)])

# %% [markdown]
# ### How many times as fast?
#
# Twice as fast is half the time, so the time before stands above the line.

# %%
ui.worked_table([{"before": 4, "after": 2, "times as fast": 2}], "A ratio of two medians")

# %% [markdown]
# With $m$ the median, the speed-up is $m_{before} / m_{after}$.


# %% tags=["exercise:speed_up"]
def my_speed_up(before, after):
    """How many times as fast `after` is, by the medians of the times."""
    # TODO divide the median time before by the median time after; use your percentile
    ### BEGIN SOLUTION
    return percentile(before, 50) / percentile(after, 50)
    ### END SOLUTION


# %% tags=["check:speed_up"]
speed_up = check("speed_up", my_speed_up, fallback=lambda a, b: np.median(a) / np.median(b))


# %% tags=["check:speed_up", "hidden"]
@checks("speed_up")
def _(c, speed_up):
    before, after = np.array([4.0, 4.0, 4.0, 4.0, 84.0]), np.array([2.0, 2.0, 2.0])
    c.close(
        speed_up(before, after),
        2.0,
        1e-9,
        tested="the speed-up when one run was slow",
        mistakes={
            "the mean was used, which one slow run can move": 10.0,
            "the ratio is upside down": 0.5,
            "a difference is no ratio": 2.0 - 4.0,
        },
    )


# %% [markdown] tags=["hints:speed_up"]
# 1. Twice as fast means half the time.
# 2. So the time before stands above the line.
# 3. `percentile(before, 50)` is the numerator.

# %%
first, second = np.array_split(times, 2)
whose("speed_up")
rows = [("second half", speed_up(first, second))]
Table("The first half of the runs against the second", ("", "times as fast"), rows)

# %% [markdown]
# ## The real tool
#
# numpy knows nine rules for percentiles. Look for the one that agrees with ours.

# %%
by_numpy = np.percentile(times, 99, method="inverted_cdf")
assert by_hand == by_numpy
record("sort.p99", Reading(by_numpy, "ms", "measured", f"{len(times)} runs of np.sort"))
Table("p99 by two ways", ("way", "ms"), [("by hand", by_hand), ("numpy", by_numpy)])

# %% [markdown]
# ## Explore
#
# Change `runs` in the parameters cell and run the lab again.

# %% [markdown]
# ## Claims
#
# The field says that the mean hides the tail.

# %%
parts = np.array_split(times, 5)
halves = [np.percentile(part, 99) / np.percentile(part, 50) for part in parts]
tail = Reading(
    np.median(halves),
    "x",
    "measured",
    f"p99 over p50 of {len(times)} runs of np.sort",
    low=min(halves),
    high=max(halves),
)
claim("M2", record("sort.tail", tail))

# %% [markdown]
# ## Challenge
#
# Describe the numbers by as few of their percentiles as you can, so that a straight line between neighbours still gives
# each of them back.


# %% tags=["challenge:few"]
# `kept`: at most 12 percentages, 0 to 100, from which the numbers are to be found again
### BEGIN SOLUTION
kept = np.linspace(0, 100, 12)
### GIVEN
# kept = None
### END SOLUTION


# %%
def measured(percentages):
    ranks = np.linspace(0, 100, len(numbers))
    points = np.percentile(numbers, percentages)
    errors = np.abs(np.interp(ranks, percentages, points) - np.sort(numbers))
    error = Reading(np.median(errors), "", "measured", "median over the numbers")
    count = Reading(float(len(points)), "", "measured", "what you gave")
    return {"kept": count, "error": error}


challenge(
    "few",
    kept,
    measured,
    Target("kept", at_most=12, unit=""),
    Target("error", at_most=0.01, unit=""),
)

# %% [markdown]
# ## Bring your own
#
# Put the path of a file with your own times into `my_times` in the parameters cell.

# %% [markdown]
# ## What you found


# %% tags=["finding:settled"]
def finding_settled(tail):
    side = side_of(tail, 1)
    if side == "cannot tell":
        return "The parts of the run disagree whether there is a tail at all: time more runs."
    found = f"the slowest hundredth lies {side} the median"
    return f"In every part of the run {found}: {tail.figure()}."


finding(finding_settled, tail)

# %% [markdown]
# ## Sources
#
# - R. J. Hyndman and Y. Fan, [Sample Quantiles in Statistical Packages](https://doi.org/10.1080/00031305.1996.10473566), 1996.
# - numpy, [percentile](https://numpy.org/doc/stable/reference/generated/numpy.percentile.html) and
#   [sort](https://numpy.org/doc/stable/reference/generated/numpy.sort.html).

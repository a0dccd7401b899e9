# ---
# jupyter:
#   edgelab:
#     title: "Example: what a percentile is"
#     minutes: 5
#     memory_gb: 0.5
#     requires: [numpy]
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
# The smallest lab that keeps every rule. Contributors copy it; the tests build it, break it and run it.
#
# ## What you will be able to do
#
# - compute a percentile by hand and say what it means;
# - compare two sets of times without being fooled by a few slow ones.

# %% tags=["parameters"]
seed = 0
runs = 400
my_times = ""  # bring your own: a text file with one time in milliseconds a line

# %% tags=["setup"]
import time
from functools import partial

import numpy as np

from edgelab import Reading, Table, record
from edgelab.course import begin, check, claim, finding, side_of

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
# Sort the times. The percentile `q` by the nearest-rank rule is the smallest time that at least `q` percent of the runs
# did not exceed.

# %%
ordered = np.sort(times)
by_hand = ordered[int(np.ceil(0.99 * len(ordered))) - 1]

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
# Change `runs` in the parameters cell and run the lab again: when does the p99 settle?

# %% [markdown]
# ## Claims
#
# The field says that the mean hides the tail.

# %%
halves = [np.percentile(half, 99) / np.percentile(half, 50) for half in np.array_split(times, 5)]
tail = Reading(
    np.median(halves),
    "x",
    "measured",
    f"p99 over p50 of {len(times)} runs of np.sort",
    low=min(halves),
    high=max(halves),
)
claim("M2", record("sort.tail", tail))


# %% tags=["finding:settled"]
def finding_settled(tail):
    side = side_of(tail, 1)
    if side == "cannot tell":
        return "The parts of the run disagree whether there is a tail at all: time more runs."
    return f"In every part of the run the slowest hundredth lies {side} the median: {tail.figure()}."


finding(finding_settled, tail)

# %% [markdown]
# ## Exercises
#
# ### A percentile by the nearest-rank rule


# %% tags=["exercise:percentile"]
def my_percentile(values, q):
    """The smallest of `values` that at least `q` percent of them do not exceed (0 < q <= 100)."""
    # TODO sort a copy of the values
    # TODO find the rank: q percent of their number, rounded up; ranks count from 1
    # TODO return the value at that rank
    ### BEGIN SOLUTION
    rank = int(np.ceil(q / 100 * len(values)))
    return np.sort(values)[rank - 1]
    ### END SOLUTION


# %% tags=["check:percentile"]
percentile = check("percentile", my_percentile, fallback=partial(np.percentile, method="inverted_cdf"))


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

# %% [markdown]
# ### How many times as fast


# %% tags=["exercise:speed_up"]
def speed_up(before, after):
    """How many times as fast `after` is, by the medians of the times."""
    # TODO divide the median time before by the median time after; use your percentile
    ### BEGIN SOLUTION
    return percentile(before, 50) / percentile(after, 50)
    ### END SOLUTION


# %% tags=["check:speed_up"]
speed_up = check("speed_up", speed_up)


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

# %% [markdown]
# ## Bring your own
#
# Put the path of a file with your own times into `my_times` in the parameters cell.

# %% [markdown]
# ## What to remember
#
# - A percentile is one of your runs: say which rule you used.
# - Source: R. J. Hyndman and Y. Fan, Sample Quantiles in Statistical Packages, The American Statistician 50 (1996).

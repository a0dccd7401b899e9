"""Searching by hand: random search, regularised evolution, the Pareto front, and what a fair comparison counts.

Each of these is what a learner writes in the lab `search`. An architecture is a tuple of values, a space a mapping of
names to what each value may be, and an evaluation a call of a function that is expensive in real life.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.toolbox.search_costs import fits
from edgelab.toolbox.search_space import CHOICES, Architecture

__all__ = [
    "Member",
    "block_macs",
    "evolution_step",
    "evolve",
    "expected_best",
    "fair_best",
    "fits",
    "mutate",
    "pareto",
    "random_search",
    "rank_correlation",
]
Value = Callable[[Architecture], float]
Choices = Mapping[str, Sequence[int]]


class Member(NamedTuple):
    """An architecture in a population, with its accuracy."""

    arch: Architecture
    accuracy: float


def block_macs(c_in: int, c_out: int, side: int, stride: int) -> int:
    """Multiply-accumulates of a separable block on an image of ``side`` x ``side``: depthwise 3x3, then pointwise.

    Examples
    --------
    >>> block_macs(8, 24, 16, 2)
    16896
    """
    if min(c_in, c_out, side, stride) < 1:
        raise BadInput(f"A block needs channels, a side and a stride from 1 on, not {(c_in, c_out, side, stride)}.")
    out = -(-side // stride)
    return out * out * (9 * c_in + c_in * c_out)


def mutate(arch: Architecture, rng: np.random.Generator, choices: Choices = CHOICES) -> Architecture:
    """A neighbour: one field, drawn at random, takes another of its values, drawn at random.

    Raises
    ------
    BadInput
        If no field has a second value.
    """
    free = [name for name, values in choices.items() if len(values) > 1]
    if not free:
        raise BadInput("No field of this space has more than one value, so nothing can change.")
    name = free[rng.integers(len(free))]
    others = [value for value in choices[name] if value != getattr(arch, name)]
    return arch._replace(**{name: others[rng.integers(len(others))]})


def evolution_step(
    population: Sequence[Member],
    rng: np.random.Generator,
    sample: int,
    mutation: Callable[[Architecture, np.random.Generator], Architecture] = mutate,
) -> tuple[Architecture, list[Member]]:
    """Regularised evolution (Real et al. 2019): the child of a tournament's winner, and the population to come.

    ``sample`` members are drawn without replacement, the best of them is changed by ``mutation``, and the oldest
    member, which stands first, dies whatever its accuracy.
    """
    if not 1 <= sample <= len(population):
        raise BadInput(f"sample={sample}: a tournament takes 1 to {len(population)} of the population.")
    drawn = [population[i] for i in rng.choice(len(population), sample, replace=False)]
    parent = max(drawn, key=lambda member: member.accuracy)
    return mutation(parent.arch, rng), list(population[1:])


def random_search(space: Sequence[Architecture], budget: int, rng: np.random.Generator) -> list[Architecture]:
    """``budget`` different architectures of a space, in the order in which they are evaluated."""
    if not 1 <= budget <= len(space):
        raise BadInput(f"budget={budget}: the space has {len(space)} architectures.")
    return [space[i] for i in rng.permutation(len(space))[:budget]]


def evolve(
    space: Sequence[Architecture],
    accuracy: Value,
    budget: int,
    rng: np.random.Generator,
    *,
    population: int = 8,
    sample: int = 3,
    step: Callable[..., tuple[Architecture, list[Member]]] = evolution_step,
) -> list[Architecture]:
    """The different architectures that evolution evaluates, in order; the first population counts.

    A child outside of ``space``, which holds what the budgets admit, is drawn again and costs nothing: its costs are
    known without training. One that was evaluated before joins the population and costs nothing either.
    """
    if not 1 <= sample <= population <= budget <= len(space):
        raise BadInput(
            f"1 <= sample={sample} <= population={population} <= budget={budget} <= {len(space)} architectures "
            "is wanted."
        )
    inside = set(space)
    asked = random_search(space, population, rng)
    living = [Member(arch, accuracy(arch)) for arch in asked]
    tries = 0
    while len(asked) < budget and tries < 200 * budget:
        tries += 1
        child, rest = step(living, rng, sample)
        if child not in inside:
            continue
        if child not in asked:
            asked.append(child)
        living = [*rest, Member(child, accuracy(child))]
    return asked


def fair_best(
    asked: Iterable[Architecture], budget: int, validation: Mapping[Any, float], test: Mapping[Any, float]
) -> float:
    """The test accuracy of what a search brings home: the best on validation of its first different architectures.

    Examples
    --------
    >>> fair_best(["a", "b", "b", "c"], 2, {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 5.0, "b": 4.0, "c": 6.0})
    4.0
    """
    first = list(dict.fromkeys(asked))[: max(0, budget)]
    if not first:
        raise BadInput(f"budget={budget}: a search brings something home if it evaluates one network or more.")
    unknown = [arch for arch in first if arch not in validation or arch not in test]
    if unknown:
        raise BadInput(f"There are no accuracies of {unknown[0]!r}, which the search evaluated.")
    return test[max(first, key=lambda arch: validation[arch])]


def expected_best(values: ArrayLike, n: int) -> float:
    """The expected best of ``n`` different values drawn at random.

    The i-th smallest of N is the best of n in C(i - 1, n - 1) of the C(N, n) draws.

    Examples
    --------
    >>> round(expected_best([1, 2, 3], 2), 3)
    2.667
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    if not np.isfinite(ordered).all():
        raise BadInput("An expected best needs finite values.")
    if not 1 <= n <= len(ordered):
        raise BadInput(f"n={n}: there are {len(ordered)} values to draw from.")
    draws = math.comb(len(ordered), n)
    return sum(float(value) * (math.comb(i, n - 1) / draws) for i, value in enumerate(ordered))


def pareto(costs: ArrayLike, values: ArrayLike) -> NDArray[np.bool_]:
    """Which points nothing dominates: no other costs at most as much, is at least as good, and differs in one.

    Parameters
    ----------
    costs, values
        Of each point, (N,): a cost is to be small, a value large.
    """
    cost, value = np.asarray(costs, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if cost.shape != value.shape or cost.ndim != 1:
        raise BadInput(f"One cost and one value a point are wanted, not {cost.shape} and {value.shape}.")
    if np.isnan(cost).any() or np.isnan(value).any():
        raise BadInput("A cost or a value is NaN: what was not measured has no place on a front.")
    no_worse = (cost[None] <= cost[:, None]) & (value[None] >= value[:, None])
    better = (cost[None] < cost[:, None]) | (value[None] > value[:, None])
    return np.asarray(~(no_worse & better).any(axis=1))


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau-b: pairs in the same order minus pairs in the opposite one, over the pairs that are no ties.

    Examples
    --------
    >>> round(rank_correlation([1, 2, 3], [1, 3, 2]), 3)
    0.333
    """
    from scipy.stats import kendalltau

    if np.ndim(first) != 1 or np.shape(first) != np.shape(second) or len(np.asarray(first)) < 2:
        raise BadInput(f"Two rows of one length, from 2 on, are wanted, not {np.shape(first)} and {np.shape(second)}.")
    return float(kendalltau(first, second).statistic)

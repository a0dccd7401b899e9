"""Shamir's secret sharing: a secret as points of a polynomial, of which any ``threshold`` give it back.

Over the field of the integers modulo the prime 2**521 - 1, so a secret of up to 65 bytes fits into one number. Fewer
points than the threshold say nothing at all about the secret: for each possible secret there is one polynomial through
them. The coefficients come from the operating system's generator.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from functools import lru_cache

from edgelab.errors import BadInput

PRIME = 2**521 - 1
"""A Mersenne prime, the field of the shares."""
SHARE_BYTES = 66
"""The bytes of a share's value."""


def split(secret: int, threshold: int, points: Iterable[int]) -> dict[int, int]:
    """Shares of a secret: the values at ``points`` of a polynomial of degree ``threshold - 1``.

    Parameters
    ----------
    secret
        0 or more and below `PRIME`; the value at 0.
    threshold
        How many shares give the secret back.
    points
        Where the polynomial is read, one place for each holder; all different and above 0.

    Returns
    -------
    dict
        ``{point: value}``.

    Raises
    ------
    BadInput
        If the secret does not fit, a point is not usable, or there are fewer points than the threshold.

    Notes
    -----
    A. Shamir, How to Share a Secret, Communications of the ACM 22 (1979).

    Examples
    --------
    >>> shares = split(42, threshold=2, points=[1, 2, 3])
    >>> join({1: shares[1], 3: shares[3]})
    42
    """
    places = list(points)
    if not 0 <= secret < PRIME:
        raise BadInput("A secret must be 0 or more and below 2**521 - 1.")
    if len(set(places)) != len(places) or any(not 0 < place < PRIME for place in places):
        raise BadInput("Shares need places that are all different and above 0; the secret itself stands at 0.")
    if not 1 <= threshold <= len(places):
        raise BadInput(f"{threshold} of {len(places)} shares cannot give a secret back; ask for 1 to {len(places)}.")
    coefficients = [secret, *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    return {place: _value(coefficients, place) for place in places}


def join(shares: Mapping[int, int]) -> int:
    """The value at 0 of the polynomial through some shares: the secret, if they are enough and none is false.

    Too few shares, or a false one, give a number that has nothing to do with the secret, and no sign of it: whoever
    joins must count them, and check what comes out.

    Raises
    ------
    BadInput
        If there is no share, or one is not of the field.

    Examples
    --------
    >>> join({1: 7})
    7
    """
    if not shares or any(not 0 < place < PRIME or not 0 <= value < PRIME for place, value in shares.items()):
        raise BadInput("Shares are numbers of the field at places above 0, and there must be at least one.")
    weights = _at_zero(tuple(shares))
    return sum(weight * value for weight, value in zip(weights, shares.values(), strict=True)) % PRIME


def _value(coefficients: list[int], place: int) -> int:
    """Horner's rule."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * place + coefficient) % PRIME
    return value


@lru_cache(maxsize=1024)
def _at_zero(places: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's weights of values at some places for the value at 0."""
    weights = []
    for place in places:
        above, below = 1, 1
        for other in places:
            if other != place:
                above = above * other % PRIME
                below = below * (other - place) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)

"""What a number of noisy steps costs in privacy: epsilon by Renyi differential privacy.

A step picks each of many at random with probability ``sampling_rate`` (Poisson sampling), clips what it makes of each,
sums, and adds Gaussian noise of ``noise_multiplier`` times the clipping norm. `rdp` bounds what one step gives away at
each order, steps add up, and `epsilon_of` turns the sum into (epsilon, delta).

`gdp_epsilon` is the approximation by a central limit theorem. It is **optimistic**: it may name an epsilon below the
true one. It is here to be compared, and nothing here defaults to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput

Floats = NDArray[np.float64]
ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(12, 64), 96, 128, 256, 512)
"""The orders that are tried: dense at the low end, where many steps with little noise have their best one."""


def rdp(sampling_rate: float, noise_multiplier: float, orders: Sequence[float] = ORDERS) -> Floats:
    """The Renyi divergence of one step at each order, (orders,): the bound for the sampled Gaussian mechanism.

    Parameters
    ----------
    sampling_rate
        The probability with which each one takes part, 0 to 1.
    noise_multiplier
        Standard deviation of the noise over the clipping norm.
    orders
        Each above 1.

    Raises
    ------
    BadInput
        If a value is out of range.

    Notes
    -----
    I. Mironov, K. Talwar and L. Zhang, Renyi Differential Privacy of the Sampled Gaussian Mechanism,
    arXiv:1908.10530: section 3.3, the sum for whole orders; for others the integral itself.

    Examples
    --------
    >>> rdp(1.0, 2.0, [3.0]).tolist()  # without sampling: order / (2 sigma^2)
    [0.375]
    """
    if not 0 <= sampling_rate <= 1:
        raise BadInput(f"sampling_rate={sampling_rate} is a probability, 0 to 1.")
    if not (math.isfinite(noise_multiplier) and noise_multiplier > 0):
        raise BadInput(f"noise_multiplier={noise_multiplier} must be above 0: without noise there is no privacy.")
    if any(order <= 1 for order in orders):
        raise BadInput("Orders of the Renyi divergence are above 1.")
    return np.array([_rdp(sampling_rate, noise_multiplier, float(order)) for order in orders])


def epsilon_of(divergence: Floats, delta: float, orders: Sequence[float] = ORDERS) -> tuple[float, float]:
    """The smallest epsilon of all orders at a delta, and the order that gave it.

    Raises
    ------
    BadInput
        If delta is not between 0 and 1, or the divergences are not those of the orders.

    Notes
    -----
    B. Balle et al., Hypothesis Testing Interpretations and Renyi Differential Privacy, AISTATS 2020, theorem 21.
    """
    if not 0 < delta < 1:
        raise BadInput(f"delta={delta} must lie between 0 and 1; take less than one over the number of people.")
    a = np.asarray(orders, float)
    if not len(a) or np.shape(divergence) != a.shape or np.isnan(divergence).all():
        raise BadInput(f"A divergence for each of {len(a)} orders is wanted, at least one of them a number.")
    found = divergence + np.log1p(-1 / a) - (math.log(delta) + np.log(a)) / (a - 1)
    best = int(np.nanargmin(found))
    return max(0.0, float(found[best])), float(a[best])


def epsilon(sampling_rate: float, noise_multiplier: float, steps: int, delta: float) -> float:
    """Epsilon of so many steps.

    Raises
    ------
    BadInput
        If a value is out of range.

    Examples
    --------
    >>> round(epsilon(0.1, 1.0, steps=100, delta=1e-5), 2)
    7.9
    """
    if steps < 1:
        raise BadInput(f"steps={steps}: there must be at least one.")
    return epsilon_of(steps * rdp(sampling_rate, noise_multiplier), delta)[0]


def noise_for(epsilon_wanted: float, sampling_rate: float, steps: int, delta: float) -> float:
    """The least noise multiplier, to a thousandth, that keeps so many steps within an epsilon.

    Raises
    ------
    BadInput
        If a value is out of range, or the epsilon cannot be reached.

    Examples
    --------
    >>> noise = noise_for(3.0, 0.05, steps=300, delta=1e-4)
    >>> epsilon(0.05, noise, 300, 1e-4) <= 3.0 < epsilon(0.05, noise - 0.002, 300, 1e-4)
    True
    """
    if not (math.isfinite(epsilon_wanted) and epsilon_wanted > 0):
        raise BadInput(f"epsilon={epsilon_wanted} must be above 0.")
    low, high = 0.1, 1.0
    while epsilon(sampling_rate, high, steps, delta) > epsilon_wanted:
        low, high = high, 2 * high
        if high > 1e6:
            raise BadInput(f"No noise keeps {steps} steps within epsilon {epsilon_wanted:g} at delta {delta:g}.")
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon(sampling_rate, middle, steps, delta) > epsilon_wanted else (low, middle)
    return high


def gdp_epsilon(sampling_rate: float, noise_multiplier: float, steps: int, delta: float) -> float:
    """Epsilon by Gaussian differential privacy's central limit theorem: an approximation that is too low.

    Raises
    ------
    BadInput
        If a value is out of range, or the epsilon is beyond 500.

    Notes
    -----
    Z. Bu, J. Dong, Q. Long and W. Su, Deep Learning with Gaussian Differential Privacy, Harvard Data Science Review
    2020 (mu of Poisson sampling); B. Balle and Y.-X. Wang, ICML 2018 (delta of epsilon). S. Gopi, Y. T. Lee and L.
    Wutschitz, NeurIPS 2021, show that it underestimates.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    rdp(sampling_rate, noise_multiplier, [2.0])  # refuses what is out of range
    if steps < 1 or not 0 < delta < 1:
        raise BadInput(f"steps={steps}, delta={delta}: at least one step, and a delta between 0 and 1.")
    if sampling_rate == 0:
        return 0.0
    beyond = BadInput(f"With noise {noise_multiplier:g} the epsilon of {steps} steps is beyond 500: no privacy at all.")
    if noise_multiplier < 0.05:
        raise beyond
    mu = sampling_rate * math.sqrt(steps * math.expm1(noise_multiplier**-2))

    def above(e: float) -> float:
        return float(norm.cdf(mu / 2 - e / mu) - math.exp(e + norm.logcdf(-mu / 2 - e / mu)) - delta)

    if above(500.0) > 0:
        raise beyond
    return float(brentq(above, 0.0, 500.0)) if above(0.0) > 0 else 0.0


def _rdp(q: float, sigma: float, order: float) -> float:
    if q == 0:
        return 0.0
    if q == 1:
        return order / (2 * sigma**2)
    if sigma < 0.005:  # the integral needs too many points; the divergence grows with the order: a bound
        order = float(math.ceil(order))
    log_a = _log_whole(q, sigma, int(order)) if order == int(order) else _log_fractional(q, sigma, order)
    return log_a / (order - 1)


def _log_whole(q: float, sigma: float, order: int) -> float:
    """The binomial sum of section 3.3 for a whole order, as a logarithm."""
    from scipy.special import gammaln, logsumexp

    k = np.arange(order + 1)
    binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    return float(logsumexp(binomial + k * math.log(q) + (order - k) * math.log1p(-q) + k * (k - 1) / (2 * sigma**2)))


def _log_fractional(q: float, sigma: float, order: float) -> float:
    """The integral that the divergence is, by the trapezoidal rule, as a logarithm.

    The integrand is analytic and falls off like a Gaussian, so the rule is exact to rounding at this step. The series
    of section 3.3, which Opacus and dp-accounting sum, converges slowly near order 1 where the noise is small; there
    they leave the order out and may name a larger epsilon.
    """
    from scipy.special import logsumexp

    step = sigma / 20
    x = np.arange(-12 * sigma, 12 * sigma + order, step)
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * sigma**2))
    log_density = -(x**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
    return float(logsumexp(log_density + order * log_ratio) + math.log(step))

"""The accountant equals Opacus' and dp-accounting's within 1 percent, and closed forms exactly."""

import math
import warnings

import numpy as np
import pytest
from scipy import integrate, stats

from edgelab.errors import BadInput
from edgelab.privacy.accountant import ORDERS, epsilon, epsilon_of, gdp_epsilon, noise_for, rdp

GRID = [(q, sigma, 100, 1e-4) for q in (0.01, 0.2, 1.0) for sigma in (0.7, 1.5, 8.0)]
GRID += [(0.01, 1.0, 3000, 1e-5), (0.1, 4.0, 3000, 1e-6), (0.2, 1.5, 1, 1e-5)]


def agree(ours, theirs):
    """Within 1 percent; beyond any useful epsilon theirs leave out low orders, where their series converge slowly."""
    if theirs < 15:
        assert ours == pytest.approx(theirs, rel=0.01)
    else:
        assert ours < 1.01 * theirs


@pytest.mark.parametrize(("q", "sigma", "steps", "delta"), GRID)
def test_epsilon_is_that_of_dp_accounting(q, sigma, steps, delta):
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    event = dp_accounting.GaussianDpEvent(sigma)
    event = event if q == 1 else dp_accounting.PoissonSampledDpEvent(q, event)
    theirs = RdpAccountant(ORDERS).compose(dp_accounting.SelfComposedDpEvent(event, steps)).get_epsilon(delta)
    agree(epsilon(q, sigma, steps, delta), theirs)


@pytest.mark.parametrize(("q", "sigma", "steps", "delta"), GRID)
def test_epsilon_is_that_of_opacus(q, sigma, steps, delta):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants import RDPAccountant

        theirs = RDPAccountant()
        theirs.history = [(sigma, q, steps)]
        wanted = theirs.get_epsilon(delta, alphas=list(ORDERS))
    agree(epsilon(q, sigma, steps, delta), wanted)


@pytest.mark.parametrize("order", [1.5, 2.0, 3.7, 8.0])
@pytest.mark.parametrize(("q", "sigma"), [(0.01, 0.7), (0.2, 1.5), (0.7, 3.0)])
def test_rdp_is_the_integral_that_it_stands_for(order, q, sigma):
    def ratio(x):
        return (1 - q) + q * math.exp((2 * x - 1) / (2 * sigma**2))

    value, _ = integrate.quad(
        lambda x: stats.norm.pdf(x, 0, sigma) * ratio(x) ** order, -12 * sigma, 12 * sigma + 2 * order, limit=400
    )
    assert rdp(q, sigma, [order])[0] == pytest.approx(math.log(value) / (order - 1), rel=1e-5)


def test_closed_forms():
    assert rdp(1.0, 2.0, [5.0])[0] == pytest.approx(5 / 8)
    assert rdp(0.0, 1.0, [5.0])[0] == 0
    assert (np.diff(rdp(0.1, 1.0, [2, 4, 8, 16])) > 0).all()
    assert epsilon(0.1, 1.0, 10, 1e-5) < epsilon(0.1, 1.0, 100, 1e-5) < epsilon(0.2, 1.0, 100, 1e-5)
    assert epsilon_of(np.array([0.0]), 0.5, [2.0])[0] == 0.0


def test_noise_for_is_the_inverse():
    for wanted in (0.5, 3.0, 10.0):
        noise = noise_for(wanted, 0.05, 300, 1e-4)
        assert wanted * 0.98 < epsilon(0.05, noise, 300, 1e-4) <= wanted


def test_gdp_is_optimistic():
    """Below even the tight account (PRV), which is itself below RDP."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants import PRVAccountant

        tight = PRVAccountant()
        tight.history = [(0.8, 0.02, 1000)]
        true = tight.get_epsilon(1e-5)
    assert gdp_epsilon(0.02, 0.8, 1000, 1e-5) < true < epsilon(0.02, 0.8, 1000, 1e-5)
    without_sampling = gdp_epsilon(1.0, 5.0, 1, 1e-5)
    assert without_sampling < epsilon(1.0, 5.0, 1, 1e-5)
    assert gdp_epsilon(1e-6, 5.0, 1, 0.5) == 0.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rdp(1.5, 1.0), "probability"),
        (lambda: rdp(0.1, 0.0), "without noise"),
        (lambda: rdp(0.1, math.nan), "noise_multiplier"),
        (lambda: rdp(0.1, 1.0, [1.0]), "above 1"),
        (lambda: epsilon(0.1, 1.0, 0, 1e-5), "steps"),
        (lambda: epsilon(0.1, 1.0, 1, 0.0), "delta"),
        (lambda: noise_for(0.0, 0.1, 1, 1e-5), "epsilon"),
        (lambda: noise_for(1e-7, 0.5, 1000, 1e-9), "No noise"),
    ],
)
def test_what_is_out_of_range_is_one_sentence(call, says):
    with pytest.raises(BadInput, match=says):
        call()


@pytest.mark.parametrize(
    "bad", [(0.1, 0.03, 100, 1e-5), (1.0, 0.1, 10_000, 1e-5), (0.1, 1.0, 0, 1e-5), (0.1, 1.0, 10, 0.0)]
)
def test_gdp_refuses_what_it_cannot_say(bad):
    with pytest.raises(BadInput):
        gdp_epsilon(*bad)
    assert gdp_epsilon(0.0, 1.0, 10, 1e-5) == 0


def test_hardly_any_noise_costs_little_memory_and_is_still_a_bound():
    found = rdp(0.1, 1e-6, [1.1, 2.0, 2.5])
    assert found[0] == pytest.approx(found[1])
    assert (np.diff(rdp(0.1, 0.004, [1.5, 2.0, 2.5, 3.0])) >= 0).all()
    assert rdp(0.1, 0.0049, [2.5])[0] >= rdp(0.1, 0.0051, [2.5])[0]
    for divergence, orders in [([], []), ([math.nan], [2.0]), ([1.0, 2.0], [2.0])]:
        with pytest.raises(BadInput, match="for each of"):
            epsilon_of(np.array(divergence), 1e-5, orders)

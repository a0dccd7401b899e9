"""Gates: from counts of the new and the previous release, seen look after look, whether a rollout must stop.

A gate that looks every hour has many chances to be wrong. Five gates stand here behind one face, so that this can be
seen: `EProcess`, which may be looked at whenever one likes, and what products and articles do in its place. All of them
compare releases at the same time (A/B), except `FixedThreshold`, which compares with a rate from before.

What is counted is **devices**, each once: those that crashed for the first time since the rollout began, became slower
than they were, or answer worse. One device that crashes every hour is one event and not a thousand; no count of crashes
is independent, and no gate is right on one that is not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput

Floats = NDArray[np.float64]
RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Rate ratios that the e-process bets on, each with the same stake."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What was counted between one look and the next, each (..., looks).

    Parameters
    ----------
    new, old
        Devices with an event, of those on the new release and of those on the previous one at the same time.
    new_exposure, old_exposure
        Device-hours behind them, or devices that were judged.

    Raises
    ------
    BadInput
        If a count is negative or no number, there is none, or events have no exposure.
    """

    new: Floats
    old: Floats
    new_exposure: Floats
    old_exposure: Floats

    def __post_init__(self) -> None:
        try:
            each = [np.asarray(getattr(self, name), np.float64) for name in self.__dataclass_fields__]
            each = list(np.broadcast_arrays(*each))
        except (TypeError, ValueError):
            raise BadInput("Looks need four arrays of numbers whose shapes fit together.") from None
        if each[0].ndim < 1 or each[0].shape[-1] < 1:
            raise BadInput("Looks need at least one look.")
        if not all(np.isfinite(values).all() and (values >= 0).all() for values in each):
            raise BadInput("Counts and exposures of a look must be finite numbers, none below 0.")
        if ((each[2] == 0) & (each[0] > 0)).any() or ((each[3] == 0) & (each[1] > 0)).any():
            raise BadInput("A look counts events on a release for which it has no exposure.")
        for name, values in zip(self.__dataclass_fields__, each, strict=True):
            object.__setattr__(self, name, values)

    @property
    def share(self) -> Floats:
        """The new release's share of the exposure at each look: of the events, too, if it is no worse."""
        total = self.new_exposure + self.old_exposure
        found: Floats = np.divide(self.new_exposure, total, out=np.zeros_like(total), where=total > 0)
        return found


@dataclass(frozen=True)
class Decision:
    """What a gate says after a look: whether to stop, on what evidence, and from where on it would."""

    stop: bool
    evidence: float
    limit: float
    look: int
    gate: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "stop": self.stop,
            "evidence": min(self.evidence, 1e300),
            "limit": self.limit,
            "look": self.look,
            "gate": self.gate,
        }

    def __str__(self) -> str:
        word = "stops" if self.stop else "goes on"
        return f"{self.gate}: {word} at look {self.look}, evidence {self.evidence:.3g}, limit {self.limit:.3g}"

    def _repr_markdown_(self) -> str:
        return str(self)


class Gate(ABC):
    """A rule that stops a rollout at the first look whose evidence reaches its limit."""

    name: str

    @property
    @abstractmethod
    def limit(self) -> float:
        """The evidence from which on it stops."""

    @abstractmethod
    def evidence(self, looks: Looks) -> Floats:
        """The evidence after each look, from all looks up to it, (..., looks)."""

    def first_stop(self, looks: Looks) -> NDArray[np.int64]:
        """The number of the look that stops, from 0; -1 where none does, (...)."""
        over = self.evidence(looks) >= self.limit
        return np.where(over.any(axis=-1), over.argmax(axis=-1), -1)

    def monitor(self) -> Monitor:
        """A gate at work: `Monitor.update` takes one look after another."""
        return Monitor(self)


class Monitor:
    """A gate and what it has seen. Once it has said stop, it says nothing else.

    Examples
    --------
    >>> watch = EProcess().monitor()
    >>> watch.update(1, 90, 100, 9900).stop, watch.update(12, 85, 100, 9900).stop, watch.update(0, 80, 100, 9900).stop
    (False, True, True)
    """

    def __init__(self, gate: Gate, seen: Sequence[Sequence[float]] = ()) -> None:
        self.gate = gate
        self.seen = [tuple(float(value) for value in look) for look in seen]

    def update(self, new: float, old: float, new_exposure: float, old_exposure: float) -> Decision:
        """Take what was counted since the last look, and decide.

        Raises
        ------
        BadInput
            As `Looks`; the look is then not taken.
        """
        look = (new, old, new_exposure, old_exposure)
        Looks(*(np.array([value]) for value in look))
        self.seen.append(tuple(float(value) for value in look))
        return self.decide()

    def decide(self) -> Decision:
        """What follows from all looks so far."""
        if not self.seen:
            return Decision(stop=False, evidence=0.0, limit=self.gate.limit, look=0, gate=self.gate.name)
        looks = Looks(*np.array(self.seen).T)
        first = int(self.gate.first_stop(looks))
        evidence = float(self.gate.evidence(looks)[first])  # -1, the last one, where none stops
        number = len(self.seen) if first < 0 else first + 1
        return Decision(first >= 0, evidence, self.gate.limit, number, self.gate.name)


@dataclass(frozen=True)
class EProcess(Gate):
    r"""Anytime-valid: the chance of ever stopping a release that is no worse is at most ``alpha``.

    Given that m devices had an event in a look, and the new release has the share s of the exposure, x of them are on
    it by binomial chance: with probability s if it is no worse, and :math:`rs / (rs + 1 - s)` if its rate is r times
    the other's. The ratio of the two likelihoods is what a bet on r pays,

    .. math:: r^x / (1 + (r - 1) s)^m .

    The product over looks is money that grows with evidence and cannot be expected to grow without it; the mean over
    several r is a portfolio of bets. That money ever reaches 1 / alpha has at most the chance alpha (Ville, 1939), at
    whatever times one looks. A rate that changes over the day cancels, since both releases live through the same day.

    Where devices are judged once and not followed in time, x is hypergeometric, which pays no more than the binomial
    (Hoeffding, 1963), and the bound holds as well.

    Parameters
    ----------
    alpha
        Chance of a false alarm at most, over the whole rollout.
    ratios
        The rate ratios of the bets, each above 1.

    Raises
    ------
    BadInput
        If a value is out of range.

    References
    ----------
    Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science
    2023; Johari, Koomen, Pekelis and Walsh, "Always valid inference", Operations Research 2022; ter Schure,
    Pérez-Ortiz, Ly and Grünwald, "The anytime-valid logrank test", 2024, for events that a device has once.
    """

    alpha: float = 0.05
    ratios: tuple[float, ...] = RATIOS
    name: str = "e-process"

    def __post_init__(self) -> None:
        _chance(self.alpha)
        if not self.ratios or not all(math.isfinite(r) and r > 1 for r in self.ratios):
            raise BadInput("The e-process bets on rate ratios above 1.")

    @property
    def limit(self) -> float:
        """1 / alpha."""
        return 1 / self.alpha

    def evidence(self, looks: Looks) -> Floats:
        """What one unit of money has become after each look, (..., looks)."""
        return e_process(looks.new, looks.old, looks.new_exposure, looks.old_exposure, self.ratios)


def e_process(
    new: ArrayLike,
    old: ArrayLike,
    new_exposure: ArrayLike,
    old_exposure: ArrayLike,
    ratios: Sequence[float] = RATIOS,
) -> Floats:
    """The evidence of `EProcess` after each look; all (..., looks).

    Examples
    --------
    One event on a tenth of the exposure, none elsewhere; the bet is on twice the rate: 2 / (1 + 0.1).

    >>> float(round(e_process([1], [0], [10], [90], [2.0])[0], 3))
    1.818
    """
    looks = Looks(*(np.asarray(each, np.float64) for each in (new, old, new_exposure, old_exposure)))
    ratio = np.array(ratios, np.float64)[:, None]
    events = (looks.new + looks.old)[..., None, :]
    share = looks.share[..., None, :]
    paid = looks.new[..., None, :] * np.log(ratio) - events * np.log1p((ratio - 1) * share)
    money: Floats = np.exp(np.minimum(paid.cumsum(axis=-1), 700)).mean(axis=-2)
    return money


@dataclass(frozen=True)
class FixedThreshold(Gate):
    """Common in products: stop when the new release's rate so far is so many times the expected one.

    Parameters
    ----------
    expected
        Events of a device-hour, from before the rollout.
    factor
        How many times of it are too many.
    """

    expected: float
    factor: float = 2.0
    name: str = "fixed threshold"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.expected) and self.expected > 0 and math.isfinite(self.factor) and self.factor > 0):
            raise BadInput("A fixed threshold needs an expected rate and a factor above 0.")

    @property
    def limit(self) -> float:
        """The factor."""
        return self.factor

    def evidence(self, looks: Looks) -> Floats:
        """Events so far over expected events so far."""
        exposure = looks.new_exposure.cumsum(axis=-1) * self.expected
        events = looks.new.cumsum(axis=-1)
        found: Floats = np.divide(events, exposure, out=np.zeros_like(exposure), where=exposure > 0)
        return found


@dataclass(frozen=True)
class PeekedExact(Gate):
    """The exact test of two rates, at every look as if it were the only one; the evidence is 1 over its p value."""

    alpha: float = 0.05
    name: str = "exact test, peeking"

    def __post_init__(self) -> None:
        _chance(self.alpha)

    @property
    def limit(self) -> float:
        """1 / alpha."""
        return 1 / self.alpha

    def evidence(self, looks: Looks) -> Floats:
        """1 / p after each look."""
        return 1 / np.maximum(exact_p(looks), 1e-300)


@dataclass(frozen=True)
class Bonferroni(Gate):
    """The exact test at every look, each with its part of alpha (Bonferroni): honest, and slow.

    Parameters
    ----------
    planned
        How many looks there will be, which must be known before.
    """

    planned: int
    alpha: float = 0.05
    name: str = "exact, Bonferroni"

    def __post_init__(self) -> None:
        _chance(self.alpha)
        if self.planned < 1:
            raise BadInput("Bonferroni needs at least one planned look.")

    @property
    def limit(self) -> float:
        """Planned looks / alpha."""
        return self.planned / self.alpha

    def evidence(self, looks: Looks) -> Floats:
        """1 / p after each planned look; a look beyond them can stop nothing."""
        found = 1 / np.maximum(exact_p(looks), 1e-300)
        found[..., self.planned :] = 0
        return found


@dataclass(frozen=True)
class StageEnds(Gate):
    """The exact test at the end of each stage alone, alpha shared among them: what happens between is not seen.

    Parameters
    ----------
    ends
        Numbers of the looks, from 0, that end a stage.
    """

    ends: tuple[int, ...]
    alpha: float = 0.05
    name: str = "exact, at stage ends"

    def __post_init__(self) -> None:
        _chance(self.alpha)
        if not self.ends or min(self.ends) < 0:
            raise BadInput("The gate at stage ends needs the looks, from 0, that end a stage.")

    @property
    def limit(self) -> float:
        """Stages / alpha."""
        return len(self.ends) / self.alpha

    def evidence(self, looks: Looks) -> Floats:
        """1 / p where a stage ends, 0 elsewhere."""
        found = np.zeros_like(looks.new)
        ends = [end for end in self.ends if end < looks.new.shape[-1]]
        if ends:
            found[..., ends] = 1 / np.maximum(exact_p(looks)[..., ends], 1e-300)
        return found


@dataclass(frozen=True)
class SPRT(Gate):
    """Wald's sequential test (1945) of no difference against one rate ratio; it may also end by accepting.

    Parameters
    ----------
    ratio
        The rate ratio that it looks for, and no other.
    alpha, beta
        Chance of a false alarm, and of accepting a release with that ratio.
    """

    ratio: float = 2.0
    alpha: float = 0.05
    beta: float = 0.05
    name: str = "SPRT"

    def __post_init__(self) -> None:
        _chance(self.alpha)
        _chance(self.beta)
        if not (math.isfinite(self.ratio) and self.ratio > 1):
            raise BadInput("SPRT looks for a rate ratio above 1.")

    @property
    def limit(self) -> float:
        """(1 - beta) / alpha."""
        return (1 - self.beta) / self.alpha

    def evidence(self, looks: Looks) -> Floats:
        """The likelihood ratio after each look; once it fell to beta / (1 - alpha), the release is accepted."""
        money = e_process(looks.new, looks.old, looks.new_exposure, looks.old_exposure, [self.ratio])
        low = money <= self.beta / (1 - self.alpha)
        before = np.zeros_like(low)
        before[..., 1:] = np.logical_or.accumulate(low, axis=-1)[..., :-1]
        return np.where(before, 0.0, money)


def exact_p(looks: Looks) -> Floats:
    """P value, after each look, of so many events so far on the new release if it is no worse, (..., looks).

    Given all events so far, those on the new release are a sum of binomials with the share of each look. One binomial
    with their mean share has heavier tails from above its mean on (Hoeffding, 1956), which errs on the safe side.
    """
    from scipy.special import betainc

    events = (looks.new + looks.old).cumsum(axis=-1)
    on_new = looks.new.cumsum(axis=-1)
    expected = ((looks.new + looks.old) * looks.share).cumsum(axis=-1)
    share = np.divide(expected, events, out=np.zeros_like(events), where=events > 0)
    tail = betainc(np.maximum(on_new, 1), np.maximum(events - on_new, 0) + 1, share)
    found: Floats = np.where(on_new > 0, tail, 1.0)
    return found


def _chance(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise BadInput(f"A chance must lie between 0 and 1, not {alpha}.")

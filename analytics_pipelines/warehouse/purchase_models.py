"""The models of predicted lifetime value: purchase histories in, what to expect of each customer out.

Defines `PurchaseModel` (BG/NBD: how often a customer will still buy) and `ValueModel` (gamma-gamma: for how much), each
fitted by maximum likelihood. Numbers in, numbers out: no tables, no dates, no Dagster. Time and money are in any unit;
what comes out is in the same. The same histories, in whatever order, give the same parameters to the last bit.

A history is: `frequency`, the purchases after the first one; `recency`, the time from the first to the last purchase;
`age`, the time from the first purchase until now; `mean_value`, what the purchases after the first were worth on
average.

Sources of the formulas, with their numbers there:

- [BG] Fader, Hardie, Lee (2005): "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD Model.
  Marketing Science 24 (2), 275-284.
- [PA] Fader, Hardie, Lee (2008): Computing P(alive) Using the BG/NBD Model. brucehardie.com/notes/021
- [GG] Fader, Hardie (2013): The Gamma-Gamma Model of Monetary Value. brucehardie.com/notes/025
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_LARGEST = 8.0
"""Parameters are sought from exp(-8) to exp(8): where customers never leave, say, a has no other end than 0."""

_FLAT = 1e-6
"""The mean log-likelihood is at its maximum where its slope is below this."""


@dataclass(frozen=True, slots=True)
class PurchaseModel:
    """BG/NBD: while alive, a customer buys at a rate of their own, and leaves after each purchase by a chance.

    Attributes:
        r: shape of the gamma distribution of the rates.
        alpha: its scale, in the unit of time.
        a: first parameter of the beta distribution of the chances to leave.
        b: its second one.
    """

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, frequency: Numbers, recency: Numbers, age: Numbers) -> PurchaseModel:
        """Find the parameters under which these histories are likeliest.

        Raises:
            PipelinesError: the likelihood has no maximum that could be found.
        """
        from scipy.special import gammaln, psi

        unit = max(float(age.max()), 1e-300)  # the optimiser's steps suit times of the size of 1
        histories, times = np.unique(np.column_stack([frequency, recency, age]), axis=0, return_counts=True)
        x, t, T = histories[:, 0], histories[:, 1] / unit, histories[:, 2] / unit  # noqa: N806 - as in the paper
        share = times / times.sum()

        def likelihood(parameters: Numbers) -> tuple[float, Numbers]:
            # [BG] (6) as ln(A1) + ln(A2) + ln(A3 + A4), which overflows nowhere.
            r, alpha, a, b = parameters
            alive = -(r + x) * np.log(alpha + T)
            left = _if_repeated(x, np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t), -np.inf)
            either = np.logaddexp(alive, left)
            total = (
                gammaln(r + x) - gammaln(r) + r * np.log(alpha)
                + gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x) + either
            )  # fmt: skip
            gone = np.exp(left - either)
            chance = psi(a + b) - psi(a + b + x)
            slopes = (
                psi(r + x) - psi(r) + np.log(alpha) - (1 - gone) * np.log(alpha + T) - gone * np.log(alpha + t),
                r / alpha - (r + x) * ((1 - gone) / (alpha + T) + gone / (alpha + t)),
                chance + gone / a,
                chance + psi(b + x) - psi(b) - gone / (b + np.maximum(x, 1) - 1),
            )
            return _mean(total, share), np.array([_mean(slope, share) for slope in slopes])

        r, alpha, a, b = _maximum(likelihood, [1.0, 0.5, 1.0, 2.0])
        return cls(r, alpha * unit, a, b)

    def probability_alive(self, frequency: Numbers, recency: Numbers, age: Numbers) -> Numbers:
        """Return how likely each customer will buy again, ever: [PA] (5). After a single purchase that is 1."""
        return 1 / (1 + self._odds_gone(frequency, recency, age))

    def expected_purchases(self, frequency: Numbers, recency: Numbers, age: Numbers, ahead: float) -> Numbers:
        """Return how many purchases to expect of each customer in the time ahead: [BG] (10).

        The hypergeometric function takes its first form or Euler's, whichever has the smaller power: the other one may
        overflow while its factor vanishes.
        """
        from scipy.special import hyp2f1

        x, a, b = frequency, self.a, self.b
        never_leaving = a + b + x - 1
        power, other = np.minimum(self.r + x, a - 1), np.maximum(self.r + x, a - 1)
        z = ahead / (self.alpha + age + ahead)
        left = np.exp(power * np.log1p(-z)) * hyp2f1(power, never_leaving - other, never_leaving, z)
        expected = never_leaving / (a - 1) * (1 - left) * self.probability_alive(frequency, recency, age)
        return np.maximum(expected, 0.0)

    def _odds_gone(self, x: Numbers, t: Numbers, age: Numbers) -> Numbers:
        longer = (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + t))
        with np.errstate(over="ignore"):  # beyond all doubt gone
            return _if_repeated(x, np.exp(longer) * self.a / (self.b + np.maximum(x, 1) - 1), 0.0)


@dataclass(frozen=True, slots=True)
class ValueModel:
    """Gamma-gamma: purchases of a customer vary around a mean of their own, which has to do with no frequency.

    Attributes:
        p: shape of the gamma distribution of a customer's purchases.
        q: shape of the gamma distribution of the customers' scales.
        v: its scale, in the unit of money.
    """

    p: float
    q: float
    v: float

    @classmethod
    def fit(cls, frequency: Numbers, mean_value: Numbers) -> ValueModel:
        """Find the parameters under which the values of repeated purchases are likeliest; those worth 0 do not count.

        Raises:
            PipelinesError: the likelihood has no maximum that could be found.
        """
        from scipy.special import gammaln, psi

        counts = (frequency > 0) & (mean_value > 0)
        unit = float(np.sort(mean_value[counts]).mean())
        histories, times = np.unique(
            np.column_stack([frequency[counts], mean_value[counts]]), axis=0, return_counts=True
        )
        x, z = histories[:, 0], histories[:, 1] / unit
        share = times / times.sum()

        def likelihood(parameters: Numbers) -> tuple[float, Numbers]:
            # The logarithm of [GG] (1a).
            p, q, v = parameters
            total = (
                gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(v)
                + (p * x - 1) * np.log(z) + p * x * np.log(x) - (p * x + q) * np.log(v + x * z)
            )  # fmt: skip
            slopes = (
                x * (psi(p * x + q) - psi(p * x) + np.log(x * z) - np.log(v + x * z)),
                psi(p * x + q) - psi(q) + np.log(v) - np.log(v + x * z),
                q / v - (p * x + q) / (v + x * z),
            )
            return _mean(total, share), np.array([_mean(slope, share) for slope in slopes])

        p, q, v = _maximum(likelihood, [1.0, 2.0, 1.0])
        return cls(p, q, v * unit)

    def expected_value(self, frequency: Numbers, mean_value: Numbers) -> Numbers:
        """Return what a purchase of each customer is worth in the long run, between their mean and everybody's.

        [GG] (5). Where q is not above 1, everybody's mean is infinite, and the value of a customer of whom too little
        is known is not a number.
        """
        x, p, q = frequency, self.p, self.q
        weight = p * x + q - 1
        return np.where(weight > 0, p * (self.v + x * mean_value) / np.where(weight > 0, weight, 1), np.nan)


def _maximum(likelihood: Callable[[Numbers], tuple[float, Numbers]], start: list[float]) -> list[float]:
    """Climb to the maximum of a mean log-likelihood, given with its slopes, over positive parameters."""
    from scipy.optimize import minimize

    def downhill(logarithms: Numbers) -> tuple[float, Numbers]:
        parameters = np.exp(logarithms)
        value, slopes = likelihood(parameters)
        return -value, -slopes * parameters

    bounds = [(-_LARGEST, _LARGEST)] * len(start)
    found = cast(
        "Any",
        minimize(
            downhill, np.log(start), jac=True, bounds=bounds, method="L-BFGS-B",
            options={"ftol": 0.0, "gtol": 1e-10, "maxiter": 5_000, "maxfun": 20_000},
        ),
    )  # fmt: skip
    reached: Numbers = found.x
    downward: Numbers = found.jac
    at_end = (np.abs(reached) >= _LARGEST) & (reached * downward < 0)
    slope = float(np.abs(np.where(at_end, 0.0, downward)).max())
    if not slope < _FLAT:
        raise PipelinesError(f"no prediction: the likelihood has no maximum that was found (slope {slope:.1e})")
    return np.exp(reached).tolist()


def _mean(values: Numbers, share: Numbers) -> float:
    # Not a dot product: a library may add it up in another order with another number of threads.
    return float((values * share).sum())


def _if_repeated(frequency: Numbers, values: Numbers, otherwise: float) -> Numbers:
    return np.where(frequency > 0, values, otherwise)

"""BG/NBD and gamma-gamma: published figures come out, predictions come true, and odd customers do no harm."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from analytics_pipelines.settings import PROJECT_FOLDER
from analytics_pipelines.warehouse.purchase_models import PurchaseModel, ValueModel

CDNOW = Path(os.environ.get("SHARED_DATA", PROJECT_FOLDER.parent / "shared" / "data")) / "cdnow"
PUBLISHED = PurchaseModel(0.243, 4.414, 0.793, 2.426)
PUBLISHED_VALUES = ValueModel(6.25, 3.74, 15.44)
WEEKS = 39.0


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


@pytest.fixture(scope="module")
def cdnow() -> pd.DataFrame:
    """The 2,357 customers of the CDNOW sample: purchases after the first within 39 weeks, in weeks and dollars."""
    if not CDNOW.is_dir():
        pytest.skip(f"the real data set cdnow is not at {CDNOW}")
    return pd.read_csv(CDNOW / "cdnow_customers_summary_with_transactions.csv").astype(float)


def histories(frame: pd.DataFrame) -> list[np.ndarray]:
    return [frame[name].to_numpy() for name in ("x", "t_x", "T")]


def test_the_published_parameters_of_cdnow_come_out(cdnow: pd.DataFrame) -> None:
    """Fader, Hardie and Lee's of 2005, to their last digit; Fader and Hardie's of 2013, who rounded less evenly."""
    purchases = PurchaseModel.fit(*histories(cdnow))
    values = ValueModel.fit(cdnow["x"].to_numpy(), cdnow["zbar"].to_numpy())

    assert [round(value, 3) for value in (purchases.r, purchases.alpha, purchases.a, purchases.b)] == [
        0.243, 4.414, 0.793, 2.426,
    ]  # fmt: skip
    assert [values.p, values.q, values.v] == pytest.approx([6.25, 3.74, 15.44], rel=0.0015)


def test_what_cdnow_sold_in_the_next_39_weeks_was_expected(cdnow: pd.DataFrame) -> None:
    """Fitted to 39 weeks, the model expects the purchases of the 39 weeks after them that then came, within 13 %."""
    columns = ["customer", "day", "units", "value"]
    bought = pd.read_csv(CDNOW / "CDNOW_sample.txt", sep=r"\s+", header=None, usecols=[1, 2, 3, 4], names=columns)
    came = bought[bought["day"] > 19970930].drop_duplicates(["customer", "day"])

    expected = PurchaseModel.fit(*histories(cdnow)).expected_purchases(*histories(cdnow), WEEKS)

    assert expected.sum() == pytest.approx(len(came), rel=0.13)


def test_published_expectations_come_out() -> None:
    """The first customer of CDNOW: 1.226 purchases within 39 weeks (2005), and 24.66 dollars each."""
    one = numbers(2), numbers(30.43), numbers(38.86)

    assert PUBLISHED.expected_purchases(*one, WEEKS)[0] == pytest.approx(1.226, abs=0.0005)
    assert PUBLISHED.probability_alive(*one)[0] == pytest.approx(0.7266, abs=0.0005)
    found = PUBLISHED_VALUES.expected_value(numbers(0, 1, 2, 7), numbers(0, 11.77, 22.35, 73.74))
    assert found == pytest.approx([35.17, 18.91, 24.66, 71.46], rel=0.0015)


def test_the_order_of_the_customers_decides_nothing(cdnow: pd.DataFrame) -> None:
    """The same customers in another order give the same parameters, to the last bit."""
    other = cdnow.sample(frac=1, random_state=1)

    assert PurchaseModel.fit(*histories(other)) == PurchaseModel.fit(*histories(cdnow))
    assert ValueModel.fit(other["x"].to_numpy(), other["zbar"].to_numpy()) == ValueModel.fit(
        cdnow["x"].to_numpy(), cdnow["zbar"].to_numpy()
    )


def simulated(model: PurchaseModel, customers: int, until: float, ahead: float) -> tuple[np.ndarray, ...]:
    """Let customers buy by the model's own law: their histories until a moment, and what they bought after it."""
    chance = np.random.default_rng(3)
    rate = chance.gamma(model.r, 1 / model.alpha, customers)
    leaves = chance.beta(model.a, model.b, customers)
    age = until - chance.uniform(0, until * 0.8, customers)
    frequency, recency, later = np.zeros((3, customers))
    at, alive = np.zeros(customers), np.ones(customers, dtype=bool)
    while alive.any():
        at = at + chance.exponential(1 / rate)
        before, after = alive & (at <= age), alive & (at > age) & (at <= age + ahead)
        frequency += before
        recency[before] = at[before]
        later += after
        alive &= (at <= age + ahead) & (chance.random(customers) > leaves)
    return frequency, recency, age, later


def test_the_parameters_of_simulated_customers_are_recovered() -> None:
    """30,000 customers who follow the model have its parameters within 6 %, and buy as often as expected within 3 %."""
    truth = PurchaseModel(0.6, 40.0, 1.2, 3.0)
    *bought, later = simulated(truth, 30_000, until=730.0, ahead=365.0)

    found = PurchaseModel.fit(*bought)

    assert [found.r, found.alpha, found.a, found.b] == pytest.approx([0.6, 40.0, 1.2, 3.0], rel=0.06)
    assert found.expected_purchases(*bought, 365.0).sum() == pytest.approx(later.sum(), rel=0.03)


def test_units_decide_nothing() -> None:
    """Days or years, cents or millions: the scales follow, and all else stays."""
    *bought, _ = simulated(PUBLISHED, 3_000, until=78.0, ahead=0.0)
    weeks, years = PurchaseModel.fit(*bought), PurchaseModel.fit(bought[0], bought[1] / 52, bought[2] / 52)
    assert [years.r, years.alpha * 52, years.a, years.b] == pytest.approx(
        [weeks.r, weeks.alpha, weeks.a, weeks.b], rel=1e-6
    )

    spent = np.where(bought[0] > 0, np.random.default_rng(1).gamma(6, 5, 3_000), 0)
    small, large = ValueModel.fit(bought[0], spent), ValueModel.fit(bought[0], spent * 1e8)
    assert [large.p, large.q, large.v / 1e8] == pytest.approx([small.p, small.q, small.v], rel=1e-6)


def integral(model: PurchaseModel, x: float, age: float, ahead: float) -> float:
    """Add up what customers who are alive will buy, over the chances to leave that they may have."""
    a, b, relative = model.a, model.b + x, ahead / (model.alpha + age)
    grid = np.linspace(-60, 60, 20_001)
    log_chance, log_stay = -np.logaddexp(0, -grid), -np.logaddexp(0, grid)
    weight = np.exp(a * log_chance + b * log_stay - special.betaln(a, b))
    bought = -np.expm1(-(model.r + x) * np.log1p(np.exp(log_chance) * relative)) / np.exp(log_chance)
    tails = special.betainc([a, b], [b, a], np.exp(-60.0)) * [(model.r + x) * relative, bought[-1]]
    return np.trapezoid(weight * bought, grid) + tails.sum()


def test_expectations_are_the_integral_they_stand_for() -> None:
    """Whatever parameters within reach, from one purchase to 300: the closed form is what numeric integration gives."""
    chance = np.random.default_rng(1)
    for _ in range(60):
        r, a, b = np.exp(chance.uniform(-8, 8, 3)).tolist()
        model = PurchaseModel(r, float(np.exp(chance.uniform(-3, 8))), a, b)
        x, age = float(chance.choice([0, 1, 2, 5, 30, 300])), float(chance.integers(0, 1000))
        one = numbers(x), numbers(min(x, 1) * age), numbers(age)

        found = model.expected_purchases(*one, 365.0) / model.probability_alive(*one)

        assert found[0] == pytest.approx(integral(model, x, age, 365.0), rel=1e-6), (model, one)


def test_customers_who_never_leave_are_expected_to_go_on() -> None:
    """Where nobody has left there is no finite maximum: the parameters end where they may, and expectations hold."""
    frequency = np.arange(200.0)
    recency, age = np.where(frequency > 0, 299.0, 0.0), np.full(200, 300.0)

    model = PurchaseModel.fit(frequency, recency, age)

    assert model.a < 0.001
    assert model.probability_alive(frequency, recency, age).min() > 0.99
    ahead = model.expected_purchases(frequency, recency, age, 300.0)
    assert ahead[1:] == pytest.approx(frequency[1:], rel=0.05, abs=2)


def test_one_price_is_expected_again() -> None:
    """Where every purchase was worth the same, so is the next one, whoever makes it; free purchases do not disturb."""
    frequency = np.arange(200.0)
    worth = np.where(frequency > 0, 9.99, 0.0)
    worth[7] = 0.0

    expected = ValueModel.fit(frequency, worth).expected_value(frequency, worth)

    assert np.delete(expected, 7) == pytest.approx(np.full(199, 9.99), rel=0.001)


def test_a_mean_without_end_is_no_number() -> None:
    """With q below 1 the mean over all customers is infinite: who never bought again gets no value, others do."""
    found = ValueModel(2.0, 0.5, 10.0).expected_value(numbers(0, 3), numbers(0, 20))

    assert np.isnan(found[0])
    assert found[1] == pytest.approx(2 * (10 + 60) / (6 + 0.5 - 1))

"""Schedules against the reference implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.errors import SpecError
from sslkit.specs.base import Spec
from sslkit.specs.schedule import LearningRateSchedule, Period, Ramp, ends, is_due, value_at

Golden = Callable[[str], dict[str, Any]]
STEPS, PER_EPOCH = 70, 7


def test_mae_learning_rate(golden: Golden) -> None:
    """MAE's schedule is evaluated at fractional epochs, here at every quarter."""
    arrays = golden("mae_lr_schedule_layer_decay")
    lr, min_lr, warmup, epochs = arrays["params"].tolist()
    torch.testing.assert_close(arrays["epochs"], torch.arange(80, dtype=torch.float64) / 4, rtol=0, atol=0)
    schedule = LearningRateSchedule(warmup_epochs=warmup, final=min_lr)
    ours = [schedule.at(step, int(epochs) * 4, 4, lr) for step in range(80)]
    torch.testing.assert_close(torch.tensor(ours, dtype=torch.float64), arrays["lr"], rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize(("key", "start", "end"), [("momentum", 0.996, 1.0), ("weight_decay", 0.04, 0.4)])
def test_dino_momentum_and_weight_decay(golden: Golden, key: str, start: float, end: float) -> None:
    ramp = Ramp(start=start, end=end)
    ours = torch.tensor([ramp.at(step, STEPS) for step in range(STEPS)], dtype=torch.float64)
    torch.testing.assert_close(ours, golden("dino_schedules")[key], rtol=1e-12, atol=1e-15)


def test_dino_learning_rate(golden: Golden) -> None:
    """DINO warms up by `linspace(0, peak, 21)`, which holds both ends: the last of its steps has the peak."""
    arrays = golden("dino_schedules")
    schedule = LearningRateSchedule(warmup_epochs=3, warmup_peak="last", final=1e-6)
    ours = torch.tensor([schedule.at(s, STEPS, PER_EPOCH, 5e-4) for s in range(STEPS)], dtype=torch.float64)
    torch.testing.assert_close(ours, arrays["lr"], rtol=1e-12, atol=1e-18)


@given(st.integers(0, 40), st.integers(1, 20), st.floats(0, 2))
def test_the_last_step_of_a_warm_up_has_the_peak_as_in_linspace(
    epochs: int, per_epoch: int, start: float
) -> None:
    warmup, total = epochs * per_epoch, epochs * per_epoch + 50
    schedule = LearningRateSchedule(warmup_epochs=epochs, warmup_start=start, warmup_peak="last")
    ours = [schedule.at(step, total, per_epoch, 1.5) for step in range(warmup + 1)]
    np.testing.assert_allclose(ours, [*np.linspace(start, 1.5, warmup), 1.5], rtol=1e-12, atol=1e-12)


def test_a_warm_up_to_its_last_step_has_whole_steps_and_whole_epochs() -> None:
    last = LearningRateSchedule(warmup_epochs=0.29, warmup_peak="last")
    assert last.warmup_steps(1000, 100) == 29, "0.29 * 100 is a little less"
    assert LearningRateSchedule(warmup_epochs=2.5, warmup_peak="last").warmup_steps(90, 9) == 22
    assert LearningRateSchedule(warmup_epochs=2.5).warmup_steps(90, 9) == 22.5
    by_epoch = LearningRateSchedule(warmup_epochs=2.5, warmup_peak="last", per="epoch")
    assert by_epoch.warmup_steps(90, 9) == 18
    rates = [by_epoch.at(step, 90, 9, 1.0) for step in range(27)]
    assert rates == [0.0] * 9 + [1.0] * 18, "the last epoch of the warm-up has the peak"


def test_without_the_field_a_schedule_means_what_it_meant() -> None:
    """Locks of runs from before the field have none; a resumed run goes on with the same rates, to the last bit."""
    assert LearningRateSchedule(warmup_epochs=2.5, final=1e-6, warmup_start=1e-5) == LearningRateSchedule(
        warmup_epochs=2.5, final=1e-6, warmup_start=1e-5, warmup_peak="after"
    )
    schedule = LearningRateSchedule(warmup_epochs=2.5, warmup_start=0.1)
    assert [schedule.at(step, 90, 7, 0.7) for step in range(17)] == [
        0.1 + (0.7 - 0.1) * s / 17.5 for s in range(17)
    ]


def test_lightly_divides_by_one_step_less(golden: Golden) -> None:
    """The measured disagreement: lightly's last step is the final value, DINO's and ours is not."""
    last = Ramp(start=0.996, end=1.0).at(STEPS - 1, STEPS)
    assert golden("dino_schedules")["lightly_momentum"][-1] == 1.0
    assert last == pytest.approx(0.9999979861330827, abs=1e-15)


finite = st.floats(-1e3, 1e3)


@given(finite, finite, st.sampled_from(["cosine", "linear"]), st.floats(0.01, 1), st.integers(1, 500))
def test_a_ramp_is_monotone_and_stays_between_its_ends(
    start: float, end: float, shape: str, until: float, total: int
) -> None:
    ramp = Ramp(start=start, end=end, shape=shape, until=until)
    values = [ramp.at(step, total) for step in range(total + 2)]
    low, high = sorted((start, end))
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
    assert values[0] == start
    assert values[-1] == pytest.approx(end)
    assert values == sorted(values, reverse=end < start) or abs(start - end) < 1e-9
    assert all(v == pytest.approx(end) for s, v in enumerate(values) if s >= max(1.0, until * total))


def test_linear_ramp_values() -> None:
    ramp = Ramp(start=0.0, end=1.0, shape="linear", until=0.5)
    assert [ramp.at(step, 8) for step in range(9)] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_values_may_be_constants() -> None:
    assert value_at(0.5, 3, 10) == 0.5
    assert value_at(Ramp(start=0, end=1, shape="linear"), 5, 10) == 0.5
    assert ends(0.5) == (0.5, 0.5)
    assert ends(Ramp(start=0.1, end=0.2)) == (0.1, 0.2)


def test_warm_up_by_default_is_a_twentieth_and_starts_where_it_is_told() -> None:
    schedule = LearningRateSchedule(warmup_start=0.1)
    assert schedule.warmup_steps(200, 10) == 10
    assert [schedule.at(step, 200, 10, 1.1) for step in (0, 5, 10)] == pytest.approx([0.1, 0.6, 1.1])


def test_without_warm_up_the_peak_comes_first_and_a_constant_stays() -> None:
    cosine = LearningRateSchedule(warmup_epochs=0, final=0.2)
    assert cosine.at(0, 10, 5, 1.0) == 1.0
    assert cosine.at(5, 10, 5, 1.0) == pytest.approx(0.6)
    assert cosine.at(10, 10, 5, 1.0) == pytest.approx(0.2)
    constant = LearningRateSchedule(warmup_epochs=1, shape="constant")
    assert [constant.at(step, 10, 5, 2.0) for step in (0, 4, 5, 9)] == pytest.approx([0, 1.6, 2, 2])


@given(st.floats(0, 100), st.integers(1, 300), st.integers(1, 50))
def test_the_rate_is_never_above_the_peak_nor_below_the_floor(
    warmup: float, total: int, per_epoch: int
) -> None:
    schedule = LearningRateSchedule(warmup_epochs=warmup, final=0.01)
    rates = [schedule.at(step, total, per_epoch, 1.0) for step in range(total)]
    assert all(0 <= rate <= 1 + 1e-12 for rate in rates)


class Timed(Spec):
    every: Period = "end"


@pytest.mark.parametrize(
    "period", ["end", " end ", "1 epoch", "5 epochs", "500 steps", "1step", "999999999999999 steps"]
)
def test_periods(period: str) -> None:
    assert Timed(every=period).every == period


@pytest.mark.parametrize(
    "period", ["", "5", "epochs", "0 epochs", "00steps", "-1 steps", "1.5 epochs", "5 hours", "٣ steps"]
)
def test_not_periods(period: str) -> None:
    with pytest.raises(SpecError, match=r"^Timed\.every: must be 'end', or a count above 0 with its unit"):
        Timed(every=period)


@pytest.mark.parametrize(
    ("period", "due"),
    [("end", []), ("1 epoch", [4, 8, 12]), ("2 epochs", [8]), ("3 steps", [3, 6, 9, 12]), ("100 steps", [])],
)
def test_due(period: str, due: list[int]) -> None:
    assert [step for step in range(1, 13) if is_due(period, step, steps_per_epoch=4)] == due


def test_a_rate_per_epoch_is_that_of_the_epochs_first_step():
    """MoCo `--cos` and lightly's benchmarks (torch's `CosineAnnealingLR`): half a cosine in as many steps as epochs."""
    per_step = LearningRateSchedule(warmup_epochs=0)
    per_epoch = LearningRateSchedule(warmup_epochs=0, per="epoch")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.06)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for epoch in range(20):
        rates = [per_epoch.at(epoch * 7 + step, 140, 7, 0.06) for step in range(7)]
        assert set(rates) == {per_step.at(epoch * 7, 140, 7, 0.06)}
        assert rates[0] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_a_warm_up_per_epoch_rises_by_epoch():
    schedule = LearningRateSchedule(warmup_epochs=2, per="epoch")
    rates = [schedule.at(step, 12, 3, 1.0) for step in range(12)]
    assert rates[:6] == [0.0] * 3 + [0.5] * 3
    assert rates[6:9] == [1.0] * 3

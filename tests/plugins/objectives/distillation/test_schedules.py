"""Warm-ups of temperatures, and the ramps of DINO's other values, against the references' arrays."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit import DINO, IBOT, Ramp
from sslkit.errors import SpecError
from sslkit.specs.schedule import LearningRateSchedule
from sslkit_objectives.specs.distillation_parts import Warmup, temperature_at
from tests.plugins.objectives.distillation.parts import env

PER_EPOCH = 10


def by_epoch(value, epochs=6):
    """Temperatures of the first, the second and the last step of every epoch; all must agree."""
    steps = [[temperature_at(value, PER_EPOCH * e + i, PER_EPOCH) for i in (0, 1, 9)] for e in range(epochs)]
    assert all(len(set(values)) == 1 for values in steps)
    return [values[0] for values in steps]


def test_the_teachers_temperature_is_dinos(golden):
    """facebookresearch/dino@7c446df5b9f4:main_dino.py DINOLoss: 0.04 to 0.07 in 3 of 6 epochs."""
    expected = golden("dino_loss")["teacher_temp_schedule"]
    found = by_epoch(Warmup(start=0.04, end=0.07, epochs=3))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_the_patches_temperature_is_ibots(golden):
    """bytedance/ibot@da316d82636a:main_ibot.py iBOTLoss, whose patches wait for one epoch."""
    arrays = golden("ibot_loss")
    cls = by_epoch(Warmup(start=0.04, end=0.07, epochs=2))
    patch = by_epoch(Warmup(start=0.04, end=0.06, epochs=2, after=1))
    np.testing.assert_allclose(cls, arrays["teacher_temp_schedule"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(patch, arrays["teacher_temp2_schedule"], rtol=0, atol=1e-15)


def test_by_step_it_is_dinov2s():
    """facebookresearch/dinov2 `CosineScheduler`: `linspace` over the steps of the warm-up."""
    warmup = Warmup(start=0.04, end=0.07, epochs=3, after=1, per="step")
    found = [warmup.at(step, PER_EPOCH) for step in range(60)]
    expected = np.concatenate([np.full(10, 0.04), np.linspace(0.04, 0.07, 30), np.full(20, 0.07)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_a_warm_up_of_one_epoch_and_a_constant():
    assert by_epoch(Warmup(start=0.02, end=0.05, epochs=1), 3) == [0.02, 0.05, 0.05]
    assert by_epoch(0.04, 2) == [0.04, 0.04]


def test_momentum_weight_decay_and_learning_rate_are_dinos(golden):
    """facebookresearch/dino@7c446df5b9f4:utils.py cosine_scheduler: the ramps that the page recommends."""
    arrays = golden("dino_schedules")
    momentum, decay = Ramp(start=0.996, end=1.0), Ramp(start=0.04, end=0.4)
    for name, ramp in (("momentum", momentum), ("weight_decay", decay)):
        np.testing.assert_allclose([ramp.at(i, 70) for i in range(70)], arrays[name], rtol=0, atol=1e-12)
    schedule = LearningRateSchedule(warmup_epochs=3, warmup_peak="last", final=1e-6)
    rates = [schedule.at(i, 70, 7, 5e-4) for i in range(70)]
    np.testing.assert_allclose(rates, arrays["lr"], rtol=0, atol=1e-12)


def test_objectives_schedule_their_temperatures():
    warmup = Warmup(start=0.04, end=0.07, epochs=3)
    dino = DINO(prototypes=4, teacher_temperature=warmup).build(env())
    assert dino.schedules["temperature"](10) == pytest.approx(0.055)
    ibot = IBOT(prototypes=4, patch_temperature=warmup).build(env())
    assert {name: schedule(25) for name, schedule in ibot.schedules.items()} == {
        "temperature": 0.04,
        "patch_temperature": 0.07,
    }


@pytest.mark.parametrize("value", [0, -0.1, {"start": 0.04, "end": 0}, {"start": 0.04, "end": 0.07}])
def test_temperatures_are_above_zero_and_warm_ups_complete(value):
    with pytest.raises(SpecError, match="teacher_temperature"):
        DINO(teacher_temperature=value)

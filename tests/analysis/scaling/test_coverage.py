"""Over many simulated sweeps: intervals hold the truth, and the test for a break is calibrated."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.analysis.scaling.breaks import find_break
from sslkit.analysis.scaling.fit import fit_joint, fit_power_law
from sslkit.analysis.scaling.sigmoid import fit_sigmoid
from tests.analysis.scaling import planted

SIMULATIONS = 200
RESAMPLES = 200


def covers(estimate, truth):
    return estimate.low <= truth <= estimate.high


@pytest.mark.slow
def test_intervals_of_one_variable_hold_the_planted_law():
    """8 to 12 runs, noise of 1 and 2 %: at least 90 % of 200 simulations."""
    hits = []
    for seed in range(SIMULATIONS):
        x, y = planted.single(points=(8, 10, 12)[seed % 3], noise=(0.01, 0.02)[seed % 2], seed=seed)
        law = fit_power_law(x, y, resamples=RESAMPLES, seed=seed)
        truth = planted.E + planted.A * 1e9**-planted.ALPHA
        hits.append(
            [
                covers(law.exponent, planted.ALPHA),
                covers(law.coefficient, planted.A),
                covers(law.offset, planted.E),
                covers(law.predict(1e9).value, truth),
            ]
        )
    assert (np.mean(hits, axis=0) >= 0.9).all(), np.mean(hits, axis=0)
    assert np.mean(hits, axis=0)[0] <= 0.995, "no wider than they need to be"


@pytest.mark.slow
def test_intervals_of_the_joint_law_hold_the_planted_law():
    """Grids of 4 x 4 and 5 x 5, noise of 1 and 2 %: at least 90 % of 200 simulations."""
    hits = []
    split = planted.BETA / (planted.ALPHA + planted.BETA)
    ratio = planted.ALPHA * planted.A / (planted.BETA * planted.B)
    size = ratio ** (1 / (planted.ALPHA + planted.BETA)) * (1e15 / 6) ** split
    for seed in range(SIMULATIONS):
        side = (4, 5)[seed % 2]
        n, d, y = planted.grid(side, side, noise=(0.01, 0.02)[seed // 2 % 2], seed=seed)
        law = fit_joint(n, d, y, resamples=RESAMPLES, seed=seed)
        hits.append(
            [
                covers(law.alpha, planted.ALPHA),
                covers(law.beta, planted.BETA),
                covers(law.split, split),
                covers(law.optimum(1e15).parameters, size),
            ]
        )
    assert (np.mean(hits, axis=0) >= 0.9).all(), np.mean(hits, axis=0)


def test_intervals_hold_where_there_is_no_offset():
    """The truth lies on the bound of E there, where a bootstrap that kept the bound would be too narrow."""
    hits = []
    for seed in range(80):
        x, y = planted.single(points=12, noise=0.02, seed=seed, offset=0.0)
        hits.append(covers(fit_power_law(x, y, resamples=RESAMPLES, seed=seed).exponent, planted.ALPHA))
    assert np.mean(hits) >= 0.88


@pytest.mark.slow
def test_breaks_are_found_in_smooth_data_as_often_as_the_level_says():
    """p < 0.05 in 2 to 8 % of 300 smooth sweeps, with and without an offset."""
    p = []
    for seed in range(300):
        offset = (planted.E, 0.0)[seed % 2]
        x, y = planted.single(points=(10, 12)[seed // 2 % 2], noise=0.015, seed=seed, offset=offset)
        p.append(find_break(x, y, resamples=99, seed=seed).p)
    assert 0.02 <= np.mean(np.array(p) < 0.0500001) <= 0.08, np.mean(np.array(p) < 0.0500001)
    assert 0.35 <= np.median(p) <= 0.65


def test_a_planted_break_is_found():
    """A slope of -0.1 that becomes -0.35 half way, with noise of 1.5 %, in at least 90 % of 60 sweeps."""
    found, places = [], []
    for seed in range(60):
        x = np.geomspace(1e5, 3e7, 12)
        logs = np.log(x / 1e5)
        y = planted.noisy(np.exp(-0.1 * logs - 0.25 * np.maximum(logs - 2.85, 0)), 0.015, seed)
        broken = find_break(x, y, resamples=99, seed=seed)
        found.append(broken.found)
        places.append(np.log(broken.at / 1e5))
    assert np.mean(found) >= 0.9
    assert abs(np.median(places) - 2.85) < 0.3


def test_intervals_of_a_midpoint_hold_the_planted_one():
    hits, found = [], []
    for seed in range(60):
        x = np.geomspace(1e5, 3e7, 10)
        y = 0.1 + 0.7 / (1 + (x / 2e6) ** -2.5) + 0.02 * np.random.default_rng(seed).standard_normal(10)
        fit = fit_sigmoid(x, y, resamples=200, seed=seed)
        hits.append(covers(fit.midpoint, 2e6))
        found.append(fit.found)
    assert np.mean(hits) >= 0.88
    assert np.mean(found) == 1


def test_smooth_rises_are_seldom_taken_for_sigmoids():
    found = []
    for seed in range(60):
        x = np.geomspace(1e5, 3e7, 10)
        smooth = (0.1 * np.log(x / 1e4), 0.9 - 3 * x**-0.15)[seed % 2]
        y = smooth + 0.02 * np.random.default_rng(seed).standard_normal(10)
        found.append(fit_sigmoid(x, y, resamples=100, seed=seed).found)
    assert np.mean(found) <= 0.15

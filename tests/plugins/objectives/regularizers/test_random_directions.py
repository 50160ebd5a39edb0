"""Directions of sliced statistics: a function of seed, step and direction."""

from __future__ import annotations

import torch

from sslkit.train.compose import compose
from sslkit_objectives.regularizers.random_directions import RandomDirections
from tests import tiny
from tests.plugins.objectives.joint_embedding import parts


def at(step):
    return {"step": torch.tensor(float(step))}


def made(seed=0, width=5, count=400):
    torch.manual_seed(seed)
    return RandomDirections(width, count)


def test_they_are_normal_and_independent():
    directions = made()(at(0))
    assert directions.shape == (5, 400)
    assert directions.mean().abs() < 0.1
    torch.testing.assert_close(torch.cov(directions), torch.eye(5), rtol=0, atol=0.25)


def test_each_step_and_each_seed_has_its_own():
    first = made()
    assert torch.equal(first(at(7)), made()(at(7)))
    for other in (first(at(8)), made(1)(at(7))):
        assert not torch.isclose(other, first(at(7))).any(1).all()
        assert (other - first(at(7))).abs().mean() > 0.5


def test_steps_share_no_direction():
    """Also not shifted by some: rows of one step go on where those of the step before end."""
    directions = made(count=50)
    both = torch.cat([directions(at(0)), directions(at(1))], 1)
    apart = torch.cdist(both.mT, both.mT).fill_diagonal_(1.0)
    assert apart.min() > 1e-3


def test_a_state_brings_them_back():
    first, second = made(), made(1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(at(3)), first(at(3)))


def test_the_seed_of_the_run_decides():
    def origin(seed):
        run = parts.run_of({"kind": "lejepa", "projector": parts.HEAD, "directions": 4}, nets={}, seed=seed)
        return compose(run, tiny.CPU).system.objectives["lejepa"].directions.origin

    assert origin(0) == origin(0)
    assert origin(0) != origin(1)

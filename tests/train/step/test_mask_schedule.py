"""When maskers change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit.core.context import Length
from sslkit.core.masker import Masker, Scene
from sslkit.core.random_stream import Draw
from sslkit.train.step.mask_schedule import PROBES, masks_shapes, timeline


class Fixed(Masker):
    """Hides nothing; only its numbers matter."""

    def __init__(self, visible: int | None, most: int) -> None:
        super().__init__()
        self.visible, self.most = visible, most

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return torch.zeros(*draw.shape, 9, dtype=torch.bool)


class Switch(Fixed):
    """Another masker from each of `bounds` on."""

    def __init__(self, *bounds: float) -> None:
        super().__init__(1, 1)
        self.bounds = bounds
        self.each = [Fixed(i, 9 - i) for i in range(len(bounds) + 1)]

    def at(self, progress: float) -> Masker:
        return self.each[sum(progress >= bound for bound in self.bounds)]


@pytest.mark.parametrize("steps", [1, 2, 7, PROBES, 10 * PROBES + 1, 123_457])
def test_every_change_is_found_at_its_step(steps):
    masker = Switch(0.1234, 0.5, 0.50001, 0.9)
    expected = {}
    for step in range(steps):
        if step == 0 or masker.at(step / steps) is not masker.at((step - 1) / steps):
            expected[step] = {3: masker.at(step / steps)}
    assert timeline({3: masker}, Length(steps, 1)) == expected


def test_maskers_change_on_their_own():
    one, two = Switch(0.5), Switch(0.25, 0.5)
    line = timeline({0: one, 2: two}, Length(8, 1))
    assert {step: list(stage.values()) for step, stage in line.items()} == {
        0: [one.each[0], two.each[0]],
        2: [one.each[0], two.each[1]],
        4: [one.each[1], two.each[2]],
    }
    assert masks_shapes(line.values()) == 3


def test_a_run_without_masks_is_one_stage():
    assert timeline({}, Length(5, 1)) == {0: {}}
    assert masks_shapes([{}]) == 1


def test_only_counts_make_shapes():
    stages = [
        {0: Fixed(None, 9)},
        {0: Fixed(None, 9)},
        {0: Fixed(None, 8)},
        {0: Fixed(1, 8)},
        {0: Fixed(1, 8)},
    ]
    assert masks_shapes(stages) == 3

"""A masker for each image."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from sslkit import (
    BernoulliMasker,
    BlockMasker,
    GridMasker,
    InverseBlockMasker,
    MixtureMasker,
    RandomMasker,
    UnitMasker,
)
from sslkit.core.masker import Masker, Scene
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.specs.families import MaskerSpec
from sslkit_maskers.unguided.mixture import MixtureSampler
from tests import tiny
from tests.masks import UNSEEN, on

VIT = Grid(14, 14, 16)


class First(Masker):
    """Hides the first `most` patches of 4."""

    def __init__(self, most: int) -> None:
        self.visible: int | None = 4 - most
        self.most = most

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        draw.uniform(2)
        return (torch.arange(4) < self.most).expand(*draw.shape, 4)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (3.0, 1.0, 4.0), (0.2, 0.7, 0.1)])
def test_maskers_are_chosen_by_their_weights(weights: tuple[float, ...]) -> None:
    hidden = MixtureSampler([First(1), First(2), First(3)], weights).sample(
        Draw(0, torch.arange(6000)), UNSEEN
    )
    counts = torch.bincount(hidden.sum(-1), minlength=4)[1:].numpy()
    expected = [6000 * weight / sum(weights) for weight in weights]
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_every_mask_is_one_of_a_member() -> None:
    specs = (RandomMasker(), BlockMasker(), GridMasker(jitter=False))
    draw = Draw(3, torch.arange(200))
    draw.uniform()  # the toss
    members = torch.stack([spec.build(*on(VIT)).sample(draw, UNSEEN) for spec in specs])
    hidden = MixtureMasker(maskers=specs).build(*on(VIT)).sample(Draw(3, torch.arange(200)), UNSEEN)
    chosen = (members == hidden).all(-1)
    assert (chosen.sum(0) == 1).all()
    assert (chosen.sum(1) > 40).all(), "equally often, unless weights say otherwise"


@pytest.mark.parametrize(
    ("maskers", "visible", "most"),
    [
        ((RandomMasker(), GridMasker()), 49, 147),
        ((RandomMasker(), InverseBlockMasker(ratio=0.75), GridMasker()), 49, 147),
        ((RandomMasker(), RandomMasker(ratio=0.5)), None, 147),
        ((UnitMasker(), BernoulliMasker()), None, 196),
        ((BlockMasker(), BlockMasker(ratio=0.5)), None, 98),
        ((BlockMasker(),), None, 75),
    ],
)
def test_the_visible_count_is_fixed_only_if_all_agree(
    maskers: tuple[MaskerSpec, ...], visible: int | None, most: int
) -> None:
    masker = MixtureMasker(maskers=maskers).build(*on(VIT))
    assert (masker.visible, masker.most) == (visible, most)


def test_mixtures_may_hold_mixtures_in_yaml_too() -> None:
    inner = MixtureMasker(maskers=(GridMasker(), RandomMasker()), weights=(1, 2))
    outer = MixtureMasker(maskers=(inner, RandomMasker(ratio=0.5)))
    assert MixtureMasker.model_validate(outer.model_dump(mode="json")) == outer
    assert hash(outer) == hash(outer.model_copy(deep=True))
    assert outer.build(*on(VIT)).most == 147


def test_an_error_names_the_member() -> None:
    with pytest.raises(
        SpecError, match=r"^maskers\.1: unit 32 does not divide the image of 112 x 112 pixels"
    ):
        MixtureMasker(maskers=(RandomMasker(), UnitMasker())).build(*on(Grid(7, 7, 16)))


def test_weights_belong_to_maskers() -> None:
    masker = {"kind": "mixture", "maskers": [{"kind": "random"}, {"kind": "grid"}], "weights": [1, 2, 3]}
    with pytest.raises(SpecError, match=r"masker\.weights: there are 3 for 2 maskers; give one for each"):
        tiny.spec(objective={"kind": "mae", "masker": masker})
    with pytest.raises(SpecError, match=r"weights\.1: must be"):
        MixtureMasker(maskers=(RandomMasker(), GridMasker()), weights=(1, 0))
    with pytest.raises(SpecError, match="maskers"):
        MixtureMasker(maskers=())

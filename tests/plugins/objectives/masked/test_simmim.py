"""SimMIM against microsoft/SimMIM@d3e29bcac950:models/simmim.py SimMIM.forward."""

from __future__ import annotations

from typing import final

import pytest
import torch
from torch import nn

from sslkit import HOG, Pixel, RandomMasker, SimMIM, UnitMasker, ViT
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import Masker, make_mask
from sslkit.core.passes import Request, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.functional.patches import patchify, pixel_shuffle_order, unpatchify
from sslkit.specs.load import parse
from tests import tiny
from tests.masks import UNSEEN

VIEW = View(32, 1, 3, (0.0,) * 3, (1.0,) * 3)
ENV = Env({"global": VIEW}, {"student": NetInfo(32, 2)}, {"global": Grid(4, 4, 8)})
RATIO = RandomMasker(ratio=0.5)


@final
class Given(Masker):
    """A mask of any counts, as the reference receives it."""

    visible = None

    def __init__(self, mask):
        super().__init__()
        self.hidden = mask.bool().flatten(1)[None]
        self.most = self.hidden.shape[-1]

    def sample(self, draw, scene):
        return self.hidden


@final
class Fixed(nn.Module):
    """A decoder that says what it was told."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def forward(self, tokens, mask=None):
        return self.said if mask is None else mask.pick(self.said)


def mask_of(mask):
    return make_mask(Given(mask), Draw(0, torch.arange(len(mask))[None]), UNSEEN)


def tokens(images, mask, patch=None):
    """What an encoder would answer; `patch` `[B, N, D]`."""
    patch = images.new_zeros(len(images), 16, 32) if patch is None else patch
    return Tokens(images[None], patch.mean(1)[None], patch[None], mask_of(mask), ())


def build(**fields):
    return SimMIM(masker=RATIO, **fields).build(ENV).double()


def loss_of(images, predicted, mask):
    objective = build()
    objective.decoder = Fixed(patchify(predicted[None], 8))
    return objective({}, tokens(images, mask)).loss


def shrink(mask):
    """What the reference's 1e-5 beside the count of masked pixels makes of a mean."""
    pixels = mask.sum().double() * 8 * 8
    return pixels / (pixels + 1e-5)


def test_the_loss_equals_the_reference(golden):
    """Batch-wide: images hide different numbers of patches, one hides none."""
    arrays = golden("simmim_loss")
    assert arrays["mask"].sum((1, 2)).unique().numel() > 2
    assert arrays["mask"][3].sum() == 0
    loss = loss_of(arrays["imgs"], arrays["pred"], arrays["mask"])
    assert abs(loss * shrink(arrays["mask"]) - arrays["loss"]) < 1e-14
    assert loss.item() == pytest.approx(arrays["loss"].item(), rel=1e-7)


def test_the_mean_over_images_would_be_another_number(golden):
    arrays = golden("simmim_loss")
    mask, objective = mask_of(arrays["mask"]), build()
    picked = mask.pick(patchify(arrays["pred"][None], 8)), mask.pick(patchify(arrays["imgs"][None], 8))
    scores = objective.target.score(*picked)
    assert abs(mask.mean(scores) - arrays["loss"]) > 0.05 * arrays["loss"]
    assert torch.equal(objective.reduce(mask, scores), mask.batch_mean(scores))


def test_the_gradient_equals_the_reference(golden):
    arrays = golden("simmim_loss")
    predicted = arrays["pred"].clone().requires_grad_()
    loss_of(arrays["imgs"], predicted, arrays["mask"]).backward()
    found = predicted.grad * shrink(arrays["mask"])
    assert torch.allclose(found, arrays["grad_pred"], rtol=0, atol=1e-15)


def test_nothing_masked_is_a_loss_of_zero(golden):
    arrays = golden("simmim_loss")
    nothing = torch.zeros_like(arrays["mask"])
    assert loss_of(arrays["imgs"], arrays["pred"], nothing) == arrays["loss_zero_mask"] == 0


def load_head(objective, arrays):
    """The reference's 1 x 1 convolution before PixelShuffle, as the linear layer."""
    order = pixel_shuffle_order(8, 3)
    weight = arrays["sd.decoder.0.weight"].flatten(1)[order]
    state = {"linear.weight": weight, "linear.bias": arrays["sd.decoder.0.bias"][order]}
    objective.decoder.load_state_dict(state, strict=True)


def test_the_head_makes_the_images_of_the_reference(golden):
    arrays, objective = golden("simmim_forward_tiny"), build()
    load_head(objective, arrays)
    seen = tokens(arrays["imgs"], arrays["mask"], arrays["z"].flatten(2).transpose(1, 2))
    images = unpatchify(objective.decoder(seen), 8, rows=4)[0]
    assert torch.allclose(images, arrays["rec"], atol=1e-13)
    loss = objective({}, seen).loss * shrink(arrays["mask"])
    assert abs(loss - arrays["loss"]) < 1e-14


def test_gradients_of_the_head_equal_the_reference(golden):
    arrays, objective = golden("simmim_forward_tiny"), build()
    load_head(objective, arrays)
    seen = tokens(arrays["imgs"], arrays["mask"], arrays["z"].flatten(2).transpose(1, 2))
    objective({}, seen).loss.backward()
    order, head = pixel_shuffle_order(8, 3), objective.decoder.linear
    expected = arrays["grad.decoder.0.weight"].flatten(1)[order]
    assert torch.allclose(head.weight.grad, expected, rtol=1e-6, atol=1e-12)
    assert torch.allclose(head.bias.grad, arrays["grad.decoder.0.bias"][order], rtol=1e-6, atol=1e-12)


def test_the_encoder_sees_mask_tokens_with_positions_and_never_hidden_pixels():
    backbone = ViT(name="vit_tiny_patch16_224", patch=8, width=32, depth=2, heads=4).build(VIEW)
    objective = SimMIM(masker=RATIO).build(ENV)
    backbone.serve(objective.passes)
    mask = mask_of(torch.randint(0, 2, (4, 4, 4)))
    images = torch.randn(1, 4, 3, 32, 32)
    hidden = objective._pixels(mask.hidden, images)
    changed = torch.where(hidden, torch.randn_like(images), images)
    first, second = (backbone([Request(x, mask, "token", ())])[0] for x in (images, changed))
    assert objective.passes[0].mode == "token"
    assert first.patch.shape == (1, 4, 16, 32)
    assert torch.equal(first.patch, second.patch)
    assert not torch.allclose(first.patch[mask.hidden][0], first.patch[mask.hidden][1])


def test_the_mask_token_is_decayed_as_in_the_reference_and_trained():
    run = parse(tiny.fields(objective={"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}}))
    composed, untrained = tiny.steps(run, 3)[0], tiny.steps(run, 0)[0]
    token, before = (c.system.nets["student"].mask_token for c in (composed, untrained))
    decayed = {id(p) for g in composed.step.optimizer.param_groups if g["decay"] for p in g["params"]}
    assert token.shape == (1, 1, 16)
    assert id(token) in decayed
    assert (token != before).all()


def test_defaults_are_those_of_the_reference():
    spec = SimMIM()
    assert spec.target == Pixel(loss="l1")
    assert spec.masker == UnitMasker(ratio=0.6, unit=32)


def test_pictures_of_pixels_fill_the_gaps(golden):
    arrays, objective = golden("simmim_forward_tiny"), build()
    load_head(objective, arrays)
    seen = tokens(arrays["imgs"], arrays["mask"], arrays["z"].flatten(2).transpose(1, 2))
    pictures = objective.pictures(seen)["reconstruction"]
    assert pictures.columns == ("input", "masked", "reconstruction")
    hidden = objective._pixels(seen.mask.hidden, seen.image)[0]
    filled = torch.where(hidden, arrays["rec"], arrays["imgs"])
    assert torch.allclose(pictures.images[:, 2], filled, atol=1e-13)


def test_pictures_of_one_size_where_a_target_draws_larger(golden):
    arrays, objective = golden("simmim_forward_tiny"), build(target=HOG(cell=4))
    seen = tokens(arrays["imgs"], arrays["mask"])
    images = objective.pictures(seen)["reconstruction"].images
    assert images.shape == (4, 4, 3, 64, 64)
    assert torch.equal(images[:, 0, :, ::2, ::2], arrays["imgs"])
    assert torch.equal(images[:, 0, :, 1::2, 1::2], arrays["imgs"])
    goal, prediction = images[:, 2], images[:, 3]
    changed = (goal != prediction).any(1).unflatten(1, (4, 16)).unflatten(3, (4, 16)).any(4).any(2)
    assert torch.equal(changed, seen.mask.hidden[0].unflatten(1, (4, 4)))


def test_pictures_of_other_targets_stand_side_by_side(golden):
    arrays, objective = golden("simmim_forward_tiny"), build(target=HOG())
    seen = tokens(arrays["imgs"], arrays["mask"])
    pictures = objective.pictures(seen)["reconstruction"]
    assert pictures.columns == ("input", "masked", "target", "prediction")
    assert pictures.images.shape == (4, 4, 3, 32, 32)
    hidden = objective._pixels(seen.mask.hidden, seen.image)[0].expand(-1, 3, -1, -1)
    _, _, goal, prediction = pictures.images.unbind(1)
    assert torch.equal(goal, objective.target.goal_image(objective.target(seen), seen)[0])
    assert torch.equal(goal[~hidden], prediction[~hidden])
    assert not torch.equal(goal[hidden], prediction[hidden])


def test_an_unknown_view_is_named():
    with pytest.raises(SpecError, match=r"view: 'local' is not a view of this run\. Did you mean 'global'\?"):
        parse(tiny.fields(objective={"kind": "simmim", "view": "local"}))

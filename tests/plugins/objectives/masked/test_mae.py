"""MAE against facebookresearch/mae@efb2a8062c20:models_mae.py MaskedAutoencoderViT.forward."""

from __future__ import annotations

import pytest
import torch

from sslkit import MAE, RandomMasker
from sslkit.core.passes import Request
from sslkit.errors import SpecError
from tests import mae_reference as reference

CASES = [("raw", False), ("norm", True)]


@pytest.mark.parametrize(("case", "normalized"), CASES)
def test_loss_equals_the_reference(golden, case, normalized):
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, normalized)
    loss = objective({}, reference.encode(backbone, arrays)).loss
    assert abs(loss.item() - arrays[f"loss_{case}"].item()) < 1e-10


@pytest.mark.parametrize(("case", "normalized"), CASES)
def test_float32_loss_equals_the_reference(golden, case, normalized):
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, normalized, torch.float32)
    loss = objective({}, reference.encode(backbone, arrays, torch.float32)).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(arrays[f"loss_{case}"].item(), rel=1e-5)


@pytest.mark.parametrize(("case", "normalized"), CASES)
def test_gradients_equal_the_reference(golden, case, normalized):
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, normalized)
    objective({}, reference.encode(backbone, arrays)).loss.backward()
    encoder, decoder = reference.split(reference.weights(arrays, f"grad_{case}."))
    ours = {n: p.grad for n, p in backbone.net.named_parameters() if p.requires_grad}
    ours_decoder = {n: p.grad for n, p in objective.decoder.named_parameters()}
    assert ours.keys() == encoder.keys()
    assert ours_decoder.keys() == decoder.keys()
    for found, expected in ((ours, encoder), (ours_decoder, decoder)):
        for name, gradient in found.items():
            assert torch.allclose(gradient, expected[name], atol=1e-12, rtol=1e-10), name


def test_prediction_and_latent_equal_the_reference(golden):
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, True)
    tokens = reference.encode(backbone, arrays)
    assert torch.allclose(objective.decoder(tokens)[0], arrays["pred"], atol=1e-12)
    assert torch.allclose(tokens.cls[0], arrays["latent"][:, 0], atol=1e-12)
    # The reference keeps visible tokens in the order of their noise, sslkit in that of the image.
    order = arrays["ids_restore"].argsort(1)[:, :4].argsort(1).argsort(1)
    ours = tokens.patch[0].gather(1, order[..., None].expand(-1, -1, 32))
    assert torch.allclose(ours, arrays["latent"][:, 1:], atol=1e-12)


def test_normalized_target_equals_the_reference(golden):
    """(x - mean) / sqrt(unbiased variance + 1e-6)."""
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, True)
    goal = objective.target(reference.encode(backbone, arrays))
    assert torch.allclose(goal[0], arrays["target_norm"], atol=1e-12)


def test_only_hidden_patches_count(golden):
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, False)
    tokens = reference.encode(backbone, arrays)
    before = objective({}, tokens).loss
    visible = ~reference.mask_of(arrays).hidden.unflatten(-1, (4, 4))
    pixels = visible.repeat_interleave(8, -1).repeat_interleave(8, -2)[:, :, None]
    changed = tokens._replace(image=tokens.image + 100 * pixels)
    assert torch.allclose(objective({}, changed).loss, before, atol=1e-12)


def test_pictures_fill_in_hidden_patches_only(golden):
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, True)
    tokens = reference.encode(backbone, arrays)
    pictures = objective.pictures(tokens)["reconstruction"]
    assert pictures.columns == ("input", "masked", "reconstruction")
    assert pictures.images.shape == (4, 3, 3, 32, 32)
    hidden = (
        arrays["mask"].bool().unflatten(-1, (4, 4)).repeat_interleave(8, -1).repeat_interleave(8, -2)[:, None]
    )
    hidden = hidden.expand(-1, 3, -1, -1)
    given, masked, filled = pictures.images.unbind(1)
    assert torch.equal(given, arrays["imgs"])
    assert (masked[hidden] == 0).all()
    assert torch.equal(filled[~hidden], given[~hidden])
    assert not torch.equal(filled[hidden], given[hidden])


def test_pictures_put_back_the_scale_of_normalized_pixels(golden):
    """A perfect prediction of normalized pixels draws the image itself."""
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, True)
    tokens = reference.encode(backbone, arrays)
    drawn = objective.target.to_image(objective.target(tokens), tokens)
    assert torch.allclose(drawn, tokens.image, atol=1e-12)


def test_equal_maskers_make_equal_requests():
    one = MAE(masker=RandomMasker(ratio=0.5), decoder={"depth": 1, "width": 16, "heads": 2}).build(
        reference.ENV
    )
    two = MAE(masker=RandomMasker(ratio=0.5), decoder={"depth": 0, "width": 8, "heads": 2}).build(
        reference.ENV
    )
    assert one.passes == two.passes
    assert hash(one.passes[0]) == hash(two.passes[0])


def test_an_unknown_view_is_named():
    with pytest.raises(SpecError, match=r"view 'local' is not a view of this run\. Known: global"):
        MAE(view="local").build(reference.ENV)


def test_bfloat16_tokens_give_a_float32_loss(golden):
    arrays = golden("mae_forward_tiny")
    backbone, objective = reference.build(arrays, True, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = backbone([Request(arrays["imgs"].float()[None], reference.mask_of(arrays), "drop", ())])[0]
        loss = objective({}, tokens).loss
    assert tokens.patch.dtype in (torch.bfloat16, torch.float32)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(arrays["loss_norm"].item(), rel=0.02)

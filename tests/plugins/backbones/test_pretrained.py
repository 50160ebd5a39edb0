"""`pretrained: true` of `vit`: timm's weights by its own loader, here from a local file in the place of a download."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from sslkit import ViT
from sslkit.core.passes import Request
from sslkit.errors import CheckpointError
from tests.plugins.backbones.public_layouts import notes_of, view

NAME = "test_vit"


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """timm's network with a classifier, whose file timm takes for its pretrained weights."""
    torch.manual_seed(0)
    net = timm.create_model(NAME, num_classes=5, img_size=48).eval()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    create, overlay = timm.create_model, {"file": str(tmp_path / "net.safetensors"), "num_classes": 5}
    monkeypatch.setattr(
        timm, "create_model", lambda name, **fields: create(name, pretrained_cfg_overlay=overlay, **fields)
    )
    return net


def test_tokens_are_timms(theirs):
    net = ViT(name=NAME, positions="learned", pretrained=True).build(view(48)).eval()
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs.forward_features(images)
        x = answer_to(net, images)
    torch.testing.assert_close(x, expected[:, 1:])
    assert "pretrained" not in net.export().arguments
    assert f"weights: timm's `{NAME}.r160_in1k`, under timm's names: " in notes_of(net)
    assert "left out: head (2 arrays)" in notes_of(net)


def answer_to(net, images):
    (tokens,) = net([Request(images[None], None, "drop", ())])
    return tokens.patch[0]


def test_sizes_and_channels_change_and_are_named(theirs):
    net = ViT(name=NAME, positions="learned", pretrained=True, patch=8).build(view(32, 1))
    assert "patch kernel from 16 x 16 to 8 x 8 pixels; patch_embed.proj from 3 to 1 channels" in notes_of(net)
    assert "positions from 3 x 3 to 4 x 4 patches" in notes_of(net)
    assert net.net.pos_embed.shape[1] == 17


def test_learned_positions_are_not_trained_as_fixed_ones(theirs):
    (problem,) = ViT(name=NAME, pretrained=True).build(view(48)).problems()
    assert problem.path == "positions"
    assert "set `positions: learned`" in problem.message


def test_weights_that_timm_lacks_or_of_another_width_are_an_error(theirs):
    with pytest.raises(
        CheckpointError, match=r"(?s)backbone\.pretrained: timm's `test_vit.*does not fit 'test_vit'"
    ):
        ViT(name=NAME, positions="learned", pretrained=True, width=32).build(view(48))


def test_a_name_without_weights_says_so():
    spec = ViT(
        name="vit_relpos_base_patch16_cls_224",
        positions="relative",
        pretrained=True,
        width=24,
        heads=2,
        depth=1,
    )
    with pytest.raises(CheckpointError, match=r"timm cannot load them: .*No pretrained weights exist"):
        spec.build(view(32))

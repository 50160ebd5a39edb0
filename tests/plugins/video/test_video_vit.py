"""The network on clips: joint and divided attention, clips of other sizes, weights of images."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from sslkit.core.passes import Encode, Request
from sslkit.errors import CheckpointError, SpecError
from sslkit.interfaces import to_float
from sslkit.plugin import Grid, View
from sslkit_video.specs.masks import Tube
from sslkit_video.specs.networks import VideoViT
from tests.near import error_of
from tests.plugins.video.clips_of_golden import VIEW, network

SIDES = (4, 8, 8)


def clips(count=3, sides=SIDES, seed=0):
    values = torch.randint(0, 256, (1, count, 3, *sides), generator=torch.Generator().manual_seed(seed))
    return to_float(values.to(torch.uint8)) * 2 - 1


def whole(net, images, layers=()):
    (tokens,) = net.eval()([Request(images, None, "drop", layers)])
    return tokens


@pytest.mark.parametrize("positions", ["sincos", "flat", "learned", "separable"])
@pytest.mark.parametrize("attention", ["joint", "divided"])
@pytest.mark.parametrize("class_token", [True, False])
def test_every_parameter_takes_a_gradient(positions, attention, class_token):
    net = network(torch.float32, positions=positions, attention=attention, class_token=class_token)
    tokens = whole(net, clips(), (-1,))
    assert tokens.patch.shape == (1, 3, 8, 12)
    assert tokens.layers[0].shape == (1, 3, 9, 12)
    (tokens.cls.square().sum() + tokens.patch.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("attention", ["joint", "divided"])
@pytest.mark.parametrize("positions", ["sincos", "flat", "learned", "separable"])
def test_clips_may_have_another_size(attention, positions):
    net = network(torch.float32, attention=attention, positions=positions)
    for sides in ((8, 8, 8), (4, 16, 8), (2, 4, 4)):
        tokens = whole(net, clips(sides=sides))
        assert tokens.patch.shape[2] == net.grid(sides).patches
    alone = whole(net, clips(sides=(2, 4, 4)))
    together = net([Request(clips(sides=s), None, "drop", ()) for s in ((4, 16, 8), (8, 8, 8), (2, 4, 4))])
    assert error_of(together[-1].patch, alone.patch) < 1e-5


def test_divided_attention_begins_with_what_moves():
    """Places see each other within a moment only after they saw themselves in others: one block reaches everywhere."""
    net = network(torch.float32, attention="divided").eval()
    first = clips(1)
    other = first.clone()
    other[..., 0, :4, :4] = 0  # the first frame of one place
    change = (whole(net, first).patch - whole(net, other).patch).abs().sum(-1)[0, 0]
    assert (change > 0).all()


def test_divided_attention_needs_every_token():
    net = network(torch.float32, attention="divided")
    with pytest.raises(SpecError, match="needs every token"):
        net.serve([Encode("global", mask=Tube(), mode="drop")])
    net.serve([Encode("global", mask=Tube(), mode="token")])
    assert net.mask_token is not None


def test_sizes_are_multiples():
    with pytest.raises(SpecError, match="5 frames cannot be cut in cubelets of 2"):
        VideoViT(patch=4).grid((5, 8, 8))
    assert VideoViT(patch=4).grid((6, 8, 12)) == Grid.of((3, 2, 3), (2, 4, 4))


def test_layers_are_numbered_from_the_stem():
    net = network(torch.float32, attention="divided")
    layers = {name: net.layer_of(name) for name, _ in net.named_parameters()}
    assert layers["patch_embed.proj.weight"] == 0
    assert {layer for name, layer in layers.items() if name.startswith("blocks.1.")} == {2}
    assert layers["norm.weight"] == 3


IMAGE = {"img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 0}
FIELDS = {"tubelet": 2, "patch": 4, "width": 12, "depth": 2, "heads": 2, "class_token": True}


@pytest.fixture
def weights(tmp_path):
    """A ViT of images as timm saves it, and its file."""
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", **IMAGE).eval()
    save_file(net.state_dict(), tmp_path / "image.safetensors")
    return net, tmp_path / "image.safetensors"


@pytest.mark.parametrize("inflate", ["mean", "center"])
def test_a_still_clip_of_one_moment_is_the_image(weights, inflate):
    """The class token stands where timm gives it a position, which clips have not; so it is taken along."""
    net, file = weights
    with torch.no_grad():
        net.pos_embed[:, :1] = 0
    save_file(net.state_dict(), file)
    view = View((2, 8, 8), 1, 3, (0.5,) * 3, (0.5,) * 3, type="clip", stream="video", axes=3)
    ours = VideoViT(**FIELDS, positions="learned", checkpoint=file, inflate=inflate).build(view)
    image = clips(2, (1, 8, 8))[0, :, :, 0]
    still = image[:, :, None].expand(-1, -1, 2, -1, -1)[None]
    expected = net.forward_features(image)
    tokens = whole(ours, still)
    assert error_of(tokens.patch[0], expected[:, 1:]) < 1e-5
    assert error_of(tokens.cls[0], expected[:, 0]) < 1e-5


def test_it_says_what_was_taken(weights):
    _, file = weights
    notes = VideoViT(**FIELDS, positions="separable", checkpoint=file).build(VIEW).notes()
    assert any("inflated to 2 frames, an equal share" in note for note in notes)
    assert any("repeated in every moment" in note for note in notes)
    notes = VideoViT(**FIELDS, checkpoint=file).build(VIEW).notes()
    assert any("left: those of the spec are fixed" in note for note in notes)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"depth": 3}, "no `blocks.2.norm1.weight`; set `depth`"),
        ({"width": 24}, "`patch_embed.proj.weight` is .12, 3, 4, 4., expected .24"),
        ({"patch": 8}, "expected .12, 3, 8, 8."),
        ({"mlp_ratio": 2.0}, "`mlp_ratio`"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights, fields, words):
    _, file = weights
    with pytest.raises(CheckpointError, match=words):
        VideoViT(**{**FIELDS, **fields}, checkpoint=file).build(VIEW)


def test_a_file_of_something_else_is_told(tmp_path):
    file = tmp_path / "no.safetensors"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        VideoViT(**FIELDS, checkpoint=file).build(VIEW)


def test_positions_of_another_grid_are_resampled(weights):
    _, file = weights
    view = View((4, 12, 16), 1, 3, (0.5,) * 3, (0.5,) * 3, type="clip", stream="video", axes=3)
    ours = VideoViT(**FIELDS, positions="separable", checkpoint=file).build(view)
    assert ours.positions.spatial.shape == (12, 12)
    assert ours.positions.spatial.abs().sum() > 0
    assert not ours.positions.temporal.any()

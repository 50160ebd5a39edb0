"""timm's convolutional networks behind the Backbone interface."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from sslkit import CNN, RandomMasker
from sslkit.core.passes import Encode, Request
from sslkit.core.view import Grid, View
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.export import usage
from sslkit.nn.batch_norm import BatchNorm
from sslkit.nn.frozen import frozen_copy
from sslkit.train.step.ema import set_modes
from sslkit_backbones.norm_layers import Activated, convert, plain_state
from tests import tiny
from tests.plugins.backbones.variants import random_mask, view

SMALL = "test_resnet"
NAMES = [SMALL, "test_efficientnet", "test_convnext", "test_byobnet", "mobilenetv3_small_050"]
BACKBONE = {"kind": "cnn", "name": SMALL, "stem": "cifar"}


def build(size=32, channels=3, **fields):
    torch.manual_seed(0)
    shown = View(size, 1, channels, (0.5,) * channels, (0.25,) * channels)
    net = CNN(**{"name": SMALL, **fields}).build(shown)
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, BatchNorm):  # values that a mix-up of modules would show
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def request(images, mask=None, layers=()):
    return Request(images, mask, "drop", layers)


def images(views=2, count=3, size=32, channels=3, seed=0):
    return torch.randn(views, count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def exported_again(net):
    """What a reader of the export makes."""
    exported = net.export()
    made = timm.create_model(exported.architecture, **exported.arguments)
    for statement in exported.changes:
        exec(statement, {"net": made, "torch": torch})
    made.load_state_dict(dict(exported.state))
    return made


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_the_last_feature_map_of_timm(name):
    """In evaluation mode, for every kind of batch norm module that timm has; and the pooled features of a ResNet."""
    net = build(64, name=name).eval()
    shown = images(size=64)
    (tokens,) = net([request(shown)])
    theirs = exported_again(net).eval()
    pooled = theirs(shown.flatten(0, 1))
    theirs.reset_classifier(0, "")
    expected = theirs(shown.flatten(0, 1))
    rows, cols = expected.shape[2:]
    assert net.grid(64) == Grid(rows, cols, 32)
    assert (net.dim, net.depth) == (expected.shape[1], 1)
    torch.testing.assert_close(tokens.patch.flatten(0, 1), expected.flatten(2).mT, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens.cls, tokens.patch.mean(2))
    if name == SMALL:
        torch.testing.assert_close(tokens.cls.flatten(0, 1), pooled, rtol=1e-4, atol=1e-5)


def test_every_batch_norm_is_replaced_and_computes_as_timms():
    """Training mode: outputs, gradients and statistics of timm's own modules, activations included."""
    torch.manual_seed(0)
    theirs = timm.create_model("test_efficientnet", num_classes=0)
    ours = copy.deepcopy(theirs)
    count = sum(isinstance(m, nn.BatchNorm2d) for m in theirs.modules())
    assert convert(ours, "sync", 1) == count
    assert not any(isinstance(m, nn.BatchNorm2d) for m in ours.modules())
    assert sum(isinstance(m, Activated) for m in ours.modules()) > 0
    for net in (theirs, ours):
        net(images(1, 4)[0]).square().mean().backward()
    state = plain_state(ours)
    assert state.keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(state[key], value, rtol=1e-5, atol=1e-6, msg=key)
    gradients = [[p.grad for p in net.parameters()] for net in (theirs, ours)]
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("apart", [True, False])
def test_images_are_read_channels_last(apart):
    """The order of memory in which convolutions are fast; weights keep theirs, which FSDP2 asks for."""
    net, maps = build(views_apart=apart), []
    net.net.register_forward_hook(lambda _, inputs, out: maps.append((inputs[0], out)))
    net([request(images())])
    assert len(maps) == (2 if apart else 1)
    for read, answered in maps:
        assert read.is_contiguous(memory_format=torch.channels_last)
        assert answered.is_contiguous(memory_format=torch.channels_last)
    assert all(p.is_contiguous() for p in net.parameters())


@pytest.mark.parametrize("stem", ["named", "cifar"])
def test_a_network_may_be_narrower(stem, tmp_path):
    """By timm's own arguments, which the export repeats."""
    arguments = {"channels": [16, 24, 32, 48], "stem_width": 8}
    net, path = build(name="resnet10t", stem=stem, arguments=arguments).eval(), tmp_path / "net.safetensors"
    assert net.dim == 48
    assert net.grid(32).patches == (1 if stem == "named" else 16)
    torch.testing.assert_close(exported_again(net).eval()(images()[0]), net([request(images())])[0].cls[0])
    save_file(dict(net.export().state), path)
    again = CNN(name="resnet10t", stem=stem, arguments=arguments, checkpoint=path).build(view(32))
    assert all(torch.equal(value, again.export().state[key]) for key, value in net.export().state.items())


@pytest.mark.parametrize("size", [32, 16])
def test_the_cifar_stem_keeps_small_images_large(size):
    """MoCo's CIFAR-10 notebook: `conv1` of 3 x 3, stride 1, no bias, and no pooling; all else is the ResNet's."""
    net = CNN(name="resnet18", stem="cifar").build(view(size))
    assert net.grid(size) == Grid(size // 8, size // 8, 8)
    assert net.dim == 512
    named = timm.create_model("resnet18", num_classes=0)
    shapes = {key: tuple(value.shape) for key, value in named.state_dict().items()}
    ours = {key: tuple(value.shape) for key, value in net.export().state.items()}
    assert ours.pop("conv1.weight") == (64, 3, 3, 3)
    assert shapes.pop("conv1.weight") == (64, 3, 7, 7)
    assert ours == shapes
    spread = net.net.conv1.weight.std().item()
    assert spread == pytest.approx(
        (2 / (64 * 9)) ** 0.5, rel=0.1
    )  # as timm draws convolutions: fan out, ReLU


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_any_number_of_channels(channels):
    net = build(channels=channels, stem="cifar").eval()
    (tokens,) = net([request(images(channels=channels))])
    assert tokens.patch.shape == (2, 3, 16, net.dim)
    torch.testing.assert_close(exported_again(net).eval()(images(channels=channels)[1]), tokens.cls[1])


@pytest.mark.parametrize("stem", ["named", "cifar"])
def test_the_printed_lines_load_an_export(stem, tmp_path):
    net, path = build(stem=stem).eval(), tmp_path / "backbone.safetensors"
    exported = net.export()
    save_file({k: v.contiguous() for k, v in exported.state.items()}, path)
    lines = usage(exported, path)
    assert lines.count("\n") == (0 if stem == "named" else 3)
    names = {"timm": timm, "torch": torch}
    exec(lines if stem == "cifar" else f"net = {lines}", names)
    (tokens,) = net([request(images())])
    torch.testing.assert_close(names["net"].eval()(images()[0]), tokens.cls[0])
    again = CNN(name=SMALL, stem=stem, checkpoint=path).build(view(32)).export().state
    assert all(torch.equal(value, again[key]) for key, value in exported.state.items())


def test_a_checkpoint_of_another_stem_does_not_fit(tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_file({k: v.contiguous() for k, v in build().export().state.items()}, path)
    with pytest.raises(CheckpointError, match=r"does not fit 'test_resnet'(.|\n)*conv1"):
        CNN(name=SMALL, stem="cifar", checkpoint=path).build(view(32))


def test_each_crop_has_its_own_statistics_by_default():
    """MoCo, BYOL, lightly: the views go through the network one after the other."""
    net, shown = build(), images(2, 4)
    shown[1] = 3 * shown[1] + 1
    alone = copy.deepcopy(net)
    (both,) = net([request(shown)])
    for crop in range(2):
        (one,) = alone([request(shown[crop : crop + 1])])
        torch.testing.assert_close(both.patch[crop], one.patch[0])
    for ours, theirs in zip(net.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_crops_of_a_view_may_share_statistics():
    """SimCLR `run.py`, SwAV, DINO: crops of one size are joined before the network."""
    net, shown = build(views_apart=False), images(2, 4)
    shown[1] = 3 * shown[1] + 1
    joined = copy.deepcopy(net)
    (both,) = net([request(shown)])
    (one,) = joined([request(shown.flatten(0, 1)[None])])
    torch.testing.assert_close(both.patch.flatten(0, 1), one.patch[0])
    (apart,) = build()([request(shown)])
    assert not torch.allclose(apart.patch, both.patch, atol=1e-2)
    assert int(net.net.bn1.num_batches_tracked) == 1


@pytest.mark.parametrize("apart", [True, False])
def test_views_never_share_statistics(apart):
    net = build(views_apart=apart)
    requests = [request(images(seed=1)), request(images(1, 2, 16, seed=2)), request(5 * images(seed=3))]
    together = copy.deepcopy(net)(requests)
    for asked, answer in zip(requests, together, strict=True):
        (alone,) = copy.deepcopy(net)([asked])
        torch.testing.assert_close(alone.patch, answer.patch)
        assert answer.image is asked.image


def test_split_batch_norm_is_mocos():
    """`SplitBatchNorm` of the CIFAR-10 notebook: each of n groups has its own statistics."""
    net, shown = build(batch_norm="split", splits=2), images(1, 8)
    norm = build()
    (answer,) = net([request(shown)])
    for group in range(2):
        (alone,) = copy.deepcopy(norm)([request(shown[:, group::2])])
        torch.testing.assert_close(answer.patch[:, group::2], alone.patch, rtol=1e-3, atol=1e-4)


def test_shuffled_groups_of_a_teacher_cross_the_students():
    net, shown = build(batch_norm="shuffled", splits=2), images(1, 8)
    teacher = frozen_copy(net)
    from sslkit.specs.nets import NetSpec

    set_modes({"student": net, "teacher": teacher}, {"teacher": NetSpec()})
    (own,), (keys,) = net([request(shown)]), teacher([request(shown)])
    assert not torch.allclose(own.patch, keys.patch, atol=1e-2)
    crossed = shown[:, [0, 1, 4, 5]]  # the teacher's first group
    (alone,) = build()([request(crossed)])
    torch.testing.assert_close(keys.patch[:, [0, 1, 4, 5]], alone.patch, rtol=1e-3, atol=1e-4)


def test_residual_branches_begin_at_zero_where_timm_or_the_spec_says_so():
    """timm's ResNets do (Goyal et al. 2017); torchvision's, which MoCo and lightly use, do not."""
    for given, expected in ((None, 0.0), (True, 0.0), (False, 1.0)):
        net = CNN(name="resnet18", stem="cifar", zero_init_last=given).build(view(32)).net
        assert net.layer1[0].bn2.weight.unique().tolist() == [expected]
        assert net.layer1[0].bn1.weight.unique().tolist() == [1.0]


def test_stochastic_depth_reaches_the_blocks():
    net = CNN(name="resnet18", drop_path=0.3).build(view(32)).net
    assert net.layer4[1].drop_path.drop_prob == pytest.approx(0.3)
    assert CNN(name="resnet18").build(view(32)).net.layer4[1].drop_path is None


def test_the_last_map_is_the_only_layer():
    net = build().eval()
    (tokens,) = net([request(images(), layers=(0, -1))])
    assert torch.equal(tokens.layers[0], tokens.layers[1])
    assert torch.equal(tokens.layers[0][:, :, 1:], tokens.patch)
    assert torch.equal(tokens.layers[0][:, :, 0], tokens.cls)
    with pytest.raises(SpecError, match="layer 1 does not exist: of a 'cnn' only the last feature map"):
        net([request(images(), layers=(1,))])


def test_masks_and_attention_are_refused():
    net = build()
    message = "'cnn' cannot hide patches; .* use a 'vit', or a 'swin' with 'simmim'"
    with pytest.raises(SpecError, match=message):
        net.serve([Encode("global", mask=RandomMasker(), mode="token")])
    with pytest.raises(SpecError, match=message):
        net([request(images(1, 2), random_mask(1, 2, 1, 1))])
    with pytest.raises(SpecError, match="'cnn' has no attention; use a 'vit'"):
        net([request(images())._replace(attention=True)])
    with pytest.raises(SpecError, match=message):
        tiny.steps(tiny.spec(backbone=BACKBONE), 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "resnet81"}, "timm .* has no model 'resnet81'. Did you mean 'resnet"),
        (
            {"name": "vit_tiny_patch16_224"},
            r"a VisionTransformer, which ends in \[.*\] and not in a feature map|timm|read",
        ),
        ({"name": "swin_tiny_patch4_window7_224"}, "cannot read images|is a SwinTransformer, which ends in"),
        ({"name": "test_convnext", "stem": "cifar"}, "is a ConvNeXt; the `cifar` stem is for ResNets"),
        (
            {"name": "test_convnext", "batch_norm": "local"},
            "'test_convnext' has no batch norm; leave this out",
        ),
        (
            {"name": "test_convnext", "zero_init_last": True},
            "timm cannot build 'test_convnext' with .*zero_init_last",
        ),
    ],
)
def test_networks_that_cannot_be_used_are_named(fields, message):
    with pytest.raises(SpecError, match=message):
        CNN(**fields).build(view(32))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"splits": 4}, "is 4 where `batch_norm` is 'sync'; give more than 1 with `split`"),
        ({"batch_norm": "split"}, "is 1 where `batch_norm` is 'split'"),
        ({"batch_norm": "split", "splits": 5}, "5 with 'split' needs batches of a multiple of 5, found 32"),
        (
            {"batch_norm": "shuffled", "splits": 8},
            "8 with 'shuffled' needs batches of a multiple of 64, found 32",
        ),
        ({"checkpoint": "missing.pt"}, "no file missing.pt"),
    ],
)
def test_specs_that_disagree_are_told_before_anything_is_built(fields, message):
    with pytest.raises(SpecError, match=message):
        tiny.spec(backbone={**BACKBONE, **fields})


def test_it_compiles_in_one_graph_with_its_statistics():
    net = build(stem="cifar")
    eager = copy.deepcopy(net)

    def total(large, small):
        return sum(a.patch.square().mean() for a in net([request(large), request(small)]))

    shown = images(2, 2, 8), images(1, 2, 4)
    torch._dynamo.reset()
    compiled = torch.compile(total, fullgraph=True, dynamic=False, backend="eager")(*shown)
    expected = sum(a.patch.square().mean() for a in eager([request(x) for x in shown]))
    torch.testing.assert_close(compiled, expected)
    for ours, theirs in zip(net.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch._dynamo.reset()

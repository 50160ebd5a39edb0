"""Any network as a backbone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit.core.passes import Request
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.nn.wrapped_network import Layout, Wrapped

VIEW = View(8, 2, 3, (0.0,) * 3, (1.0,) * 3)


def request(layers=(), attention=False, mask=None):
    image = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Request(image, mask, "drop", layers, attention)


class Tokens(nn.Module):
    """`[B, P + 4, 5]` from the four quarters of an image."""

    def __init__(self, prefix):
        super().__init__()
        torch.manual_seed(1)
        self.prefix, self.embed = prefix, nn.Conv2d(3, 5, 4, 4)

    def forward(self, images):
        patch = self.embed(images).flatten(2).mT
        return torch.cat([torch.full((len(images), self.prefix, 5), 7.0), patch], 1)


class Speechless(nn.Module):
    """Refuses every image without a reason."""

    def forward(self, images):
        raise AssertionError


@pytest.mark.parametrize("channels_last", [False, True])
def test_maps(channels_last):
    torch.manual_seed(0)
    net = nn.Conv2d(3, 6, 2, 2)

    def forward(conv, images):
        return conv(images).permute(0, 2, 3, 1) if channels_last else conv(images)

    wrapped = Wrapped(net, VIEW, forward, Layout(channels_last=channels_last))
    (tokens,) = wrapped([request()])
    images = request().image.flatten(0, 1)
    if not channels_last:  # maps with channels first are computed in the other order of memory
        images = images.contiguous(memory_format=torch.channels_last)
    expected = net(images).flatten(2).mT.unflatten(0, (2, 4))
    assert torch.equal(tokens.patch, expected)
    torch.testing.assert_close(tokens.cls, expected.mean(2))
    assert (wrapped.dim, wrapped.depth, wrapped.grid(8)) == (6, 1, Grid(4, 4, 2))
    assert wrapped.grid(16) == Grid(8, 8, 2)


def test_vectors():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 9))
    (tokens,) = Wrapped(net, VIEW)([request()])
    expected = net(request().image.flatten(0, 1)).unflatten(0, (2, 4))
    assert torch.equal(tokens.cls, expected)
    assert torch.equal(tokens.patch, expected[:, :, None])
    assert Wrapped(net, VIEW).grid(8) == Grid(1, 1, 8)


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_tokens(prefix):
    net = Tokens(prefix)
    wrapped = Wrapped(net, VIEW, layout=Layout(prefix))
    (tokens,) = wrapped([request()])
    assert tokens.patch.shape == (2, 4, 4, 5)
    expected = torch.full((2, 4, 5), 7.0) if prefix else tokens.patch.mean(2)
    torch.testing.assert_close(tokens.cls, expected)
    assert wrapped.grid(8) == Grid(2, 2, 4)


def test_registers_only():
    """Tokens before the patches of which none is a class token are left out."""
    (tokens,) = Wrapped(Tokens(3), VIEW, layout=Layout(3, has_class=False))([request()])
    assert tokens.patch.shape == (2, 4, 4, 5)
    torch.testing.assert_close(tokens.cls, tokens.patch.mean(2))


@pytest.mark.parametrize(
    ("side", "stride", "expected"), [(2, None, 4), (3, 3, 3), (4, 2, 2), (2, 5, 5), (3, 5, 2)]
)
def test_a_stride_is_believed_where_it_can_give_the_map(side, stride, expected):
    """8 pixels in steps of 3, rounded up, are 3 places; of 5, only 2."""
    net = nn.AdaptiveAvgPool2d(side)
    assert Wrapped(net, VIEW, layout=Layout(stride=stride)).grid(8) == Grid(side, side, expected)


def test_a_function_pools_and_its_parameters_are_trained():
    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.unused = nn.Conv2d(3, 5, 4, 4), nn.LayerNorm(5), nn.Linear(5, 2)

        def forward(self, images):
            return self.conv(images)

    net = Headed()
    wrapped = Wrapped(net, VIEW, pool=lambda module, out: module.norm(out.mean((2, 3))))
    (tokens,) = wrapped([request()])
    torch.testing.assert_close(tokens.cls, net.norm(tokens.patch.mean(2)))
    wrapped.serve([])
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"conv.weight", "conv.bias", "norm.weight", "norm.bias"}
    assert wrapped.notes() == (
        "2 parameters of the Headed take no part in its features and are not trained, as unused.weight, unused.bias",
    )
    assert all(p.grad is None for p in net.parameters())


def test_the_last_features_are_a_layer_too():
    wrapped = Wrapped(Tokens(1), VIEW, layout=Layout(1))
    (tokens,) = wrapped([request(layers=(0, -1))])
    for layer in tokens.layers:
        assert torch.equal(layer, torch.cat([tokens.cls[:, :, None], tokens.patch], 2))
    with pytest.raises(SpecError, match=r"^of a Tokens only the last features can be read: layer 0 or -1$"):
        wrapped([request(layers=(1,))])


def test_what_it_cannot_do_is_said():
    wrapped = Wrapped(Tokens(1), VIEW)
    with pytest.raises(SpecError, match=r"^a Tokens does not tell its attention; use a `vit`$"):
        wrapped([request(attention=True)])
    with pytest.raises(SpecError, match=r"^a Tokens reads whole images, without masks; use a `vit`$"):
        wrapped([request(mask=object())])
    with pytest.raises(SpecError, match=r"^a Tokens of your own has no timm name to export it by$"):
        wrapped.export()
    with pytest.raises(
        SpecError,
        match=r"^a Tokens gives 5 tokens, which are no square of patches; where the first are class or .*`prefix=1`$",
    ):
        wrapped.grid(8)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Conv2d(4, 2, 1), r"^a Conv2d cannot read images \[1, 3, 8, 8\]: "),
        (
            nn.Sequential(nn.Flatten(0)),
            r"^a Sequential gives \[192\] for one image; expected features \[1, D\]",
        ),
        (
            Speechless(),
            r"^a Speechless cannot read .*: AssertionError in test_wrapped_network.py, line \d+: `raise Assert",
        ),
        (nn.LSTM(8, 2), r"^a LSTM cannot read images|^a LSTM gives tuple"),
    ],
)
def test_networks_that_give_no_features(net, message):
    with pytest.raises(SpecError, match=message):
        Wrapped(net, VIEW)


def test_trying_leaves_the_network_as_it_was():
    """Modes and batch statistics stay."""
    net = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    net[1].eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    wrapped = Wrapped(net, VIEW)
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert wrapped.dim == 4

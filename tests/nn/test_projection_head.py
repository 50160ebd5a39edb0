"""Heads of joint embeddings against the layers that the references write out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit.nn.batch_norm import BatchNorm
from sslkit.nn.projection_head import ProjectionHead
from sslkit.specs.load import parse
from sslkit.specs.projection_head import Projection
from tests import tiny

REFERENCES = {
    "simclr": (
        Projection(out_norm="scale", out=4),
        [nn.Linear(6, 6, False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6, False), nn.BatchNorm1d(6), nn.ReLU(),
         nn.Linear(6, 4, False), nn.BatchNorm1d(4)],
    ),
    "moco_v2": (
        Projection(layers=2, norm=False, bias=True, out_bias=True, out=4),
        [nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4)],
    ),
    "moco_cifar": (Projection(layers=1, out_bias=True, out=4), [nn.Linear(6, 4)]),
    "moco_v3": (
        Projection(hidden=8, out=4, out_norm="plain"),
        [nn.Linear(6, 8, False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8, False), nn.BatchNorm1d(8), nn.ReLU(),
         nn.Linear(8, 4, False), nn.BatchNorm1d(4, affine=False)],
    ),
    "byol": (
        Projection(layers=2, hidden=8, out=4, bias=True),
        [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4, False)],
    ),
    "lightly": (
        Projection(layers=2, out=4, out_norm="affine"),
        [nn.Linear(6, 6, False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4, False), nn.BatchNorm1d(4)],
    ),
}  # fmt: skip
"""Method -> its head's spec, and its layers as the reference builds them, for features of 6."""


@pytest.mark.parametrize("method", REFERENCES)
def test_it_is_the_head_of(method):
    """Equal parameter names and shapes, and with equal parameters equal outputs and gradients."""
    spec, layers = REFERENCES[method]
    torch.manual_seed(1)
    ours, theirs = ProjectionHead(spec, 6), nn.Sequential(*layers)
    own = dict(ours.layers.named_parameters())
    missing = {"7.bias"} if method == "simclr" else set()  # without shift, which starts at 0
    assert {n: p.shape for n, p in theirs.named_parameters() if n not in missing} == {
        n: p.shape for n, p in own.items()
    }
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(theirs.get_parameter(name))
    x = torch.randn(12, 6)
    found, expected = ours(x), theirs(x)
    torch.testing.assert_close(found, expected)
    for out, net in ((found, ours.layers), (expected, theirs)):
        out.pow(3).sum().backward()
        assert all(p.grad is not None for p in net.parameters())
    for name, parameter in own.items():
        torch.testing.assert_close(
            parameter.grad, theirs.get_parameter(name).grad, rtol=1e-4, atol=1e-4, msg=name
        )


def test_crops_share_statistics_unless_they_are_passed_in_turn():
    """SimCLR's views are one batch; BYOL's and MoCo's are two."""
    head = ProjectionHead(Projection(layers=1, out=4, out_norm="plain"), 6)
    features = torch.stack([torch.randn(32, 6), torch.randn(32, 6) + 5])
    joint, own = head(features), head.per_crop(features)
    assert joint.shape == own.shape == (2, 32, 4)
    assert joint.flatten(0, 1).mean(0).abs().max() < 1e-5 < joint[0].mean(0).abs().max()
    assert own.mean(1).abs().max() < 1e-5


def test_the_spec_reaches_every_norm():
    head = ProjectionHead(Projection(out_norm="affine", batch_norm="split", splits=2), 6)
    norms = [m for m in head.modules() if isinstance(m, BatchNorm)]
    assert [(m.mode, m.splits) for m in norms] == [("split", 2)] * 3


@pytest.mark.parametrize("bias", [True, False])
def test_simclr_starts_small(bias):
    head = ProjectionHead(Projection(init="normal", hidden=200, bias=bias, out_bias=bias), 100)
    linears = [m for m in head.modules() if isinstance(m, nn.Linear)]
    assert all(linear.weight.std().item() == pytest.approx(0.01, rel=0.05) for linear in linears)
    assert all((linear.bias is not None) == bias for linear in linears)
    assert not bias or not any(linear.bias.any() for linear in linears)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_norm": "split"}, "give more than 1"),
        ({"splits": 4}, "leave it out"),
        ({"batch_norm": "shuffled", "splits": 2, "out_norm": "plain"}, "scale or shift"),
    ],
)
def test_what_does_not_fit_is_named(fields, message):
    run = parse(tiny.fields())
    assert any(message in problem.message for problem in Projection(**fields).problems(run))
    assert not list(Projection(batch_norm="shuffled", splits=2, out_norm="scale").problems(run))

"""Tokens by name, and the comparison of two networks by them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit.core.passes import Request
from sslkit.errors import CheckpointError
from sslkit.evaluate.exports.named_tokens import NamedTokens, difference, last_tokens, require_equal
from tests.evaluate.exports.networks import KINDS, MEAN, STD, model, near


def tokens_of(opened, images, layers=()):
    with torch.no_grad():
        return opened.net([Request(images[None], None, "drop", layers)])[0]


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_readouts_comes_first(kind, pool):
    opened = model(kind, pool)
    images = opened.images(2)
    outputs, tokens = NamedTokens(opened)(images), tokens_of(opened, images)
    first = {"cls": ("class_token", tokens.cls[0]), "mean": ("mean_token", tokens.patch[0].mean(1))}[pool]
    assert next(iter(outputs)) == first[0]
    assert torch.equal(outputs[first[0]], first[1])
    assert torch.equal(outputs["patch_tokens"], tokens.patch[0])
    assert set(outputs) == {"class_token", "mean_token", "patch_tokens"}


def test_tokens_are_those_of_the_block_that_is_read():
    opened = model("vit", "mean", layer=0)
    images = opened.images(2)
    inner = tokens_of(opened, images, (0,)).layers[0][0]
    outputs = NamedTokens(opened)(images)
    assert torch.equal(outputs["class_token"], inner[:, 0])
    assert torch.equal(outputs["mean_token"], inner[:, 1:].mean(1))
    assert torch.equal(outputs["patch_tokens"], inner[:, 1:])
    assert not near(last_tokens(opened)(images)["class_token"], outputs["class_token"])


def test_a_head_makes_features_of_what_is_read():
    head = nn.Linear(16, 3).requires_grad_(False)
    opened = model("vit", "mean")._replace(head=head)
    outputs = NamedTokens(opened)(opened.images(2))
    assert NamedTokens(opened).names == ("features", "mean_token", "class_token", "patch_tokens")
    assert list(outputs) == list(NamedTokens(opened).names)
    assert torch.equal(outputs["features"], head(outputs["mean_token"]))
    assert "features" not in last_tokens(opened)(opened.images(2))


def test_statistics_are_applied_inside_where_that_is_asked_for():
    opened = model("vit")
    pixels = torch.rand(2, 3, 16, 16)
    normalized = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    inside = NamedTokens(opened, normalize=True)(pixels)
    outside = NamedTokens(opened)(normalized)
    assert all(near(inside[name], outside[name]) for name in outside)
    assert not near(inside["class_token"], NamedTokens(opened)(pixels)["class_token"])


def test_images_are_the_same_in_every_call():
    opened = model("vit")
    assert torch.equal(opened.images(3), opened.images(3))
    assert opened.images(1).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.tensor([2.0, -4.0]), 0.0),
        (torch.tensor([2.0, -3.0]), 0.25),
        (torch.tensor([float("nan"), -4.0]), float("inf")),
        (torch.tensor([2.0]), float("inf")),
    ],
)
def test_differences_are_relative_to_the_largest_value(actual, expected):
    assert difference(torch.tensor([2.0, -4.0]), actual, "net") == expected


def test_a_difference_to_nothing_is_what_it_is():
    assert difference(torch.zeros(2), torch.tensor([0.0, 0.5]), "net") == 0.5


@pytest.mark.parametrize("factor", [1.0, 1 + 4e-6, 1.001])
def test_the_largest_difference_of_all_batches_counts(factor):
    opened = model("vit")
    ours = last_tokens(opened)

    def scaled(images):
        return {"class_token": ours(images)["class_token"] * (factor if len(images) == 1 else 1.0)}

    if factor > 1.0005:
        with pytest.raises(
            CheckpointError, match=r"vit: .* by 1\.0e-03 of the largest value \(allowed: 1e-05\)"
        ):
            require_equal(ours, scaled, opened)
    else:
        assert abs(require_equal(ours, scaled, opened) - (factor - 1)) < 1e-6

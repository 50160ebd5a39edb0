"""Any timm network as it is."""

from __future__ import annotations

import pytest
import timm
import torch

from sslkit import Timm
from sslkit.core.env import Grid, View
from sslkit.core.passes import Request
from sslkit.errors import SpecError


def view(size=32):
    return View(size, 1, 3, (0.5,) * 3, (0.5,) * 3)


def read(net, images):
    with torch.no_grad():
        return net.eval()([Request(images[None], None, "drop", ())])[0]


@pytest.mark.parametrize(
    ("name", "arguments", "grid", "prefix"),
    [
        ("test_resnet", {}, Grid(1, 1, 32), 0),
        ("test_convnext", {}, Grid(1, 1, 32), 0),
        ("test_vit", {"img_size": 32}, Grid(2, 2, 16), 1),
        ("test_mambaout", {}, Grid(1, 1, 32), 0),
    ],
)
def test_features_are_timms(name, arguments, grid, prefix):
    """Maps with channels first or last, and tokens: the same numbers as `forward_features`."""
    torch.manual_seed(0)
    net = Timm(name=name, arguments=arguments).build(view())
    images = torch.randn(2, 3, 32, 32)
    tokens = read(net, images)
    with torch.no_grad():
        expected = net.module.forward_features(images)
    if expected.ndim == 4:
        expected = expected.flatten(1, 2) if expected.shape[-1] == net.dim else expected.flatten(2).mT
    assert torch.equal(tokens.patch[0], expected[:, prefix:])
    cls = expected[:, 0] if prefix else expected.mean(1)
    torch.testing.assert_close(tokens.cls[0], cls)
    assert net.grid(32) == grid
    assert net.grid(32).patches == tokens.patch.shape[2]


def test_weights_of_a_file(tmp_path):
    torch.manual_seed(1)
    theirs = timm.create_model("test_resnet", num_classes=0).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    net = Timm(name="test_resnet", checkpoint=tmp_path / "weights.pt").build(view())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(read(net, images).cls[0], theirs(images))


def test_it_is_exported_as_timm_makes_it():
    torch.manual_seed(2)
    net = Timm(name="test_vit", arguments={"img_size": 32}).build(view())
    exported = net.export()
    again = timm.create_model(exported.architecture, **exported.arguments).eval()
    again.load_state_dict(exported.state)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.forward_features(images)[:, 0], read(net, images).cls[0])


def test_names_and_arguments_that_timm_does_not_know():
    with pytest.raises(SpecError, match=r"has no model 'test_resne'\. Did you mean .*'test_resnet'"):
        Timm(name="test_resne").build(view())
    with pytest.raises(SpecError, match=r"timm cannot build 'test_resnet' with .*nonsense"):
        Timm(name="test_resnet", arguments={"nonsense": 1}).build(view())


def test_images_of_another_size_are_refused():
    with pytest.raises(SpecError, match=r"a VisionTransformer cannot read images \[1, 3, 8, 8\]"):
        Timm(name="test_vit").build(view(8))

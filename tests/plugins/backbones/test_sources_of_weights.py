"""Where weights and architectures may come from: timm's own names, and files that hold weights alone."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import torch

from sslkit import CNN, Swin, Timm, ViT
from sslkit.core.passes import Request
from sslkit.core.view import View
from sslkit.errors import CheckpointError, SpecError
from sslkit_backbones.specs.timm_names import SOURCES

VIEW = View(32, 1, 3, (0.5,) * 3, (0.5,) * 3)


class Mark:
    """Pickled, it stands for code: it is called when a reader of pickles takes any object."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("cls", [Timm, CNN, ViT, Swin])
@pytest.mark.parametrize(
    "name", ["hf-hub:someone/net", "hf_hub:someone/net", "local-dir:/tmp/net", "someone/net", "..\\net"]
)
def test_a_name_is_one_of_timm_and_no_place(cls, name):
    with pytest.raises(SpecError, match=re.escape(f"{cls.__name__}.name: is no network of timm")):
        cls(name=name)


@pytest.mark.parametrize("argument", SOURCES)
def test_arguments_name_no_weights(argument):
    with pytest.raises(SpecError, match=f"Timm.arguments: '{argument}' is not for `arguments`: "):
        Timm(name="test_resnet", arguments={argument: "weights.pth"})
    assert Timm(name="test_vit", arguments={"img_size": 64}).arguments == {"img_size": 64}


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_weights_beside_objects_are_refused_with_what_can_be_done(tmp_path, suffix):
    """timm advises `weights_only=False`, which is no field here."""
    net = Timm(name="test_resnet").build(VIEW).module
    path, mark = tmp_path / f"net{suffix}", tmp_path / "mark"
    torch.save({"state_dict": net.state_dict(), "config": Mark(mark)}, path)
    with pytest.raises(CheckpointError) as caught:
        Timm(name="test_resnet", checkpoint=path).build(VIEW)
    message = str(caught.value)
    assert f"{path} holds Python objects beside its weights" in message
    assert "retry" not in message
    assert not mark.exists()
    statement = re.search(r"`torch\.save\((.*), '(.*)'\)`", message)
    assert statement
    assert statement[1] == "torch.load(FILE, weights_only=False)['state_dict']"
    torch.save(torch.load(path, weights_only=False)["state_dict"], tmp_path / statement[2])
    assert mark.exists(), "the advice runs what the file holds, which is why it asks for trust"
    Timm(name="test_resnet", checkpoint=tmp_path / statement[2]).build(VIEW)


def test_the_settings_of_a_training_script_are_no_objects(tmp_path):
    """timm's own checkpoints hold them, as a plain namespace."""
    net = Timm(name="test_resnet").build(VIEW).module
    torch.save({"state_dict": net.state_dict(), "args": argparse.Namespace(lr=0.1)}, tmp_path / "net.pth")
    read = Timm(name="test_resnet", checkpoint=tmp_path / "net.pth").build(VIEW).module.state_dict()
    assert all(torch.equal(read[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@pytest.mark.parametrize(
    ("cls", "fields", "kernel"),
    [
        (ViT, {"name": "test_vit", "positions": "learned"}, "patch_embed.proj.weight"),
        (Swin, {}, "patch_embed.proj.weight"),
        (CNN, {"name": "resnet18"}, "conv1.weight"),
        (Timm, {"name": "test_convnext"}, "stem.0.weight"),
    ],
)
def test_weights_of_three_channels_are_read_by_any_number(tmp_path, cls, fields, kernel, channels):
    """As timm reads its own: summed for one channel, else repeated and scaled by 3 / C."""
    path, bands = tmp_path / "net.pth", View(32, 1, channels, (0.5,) * channels, (0.5,) * channels)
    trained = cls.example().model_copy(update=fields).build(VIEW)
    weights = dict((trained.module if cls is Timm else trained.net).state_dict())
    torch.save(weights, path)
    read = cls.example().model_copy(update={**fields, "checkpoint": path}).build(bands)
    loaded = dict((read.module if cls is Timm else read.net).state_dict())
    three = weights.pop(kernel)
    expected = three[:, [i % 3 for i in range(channels)]] * (3 / channels)
    if channels == 1:
        expected = three.sum(1, keepdim=True)
    torch.testing.assert_close(loaded.pop(kernel), expected)
    assert all(torch.equal(loaded[name], value) for name, value in weights.items() if name in loaded)
    image = torch.rand(1, 2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    gray, bands_alike = image.expand(-1, -1, 3, -1, -1), image.expand(-1, -1, channels, -1, -1)
    with torch.no_grad():
        one, other = (
            net.eval()([Request(x, None, "drop", ())])[0] for net, x in ((trained, gray), (read, bands_alike))
        )
    if channels == 1:  # the same answer to an image that has one channel, or three alike
        torch.testing.assert_close(one.patch, other.patch, rtol=1e-3, atol=1e-4)


def test_weights_of_other_channels_than_three_are_refused(tmp_path):
    four = View(32, 1, 4, (0.5,) * 4, (0.5,) * 4)
    torch.save(Timm(name="test_resnet").build(four).module.state_dict(), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"backbone\.checkpoint: .*does not fit"):
        Timm(name="test_resnet", checkpoint=tmp_path / "net.pth").build(VIEW)

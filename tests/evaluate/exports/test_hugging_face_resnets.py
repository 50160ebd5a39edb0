"""ResNets for transformers, and back."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sslkit import CNN, Readout
from sslkit.core.view import View
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.exports.hugging_face_folder import fill_hugging_face
from sslkit.evaluate.exports.opened_model import OpenedModel
from tests.evaluate.exports.networks import MEAN, STD, expected, near

transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")

NARROW = {"channels": [8, 16, 24, 32]}
VIEW = View(64, 1, 3, MEAN, STD)


def opened_as(name="resnet18", pool="cls", arguments=NARROW, **fields):
    """With statistics of batch norm that are not those of the beginning."""
    torch.manual_seed(0)
    net = CNN(name=name, arguments=arguments, **fields).build(VIEW)
    for module in net.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
            module.num_batches_tracked.fill_(7)
    return OpenedModel(name, net.eval().requires_grad_(False), VIEW, Readout(pool=pool), None)


def filled(opened, folder):
    folder.mkdir(exist_ok=True)
    with torch.no_grad():
        return fill_hugging_face(opened, folder, folder)


@pytest.mark.parametrize("fields", [{}, {"batch_norm": "split", "splits": 2}])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_transformers_gives_the_same_map_and_its_mean(tmp_path, name, fields):
    opened = opened_as(name, **fields)
    reading = filled(opened, tmp_path / "net")
    net = transformers.AutoModel.from_pretrained(tmp_path / "net").eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        output = net(pixel_values=images)
    ours = expected(opened, images)
    assert type(net).__name__ == "ResNetModel"
    assert reading.deviation < 1e-5
    assert near(output.pooler_output.flatten(1), ours["class_token"])
    assert near(output.last_hidden_state.flatten(2).mT, ours["patch_tokens"])


def test_counts_of_batches_stay_counts(tmp_path):
    filled(opened_as(), tmp_path / "net")
    counts = {
        k: v for k, v in load_file(tmp_path / "net" / "model.safetensors").items() if k.endswith("tracked")
    }
    assert counts
    assert all(value.dtype == torch.int64 and value.item() == 7 for value in counts.values())


def test_transformers_draws_nothing(tmp_path):
    filled(opened_as("resnet50"), tmp_path / "net")
    _, info = transformers.AutoModel.from_pretrained(tmp_path / "net", output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_the_lines_that_are_told_give_a_vector(tmp_path, pool):
    reading = filled(opened_as(pool=pool), tmp_path / "net")
    names = {"image": Image.new("RGB", (80, 90), (10, 200, 30))}
    exec(reading.usage, names)
    assert names["features"].shape == (1, 32)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_run_begins_with_such_a_folder(tmp_path, name):
    """The way in is the same table."""
    opened = opened_as(name)
    filled(opened, tmp_path / "net")
    again = CNN(name=name, arguments=NARROW, checkpoint=tmp_path / "net").build(VIEW).eval()
    images = torch.randn(2, 3, 64, 64)
    assert "under Hugging Face's (ResNet) names" in "\n".join(again.notes())
    assert near(
        expected(opened._replace(net=again), images)["patch_tokens"], expected(opened, images)["patch_tokens"]
    )


def test_what_transformers_saves_is_read(tmp_path):
    """`save_pretrained` of its own model, whose names may be others in memory."""
    sizes = {
        "embedding_size": 64,
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [2, 2, 2, 2],
        "layer_type": "basic",
    }
    torch.manual_seed(0)
    public = transformers.AutoModel.from_config(transformers.ResNetConfig(**sizes)).eval()
    public.save_pretrained(tmp_path)
    net = CNN(name="resnet18", arguments=NARROW, checkpoint=tmp_path).build(VIEW).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs = public(pixel_values=images).pooler_output.flatten(1)
    assert near(theirs, expected(OpenedModel("net", net, VIEW, Readout(), None), images)["class_token"])


def test_a_folder_of_another_depth_is_refused_by_names(tmp_path):
    filled(opened_as("resnet50"), tmp_path / "net")
    with pytest.raises(
        CheckpointError, match=r"under Hugging Face's \(ResNet\) names, does not fit 'resnet18'"
    ):
        CNN(name="resnet18", arguments=NARROW, checkpoint=tmp_path / "net").build(VIEW)


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("resnet10t", {}, "its stem has several convolutions"),
        ("convnext_atto", {}, "it is a ConvNeXt of timm"),
        ("seresnet18", NARROW, r"'resnet' has no place for layer1\.0\.se\.fc1\.weight"),
        ("resnext50_32x4d", {}, r"'resnet' has no place for layer1\.0\.conv1\.weight"),
    ],
)
def test_networks_of_other_parts_are_refused(tmp_path, name, arguments, reason):
    with pytest.raises(SpecError, match=f"^{name}: transformers.*{reason}; `--to timm` writes"):
        filled(opened_as(name, arguments=arguments), tmp_path / "net")

"""Which network `embed` opens, and how it is read: nets, heads and pools of runs, exported files, timm's settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm

from sslkit import embed, load_backbone, load_embeddings
from sslkit.errors import SpecError
from sslkit.evaluate.embeddings.embedding_network import channels_of, network_of
from sslkit.evaluate.export import export
from sslkit.runs.weights import weights_sha256
from sslkit.specs.embedding import EmbeddingSpec
from sslkit.train.launch import train
from sslkit_sources.specs.images import Digits
from tests import tiny
from tests.train.test_trainer import silent

HEAD = {
    "objective": {"kind": "simclr", "projector": {"layers": 2, "hidden": 12, "out": 6}},
    "views": {"global": {**tiny.VIEW, "crops": 2}},
    "readout": {"head": "simclr.projector", "crop": 0.75},
}
AVERAGE = {"nets": {"ema": {"momentum": 0.5}}, "readout": {"net": "ema", "pool": "mean", "batch_size": 100}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run whose readout has a head, and one that reads an average. Tests must not change them."""
    root = tmp_path_factory.mktemp("runs")
    for name, fields in (("head", HEAD), ("average", AVERAGE)):
        train(tiny.spec(root / name, steps=1, **fields), silent)
    return root


def opened(what, channels=1, **options):
    data = Digits()
    source = data.build("test")
    source.channels = channels
    return network_of(EmbeddingSpec(what=str(what), out=Path("e.npy"), **options), source, data)


def taken(run, out, **options):
    return load_embeddings(embed(run, out=out, split="test", workers=0, device="cpu", **options).path)


def test_embeddings_go_through_the_head_of_the_readout(runs, tmp_path):
    there = taken(runs / "head", tmp_path / "e.npy")
    assert there.about.shape == (6,)
    assert len(there.about.head_sha256) == 64
    assert there.about.crop == 0.75


def test_patch_tokens_pass_no_head(runs, tmp_path):
    there = taken(runs / "head", tmp_path / "e.npy", tokens="patch")
    assert there.about.shape == (4, 16)
    assert there.about.head_sha256 is None


def test_the_net_and_the_pool_are_those_of_the_readout(runs, tmp_path):
    there = taken(runs / "average", tmp_path / "e.npy")
    assert (there.about.net, there.about.tokens, there.about.batch_size) == ("ema", "mean", 100)
    assert there.about.weights_sha256 == weights_sha256(load_backbone(runs / "average"))
    same = taken(runs / "average", tmp_path / "same.npy", tokens="mean")
    assert np.array_equal(there.values, same.values)
    other = taken(runs / "average", tmp_path / "other.npy", tokens="class")
    assert not np.array_equal(there.values, other.values)


def test_an_exported_file_is_read_as_its_run(runs, tmp_path):
    export(runs / "average", tmp_path / "net.safetensors")
    network = opened(tmp_path / "net.safetensors")
    assert (network.spec.readout.pool, network.spec.readout.batch_size) == ("mean", 100)
    assert network.view.size == 8
    assert opened(tmp_path / "net.safetensors", size=16).view.size == 16
    with pytest.raises(
        SpecError, match=r"checkpoint: is one of a run, and .*net\.safetensors is a file; leave it out"
    ):
        opened(tmp_path / "net.safetensors", checkpoint="best")
    assert channels_of(EmbeddingSpec(what=str(tmp_path / "net.safetensors"), out="e.npy")) == 1


def test_channels_are_known_before_images_are(runs):
    assert channels_of(EmbeddingSpec(what=str(runs / "head"), out="e.npy")) == 1
    assert channels_of(EmbeddingSpec(what="timm:test_vit", out="e.npy")) is None
    with pytest.raises(SpecError, match="no such run folder or exported file"):
        channels_of(EmbeddingSpec(what="nowhere", out="e.npy"))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_settings_are_those_of_timm(name):
    settings = timm.get_pretrained_cfg(name)
    network = opened(f"timm:{name}", checkpoint="none")
    assert network.view.size == (settings.test_input_size or settings.input_size)[-1]
    assert network.view.mean == (sum(settings.mean) / 3,), "one channel has the mean of the three"
    assert network.spec.readout.crop == (settings.test_crop_pct or settings.crop_pct)
    assert opened(f"timm:{name}", checkpoint="none", size=64).view.size == 64


def test_random_weights_are_those_of_the_seed():
    digests = [
        weights_sha256(opened("timm:test_vit", checkpoint="none", seed=seed).net) for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_weights_of_a_file(tmp_path):
    import torch

    torch.manual_seed(5)
    net = timm.create_model("test_vit", in_chans=1, num_classes=0)
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    network = opened("timm:test_vit", checkpoint=str(tmp_path / "weights.pt"))
    state = network.net.state_dict()
    for name, value in net.state_dict().items():
        assert torch.equal(state[f"module.{name}"], value), name

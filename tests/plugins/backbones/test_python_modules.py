"""Modules of Python as backbones of a run."""

from __future__ import annotations

import copy
import gc
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTModel

from sslkit import PythonModule, Run, load_backbone
from sslkit.cli.main import main
from sslkit.core.passes import Request
from sslkit.core.view import View
from sslkit.errors import Interrupted, SpecError
from sslkit.interfaces import Backbone, Exported, Tokens, patchify
from sslkit.nn.batch_norm import BatchNorm
from sslkit.nn.wrapped_network import Wrapped
from sslkit.plugin import Grid
from sslkit_backbones.python_network import described, function_described, weights_digest
from tests.tiny import DECODER, fields
from tests.train.test_trainer import stop_at

VIEW = View(8, 1, 1, (0.0,), (1.0,))
TWO = {
    "size": 8,
    "crops": 2,
    "augment": [{"kind": "random_resized_crop"}],
    "normalize": {"mean": [0.3], "std": [0.4]},
}


class Map(nn.Module):
    """`[B, 6, 2, 2]`, with batch norm and a classifier that is not read."""

    def __init__(self, seed: int = 0, width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(1, width, 4, 4), nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.stem(images)
        return features

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.classifier(self.stem(images).mean((2, 3)))
        return answer


class Sequence(nn.Module):
    """`[B, P + 4, 5]`."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.prefix = nn.Conv2d(1, 5, 4, 4), prefix

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patch = self.embed(images).flatten(2).mT
        return torch.cat([patch[:, :1].expand(-1, self.prefix, -1), patch], 1)


class Masked(Backbone):
    """A backbone of its own that leaves hidden patches out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.dim, self.depth, self.embed = 8, 1, nn.Linear(16, 8)

    def grid(self, size: int) -> Grid:
        return Grid(size // 4, size // 4, 4)

    def forward(self, requests: list[Request]) -> list[Tokens]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Tokens:
        patches = patchify(request.image, 4)
        if request.mask is not None:
            patches = patches.gather(2, request.mask.keep[..., None].expand(-1, -1, -1, patches.shape[-1]))
        tokens = self.embed(patches)
        cls = tokens.mean(2)
        return request.answer(
            cls, tokens, tuple(torch.cat([cls[:, :, None], tokens], 2) for _ in request.layers)
        )

    def export(self) -> Exported:
        raise SpecError("not a network of timm")


def run(backbone: object, out: Path | None = None, objective: str = "simclr", **changes: object) -> Run:
    base = fields(out, views={"global": TWO}, objective={"kind": objective}, **changes)
    return Run(**{**base, "backbone": backbone})


def request(size: int = 8) -> Request:
    return Request(
        torch.rand(1, 4, 1, size, size, generator=torch.Generator().manual_seed(0)), None, "drop", ()
    )


@pytest.mark.parametrize(
    ("spec", "dim", "patches"),
    [
        (lambda: PythonModule(network=Map()), 6, 4),
        (lambda: PythonModule(network=Sequence(0)), 5, 4),
        (lambda: PythonModule(network=Sequence(1), prefix=1), 5, 4),
        (lambda: PythonModule(network=Sequence(3), prefix=3, has_class=False), 5, 4),
        (lambda: PythonModule(network=Map(), forward=Map.logits), 3, 1),
        (lambda: PythonModule(network=Map(), forward=lambda net, images: net.stem[0](images)), 6, 4),
        (lambda: PythonModule(network=nn.Sequential(nn.Flatten(), nn.Linear(64, 7))), 7, 1),
        (
            lambda: PythonModule(
                network=Map(), forward=lambda net, images: net(images).permute(0, 2, 3, 1), channels_last=True
            ),
            6,
            4,
        ),
    ],
    ids=["map", "tokens", "class token", "registers", "method", "function", "vector", "channels last"],
)
def test_what_a_network_may_give(spec, dim, patches):
    net = spec().build(VIEW)
    (tokens,) = net([request()])
    assert tokens.cls.shape == (1, 4, dim)
    assert tokens.patch.shape == (1, 4, patches, dim)
    assert net.dim == dim


def test_answers_of_transformers_are_read():
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        num_channels=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = ViTModel(config, add_pooling_layer=False).eval()
    (tokens,) = PythonModule(network=model, prefix=1).build(VIEW).eval()([request()])
    expected = model(request().image[0]).last_hidden_state
    torch.testing.assert_close(tokens.cls[0], expected[:, 0])
    torch.testing.assert_close(tokens.patch[0], expected[:, 1:])
    with pytest.raises(
        SpecError, match=r"gives 5 tokens, which are no square of patches; .*say how many: `prefix=1`"
    ):
        PythonModule(network=model).build(VIEW).grid(8)


def test_the_module_that_was_handed_over_stays_as_it_is(tmp_path):
    network = Map()
    before, training = copy.deepcopy(network.state_dict()), network.training
    result = run(network, tmp_path).fit()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training is training
    assert isinstance(network.stem[1], nn.BatchNorm2d)
    trained = result.backbone.module
    assert isinstance(trained, Map)
    assert not torch.equal(trained.stem[0].weight, network.stem[0].weight)


def test_the_run_begins_with_the_weights_of_the_module():
    network = Map(seed=7)
    net = PythonModule(network=network).build(VIEW)
    assert isinstance(net, Wrapped)
    assert torch.equal(net.module.stem[0].weight, network.stem[0].weight)
    assert net.module.stem[0].weight is not network.stem[0].weight
    assert isinstance(net.module.stem[1], BatchNorm)


def test_frozen_parameters_stay_frozen():
    network = Map()
    network.stem[0].requires_grad_(False)
    net = PythonModule(network=network).build(VIEW)
    assert not net.module.stem[0].weight.requires_grad
    assert net.module.stem[1].weight.requires_grad


@pytest.mark.parametrize("objective", ["simclr", "byol", "vicreg"])
def test_objectives_without_masks_train_it(tmp_path, objective):
    nets = {"teacher": {"momentum": 0.9}} if objective == "byol" else {}
    result = run(Map(), tmp_path, objective, nets=nets, evaluate=[{"kind": "knn", "k": 5}], steps=2).fit()
    assert result.summary["finished"]
    assert result.metrics["eval/knn/accuracy"] > 0


@pytest.mark.parametrize("objective", ["mae", "simmim"])
def test_objectives_that_hide_patches_are_refused_by_name(objective):
    with pytest.raises(
        SpecError,
        match=rf"^backbone.network: a Map reads whole images, and objective \({objective}\) hides patches from the "
        r"network: use an objective without a masker \(simclr, .*\), a 'vit', or a `Backbone` of sslkit.interfaces",
    ):
        run(Map(), objective=objective)


def test_a_backbone_reads_masks(tmp_path):
    base = fields(
        tmp_path, objective={"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": DECODER}
    )
    network = Masked()
    result = Run(**{**base, "backbone": network}).fit()
    assert isinstance(result.backbone, Masked)
    assert result.backbone is not network


def test_a_frozen_teacher_may_be_a_module(tmp_path):
    vit = {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 4, "width": 16, "depth": 1, "heads": 2}
    nets = {"teacher": {"backbone": PythonModule(network=Map())}}
    base = fields(tmp_path, objective={"kind": "distill", "net": "teacher"}, nets=nets, steps=2)
    assert Run(**{**base, "backbone": vit}).fit().summary["finished"]


def test_a_stopped_run_goes_on_with_a_module_alike(tmp_path, monkeypatch):
    whole = run(Map(), tmp_path / "whole").fit().summary["weights_sha256"]
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            run(Map(), tmp_path / "cut").fit()
    gc.collect()
    assert main(["resume", str(tmp_path / "cut")]) == 2
    with pytest.raises(
        SpecError, match=r"its backbone differs\).*continue that run with `Run\(...\).resume\(\)`"
    ):
        run(Map(seed=1), tmp_path / "cut").fit()
    with pytest.raises(SpecError, match="is an object of Python, Map"):
        run(Map(width=8), tmp_path / "cut").resume()
    assert run(Map(seed=1), tmp_path / "cut").resume().summary["weights_sha256"] == whole


def test_the_network_of_a_run_needs_the_module(tmp_path, capsys):
    mine = run(Map(), tmp_path)
    mine.fit()
    assert load_backbone(tmp_path).dim == 6
    del mine
    gc.collect()
    with pytest.raises(SpecError, match=r"backbone.network: is an object of Python, Map .*go on in Python"):
        load_backbone(tmp_path)
    again = PythonModule(network=Map(seed=5))
    assert load_backbone(tmp_path).dim == 6
    assert again.network.value is not None
    capsys.readouterr()


def test_a_module_that_changes_after_the_run_was_described_is_told(tmp_path):
    network = Map()
    mine = run(network, tmp_path)
    with torch.no_grad():
        network.stem[0].weight.add_(1)
    with pytest.raises(
        SpecError, match=r"the weights of Map have changed since the run was described; make `Run"
    ):
        mine.fit()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Map, "PythonModule.network: a type is no torch.nn.Module; give an instance of one"),
        (SimpleNamespace(a=1), "PythonModule.network: a SimpleNamespace is no torch.nn.Module"),
        ("resnet50", "is missing|must be a mapping|found 'resnet50'"),
    ],
)
def test_what_is_no_module(network, message):
    with pytest.raises(SpecError, match=message):
        run(network)


def test_networks_that_give_no_features_are_told(tmp_path):
    with pytest.raises(SpecError, match=r"backbone.network: a Linear cannot read images \[1, 1, 8, 8\]"):
        run(nn.Linear(3, 4), tmp_path).fit()
    with pytest.raises(SpecError, match="batch_norm: 'Sequence' has no batch norm"):
        PythonModule(network=Sequence(0), batch_norm="local").build(VIEW)


class Stuck(nn.Linear):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("holds a file")


def test_a_module_that_cannot_be_copied_is_told():
    with pytest.raises(SpecError, match=r"backbone.network: a Stuck cannot be copied: .*holds a file"):
        PythonModule(network=Stuck(2, 2)).build(VIEW)


def test_what_is_told_of_a_module_is_of_its_layers():
    about = described(Map())
    assert about["python"] == "Map"
    assert about["parameters"] == sum(p.numel() for p in Map().parameters())
    assert described(Map(seed=1)) == about
    assert described(Map(width=8))["digest"] != about["digest"]
    assert described(Masked())["reads"] == "images and masks"


def test_weights_have_a_digest():
    assert weights_digest(Map()) == weights_digest(Map())
    assert weights_digest(Map()) != weights_digest(Map(seed=1))
    assert PythonModule(network=Map()).weights == weights_digest(Map())
    assert PythonModule.model_validate({"network": described(Map())}).weights is None


def test_functions_are_told_apart_by_their_code():
    def one(net: nn.Module, images: torch.Tensor) -> object:
        return net(images)

    def other(net: nn.Module, images: torch.Tensor) -> object:
        return net(images + 1)

    assert function_described(one)["python"] == "one"
    assert function_described(one)["digest"] != function_described(other)["digest"]
    assert function_described(Map().logits)["digest"] == function_described(Map.logits)["digest"]
    assert function_described(nn.ReLU())["python"] == "ReLU"
    with pytest.raises(SpecError, match=r"PythonModule.forward: a list cannot be called"):
        PythonModule(network=Map(), forward=[1])

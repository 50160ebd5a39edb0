"""A copy of a network or of a system stands on its own: nothing in it leads back to what it was copied from.

Moving averages, fine-tuning, shards and the count of operations copy modules. A function that holds on to a module is
not copied by `copy.deepcopy` and would go on reading the original.
"""

from __future__ import annotations

import copy
import gc
import types
from typing import Literal, final

import pytest
import timm
import torch
from torch import nn

from sslkit import CNN, Digits, Finetune, Swin, Timm, ViT, catalog, evaluate_network
from sslkit.build.restore import restore
from sslkit.core.passes import Request
from sslkit.core.view import View
from sslkit.errors import PluginError, SpecError
from sslkit.evaluate.export import export
from sslkit.nn.wrapped_network import Wrapped
from sslkit.specs.families import BackboneSpec, ObjectiveSpec
from sslkit.testing.families import checks
from sslkit.testing.tiny_run import stage
from sslkit.train.compose import compose
from sslkit.train.launch import train
from sslkit_evaluators.finetuning import protocols, training
from sslkit_evaluators.finetuning.adapter import add_adapters
from tests import tiny
from tests.testing import broken

SMALL = View(32, 1, 3, (0.5,) * 3, (0.25,) * 3)
BACKBONES = {
    "vit": ViT(name="vit_tiny_patch16_224", patch=8, width=16, depth=2, heads=2),
    "swin": Swin.example(),
    "cnn": CNN(name="test_resnet"),
    "cnn with a small stem": CNN(name="test_resnet", stem="cifar"),
    "timm": Timm(name="test_resnet"),
    "timm tokens": Timm(name="test_vit", arguments={"img_size": 32}),
}
ENDS = (types.ModuleType, type, types.FrameType)
"""What holds everything of the program, so that nothing follows from it."""


def modules_reached(root):
    """All modules that `root` holds, also through closures, partial functions and bound methods."""
    seen, queue, modules = {id(root)}, [root], set()
    while queue:
        item = queue.pop()
        if isinstance(item, nn.Module):
            modules.add(id(item))
        for held in gc.get_referents(item):
            globals_of_a_file = isinstance(held, dict) and "__builtins__" in held
            if id(held) not in seen and not isinstance(held, ENDS) and not globals_of_a_file:
                seen.add(id(held))
                queue.append(held)
    return modules


def shared_modules(original):
    """Names of the modules of `original` that a copy of it still holds."""
    reached = modules_reached(copy.deepcopy(original))
    return [name for name, module in original.named_modules() if id(module) in reached]


def test_the_walk_sees_what_functions_hold():
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    for held in (lambda: net, net.forward, types.SimpleNamespace(inner=[{"a": (lambda: net)}])):
        other.held = held
        assert id(net) in modules_reached(other)
    other.held = None
    assert id(net) not in modules_reached(other)


@pytest.mark.parametrize("spec", BACKBONES.values(), ids=BACKBONES)
def test_backbones(spec):
    """The conformance kit's check of answers and exports, and every module that is held."""
    checks(spec)["changes nothing in its copies"]()
    torch.manual_seed(0)
    assert shared_modules(spec.build(SMALL)) == []


@pytest.mark.parametrize("kind", sorted(catalog.kinds("objective")))
def test_systems(kind):
    """Objectives with their heads, queues and balancers, beside a student and its moving average."""
    cls = catalog.kinds("objective")[kind]
    assert issubclass(cls, ObjectiveSpec)
    example = cls.example()
    if example is None:
        assert cls.unchecked, "says why the kit's run does not fit it"
        pytest.skip(cls.unchecked)
    system = compose(stage(objectives={"check": example}), tiny.CPU).system
    assert shared_modules(system) == []


@final
class Stale(BackboneSpec):
    """A network that answers by a function over itself."""

    kind: Literal["stale"] = "stale"

    def grid(self, size):
        return None

    def build(self, view):
        net = BACKBONES["vit"].build(view)
        return broken.Wrapped(net, lambda request, tokens: net([request])[0], "vit_tiny_patch16_224")


def test_the_kit_catches_a_function_over_the_original():
    with pytest.raises(
        PluginError, match="a copy's tokens follow the weights of the network it was copied from"
    ):
        checks(Stale())["changes nothing in its copies"]()
    assert "net" in shared_modules(Stale().build(SMALL))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_the_export_of_a_teacher_is_the_teachers(name, tmp_path):
    """`export` wrote the student where the readout names the moving average of a `timm` network."""
    arguments = {"img_size": 32} if name == "test_vit" else {}
    run = tiny.spec(
        tmp_path / "run",
        backbone={"kind": "timm", "name": name, "arguments": arguments},
        views={"global": {**tiny.VIEW, "size": 32, "crops": 2}},
        nets={"teacher": {"momentum": 0.9}},
        objective={"kind": "byol"},
        readout={"net": "teacher"},
        optimizer={"lr": 0.1},
        steps=2,
        batch_size=8,
    )
    train(run, lambda text: None)
    exported = export(tmp_path / "run", tmp_path / "net.pt")
    images = torch.randn(2, 1, 32, 32)
    theirs = timm.create_model(name, **exported.arguments, checkpoint_path=str(tmp_path / "net.pt")).eval()
    restored = restore(tmp_path / "run", "last")
    teacher, student = (restored.system.nets[net].eval() for net in ("teacher", "student"))
    with torch.no_grad():
        patches = theirs.forward_features(images)
        patches = patches[:, 1:] if name == "test_vit" else patches.flatten(2).mT
        request = Request(images[None], None, "drop", ())
        assert torch.equal(patches, teacher([request])[0].patch[0])
        assert not torch.equal(patches, student([request])[0].patch[0])


READ = {
    "a function": lambda net, images: net.stem(images),
    "a method": None,
    "itself": None,
}


class Stem(nn.Module):
    """A network whose features are not what calling it gives."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 6, 3, 2)

    def stem(self, images):
        return self.conv(images).relu()

    def forward(self, images):
        return self.stem(images).mean((2, 3))


@pytest.mark.parametrize("read", READ)
def test_fine_tuning_trains_a_module_that_is_read_by_a_function(read):
    """Only the classifier was trained: the copy was read by a function over the original."""
    net = Stem()
    forward = net.stem if read == "a method" else READ[read]
    copied = copy.deepcopy(Wrapped(net, View(8, 1, 1, (0.0,), (1.0,)), forward))
    (tokens,) = copied([Request(torch.randn(1, 2, 1, 8, 8), None, "drop", ())])
    tokens.cls.square().sum().backward()
    assert all(p.grad is not None for p in copied.parameters())
    assert all(p.grad is None for p in net.parameters())
    assert [name for name, _ in copied.named_parameters(remove_duplicate=False)] == [
        "module.conv.weight",
        "module.conv.bias",
    ]


def test_fine_tuning_moves_all_that_a_function_reads_and_leaves_the_network_alone(monkeypatch):
    """Through `evaluate_network`, where 2 of 47 parameters moved: those of the classifier."""
    models = []

    def trained(model, *rest):
        models.append(model)
        return training.train(model, *rest)

    monkeypatch.setattr(protocols, "train", trained)
    net = Stem()
    before = copy.deepcopy(net.state_dict())
    settings = {"mixup": 0.0, "cutmix": 0.0, "drop_path": 0.0, "layer_decay": None, "warmup_epochs": 0}
    evaluate_network(
        net, [Finetune(epochs=1, lr=0.5, batch_size=64, **settings)], Digits(), size=8, mean=(0.3,), std=(0.4,),
        forward=lambda module, images: module.stem(images), workers=0,
    )  # fmt: skip
    (model,) = models
    moved = dict(model.backbone.module.named_parameters())
    assert len(moved) == 2
    assert all(not torch.equal(value, before[key]) for key, value in moved.items())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_function_of_images_alone_is_refused():
    net = Stem()
    with pytest.raises(
        SpecError, match=r"forward: takes images alone, .* write `lambda net, images: \.\.\.`"
    ):
        Wrapped(net, View(8, 1, 1, (0.0,), (1.0,)), lambda images: net.stem(images))


def test_fine_tuning_refuses_a_function_that_reads_another_network():
    net = Stem()
    with pytest.raises(
        SpecError, match="none of the 2 parameters of the network's copy takes part in its answers"
    ):
        evaluate_network(
            net, [Finetune(epochs=1, warmup_epochs=0, drop_path=0.0, layer_decay=None)], Digits(), size=8, mean=(0.3,),
            std=(0.4,), forward=lambda _, images: net.stem(images), workers=0,
        )  # fmt: skip


def test_adapters_of_a_copy_are_the_copys():
    torch.manual_seed(0)
    net = BACKBONES["vit"].build(SMALL)
    add_adapters(net, 4)
    assert shared_modules(net) == []

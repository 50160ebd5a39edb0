"""Fine-tuning learns, repeats, and leaves the run's network and generators alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sslkit import CNN, PEFT, Finetune, RandomResizedCrop, Resize, ViT
from sslkit.errors import DataError, SpecError
from sslkit.runs.weights import weights_sha256
from sslkit_evaluators.finetuning.protocols import copied, draw_losses, trainable_share, tune
from sslkit_evaluators.finetuning.training import Classifier, _loss, _mixup, own_randomness
from tests.plugins.evaluators.networks import Planted, PlantedSource, network, run

QUICK = {"mixup": 0.0, "cutmix": 0.0, "smoothing": 0.0, "warmup_epochs": 0, "batch_size": 32}
STILL = (RandomResizedCrop(scale=(0.9, 1.0)),)
MEMORY = Finetune(
    epochs=50, lr=0.02, drop_path=0.0, layer_decay=None, weight_decay=0.0, augment=STILL, **QUICK
)
WIDE = ViT(name="vit_tiny_patch16_224", patch=8, width=64, depth=2, heads=2)
LORA = PEFT(epochs=15, lr=0.1, targets=("qkv", "proj", "mlp"), augment=STILL, **QUICK)


def shuffled(subject, split):
    """Labels without any meaning: only memory can tell them."""
    source = subject.source(split)
    source.labels = source.labels[
        torch.randperm(len(source.labels), generator=torch.Generator().manual_seed(2))
    ]
    return source


def test_fine_tuning_overfits_64_images():
    spec = MEMORY.model_copy(update={"augment": (Resize(),), "batch_size": 16})
    subject = network(spec, backbone=WIDE)
    shuffled(subject, "train")
    scores = run(spec, subject)
    losses = scores.tables["train_loss"]
    assert len(losses) == 50
    assert losses[0] > 1.2
    assert losses[-1] < 0.6 * losses[0], "labels without meaning are learned by heart"
    assert scores.metrics["train_loss"] == losses[-1]


LEARNERS = {
    "all": MEMORY.model_copy(update={"epochs": 20, "lr": 0.04}),
    "lora": LORA,
    "adapter": LORA.model_copy(update={"method": "adapter", "bottleneck": 8}),
}


@pytest.mark.parametrize("spec", LEARNERS.values(), ids=LEARNERS)
def test_planted_classes_are_learned(spec):
    subject = network(spec)
    scores = run(spec, subject)
    assert scores.metrics["accuracy"] > 0.9
    assert next(iter(scores.metrics)) == "accuracy"
    labels, guesses = scores.predictions
    assert torch.equal(labels, subject.source("test").labels)
    assert scores.metrics["accuracy"] == pytest.approx((labels == guesses).double().mean().item())


@pytest.mark.parametrize("spec", [Finetune.example(), PEFT.example()], ids=lambda spec: spec.kind)
def test_the_network_and_the_generators_stay_as_they_were(spec):
    subject = network(spec)
    net = subject.backbone()
    weights, grads = weights_sha256(net), [p.requires_grad for p in net.parameters()]
    torch.manual_seed(5)
    np.random.seed(5)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = run(spec, subject)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numbers
    assert weights_sha256(net) == weights
    assert [p.requires_grad for p in net.parameters()] == grads
    torch.manual_seed(6)
    np.random.seed(6)
    again = run(spec, network(spec))
    assert again.metrics == first.metrics
    assert again.tables == first.tables


def test_test_labels_change_nothing_but_the_score():
    spec = Finetune.example()
    right, poisoned = network(spec), network(spec)
    shuffled(poisoned, "test")
    one, two = run(spec, right), run(spec, poisoned)
    assert one.tables == two.tables
    assert torch.equal(one.predictions.guesses, two.predictions.guesses)


def test_batch_norm_statistics_of_the_run_stay():
    spec = Finetune(epochs=1, layer_decay=None, **QUICK)
    subject = network(spec, backbone=CNN.example())
    before = {name: x.clone() for name, x in subject.backbone().named_buffers()}
    assert before
    run(spec, subject)
    after = dict(subject.backbone().named_buffers())
    assert all(torch.equal(after[name], x) for name, x in before.items())
    with pytest.raises(SpecError, match=r"set `layer_decay: null`"):
        run(Finetune.example(), subject)


def test_the_trainable_share_counts_the_classifier():
    spec = PEFT(rank=2, epochs=1, **QUICK)
    backbone = ViT(name="vit_tiny_patch16_224", patch=8, width=16, depth=2, heads=2)
    subject = network(spec, backbone=backbone)
    share = run(spec, subject).metrics["trainable_share"]
    own = sum(p.numel() for p in subject.backbone().parameters())
    added, head = 2 * 2 * (16 + 48), 4 * 17
    assert share == pytest.approx((added + head) / (own + added + head))
    assert trainable_share(torch.nn.Linear(3, 2)) == 1


def test_all_parameters_of_a_copy_take_gradients():
    net = network(Finetune.example()).backbone()
    net.requires_grad_(False)
    next(net.parameters()).grad = torch.zeros_like(next(net.parameters()))
    own = copied(net)
    assert all(p.requires_grad and p.grad is None for p in own.parameters())
    assert not any(p.requires_grad for p in net.parameters())


def test_rates_follow_the_layers(monkeypatch):
    """The head learns at the whole rate, the stem at `layer_decay` ** (depth + 1) of it."""
    from sslkit_evaluators.finetuning import training

    made = []
    build = training._updates
    monkeypatch.setattr(training, "_updates", lambda *a: made.append((build(*a), a[0])) or made[-1][0])
    spec = Finetune(epochs=1, layer_decay=0.5, lr=0.1, **QUICK)
    run(spec, network(spec, backbone=ViT(name="vit_tiny_patch16_224", patch=8, width=16, depth=2, heads=2)))
    optimizer, model = made[0]
    groups = optimizer.param_groups
    assert {group["lr_scale"] for group in groups} == {0.125, 0.25, 0.5, 1.0}
    assert {group["weight_decay"] for group in groups if group["decay"]} == {0.05}
    assert {group["weight_decay"] for group in groups if not group["decay"]} == {0.0}
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert scales[id(model.head.weight)] == scales[id(model.head.bias)] == 1.0
    assert scales[id(model.backbone.net.patch_embed.proj.weight)] == 0.125
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    net = model.backbone.net
    assert decays[id(net.cls_token)] == decays[id(net.pos_embed)] == 0.0, "MAE exempts both"
    assert decays[id(net.patch_embed.proj.weight)] == decays[id(model.head.weight)] == 0.05


def test_accumulated_parts_equal_the_whole_batch():
    spec = Finetune(epochs=2, drop_path=0.0, **QUICK)
    whole = run(spec, network(spec))
    parts = run(spec.model_copy(update={"accumulate": 4}), network(spec))
    assert parts.metrics["train_loss"] == pytest.approx(whole.metrics["train_loss"], rel=1e-3)


def test_mixup_changes_training_and_smoothing_is_timms():
    net = network(Finetune.example()).backbone()
    model = Classifier(net, 4, "cls", None)
    with torch.no_grad():
        model.head.weight.normal_()
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    recipe = Finetune(mixup=0.8, cutmix=1.0, smoothing=0.1).build().recipe
    mix = _mixup(recipe, 4)
    assert (mix.mixup_alpha, mix.cutmix_alpha, mix.label_smoothing, mix.num_classes) == (0.8, 1.0, 0.1, 4)
    mix.mixup_enabled = False
    with torch.no_grad():
        plain = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        torch.testing.assert_close(_loss(model, images.clone(), labels, mix, 0.1), plain)
        torch.testing.assert_close(_loss(model, images.clone(), labels, None, 0.1), plain)
        mix.mixup_enabled = True
        with own_randomness(torch.device("cpu")):
            np.random.seed(0)
            assert not torch.isclose(_loss(model, images.clone(), labels, mix, 0.1), plain)
    assert _mixup(recipe._replace(mixup=0.0, cutmix=0.0), 4) is None


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_the_classifier_reads_what_the_readout_reads(pool):
    from sslkit import Readout

    subject = network(Finetune.example(), readout=Readout(pool=pool))
    model = Classifier(subject.backbone(), 4, subject.pool, None).eval()
    subject.backbone().eval()
    features = subject.features("test").values
    with torch.no_grad():
        found = subject.rows("test", lambda x, _: model(x)).values
        torch.testing.assert_close(found, model.head(features), rtol=1e-5, atol=1e-7)


def test_top5_needs_five_classes():
    spec = Finetune.example()
    found = run(spec, network(spec, data=Planted(classes=6))).metrics
    assert list(found) == ["accuracy", "top5", "train_loss"]
    assert found["accuracy"] <= found["top5"] <= 1


def test_different_classes_are_an_error(monkeypatch):
    spec = Finetune.example()
    subject = network(spec)
    monkeypatch.setattr(PlantedSource, "__len__", lambda self: 40)
    subject.source("test").classes = ("class 0", "class 1", "zebra", "class 3")
    with pytest.raises(DataError, match="in only one of them: class 2, zebra"):
        run(spec, subject)
    subject.source("test").classes = subject.source("train").classes[::-1]
    with pytest.raises(DataError, match="another order"):
        run(spec, subject)


def test_adapting_sees_the_copy_only():
    seen = []
    subject = network(Finetune.example())
    recipe = Finetune.example().build().recipe
    tune(subject, recipe, seen.append)
    assert seen[0] is not subject.backbone()
    assert type(seen[0]) is type(subject.backbone())


def test_losses_are_drawn(tmp_path):
    draw_losses(tmp_path / "loss.png", [2.0, 1.0, 0.5])
    assert (tmp_path / "loss.png").stat().st_size > 5000


def test_warm_up_must_leave_something():
    from tests import tiny

    with pytest.raises(SpecError, match=r"warmup_epochs: 5 epochs of warm-up leave nothing of 5"):
        tiny.spec(evaluate=[{"kind": "finetune", "epochs": 5}])


def test_protocols_name_what_differs():
    assert Finetune().build().protocol == "finetune@2"
    assert Finetune(epochs=10, warmup_epochs=1).build().protocol == "finetune@2(epochs=10, warmup_epochs=1.0)"
    assert PEFT().build().protocol == "peft@1"
    assert PEFT(method="adapter").build().protocol == "peft@1(method=adapter)"

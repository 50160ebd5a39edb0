"""One optimizer step."""

from __future__ import annotations

import io
import re

import pytest
import torch

from sslkit.core.context import Length
from sslkit.data.loaders import Batch
from sslkit.errors import SpecError
from sslkit.runtime.mixed_precision import resolved_precision
from sslkit.specs.schedule import value_at
from sslkit.train.compose import compose
from sslkit.train.step.compile_system import compiles
from sslkit.train.step.stepper import module_parameters
from tests import tiny
from tests.fakes_train import compose_everything

SGD = {"name": "momentum", "lr": 0.1, "momentum": 0.0, "scale": "absolute", "weight_decay": 0.0}
CONSTANT = {"warmup_epochs": 0, "shape": "constant"}
TEACHER = {"teacher": {"momentum": 0.9}}


def weights(composed):
    return {name: value.clone() for name, value in composed.system.state_dict().items()}


def run_steps(run, composed, steps):
    supply = tiny.feed(run, composed)
    return [composed.step(i, supply.step(i)) for i in steps]


def nearest(a, b, tolerance):
    return all(torch.allclose(a[name], b[name], atol=tolerance, rtol=0) for name in a)


@pytest.mark.parametrize("micro", [4, 16])
def test_micro_batches_make_the_step_of_the_whole_batch(micro):
    changes = {"optimizer": SGD, "schedule": CONSTANT, "nets": {"ema": {"momentum": 0.5}}}
    run, cut = tiny.spec(**changes), tiny.spec(**changes, micro_batch_size=micro)
    whole, parts = compose(run, tiny.CPU), compose(cut, tiny.CPU)
    losses = [run_steps(r, c, range(3)) for r, c in ((run, whole), (cut, parts))]
    for a, b in zip(*losses, strict=True):
        torch.testing.assert_close(a.total, b.total, atol=1e-6, rtol=1e-6)
        assert a.values.keys() == b.values.keys()
    assert nearest(weights(whole), weights(parts), 1e-6)


def test_bfloat16_keeps_losses_in_float32_and_close():
    run = tiny.spec(precision="bfloat16")
    composed = compose(run, tiny.CPU)
    (reduced,) = run_steps(run, composed, [0])
    (full,) = run_steps(tiny.spec(), compose(tiny.spec(), tiny.CPU), [0])
    assert reduced.total.dtype == reduced.values["loss/mae"].dtype == torch.float32
    assert reduced.total != full.total
    torch.testing.assert_close(reduced.total, full.total, rtol=0.02, atol=0)
    assert all(p.dtype == torch.float32 for p in composed.system.parameters())


def test_rate_and_decay_of_each_step_arrive_in_the_groups():
    decay = {"start": 0.04, "end": 0.4}
    run = tiny.spec(
        optimizer={"lr": 0.5, "weight_decay": decay},
        schedule={"warmup_epochs": 0.05, "final": 0.001},
        steps=8,
    )
    composed = compose(run, tiny.CPU)
    stepper, supply = composed.step, tiny.feed(run, composed)
    for i in range(4):
        stepper(i, supply.step(i))
        assert {g["lr"] for g in stepper.optimizer.param_groups} == {stepper.lr(i)}
        decays = {g["decay"]: g["weight_decay"] for g in stepper.optimizer.param_groups}
        assert decays == {True: value_at(run.optimizer.weight_decay, i, 8), False: 0.0}
    assert stepper.peak_lr == 0.5 * 32 / 256
    assert stepper.lr(0) == 0.0
    assert stepper.lr(2) == pytest.approx(stepper.peak_lr * 2 / 2.2)


def test_the_average_moves_after_the_optimizer_or_before_the_forward():
    """By hand: with `after_step` it takes in the weights of its own step, with `before_forward` those before it."""
    for update in ("after_step", "before_forward"):
        nets = {"ema": {"momentum": 0.75, "update": update}}
        run = tiny.spec(nets=nets, optimizer=SGD, schedule=CONSTANT)
        composed = compose(run, tiny.CPU)
        name = "net.cls_token"
        student = composed.system.nets["student"].get_parameter(name)
        ema = composed.system.nets["ema"].get_parameter(name)
        supply, expected = tiny.feed(run, composed), ema.clone()
        for i in range(3):
            before = student.detach().clone()
            composed.step(i, supply.step(i))
            assert not torch.equal(before, student)
            taken = student.detach() if update == "after_step" else before
            expected = 0.75 * expected + 0.25 * taken
            torch.testing.assert_close(ema, expected)


def test_an_objective_that_uses_everything():
    run = tiny.spec(nets=TEACHER, micro_batch_size=8, optimizer=SGD, schedule=CONSTANT)
    composed = compose_everything(run)
    objective = composed.system.objectives["all"]
    bias, average = objective.head.bias.detach().clone(), objective.slow.weight.clone()
    (losses,) = run_steps(run, composed, [0])
    assert losses.values.keys() == {"loss/all", "all/pull"}
    assert not losses.total.requires_grad
    assert torch.equal(objective.head.bias, bias), "`before_update` took its gradient away in step 0"
    torch.testing.assert_close(objective.slow.weight, 0.9 * average + 0.1 * objective.head.weight.detach())
    run_steps(run, composed, [1])
    assert not torch.equal(objective.head.bias, bias)
    assert objective.before == [0, 1]


def test_commit_gets_the_rows_of_all_micro_batches_in_their_order():
    run = tiny.spec(nets=TEACHER, micro_batch_size=8)
    composed = compose_everything(run)
    batches = list(tiny.feed(run, composed).step(0))
    composed.step(0, batches)
    objective = composed.system.objectives["all"]
    (carry,) = objective.seen
    assert torch.equal(carry["images"], torch.cat([b.images["global"][0, :, 0, 0] for b in batches]))
    assert carry["rows"].shape == (32, 4)
    assert not carry["rows"].requires_grad
    assert torch.equal(objective.queue[:32], carry["rows"])
    assert objective.filled == 32


def test_schedules_arrive_as_tensors_with_the_value_of_the_step():
    run = tiny.spec(nets=TEACHER, micro_batch_size=16)
    composed = compose_everything(run)
    run_steps(run, composed, range(3))
    seen = composed.system.objectives["all"].now
    assert all(isinstance(x, torch.Tensor) and x.shape == () and x.dtype == torch.float32 for x in seen)
    assert [x.item() for x in seen] == [1.0, 1.0, 1.125, 1.125, 1.25, 1.25]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_state_is_in_the_state_dict(precision):
    """Saved, loaded without running code, and continued: every weight, buffer and loss is bit-equal."""
    run = tiny.spec(nets=TEACHER, precision=precision, optimizer={"lr": 0.05, "clip": 1.0})
    whole = compose_everything(run)
    losses = [x.total for x in run_steps(run, whole, range(6))]
    first = compose_everything(run)
    run_steps(run, first, range(3))
    file = io.BytesIO()
    torch.save(first.step.state_dict(), file)
    file.seek(0)
    second = compose_everything(run)
    second.step.load_state_dict(torch.load(file, weights_only=True))
    again = [x.total for x in run_steps(run, second, range(3, 6))]
    assert tiny.same(whole, second)
    assert torch.equal(torch.stack(again), torch.stack(losses[3:]))
    assert second.system.objectives["all"].filled == 6 * 32


def test_dropout_of_a_step_depends_on_its_number_only():
    run = tiny.spec(backbone={**tiny.VIT, "drop_path": 0.5})
    one, two = compose(run, tiny.CPU), compose(run, tiny.CPU)
    supply = tiny.feed(run, one)
    first = one.step(5, supply.step(5)).total
    torch.rand(17)
    assert torch.equal(two.step(5, supply.step(5)).total, first)
    other = compose(run, tiny.CPU)
    assert not torch.equal(other.step(6, supply.step(5)).total, first)


def test_a_parameter_outside_every_loss_is_named():
    run = tiny.spec(nets=TEACHER)
    composed = compose_everything(run, idle=True)
    message = "1 parameters take no part in any loss, the first: objectives.all.unused"
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        run_steps(run, composed, [0])


def test_nothing_to_train_is_refused(monkeypatch):
    from sslkit_backbones.vit import ViTBackbone
    from sslkit_objectives.masked.masked_prediction import MaskedPredictionObjective

    build = MaskedPredictionObjective.__init__
    monkeypatch.setattr(
        MaskedPredictionObjective,
        "__init__",
        lambda self, *a: (build(self, *a), self.requires_grad_(False))[0],
    )
    make = ViTBackbone.__init__
    monkeypatch.setattr(
        ViTBackbone,
        "__init__",
        lambda self, *a: (make(self, *a), self.requires_grad_(False))[0],
    )
    with pytest.raises(SpecError, match=r"^nothing to train: no parameter"):
        compose(tiny.spec(), tiny.CPU)


@pytest.mark.parametrize("per", ["global", "tensor"])
def test_the_norm_is_reported_before_clipping(per):
    limit = 1e-3
    clipped = tiny.spec(optimizer={**SGD, "clip": limit, "clip_per": per}, schedule=CONSTANT)
    composed = compose(clipped, tiny.CPU)
    before = [p.detach().clone() for p in composed.step.parameters]
    (losses,) = run_steps(clipped, composed, [0])
    assert losses.gradient_norm > limit
    moves = [((p - b) / 0.1).norm() for p, b in zip(composed.step.parameters, before, strict=True)]
    longest = torch.stack(moves).max() if per == "tensor" else torch.stack(moves).norm()
    torch.testing.assert_close(longest, torch.tensor(limit), rtol=1e-2, atol=0)
    plain = tiny.spec(optimizer=SGD, schedule=CONSTANT)
    assert run_steps(plain, compose(plain, tiny.CPU), [0])[0].gradient_norm is None


def test_equal_maskers_on_one_view_share_a_mask_and_others_do_not():
    def mae(ratio, target):
        return {
            "kind": "mae",
            "masker": {"kind": "random", "ratio": ratio},
            "target": {"kind": target},
            "decoder": tiny.DECODER,
        }

    terms = {"a": mae(0.5, "pixel"), "b": mae(0.5, "normalized_pixel"), "c": mae(0.75, "pixel")}
    composed = compose(tiny.spec(objective=None, objectives=terms), tiny.CPU)
    batch = Batch({"global": torch.zeros(2, 16, 1, 8, 8)}, torch.arange(16))
    masks = composed.step.masking.sample(batch, {}, 0, 0.0)
    assert [mask.keep.shape for mask in masks] == [(2, 16, 2), (2, 16, 1)]
    other = composed.step.masking.sample(batch, {}, 1, 0.0)
    assert not torch.equal(masks[0].hidden, other[0].hidden)
    assert not torch.equal(masks[0].hidden[0], masks[0].hidden[1]), (
        "crops of an image have masks of their own"
    )


def test_masks_belong_to_images_however_the_batch_is_cut():
    composed = compose(tiny.spec(), tiny.CPU)
    batches = [
        Batch({"global": torch.zeros(2, len(r), 1, 8, 8)}, r) for r in (torch.arange(8), torch.arange(5, 8))
    ]
    (whole,), (part,) = (composed.step.masking.sample(batch, {}, 4, 0.0) for batch in batches)
    assert torch.equal(whole.hidden[:, 5:], part.hidden)


def test_choices_that_follow_from_the_device():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [resolved_precision(tiny.spec(), device) for device in (cpu, gpu)] == ["float32", "bfloat16"]
    assert resolved_precision(tiny.spec(precision="float32"), gpu) == "float32"
    assert [compiles(tiny.spec(), device) for device in (cpu, gpu)] == [False, True]
    assert compiles(tiny.spec(compile={"enabled": True}), cpu)
    assert not compiles(tiny.spec(compile={"enabled": False}), gpu)


def test_sizes():
    assert Length(10, 4).epoch(6) == 1.5
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert module_parameters(layer) == 6

"""I-JEPA against facebookresearch/ijepa@52c1ae95d05f, and in runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch._subclasses import FakeTensorMode

from sslkit import IJEPA, MultiBlockMasker, RandomMasker, TeacherFeature, ViT, losses
from sslkit.core.context import Env, Grid, NetInfo, View
from sslkit.core.passes import Encode, Mask, Request
from sslkit.errors import SpecError
from sslkit.functional.known_values import known_now
from sslkit.specs.load import parse
from sslkit.specs.schedule import LearningRateSchedule, Ramp
from sslkit.train.compose import compose
from sslkit_objectives.masked.masked_prediction import shortened
from tests import tiny

GRID = Grid(6, 6, 4)
VIEW = View(24, 1, 3, (0.0,) * 3, (1.0,) * 3)
INFO = NetInfo(16, 2, {"global": GRID})
ENV = Env({"global": VIEW}, {"student": INFO, "teacher": INFO}, {"global": GRID})
SMALL = {"depth": 2, "width": 12, "heads": 2}
NAMES = {"predictor_embed": "embed", "predictor_blocks": "blocks", "predictor_norm": "norm",
         "predictor_proj": "head", "mask_token": "mask_token"}  # fmt: skip
TEACHER = {"teacher": {"momentum": {"start": 0.996, "end": 1.0, "shape": "linear"}}}
RUN = {
    "kind": "ijepa",
    "masker": {"kind": "multi_block", "scale": [0.15, 0.3], "ratio": 0.7},
    "predictor": {"depth": 1, "width": 16, "heads": 2},
}
"""For a grid of 6 x 6, whose target blocks have 4 to 9 patches."""


def weights(arrays, prefix):
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def renamed(values):
    """The predictor's names."""
    parts = [(key.partition("."), value) for key, value in values.items() if key != "predictor_pos_embed"]
    return {NAMES[head] + dot + rest: value for (head, dot, rest), value in parts}


def network(arrays, prefix, dtype):
    """The encoder without class token, whose perceptrons are twice as wide as its tokens."""
    spec = ViT(name="vit_base_patch16_gap_224", patch=4, width=16, depth=2, heads=2)
    backbone = spec.build(VIEW)
    for block in backbone.net.blocks:
        block.mlp.fc1, block.mlp.fc2 = nn.Linear(16, 32), nn.Linear(32, 16)
    backbone.to(dtype).net.load_state_dict({k: v.to(dtype) for k, v in weights(arrays, prefix).items()})
    return backbone


def built(arrays, dtype):
    objective = IJEPA(predictor=SMALL).build(ENV).to(dtype)
    state = {name: value.to(dtype) for name, value in renamed(weights(arrays, "sd_pred.")).items()}
    objective.decoder.load_state_dict(state)
    table = weights(arrays, "sd_pred.")["predictor_pos_embed"][0]
    assert torch.allclose(objective.decoder.positions.double(), table, atol=1e-7), "column first"
    objective.decoder.positions = table.to(dtype)
    return objective, network(arrays, "sd_enc.", dtype), network(arrays, "sd_tgt.", dtype)


def mask_of(keep, blocks):
    """`keep` `[B, K]` and the target blocks `[M, B, T]` of the reference."""
    hidden = torch.ones(len(keep), 36, dtype=torch.bool).scatter(1, keep, False)[None]
    flat = hidden.flatten().nonzero()[:, 0]
    return Mask(hidden, keep[None], flat, torch.full_like(flat, 27), blocks.transpose(0, 1)[None])


def loss_of(arrays, dtype, parts):
    """The reference's two contexts are two passes; all weigh the same."""
    objective, student, teacher = parts
    image = arrays["x"].to(dtype)[None]
    with torch.no_grad():
        goal = teacher([Request(image, None, "drop", ())])[0]
    masks = [mask_of(keep, arrays["masks_pred"]) for keep in arrays["masks_enc"]]
    answers = student([Request(image, mask, "drop", ()) for mask in masks])
    return torch.stack([objective({}, seen, goal).loss for seen in answers]).mean(), answers, goal


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
def test_loss_and_gradients_are_the_references(golden, dtype, limit):
    arrays = golden("ijepa_forward_tiny")
    objective, student, teacher = parts = built(arrays, dtype)
    loss, _, _ = loss_of(arrays, dtype, parts)
    loss.backward()
    assert loss.item() == pytest.approx(arrays["loss"].item(), abs=limit)
    ours = {n: p.grad for n, p in student.net.named_parameters() if p.requires_grad}
    heads = {n: p.grad for n, p in objective.decoder.named_parameters()}
    expected, expected_heads = weights(arrays, "grad_enc."), renamed(weights(arrays, "grad_pred."))
    assert (ours.keys(), heads.keys()) == (expected.keys(), expected_heads.keys())
    for found, wanted in ((ours, expected), (heads, expected_heads)):
        for name, gradient in found.items():
            assert torch.allclose(gradient, wanted[name].to(dtype), rtol=0, atol=limit), name
    assert all(p.grad is None for p in teacher.net.parameters())


def test_context_target_and_prediction_are_the_references(golden):
    arrays = golden("ijepa_forward_tiny")
    objective, _, _ = parts = built(arrays, torch.float64)
    _, answers, goal = loss_of(arrays, torch.float64, parts)
    context = torch.cat([seen.patch[0] for seen in answers])
    assert torch.allclose(context, arrays["context"], atol=1e-10)
    assert torch.allclose(goal.patch[0], arrays["target_raw"], atol=1e-10)
    assert torch.allclose(objective.target(answers[0], goal)[0], arrays["target_ln"], atol=1e-10)
    # ours: image, then block; theirs: block, context, image
    ours = [objective.decoder(seen, seen.mask).view(3, 3, 6, 16).transpose(0, 1) for seen in answers]
    theirs = arrays["pred"].view(3, 2, 3, 6, 16)
    assert torch.allclose(torch.stack(ours, 1), theirs, atol=1e-10)


def test_the_teacher_moves_as_the_references(golden):
    """By 0.996 and the online weights, as `train.py` does after the step."""
    arrays = golden("ijepa_forward_tiny")
    for name, after in weights(arrays, "ema_after.").items():
        moved = arrays[f"sd_tgt.{name}"].lerp(arrays[f"sd_enc.{name}"], 1 - 0.996)
        assert torch.allclose(moved, after, atol=1e-12), name


def test_schedules_are_the_references(golden):
    """Rate and weight decay are one step ahead; the momentum is not, and its horizon is not rounded."""
    arrays = golden("ijepa_schedules")
    steps, epochs, scale, warmup, start, peak, final, wd, wd_end, ema, ema_end = arrays["params"].tolist()
    total = int(scale * epochs * steps)
    rate = LearningRateSchedule(warmup_epochs=warmup, warmup_start=start, final=final, first=1)
    decay = Ramp(start=wd, end=wd_end, first=1)
    momentum = Ramp(start=ema, end=ema_end, shape="linear")
    for step in range(int(steps * epochs)):
        assert rate.at(step, total, int(steps), peak) == pytest.approx(arrays["lr"][step].item(), rel=1e-12)
        assert decay.at(step, total) == pytest.approx(arrays["wd"][step].item(), rel=1e-12)
        assert momentum.at(step, scale * epochs * steps) == pytest.approx(
            arrays["momentum"][step].item(), rel=1e-12
        )


def test_defaults_are_those_of_the_reference():
    spec = IJEPA()
    assert spec.masker == MultiBlockMasker(
        targets=4, scale=(0.15, 0.2), aspect=(0.75, 1.5), context=(0.85, 1)
    )
    expected = TeacherFeature(layers="final", normalize=False, final_norm=True, loss="smooth_l1", beta=1.0)
    assert spec.target == expected
    assert (spec.predictor.depth, spec.predictor.width, spec.predictor.heads) == (6, 384, 12)
    objective = spec.build(ENV)
    assert objective.passes == (Encode("global", mask=spec.masker), Encode("global", net="teacher"))
    linear = objective.decoder.blocks[0].attn.qkv
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not linear.bias.any()


def test_padding_changes_nothing(golden):
    """Smaller blocks are filled up to the size of the largest."""
    arrays = golden("ijepa_forward_tiny")
    objective, student, teacher = built(arrays, torch.float64)
    image = arrays["x"][None]
    mask = mask_of(arrays["masks_enc"][0], arrays["masks_pred"])
    padded = mask._replace(blocks=nn.functional.pad(mask.blocks, (0, 4), value=-1))
    goal = teacher([Request(image, None, "drop", ())])[0]
    seen = student([Request(image, mask, "drop", ())])[0]
    outputs = [objective({}, seen._replace(mask=m), goal) for m in (mask, padded)]
    assert outputs[0].loss.item() == pytest.approx(outputs[1].loss.item(), abs=1e-12)
    for name, value in outputs[0].metrics.items():
        assert value.item() == pytest.approx(outputs[1].metrics[name].item(), abs=1e-12), name


def test_blocks_of_unequal_length_are_as_if_each_were_alone(golden):
    """Attention leaves padding out, and each patch weighs the same within its image."""
    arrays = golden("ijepa_forward_tiny")
    objective, student, _ = built(arrays, torch.float64)
    mask = mask_of(arrays["masks_enc"][0], arrays["masks_pred"])
    ragged = mask.blocks.clone()
    ragged[:, :, 1, 4:] = -1
    seen = student([Request(arrays["x"][None], mask, "drop", ())])[0]
    whole = objective.decoder(seen, mask._replace(blocks=ragged)).view(3, 3, 6, 16)
    alone = objective.decoder(seen, mask._replace(blocks=ragged[:, :, 1:2, :4])).view(3, 4, 16)
    torch.testing.assert_close(whole[:, 1, :4], alone)
    torch.testing.assert_close(whole[:, 0], objective.decoder(seen, mask).view(3, 3, 6, 16)[:, 0])


def test_padding_that_no_block_needs_is_cut_off_outside_of_graphs():
    blocks = torch.tensor([[[[3, 4, 5, -1], [1, -1, -1, -1]]]])
    mask = Mask(torch.ones(1, 1, 6, dtype=torch.bool), *[torch.zeros(0, dtype=torch.int64)] * 3, blocks)
    assert shortened(mask).blocks.tolist() == [[[[3, 4, 5], [1, -1, -1]]]]
    assert shortened(mask._replace(blocks=None)).blocks is None
    assert not known_now(blocks.to("meta"))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert not known_now(mode.from_tensor(blocks))
    sizes = []
    torch.compile(lambda x: sizes.append(known_now(x)) or x + 1, backend="eager")(blocks)
    assert sizes == [False]


def run_of(**changes):
    view = {**tiny.VIEW, "size": 24}
    fields = {"objective": RUN, "views": {"global": view}, "nets": TEACHER, "backbone": tiny.ONE_BLOCK}
    return parse(tiny.fields(**{**fields, "batch_size": 16, **changes}))


def test_it_learns_in_a_run_and_its_goals_stay_apart():
    run = run_of(steps=25, optimizer={"lr": 0.05}, batch_size=8)
    composed = compose(run, tiny.CPU)
    feed = tiny.feed(run, composed)
    steps = [composed.step(i, feed.step(i)) for i in range(25)]
    totals = [step.total.item() for step in steps]
    assert sum(totals[-5:]) < 0.9 * sum(totals[:5])
    assert steps[-1].values["ijepa/target_std"] > 0.05, "the meter of collapse"


def test_one_graph_serves_blocks_of_all_sizes():
    torch._dynamo.reset()
    counters.clear()
    totals = []
    for options in ({"compile": {"enabled": True, "backend": "eager"}}, {}):
        run = run_of(steps=6, batch_size=4, **options)
        composed = compose(run, tiny.CPU)
        feed = tiny.feed(run, composed)
        totals.append([composed.step(i, feed.step(i)).total.item() for i in range(6)])
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_micro_batches_are_the_whole_batch():
    totals = []
    for size in (16, 8):
        run = run_of(steps=2, micro_batch_size=size, optimizer={"lr": 0.05})
        composed = compose(run, tiny.CPU)
        feed = tiny.feed(run, composed)
        totals.append([composed.step(i, feed.step(i)).total.item() for i in range(2)])
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_any_masker_of_a_fixed_count_makes_one_target_block():
    spec = IJEPA(masker=RandomMasker(ratio=0.5), predictor=SMALL)
    objective = spec.build(ENV)
    run = run_of(steps=1, objective={**RUN, "masker": {"kind": "random", "ratio": 0.5}})
    composed = compose(run, tiny.CPU)
    assert composed.step(0, tiny.feed(run, composed).step(0)).total.isfinite()
    assert objective.passes[0].mask == RandomMasker(ratio=0.5)


def test_a_masker_of_varying_counts_is_refused():
    with pytest.raises(SpecError, match=r"masker: 'bernoulli' hides a varying number of patches"):
        compose(run_of(objective={**RUN, "masker": {"kind": "bernoulli"}}), tiny.CPU)


def test_heads_divide_the_width():
    with pytest.raises(SpecError, match=r"objective.predictor.heads: 5 heads do not divide the width 16"):
        run_of(objective={**RUN, "predictor": {"width": 16, "heads": 5}})


def test_the_function_is_the_objectives(golden):
    """One block a row; the references' order is its own."""
    arrays = golden("ijepa_forward_tiny")
    index = arrays["masks_pred"][:, None].expand(-1, 2, -1, -1).flatten(0, 2)
    teacher = arrays["target_raw"].repeat(6, 1, 1).gather(1, index[..., None].expand(-1, -1, 16))
    loss = losses.ijepa(arrays["pred"], teacher)
    assert loss.item() == pytest.approx(arrays["loss"].item(), abs=1e-10)


def test_it_shares_the_pass_of_a_term_with_an_equal_masker():
    """MAE on the same context, and every other objective on what `multi_block` hides."""
    masker = RUN["masker"]
    mae = {"kind": "mae", "masker": masker, "decoder": tiny.DECODER}
    token = {"kind": "simmim", "masker": masker}
    run = run_of(objective=None, objectives={"jepa": RUN, "mae": mae, "token": token}, steps=1)
    composed = compose(run, tiny.CPU)
    assert len(composed.system.plan) == 3, "a context, the teacher's, and mask tokens"
    assert composed.step(0, tiny.feed(run, composed).step(0)).total.isfinite()


def test_a_resumed_run_draws_the_same_blocks_and_ends_bit_equal():
    run = run_of(steps=3, batch_size=4)
    whole = compose(run, tiny.CPU)
    feed = tiny.feed(run, whole)
    whole.step(0, feed.step(0))
    saved = copy.deepcopy(whole.step.state_dict())
    totals = [whole.step(step, feed.step(step)).total for step in (1, 2)]
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(saved)
    again = [resumed.step(step, feed.step(step)).total for step in (1, 2)]
    assert torch.equal(torch.stack(again), torch.stack(totals))
    assert tiny.same(whole, resumed)

"""Targets teacher_feature and perceptual. Their losses are tested in tests/functional/test_regression_losses.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit import Perceptual, TeacherFeature, ViT
from sslkit.core.context import Env, NetInfo
from sslkit.core.passes import Encode, Request, Tokens
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from tests import tiny

GRID = Grid(4, 4, 4)
GRIDS = {"a": GRID}
ENV = Env(
    {"a": View(16, 1, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))},
    {"student": NetInfo(8, 2, GRIDS), "teacher": NetInfo(6, 12, GRIDS)},
    GRIDS,
)
V, B, N, D = 2, 3, 16, 6
ONE = torch.ones(1)
IMAGES = Tokens(ONE, ONE, ONE, None, ())
TEACHER = {"nets": {"teacher": {}}}


def answer(blocks: int, dtype: torch.dtype = torch.float64) -> Tokens:
    """What the teacher of `ENV` might answer: class token first."""
    layers = tuple(torch.randn(V, B, 1 + N, D, dtype=dtype) * 3 + 1 for _ in range(blocks))
    return Tokens(ONE, torch.randn(V, B, D), torch.randn(V, B, N, D, dtype=dtype), None, layers)


def data2vec_goal(outputs):
    """data2vec_vision: `modeling_cyclical.py` `forward` (patches only), `engine_for_cyclical.py:66-99`."""
    targets = [z[:, 1:] for z in outputs]
    fsz = targets[0].size(-1)
    layer_vals = []
    for val in targets:
        mean, var = val.mean(-1, keepdim=True), val.var(-1, unbiased=False, keepdim=True)
        layer_vals.append((val - mean) / torch.sqrt(var + 1e-5))
    mean_of_layers = sum(layer_vals) / len(layer_vals)
    return F.layer_norm(mean_of_layers, (fsz,))


def test_the_default_is_the_target_of_data2vec():
    target, teacher = TeacherFeature().build(ENV, "a"), answer(6)
    assert target.passes == (Encode("a", net="teacher", layers=(6, 7, 8, 9, 10, 11)),)
    assert target.dim == D
    goal = target(IMAGES, teacher)
    expected = data2vec_goal([layer.flatten(0, 1) for layer in teacher.layers])
    assert torch.allclose(goal.flatten(0, 1), expected, atol=1e-12)
    guess = torch.randn(V * B * N, D, dtype=torch.float64) * 3
    expected_loss = F.smooth_l1_loss(guess, expected.flatten(0, 1), beta=2.0)
    assert target.score(guess, goal.flatten(0, 2)).mean().item() == pytest.approx(expected_loss.item(), 1e-12)


def test_the_target_of_eva_is_the_end_of_the_net_with_a_cosine():
    """baaivision/EVA `engine_for_pretraining.py:39-42,106-118`, plus 1."""
    spec = TeacherFeature(layers="final", normalize=False, final_norm=False, loss="cosine")
    target, teacher = spec.build(ENV, "a"), answer(0)
    assert target.passes == (Encode("a", net="teacher"),)
    goal = target(IMAGES, teacher)
    assert torch.equal(goal, teacher.patch)
    guess, goal = torch.randn(V * B * N, D, dtype=torch.float64), goal.flatten(0, 2)
    unit = [x / x.norm(dim=-1, keepdim=True) for x in (guess, goal)]
    expected = -(unit[0] * unit[1]).sum(-1).mean()
    assert target.score(guess, goal).mean().item() == pytest.approx(1 + expected.item(), rel=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_each_step_can_be_left_out(normalize, average, final_norm):
    spec = TeacherFeature(layers=(0, -1), normalize=normalize, average=average, final_norm=final_norm)
    target, teacher = spec.build(ENV, "a"), answer(2)
    one, two = (
        F.layer_norm(layer[..., 1:, :], (D,)) if normalize else layer[..., 1:, :] for layer in teacher.layers
    )
    expected = (one + two) / 2 if average else torch.cat([one, two], -1)
    expected = F.layer_norm(expected, expected.shape[-1:]) if final_norm else expected
    goal = target(IMAGES, teacher)
    assert torch.allclose(goal, expected, atol=1e-12)
    assert target.dim == goal.shape[-1] == (D if average else 2 * D)


def test_perceptual_joins_the_last_blocks_of_the_quarters():
    target, teacher = Perceptual().build(ENV, "a"), answer(4)
    assert target.passes == (Encode("a", net="teacher", layers=(2, 5, 8, 11)),)
    goal = target(IMAGES, teacher)
    expected = torch.cat([F.layer_norm(layer[..., 1:, :], (D,)) for layer in teacher.layers], -1)
    assert target.dim == 4 * D
    assert torch.allclose(goal, expected, atol=1e-12)
    guess = torch.randn(V * B * N, 4 * D, dtype=torch.float64)
    plain = (guess - goal.flatten(0, 2)).square().mean(-1)
    assert torch.allclose(target.score(guess, goal.flatten(0, 2)), plain, atol=1e-12)


@pytest.mark.parametrize("loss", ["l2", "l1", "cosine"])
def test_perceptual_weighs_depths(loss):
    spec = Perceptual(layers=(0, 3, 11), weights=(1.0, 0.5, 2.0), loss=loss)
    target = spec.build(ENV, "a")
    guess, goal = (torch.randn(5, 3 * D, dtype=torch.float64) for _ in range(2))
    by_hand = {
        "l2": lambda a, b: (a - b).square().mean(-1),
        "l1": lambda a, b: (a - b).abs().mean(-1),
        "cosine": lambda a, b: 1 - (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)),
    }[loss]
    parts = [by_hand(guess[:, i * D : (i + 1) * D], goal[:, i * D : (i + 1) * D]) for i in range(3)]
    assert torch.allclose(target.score(guess, goal), parts[0] + 0.5 * parts[1] + 2 * parts[2], atol=1e-12)


@pytest.mark.parametrize(
    ("depth", "blocks", "top"), [(1, (0,), (0,)), (2, (0, 1), (1,)), (5, (1, 2, 3, 4), (2, 3, 4))]
)
def test_nets_of_few_blocks(depth, blocks, top):
    env = ENV._replace(nets={**ENV.nets, "teacher": NetInfo(D, depth, GRIDS)})
    assert Perceptual().build(env, "a").passes[0].layers == blocks
    assert TeacherFeature().build(env, "a").passes[0].layers == top


@pytest.mark.parametrize("spec", [TeacherFeature(layers="final"), TeacherFeature(), Perceptual()], ids=str)
def test_half_precision_ends_at_the_target(spec):
    target = spec.build(ENV, "a")
    with torch.autocast("cpu", torch.bfloat16):
        goal = target(IMAGES, answer(len(target.passes[0].layers), torch.bfloat16))
        score = target.score(goal.flatten(0, 2).bfloat16(), goal.flatten(0, 2))
    assert goal.dtype == score.dtype == torch.float32


def test_the_layers_of_a_vit_are_its_blocks_before_the_final_norm():
    vit = ViT(name="vit_tiny_patch16_224", patch=4, width=16, depth=4, heads=2).build(ENV.views["a"])
    images, outputs = torch.randn(1, 3, 3, 16, 16), []
    for block in vit.net.blocks:
        block.register_forward_hook(lambda module, given, made: outputs.append(made))
    env = ENV._replace(nets={**ENV.nets, "teacher": NetInfo(16, 4, GRIDS)})
    target = TeacherFeature().build(env, "a")
    with torch.no_grad():
        (teacher,) = vit([Request(images, None, "drop", target.passes[0].layers)])
    assert torch.allclose(target(IMAGES, teacher)[0], data2vec_goal(outputs[2:]), atol=1e-5)


@pytest.mark.parametrize("spec", [TeacherFeature(), Perceptual()], ids=str)
def test_pictures_show_both_in_the_colors_of_the_goal(spec):
    target, teacher = spec.build(ENV, "a"), answer(len(spec.build(ENV, "a").passes[0].layers))
    goal = target(IMAGES, teacher)
    drawn = target.goal_image(goal, IMAGES)
    assert drawn.shape == (V, B, 3, 16, 16)
    assert torch.equal(target.to_image(goal, IMAGES, teacher), drawn)
    colors = drawn * torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1) + torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
    assert colors.min().item() == pytest.approx(0, abs=1e-6)
    assert colors.max().item() == pytest.approx(1, abs=1e-6)
    patches = colors.unflatten(-1, (4, 4)).unflatten(-3, (4, 4))
    assert (patches == patches[..., :1, :, :1]).all(), "a patch is a square of one color"
    assert len(patches[..., 0, :, 0].flatten().unique()) > 20
    other = target.to_image(torch.randn_like(goal), IMAGES, teacher)
    assert not torch.equal(other, drawn)


def test_metrics_are_the_deviations_over_the_hidden_patches():
    target, real = TeacherFeature().build(ENV, "a"), torch.arange(40) < 30
    guess, goal = torch.randn(40, D) * 2, torch.randn(40, D)
    found = target.metrics(guess, goal, real)
    assert found["target_std"].item() == pytest.approx(goal[:30].std(0).mean().item(), rel=1e-4)
    assert found["prediction_std"].item() == pytest.approx(guess[:30].std(0).mean().item(), rel=1e-4)


@pytest.mark.parametrize("kind", ["teacher_feature", "perceptual"])
@pytest.mark.parametrize(
    ("net", "nets", "message"),
    [
        (
            "teacher",
            {},
            r"'teacher' is not a net of this run\. Known: student\. Add it: `nets: {teacher: {}}`",
        ),
        (
            "clip",
            {"teacher": {}},
            r"'clip' is not a net of this run\. Known: student, teacher\. Add it: `nets: {clip: {}}`",
        ),
        ("student", {}, r"the student cannot be its own target; add `nets: {teacher: {}}`"),
    ],
)
def test_a_missing_net_is_reported_with_its_path(kind, net, nets, message):
    objective = {"kind": "simmim", "masker": {"kind": "random"}, "target": {"kind": kind, "net": net}}
    with pytest.raises(SpecError, match=rf"objective\.target\.net: {message}"):
        parse(tiny.fields(objective=objective, nets=nets))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TeacherFeature(net="clip"), r"net 'clip' is not a net of this run\. Known: student, teacher"),
        (Perceptual(net="student"), r"target\.net: the student cannot be its own target"),
        (
            TeacherFeature(layers=(3, 12)),
            r"target\.layers: block 12 does not exist; net 'teacher' has 12 blocks",
        ),
        (Perceptual(layers=(-13,)), r"target\.layers: block -13 does not exist"),
        (Perceptual(weights=(1.0, 2.0)), r"target\.weights: has 2 weights for 4 depths; give one for each"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(spec, message):
    with pytest.raises(SpecError, match=message):
        spec.build(ENV, "a")


@pytest.mark.parametrize("spec", [TeacherFeature(), Perceptual()], ids=str)
def test_a_net_of_other_patches_is_refused(spec):
    env = ENV._replace(nets={**ENV.nets, "teacher": NetInfo(D, 12, {"a": Grid(2, 2, 8)})})
    with pytest.raises(
        SpecError, match=r"net 'teacher' cuts view 'a' into 2 x 2 patches but the student into 4 x 4"
    ):
        spec.build(env, "a")


def test_a_wrong_count_of_weights_is_found_without_building():
    target = {"kind": "perceptual", "layers": [0, 1], "weights": [1.0]}
    objective = {"kind": "simmim", "masker": {"kind": "random"}, "target": target}
    with pytest.raises(SpecError, match=r"objective\.target\.weights: has 1 weights for 2 depths"):
        parse(tiny.fields(objective=objective, **TEACHER))


def test_a_frozen_net_of_another_width_teaches():
    """It is not the student's average, and it stays as it is."""
    net = {"backbone": {**tiny.VIT, "width": 24, "heads": 3}}
    objective = {"kind": "mae", "masker": {"kind": "random"}, "decoder": tiny.DECODER}
    run = parse(tiny.fields(objective={**objective, "target": {"kind": "perceptual"}}, nets={"teacher": net}))
    composed = compose(run, tiny.CPU)
    before = {k: v.clone() for k, v in composed.system.nets["teacher"].state_dict().items()}
    feed = tiny.feed(run, composed)
    values = [composed.step(i, feed.step(i)).values for i in range(3)]
    assert composed.system.objectives["mae"].target.dim == 48
    after = composed.system.nets["teacher"].state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert len({v["loss/mae"].item() for v in values}) == 3
    assert all(0 < v["mae/target_std"] < 2 for v in values)

"""Contrastive objectives. The functions are in tests/functional/test_info_nce.py, ranks in tests/distributed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sslkit import InfoNCE, MoCoV2, MoCoV3, SimCLR
from sslkit.core.context import Env, Length, NetInfo
from sslkit.core.passes import Encode, Tokens
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.specs.projection_head import Projection
from sslkit.testing.promises import training_promises
from sslkit.train.compose import compose
from tests import tiny
from tests.near import relative_error
from tests.testing.outcomes import unmet

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
HEAD = {"hidden": 16, "out": 8}
TEACHER = {"teacher": {"momentum": 0.9, "update": "before_forward"}}
TWO = {"global": {**tiny.VIEW, "crops": 2}}


def env(width: int) -> Env:
    view, grid, net = View(8, 2, 1, (0.0,), (1.0,)), Grid(2, 2, 4), NetInfo(width, 1)
    views = {"global": view, "other": view._replace(crops=1)}
    return Env(views, {"student": net, "teacher": net}, dict.fromkeys(views, grid), Length(10, 5))


def linear(width: int, **changes) -> Projection:
    plain = {"norm": True, "bias": False, "out_bias": False, "out_norm": "none", "init": "torch"}
    return Projection(layers=1, out=width, **{**plain, **changes})


def untouched(objective):
    """Heads that pass features on as they are."""
    for module in objective.modules():
        if isinstance(module, nn.Linear):
            nn.init.eye_(module.weight)
    return objective


def tokens(features):
    """`[V, B, D]` as class tokens."""
    return Tokens(torch.zeros(1), features, torch.full((1,), torch.nan), None, ())


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_is_nt_xent(golden, temperature, dtype, tolerance):
    """lightly, pytorch-metric-learning and solo-learn; summed over positions, google-research/simclr."""
    arrays = golden("simclr_ntxent")
    features = torch.stack([arrays["a"], arrays["b"]]).to(dtype).requires_grad_()
    losses = {}
    for directions in ("sum", "mean"):
        spec = SimCLR(projector=linear(7), temperature=temperature, directions=directions)
        losses[directions] = untouched(spec.build(env(7)).to(dtype))({}, tokens(features)).loss
    losses["mean"].backward()
    assert relative_error(losses["mean"].detach(), arrays[f"loss_T{temperature}"]) <= tolerance
    assert relative_error(losses["sum"].detach(), arrays[f"google_sum_T{temperature}"]) <= tolerance
    assert relative_error(features.grad[0], arrays[f"grad_a_T{temperature}"]) <= tolerance
    assert relative_error(features.grad[1], arrays[f"grad_b_T{temperature}"]) <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_a_step_of_moco_is_the_references(golden, dtype, tolerance):
    """MoCo `moco/builder.py`: loss, gradient, and the queue after it. The average has moved before the forward."""
    arrays = golden("moco_infonce")
    spec = MoCoV2(projector=linear(6, out_bias=True), temperature=0.2, queue=12)
    objective = spec.build(env(9)).to(dtype)
    start = {"projector": "q", "key_projector": "k"}
    with torch.no_grad():
        for head, side in start.items():
            layer = objective.get_submodule(head).layers[0]
            layer.weight.copy_(arrays[f"sd.encoder_{side}.fc.weight"])
            layer.bias.copy_(arrays[f"sd.encoder_{side}.fc.bias"])
        for key, query in zip(
            objective.key_projector.parameters(), objective.projector.parameters(), strict=True
        ):
            key.lerp_(query, 0.1)
        objective.queue.rows.copy_(arrays["sd.queue"].T)
    assert (
        relative_error(objective.key_projector.layers[0].weight, arrays["encoder_k_weight_after"])
        <= tolerance
    )
    crops = torch.stack([arrays["xq"], arrays["xk"]]).to(dtype)
    out = objective({}, tokens(crops), tokens(crops))
    out.loss.backward()
    objective.commit(out.carry)
    assert relative_error(out.loss.detach(), arrays["loss"]) <= tolerance
    assert relative_error(objective.projector.layers[0].weight.grad, arrays["grad_w_q"]) <= tolerance
    assert relative_error(objective.queue.rows, arrays["queue_after"].T) <= tolerance
    assert objective.queue.place == arrays["queue_ptr_after"].item()
    assert all(p.grad is None for p in objective.key_projector.parameters())


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_moco_v3_is_the_references(golden, dtype, tolerance):
    """MoCo v3 `moco/builder.py`: 2T times the cross entropy, both directions summed."""
    arrays = golden("mocov3_loss")
    objective = untouched(MoCoV3(projector=linear(8), predictor=linear(8)).build(env(8)).to(dtype))
    queries = torch.stack([arrays["q1"], arrays["q2"]]).to(dtype).requires_grad_()
    keys = torch.stack([arrays["k1"], arrays["k2"]]).to(dtype)
    out = objective({}, tokens(queries), tokens(keys))
    out.loss.backward()
    assert relative_error(out.loss.detach(), arrays["loss"]) <= tolerance
    assert relative_error(queries.grad[0], arrays["grad_q1"]) <= tolerance
    assert relative_error(queries.grad[1], arrays["grad_q2"]) <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_a_learned_temperature_is_clips(golden, dtype, tolerance):
    """open_clip: the loss at its scale, and the gradient of the scale's logarithm."""
    arrays = golden("clip_loss")
    scale = arrays["logit_scale"].item()
    spec = InfoNCE(projector=linear(8), temperature=1 / scale, learn_temperature=True)
    objective = untouched(spec.build(env(8)).to(dtype))
    with torch.no_grad():
        objective.log_scale.fill_(math.log(scale))
    out = objective({}, tokens(torch.stack([arrays["image"], arrays["text"]]).to(dtype)))
    out.loss.backward()
    assert relative_error(out.loss.detach(), arrays["loss"]) <= tolerance
    assert relative_error(objective.log_scale.grad, arrays["grad_scale"] * scale) <= tolerance
    assert out.metrics["temperature"].item() == pytest.approx(1 / scale)


@pytest.mark.parametrize(("value", "kept"), [(6.0, math.log(100)), (-1.0, 0.0), (2.0, 2.0)])
def test_a_learned_scale_stays_between_one_and_a_hundred(value, kept):
    """open_clip `train.py`: `logit_scale.clamp_(0, ln 100)` after the step."""
    objective = InfoNCE(learn_temperature=True).build(env(8))
    with torch.no_grad():
        objective.log_scale.fill_(value)
    objective.commit({})
    assert objective.log_scale.item() == pytest.approx(kept)


def test_symmetric_moco_sums_directions_and_keeps_both_crops_keys():
    """MoCo's CIFAR-10 notebook: loss_12 + loss_21, and `cat([k1, k2])` into the queue."""
    spec = MoCoV2(projector=linear(6), queue=12)
    torch.manual_seed(1)
    both = untouched(spec.model_copy(update={"symmetric": True}).build(env(6)))
    one_way = untouched(spec.build(env(6)))
    one_way.queue.load_state_dict(both.queue.state_dict())
    a, b = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    out = both({}, tokens(a), tokens(b))
    halves = [one_way({}, tokens(a[order]), tokens(b[order])) for order in ([0, 1], [1, 0])]
    torch.testing.assert_close(out.loss, halves[0].loss + halves[1].loss)
    both.commit(out.carry)
    expected = b.flatten(0, 1) / b.flatten(0, 1).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(both.queue.rows[:10], expected)


def test_a_view_of_keys_spares_the_passes_that_one_way_contrast_does_not_use():
    """Each net makes one pass; the loss is that of two crops of one view."""
    spec = MoCoV2(projector=linear(6), queue=12)
    apart = untouched(spec.model_copy(update={"key_view": "other"}).build(env(6)))
    together = untouched(spec.build(env(6)))
    assert apart.passes == (Encode("global"), Encode("other", net="teacher"))
    assert apart.crops == {"global": 1, "other": 1}
    assert together.passes == (Encode("global"), Encode("global", net="teacher"))
    assert together.crops == {"global": 2}
    together.queue.load_state_dict(apart.queue.state_dict())
    a, b = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    found = apart({}, tokens(a[:1]), tokens(b[1:]))
    expected = together({}, tokens(a), tokens(b))
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.carry["keys"], expected.carry["keys"])
    assert expected.carry["keys"].shape == (5, 1, 6)


def test_without_a_teacher_the_student_makes_keys_with_gradient():
    spec = InfoNCE(projector=linear(6), symmetric=False)
    together = untouched(spec.build(env(6)))
    apart = untouched(spec.model_copy(update={"key_view": "other"}).build(env(6)))
    assert together.passes == (Encode("global"),)
    assert apart.passes == (Encode("global"), Encode("other"))
    crops = torch.randn(2, 5, 6, requires_grad=True)
    first, second = crops[:1].detach().requires_grad_(), crops[1:].detach().requires_grad_()
    together({}, tokens(crops)).loss.backward()
    apart({}, tokens(first), tokens(second)).loss.backward()
    torch.testing.assert_close(crops.grad, torch.cat([first.grad, second.grad]))
    assert second.grad.abs().max() > 0


def test_a_queue_starts_random_and_is_read_not_written():
    objective = MoCoV2(projector=linear(6), queue=12).build(env(6))
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective({}, tokens(torch.randn(2, 5, 6)), tokens(torch.randn(2, 5, 6)))
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    assert "queue.rows" in before


def test_more_crops_are_all_compared():
    """Every ordered pair of three crops; those of one image never are each other's negatives' positives."""
    spec = InfoNCE(projector=linear(6), temperature=0.5)
    objective = untouched(spec.build(env(6)))
    crops = torch.randn(3, 5, 6)
    pairs = [objective({}, tokens(crops[[v, u]])).loss for v, u in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(objective({}, tokens(crops)).loss, torch.stack(pairs).mean())


def test_the_predictor_is_of_queries_only():
    spec = InfoNCE(projector=linear(6), predictor=linear(6), net="teacher")
    objective = untouched(spec.build(env(6)))
    objective.predictor.layers[0].weight.data.neg_()
    crops = torch.randn(2, 5, 6)
    found = objective({}, tokens(crops), tokens(crops)).metrics["positive"]
    plain = untouched(InfoNCE(projector=linear(6), net="teacher").build(env(6)))
    torch.testing.assert_close(found, -plain({}, tokens(crops), tokens(crops)).metrics["positive"])


def test_joint_norm_is_simclrs():
    """google-research/simclr norms both views together; MoCo passes them in turn."""
    crops = torch.stack([torch.randn(16, 6), torch.randn(16, 6) + 4])
    means = {}
    for spec in (
        SimCLR(projector=linear(4, out_norm="plain")),
        InfoNCE(projector=linear(4, out_norm="plain")),
    ):
        objective = spec.build(env(6))
        means[spec.kind] = objective._head(objective.projector, crops).mean(1).abs().max().item()
    assert means["infonce"] < 1e-5 < 0.1 < means["simclr"]


def test_a_head_of_other_widths_is_the_methods_otherwise():
    """A head that says nothing of norms must not lose those of its method."""
    assert SimCLR(projector={"hidden": 512}).projector == Projection(
        hidden=512, out_norm="scale", init="normal"
    )
    given = MoCoV2(projector=Projection(out=64)).projector
    assert given == Projection(layers=2, out=64, norm=False, bias=True, out_bias=True)
    v3 = MoCoV3(projector={"hidden": 64}, predictor={"hidden": 64})
    assert (v3.projector.layers, v3.projector.out, v3.projector.out_norm) == (3, 256, "plain")
    assert (v3.predictor.layers, v3.predictor.out, v3.predictor.out_norm) == (2, 256, "plain")


def test_defaults_are_the_references():
    """Heads by their layers; values by the recipes that the docs page quotes."""
    shapes = {
        spec.kind: [
            (m.in_features, m.out_features, m.bias is not None)
            for m in head.modules()
            if isinstance(m, nn.Linear)
        ]
        for spec in (SimCLR(), MoCoV2(queue=64), MoCoV3())
        for head in (spec.build(env(24)).projector,)
    }
    assert shapes == {
        "simclr": [(24, 24, False), (24, 24, False), (24, 128, False)],
        "moco_v2": [(24, 24, True), (24, 128, True)],
        "moco_v3": [(24, 4096, False), (4096, 4096, False), (4096, 256, False)],
    }
    assert (MoCoV2().queue, MoCoV2().temperature, MoCoV3().temperature, SimCLR().temperature) == (
        65536,
        0.2,
        0.2,
        0.1,
    )


RUNS = {
    "symmetric": {
        "objective": {
            "kind": "moco_v2",
            "projector": {"layers": 1, "out": 8},
            "queue": 80,
            "symmetric": True,
        },
        "nets": TEACHER,
    },
    "apart": {
        "objective": {"kind": "moco_v2", "projector": {"layers": 2, **HEAD}, "queue": 48, "key_view": "keys"},
        "nets": TEACHER,
        "views": {"global": tiny.VIEW, "keys": tiny.VIEW},
    },
    "split": {
        "objective": {
            "kind": "simclr",
            "projector": {"layers": 2, **HEAD, "batch_norm": "shuffled", "splits": 2},
        },
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_it_resumes_exactly_and_compiles_to_one_graph(name, monkeypatch):
    """What the examples of the conformance kit leave out; batch norm of groups included."""
    monkeypatch.setattr(training_promises, "BACKEND", "eager")
    checks = training_promises.Training(
        parse(tiny.fields(**{"views": TWO, "batch_size": 16, **RUNS[name]}))
    ).checks()
    assert unmet(checks, "resumes exactly", "compiles to one graph") == []


OVERFITTED = {
    "simclr": {"projector": {**HEAD, "init": "torch"}, "temperature": 0.2},
    "moco_v3": {"projector": HEAD, "predictor": HEAD},
}


@pytest.mark.parametrize("kind", OVERFITTED)
def test_one_batch_can_be_told_apart(kind):
    """Sixteen images over and over: positives become the nearest, and features stay spread."""
    run = parse(
        tiny.fields(
            views=TWO,
            objective={"kind": kind, **OVERFITTED[kind]},
            nets=TEACHER,
            optimizer={"lr": 0.01, "scale": "absolute"},
            schedule={"warmup_epochs": 0, "shape": "constant"},
            batch_size=16,
            steps=50,
        )
    )
    composed = compose(run, tiny.CPU)
    feed = tiny.feed(run, composed)
    values = [composed.step(i, feed.step(0)).values for i in range(50)]
    first, last = values[0], values[-1]
    assert last[f"loss/{kind}"] < 0.8 * first[f"loss/{kind}"]
    assert last[f"{kind}/accuracy"] > first[f"{kind}/accuracy"] + 0.2
    assert last[f"{kind}/positive"] > last[f"{kind}/negative"] + 0.3
    assert last[f"{kind}/feature_std"] > 0.5


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"view": "lokal"}, "view", "Known: global"),
        ({"key_view": "keys", "symmetric": False}, "key_view", "Known: global"),
        ({"key_view": "global"}, "key_view", "`symmetric: false`"),
        (
            {"net": "teacher"},
            "net",
            "not a moving average of this run. Known: student. Add it: `nets: {teacher: ",
        ),
        ({"in_batch": False}, "queue", "no negatives"),
        ({"queue": 63}, "queue", "63 places do not hold the 64 keys of one step"),
        ({"all_crops": True, "symmetric": False}, "all_crops", "needs `symmetric` and `in_batch`"),
        ({"scale_2t": True, "learn_temperature": True}, "scale_2t", "leave one"),
        ({"predictor": {"out": 8}}, "predictor.out", "8 differs from that of `projector`, 128"),
    ],
)
def test_what_does_not_fit_is_named(changes, path, message):
    run = tiny.fields(views=TWO, objective={"kind": "infonce", **changes})
    with pytest.raises(SpecError) as error:
        parse(run)
    assert f"objective.{path}" in str(error.value)
    assert message in str(error.value)


def test_one_image_has_no_negatives():
    run = tiny.fields(views=TWO, objective={"kind": "simclr"}, batch_size=1)
    with pytest.raises(SpecError, match="at least 2 in a batch"):
        parse(run)
    parse({**run, "batch_size": 4, "micro_batch_size": 1})


def test_one_crop_is_too_few():
    with pytest.raises(SpecError, match=r"needs 2 crops of view 'global'; set `views.global.crops` to 2"):
        compose(parse(tiny.fields(objective={"kind": "simclr"})), tiny.CPU)


@pytest.mark.parametrize("spec", [SimCLR(), MoCoV2(symmetric=True), MoCoV3()])
def test_presets_are_the_engine_with_fields_set(spec):
    engine = spec.engine()
    common = set(type(spec).model_fields) & set(InfoNCE.model_fields) - {"kind"}
    assert {name: getattr(engine, name) for name in common} == {name: getattr(spec, name) for name in common}


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({}, [("student", True)]),
        ({"net": "teacher"}, [("student", True), ("teacher", False)]),
        ({"key_view": "other", "symmetric": False}, [("student", True), ("student", True)]),
        ({"net": "teacher", "mode": "token"}, [("student", True), ("teacher", False)]),
    ],
)
def test_a_masker_hides_patches_from_the_student_only(fields, passes):
    """As in CAN, whose crops are all masked, and CMAE, whose keys are of whole ones."""
    names, crops = (("global", "other"), 1) if "key_view" in fields else (("global",), 2)
    views = {name: {**tiny.VIEW, "crops": crops} for name in names}
    masked = {"kind": "infonce", "masker": {"kind": "random", "ratio": 0.5}, "projector": HEAD, **fields}
    run = tiny.spec(objective=masked, views=views, nets={"teacher": {"momentum": 0.9}})
    composed, losses = tiny.steps(run, 3)
    assert [(p.net, p.mask is not None) for p in composed.system.plan] == passes
    assert {p.mode for p in composed.system.plan if p.mask} == {fields.get("mode", "drop")}
    assert len(set(losses)) == 3

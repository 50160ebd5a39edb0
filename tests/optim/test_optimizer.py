"""Groups, layer decay, optimizers by name, clipping."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
import warnings

import pytest
import torch
from torch import nn

from sslkit import CNN, Finetune
from sslkit.core.backbone import Backbone
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.nn.batch_norm import BatchNorm
from sslkit.optim import optimizer as optim
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.schedule import Ramp
from sslkit.train.compose import compose
from sslkit_backbones.layer_numbers import vit_layer
from tests import tiny


def network():
    net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))
    net.register_parameter("cls_token", nn.Parameter(torch.randn(1, 1, 4)))
    net.register_parameter("pos_embed", nn.Parameter(torch.randn(1, 5, 4), requires_grad=False))
    return net


def names(groups, net):
    """The names in each group, in order."""
    by_id = {id(p): name for name, p in net.named_parameters()}
    return [{by_id[id(p)] for p in group["params"]} for group in groups]


def with_gradients(scale=1.0):
    parameters = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(7)), nn.Parameter(torch.randn(2))]
    for p in parameters[:2]:
        p.grad = scale * torch.randn_like(p)
    return parameters


def test_matrices_and_tokens_decay_while_biases_and_norms_do_not():
    net = network()
    decayed, kept = optim.groups(OptimizerSpec(), net.named_parameters())
    assert names([decayed, kept], net) == [
        {"0.weight", "2.weight", "cls_token"},
        {"0.bias", "1.weight", "1.bias", "2.bias"},
    ]
    assert decayed["decay"]
    assert not kept["decay"]
    assert kept["weight_decay"] == 0.0


def test_named_parameters_are_excluded_by_the_end_of_their_name():
    net = network()
    decayed, _ = optim.groups(OptimizerSpec(no_decay=("cls_token", "2.weight")), net.named_parameters())
    assert names([decayed], net) == [{"0.weight"}]


def test_everything_decays_where_one_dimensional_parameters_do():
    net = network()
    groups = optim.groups(OptimizerSpec(decay_one_dimensional=True), net.named_parameters())
    assert names(groups, net) == [{name for name, p in net.named_parameters() if p.requires_grad}]


def test_what_never_decays_joins_the_second_group():
    net, weight = network(), nn.Parameter(torch.zeros(2, 2))
    _, kept = optim.groups(OptimizerSpec(decay_one_dimensional=True), net.named_parameters(), never=[weight])
    assert kept["params"] == [weight]


def test_assign_sets_the_rate_everywhere_and_the_decay_where_there_is_any():
    net = network()
    made = optim.make(OptimizerSpec(), optim.groups(OptimizerSpec(), net.named_parameters()))
    optim.assign(made, 0.25, 0.125)
    assert [(g["lr"], g["weight_decay"]) for g in made.param_groups] == [(0.25, 0.125), (0.25, 0.0)]


def test_mocos_rule_decays_biases_and_norms_too():
    """MoCo and lightly give `model.parameters()` to SGD; MoCo v3 gives them to AdamW (`main_moco.py:229`)."""
    run = tiny.spec(optimizer={"decay_one_dimensional": True, "weight_decay": 0.1})
    made = compose(run, tiny.CPU).step
    optim.assign(made.optimizer, 0.1, 0.1)
    assert {group["weight_decay"] for group in made.optimizer.param_groups} == {0.1}
    count = sum(len(group["params"]) for group in made.optimizer.param_groups)
    assert count == len(made.parameters)


def test_byols_rule_leaves_biases_and_norms_alone():
    """BYOL `optimizers.py:30-35`: names of `b` and of batch norm; in a ResNet, exactly what has one dimension."""
    backbone = CNN(name="test_resnet").build(View(32, 1, 3, (0.5,) * 3, (0.5,) * 3))
    spec = OptimizerSpec(name="lars", weight_decay=1e-6)
    decayed, kept = optim.groups(spec, backbone.named_parameters())
    modules = {id(p): m for m in backbone.modules() for p in m.parameters(recurse=False)}
    assert {type(modules[id(p)]) for p in decayed["params"]} == {nn.Conv2d}
    assert all(p is modules[id(p)].weight for p in decayed["params"])
    assert all(isinstance(modules[id(p)], BatchNorm) for p in kept["params"])
    assert len(kept["params"]) == 2 * sum(isinstance(m, BatchNorm) for m in backbone.modules())


def test_plain_sgd_is_torchs_with_coupled_decay():
    """`momentum`: weight decay joins the gradient before the momentum, as in MoCo and lightly."""
    net = network()
    theirs = copy.deepcopy(net)
    spec = OptimizerSpec(name="momentum", lr=0.1, weight_decay=0.05, decay_one_dimensional=True)
    made = optim.make(spec, optim.groups(spec, net.named_parameters()))
    torchs = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], 0.1, 0.9, weight_decay=0.05)
    for step in range(3):
        x = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        for one, optimizer in ((net, made), (theirs, torchs)):
            optimizer.zero_grad()
            one(x + one.cls_token[0]).square().sum().backward()
        optim.assign(made, 0.1, 0.05)
        made.step()
        torchs.step()
    for ours, expected in zip(net.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(ours, expected)


def test_only_moments_on_a_schedule_are_set_again():
    ramp = Ramp(start=0.95, end=0.85, shape="linear")
    assert optim.scheduled_moments(OptimizerSpec(), 3, 10) == {}
    assert optim.scheduled_moments(OptimizerSpec(momentum=ramp), 5, 10) == {"momentum": pytest.approx(0.9)}
    assert optim.scheduled_moments(OptimizerSpec(betas=(ramp, 0.99)), 5, 10) == {
        "betas": (pytest.approx(0.9), 0.99)
    }


@pytest.mark.parametrize(
    ("name", "key"), [("momentum", "momentum"), ("lars", "momentum"), ("adamw", "betas")]
)
def test_a_run_changes_its_moments_step_by_step(name, key):
    """A momentum that falls while the rate rises, as one-cycle has it."""
    ramp = {"start": 0.95, "end": 0.85, "shape": "linear"}
    given = {"momentum": ramp} if key == "momentum" else {"betas": [ramp, 0.99]}
    run = tiny.spec(optimizer={"name": name, "lr": 0.01, **given})
    composed = compose(run, tiny.CPU)
    feed, seen = tiny.feed(run, composed), []
    for step in range(3):
        composed.step(step, feed.step(step))
        seen.append([group[key] for group in composed.step.optimizer.param_groups])
    for step, values in enumerate(seen):
        expected = pytest.approx(0.95 - 0.1 * step / 8)
        assert values == [expected if key == "momentum" else (expected, 0.99)] * len(values)


def test_a_schedule_that_the_optimizer_cannot_follow_is_refused():
    run = tiny.spec(optimizer={"name": "lamb", "momentum": {"start": 0.9, "end": 0.8}})
    with pytest.raises(SpecError, match=r"optimizer\.momentum: Lamb has no `momentum` that could change"):
        tiny.steps(run, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"momentum": 1.0}, r"optimizer\.momentum: must stay from 0 to below 1, found 1.0"),
        ({"momentum": {"start": 0.9, "end": 1.0}}, r"optimizer\.momentum: must stay from 0 to below 1"),
        ({"betas": [-0.1, 0.9]}, r"optimizer\.betas\.0: must stay from 0 to below 1, found -0.1"),
    ],
)
def test_moments_are_shares(fields, message):
    with pytest.raises(SpecError, match=message):
        tiny.spec(optimizer=fields)


def test_adamw_is_torchs_with_the_specs_numbers():
    net = network()
    spec = OptimizerSpec(lr=0.5, betas=(0.8, 0.9), eps=1e-3)
    made = optim.make(spec, optim.groups(spec, net.named_parameters()))
    assert type(made) is torch.optim.AdamW
    first = made.param_groups[0]
    assert (first["lr"], first["betas"], first["eps"], first["fused"]) == (0.5, (0.8, 0.9), 1e-3, True)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("limit", [0.5, 3.0])
def test_global_clipping_is_torchs(scale, limit):
    parameters = with_gradients(scale)
    theirs = copy.deepcopy(parameters)
    for a, b in zip(parameters, theirs, strict=True):
        b.grad = None if a.grad is None else a.grad.clone()
    norm = nn.utils.clip_grad_norm_(theirs, limit)
    assert torch.equal(optim.clip(parameters, limit, "global"), norm)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(parameters[:2], theirs[:2], strict=True))
    assert parameters[2].grad is None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_clipping_per_tensor_is_torchs_on_each(scale):
    parameters = with_gradients(scale)
    before = [p.grad.clone() for p in parameters[:2]]
    norm = optim.clip(parameters, 3.0, "tensor")
    torch.testing.assert_close(norm, torch.cat([x.flatten() for x in before]).norm())
    for p, gradient in zip(parameters[:2], before, strict=True):
        alone = nn.Parameter(torch.zeros_like(p))
        alone.grad = gradient
        nn.utils.clip_grad_norm_([alone], 3.0)
        assert torch.equal(p.grad, alone.grad)
        assert p.grad.norm() <= 3.0


@pytest.mark.parametrize(
    "name",
    [
        "adamw", "sgd", "nesterov", "momentum", "lars", "larc", "lamb", "adan", "lion", "muon", "adam", "nadamw",
        "radam", "rmsprop", "adafactor", "adabelief", "madgradw", "novograd", "laprop", "mars", "adopt",
    ],
)  # fmt: skip
def test_optimizers_by_name_train_and_resume_bit_equal(name):
    """Everything that such an optimizer remembers is in its state_dict, and loads without running code."""
    spec = OptimizerSpec(name=name, lr=0.01)

    def made():
        torch.manual_seed(0)
        net = network()
        return net, optim.make(spec, optim.groups(spec, net.named_parameters()))

    def train(net, optimizer, steps):
        for step in steps:
            optim.assign(optimizer, 0.01 / (1 + step), 0.05)
            x = torch.randn(6, 4, generator=torch.Generator().manual_seed(step)) + net.cls_token[0]
            net(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    whole, optimizer = made()
    start = copy.deepcopy(whole.state_dict())
    train(whole, optimizer, range(6))
    assert any(not torch.equal(value, start[key]) for key, value in whole.state_dict().items())
    net, first = made()
    train(net, first, range(3))
    weights, state = copy.deepcopy(net.state_dict()), copy.deepcopy(first.state_dict())
    net, second = made()
    net.load_state_dict(weights)
    second.load_state_dict(state)
    train(net, second, range(3, 6))
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in whole.state_dict().items())


def test_betas_and_eps_reach_optimizers_that_have_them():
    parameters = [{"params": [nn.Parameter(torch.zeros(2, 2))], "decay": True}]
    group = optim.make(OptimizerSpec(name="lamb", betas=(0.7, 0.8), eps=1e-4), parameters).param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.7, 0.8), 1e-4)
    parameters = [{"params": [nn.Parameter(torch.zeros(2, 2))], "decay": True}]
    group = optim.make(OptimizerSpec(name="sgd", momentum=0.3, eps=1e-4), parameters).param_groups[0]
    assert group["momentum"] == 0.3
    assert "eps" not in group


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adamww", "optimizer.name: timm has no optimizer 'adamww'. Did you mean 'adamw'?"),
        ("zzzzzz", "optimizer.name: timm has no optimizer 'zzzzzz'."),
        (
            "adahessian",
            "optimizer.name: 'adahessian' needs second derivatives, which training does not compute",
        ),
    ],
)
def test_optimizers_that_cannot_be_used_say_why(name, message):
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        optim.make(OptimizerSpec(name=name), [{"params": [nn.Parameter(torch.zeros(2))], "decay": False}])


def test_every_optimizer_of_timm_is_built_or_refused_readably():
    refused = {}
    for name in optim.timm_optimizer.list_optimizers():
        spec = OptimizerSpec(name=name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # kron recommends a package
            try:
                optim.make(spec, optim.groups(spec, network().named_parameters()))
            except SpecError as error:
                refused[name] = str(error)
    assert len(refused) < len(optim.timm_optimizer.list_optimizers()) / 2
    assert all(repr(name) in message for name, message in refused.items())


INFOS = {
    name: optim.timm_optimizer.get_optimizer_info(name) for name in optim.timm_optimizer.list_optimizers()
}
CORRECTED = [name for name, info in INFOS.items() if (info.defaults or {}).get("corrected_weight_decay")]


@pytest.mark.parametrize("name", CORRECTED)
def test_corrected_weight_decay_is_in_relation_to_the_runs_peak(name):
    """lr ** 2 / peak, as timm's with `lr` at the peak of its schedule; it was / `spec.lr`, before scaling."""
    spec = OptimizerSpec(name=name, lr=0.01)
    scales = {}
    net = network()
    layer = next(iter(net.parameters()))
    scales[layer] = 0.5
    groups = optim.groups(spec, net.named_parameters(), scales=scales)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # kron recommends a package
        optimizer = optim.make(spec, groups, peak=0.16)
    assert all(group["max_lr_snapshot"] == 0.16 * group["lr_scale"] for group in optimizer.param_groups)
    assert {group["corrected_weight_decay"] for group in optimizer.param_groups} == {True}


def test_a_run_gives_its_peak_to_corrected_weight_decay():
    """With no gradient at all a step of `sgdc` is the decay alone, at the peak: lr * weight decay."""
    run = tiny.spec(optimizer={"name": "sgdc", "lr": 0.01, "scale": "/256"}, batch_size=32)
    step = compose(run, tiny.CPU).step
    assert step.peak_lr == pytest.approx(0.01 * 32 / 256)
    assert {group["max_lr_snapshot"] for group in step.optimizer.param_groups} == {step.peak_lr}
    weight = nn.Parameter(torch.ones(2, 2))
    spec = OptimizerSpec(name="sgdc", lr=0.01)
    alone = optim.make(spec, optim.groups(spec, [("w", weight)]), peak=0.5)
    optim.assign(alone, 0.5, 0.1)
    weight.grad = torch.zeros(2, 2)
    alone.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 1 - 0.5 * 0.1))


def test_what_a_spec_leaves_open_is_the_optimizers_own():
    """Moments of the class or of timm's entry; 0.9 where SGD and its like have no momentum of their own."""
    for name, info in INFOS.items():
        if isinstance(info.opt_class, str) or info.second_order:
            continue  # of a package that is not here, or refused
        defaults = {k: v.default for k, v in inspect.signature(info.opt_class).parameters.items()} | (
            info.defaults or {}
        )
        spec = OptimizerSpec(name=name, lr=0.01)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # kron recommends a package
            with contextlib.suppress(SpecError):
                group = optim.make(spec, optim.groups(spec, network().named_parameters())).param_groups[0]
                for key in ("betas", "eps", "beta2", "alpha", "momentum_decay", "trust_coeff"):
                    if key in group and key in defaults and name != "adamw":
                        assert group[key] == defaults[key], (name, key)
                if "momentum" in group and info.has_momentum:
                    assert group["momentum"] == (defaults["momentum"] or 0.9), name


def test_moments_of_adamw_and_lars_are_those_of_the_references():
    def group(name):
        return optim.make(
            OptimizerSpec(name=name), [{"params": [nn.Parameter(torch.zeros(2, 2))]}]
        ).param_groups[0]

    assert group("adamw")["betas"] == (0.9, 0.95)
    assert group("lars")["momentum"] == 0.9
    assert group("muon")["momentum"] == 0.95


def test_muon_is_for_weights_inside_the_network():
    """The first layer, embeddings, the last layers of heads, biases and norms are its AdamW's."""
    run = tiny.spec(
        optimizer={"name": "muon", "lr": 0.01},
        nets={"teacher": {}},
        objective={
            "kind": "byol",
            "projector": {"hidden": 16, "out": 8},
            "predictor": {"hidden": 16, "out": 8},
        },
        views={"global": {**tiny.VIEW, "crops": 2}},
    )
    composed, _ = tiny.steps(run, 1)
    state = composed.step.optimizer.state
    names = {p: name for name, p in composed.system.named_parameters()}
    muon = {names[p] for p, values in state.items() if values["use_muon"]}
    inner = ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")
    expected = {f"nets.student.net.blocks.{i}.{part}" for i in range(2) for part in inner}
    assert {name for name in muon if name.startswith("nets.")} == expected
    heads = {name for name in muon if name.startswith("objectives.")}
    assert {".".join(name.split(".")[2:]) for name in heads} == {
        "projector.layers.0.weight",
        "predictor.layers.0.weight",
    }
    fallback = [group for group in composed.step.optimizer.param_groups if group.get("use_fallback")]
    assert {"nets.student.net.patch_embed.proj.weight", "nets.student.net.cls_token"} <= {
        names[p] for group in fallback for p in group["params"]
    }


def test_a_system_that_is_converted_keeps_muons_groups():
    """The optimizer is made anew with the state of the old one; groups must not take each other's place."""
    net = network()
    spec = OptimizerSpec(name="muon", lr=0.01)
    named = [(f"nets.student.{name}", p) for name, p in net.named_parameters() if p.requires_grad]
    old, new = (optim.make(spec, optim.groups(spec, named)) for _ in range(2))
    again = optim.remade(old, new, dict(named), dict(named))

    def groups(optimizer):
        return [(g["decay"], g.get("use_fallback", False), len(g["params"])) for g in optimizer.param_groups]

    assert groups(again) == groups(old)
    assert {fallback for _, fallback, _ in groups(old)} == {True, False}


def test_moments_of_a_replaced_weight_lie_as_it_does():
    """A weight that was turned to channels last: fused steps read weight and moments side by side."""
    spec = OptimizerSpec(lr=0.01, weight_decay=0.0)
    start, gradient = torch.randn(2, 8, 4, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    ends = []
    for order in (torch.contiguous_format, torch.channels_last):
        before = {"net.weight": nn.Parameter(start.clone())}
        old = optim.make(spec, optim.groups(spec, list(before.items())))
        before["net.weight"].grad = gradient
        old.step()
        now = {"net.weight": nn.Parameter(before["net.weight"].detach().clone(memory_format=order))}
        new = optim.make(spec, optim.groups(spec, list(now.items())))
        again = optim.remade(old, new, before, now)
        now["net.weight"].grad = (2 * gradient).clone(memory_format=order)
        again.step()
        ends.append(now["net.weight"].detach())
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], start)


class Layered(Backbone):
    """Parameters of the names that the golden's toy network has, which has three blocks."""

    dim, depth = 4, 3

    def __init__(self, shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name.replace(".", "__"), nn.Parameter(torch.zeros(shape)))

    def grid(self, size):
        return Grid(1, 1, size)

    def forward(self, requests):
        return []

    def export(self):
        raise SpecError("is a toy")


class Numbered(Layered):
    def layer_of(self, name):
        return vit_layer(name.replace("__", "."), self.depth)


def shape_of(name):
    """The golden's weights are matrices, its biases and norms vectors, its tokens have three dimensions."""
    if name in {"cls_token", "pos_embed"}:
        return (1, 1, 4)
    return (4,) if name.endswith("bias") or name.startswith("norm") else (4, 4)


def test_layer_decay_is_maes(golden):
    """MAE `util/lr_decay.py`: scale and weight decay of every parameter; the head belongs to the backbone there."""
    arrays = golden("mae_lr_schedule_layer_decay")
    net = Numbered({name: shape_of(name) for name in arrays["names"]})
    spec = (
        Finetune(layer_decay=0.75).build().recipe.optimizer
    )  # what the protocol has, without help from here
    named = [(name.replace("__", "."), p) for name, p in net.named_parameters()]
    made = optim.make(spec, optim.groups(spec, named, scales=optim.layer_scales(spec, net)))
    optim.assign(made, 2.0, 0.05)
    found = {id(p): (g["lr"] / 2, g["weight_decay"]) for g in made.param_groups for p in g["params"]}
    expected = list(zip(arrays["lr_scale"].tolist(), arrays["weight_decay"].tolist(), strict=True))
    assert [found[id(p)] for _, p in named] == expected


def test_without_layer_decay_there_are_two_groups_at_the_whole_rate():
    net = network()
    made = optim.make(OptimizerSpec(), optim.groups(OptimizerSpec(), net.named_parameters()))
    assert [group["lr_scale"] for group in made.param_groups] == [1.0, 1.0]
    assert optim.layer_scales(OptimizerSpec(), Layered({"weight": (4, 4)})) == {}


def test_a_backbone_that_does_not_number_its_layers_is_named():
    with pytest.raises(SpecError, match=r"^optimizer\.layer_decay: Layered does not say which layer"):
        optim.layer_scales(OptimizerSpec(layer_decay=0.5), Layered({"weight": (4, 4)}))


def test_heads_have_the_whole_rate_and_frozen_or_undecayed_parameters_keep_their_rules():
    net, head = Numbered({"blocks.0.weight": (4, 4), "blocks.0.bias": (4,)}), nn.Parameter(torch.zeros(2, 2))
    named = [*net.named_parameters(), ("head", head)]
    spec, never = OptimizerSpec(layer_decay=0.5), [nn.Parameter(torch.zeros(3))]
    groups = optim.groups(spec, named, never, optim.layer_scales(spec, net))
    found = {id(p): (g["decay"], g["lr_scale"]) for g in groups for p in g["params"]}
    first, second = net.parameters()
    assert found == {
        id(head): (True, 1.0),
        id(never[0]): (False, 1.0),
        id(first): (True, 0.125),
        id(second): (False, 0.125),
    }


def test_a_run_moves_early_layers_less():
    """One step of plain SGD: what each parameter moved is its gradient times rate and scale."""
    options = {"name": "momentum", "lr": 1.0, "scale": "absolute", "weight_decay": 0.0}
    moved = {}
    for decay in (None, 0.5):
        run = tiny.spec(optimizer={**options, "layer_decay": decay}, schedule={"warmup_epochs": 0})
        before = {n: p.clone() for n, p in compose(run, tiny.CPU).system.named_parameters()}
        after = dict(tiny.steps(run, 1)[0].system.named_parameters())
        moved[decay] = {name: after[name].detach() - value.detach() for name, value in before.items()}
    for name, change in moved[None].items():
        layer = vit_layer(name.removeprefix("nets.student."), 2) if name.startswith("nets.") else 3
        torch.testing.assert_close(moved[0.5][name], change * 0.5 ** (3 - layer), rtol=1e-4, atol=2e-7)
    assert moved[0.5]["nets.student.net.blocks.0.attn.qkv.weight"].abs().max() > 1e-5


def test_a_run_with_layer_decay_resumes_bit_equal():
    run = tiny.spec(optimizer={"lr": 0.01, "layer_decay": 0.65})
    whole, _ = tiny.steps(run, 4)
    half, _ = tiny.steps(run, 2)
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(copy.deepcopy(half.step.state_dict()))
    feed = tiny.feed(run, resumed)
    for step in (2, 3):
        resumed.step(step, feed.step(step))
    assert tiny.same(whole, resumed)

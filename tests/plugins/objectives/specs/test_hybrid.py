"""Hybrids: spelled in two ways, weighed, nested, with masks of their own, sharing passes."""

from __future__ import annotations

import copy

import pytest
import torch
import yaml

from sslkit import MAE, FixedWeights, Hybrid, InfoNCE, PCGrad, RandomMasker, Run, SimMIM, Uniformity
from sslkit.errors import SpecError
from sslkit.specs.load import dump, parse
from sslkit.train.compose import compose
from tests import tiny

HALF = {"kind": "random", "ratio": 0.5}
MIM = {"kind": "mae", "masker": HALF, "decoder": tiny.DECODER}
SIM = {"kind": "simmim", "masker": HALF}
APART = {"kind": "uniformity", "masker": HALF}
FADE = {"start": 0.0, "end": 2.0, "shape": "linear"}
TWO = {"mim": MIM, "apart": APART}
HEADS = {"projector": {"hidden": 8, "out": 4}, "predictor": {"hidden": 8, "out": 4}}


def run_of(objectives, **changes):
    return tiny.spec(objective=None, objectives=objectives, batch_size=8, **changes)


def hybrid(objectives, **fields):
    return tiny.spec(objective={"kind": "hybrid", "objectives": objectives, **fields}, batch_size=8)


def first_values(run):
    composed = compose(run, tiny.CPU)
    losses = composed.step(0, tiny.feed(run, composed).step(0))
    return {"loss": losses.total, **losses.values}


def gradients(run, step=0):
    """Of every parameter, in the forward of one step."""
    composed = compose(run, tiny.CPU)
    kept = {}

    def keep(*_args, **_kwargs):
        kept.update({n: p.grad.clone() for n, p in composed.system.named_parameters() if p.grad is not None})

    composed.step.optimizer.step = keep
    composed.step(step, tiny.feed(run, composed).step(step))
    return kept


def test_terms_are_arguments_of_their_own_in_python() -> None:
    one = Hybrid(mim=MAE(), contrast=InfoNCE(weight=0.5), balance=PCGrad())
    assert list(one.objectives) == ["mim", "contrast"]
    assert one == Hybrid(objectives={"mim": MAE(), "contrast": InfoNCE(weight=0.5)}, balance=PCGrad())
    assert one == Hybrid(objectives={"mim": MAE()}, contrast=InfoNCE(weight=0.5), balance=PCGrad())
    assert hash(one) == hash(one.model_copy())
    assert Hybrid(mim=MAE()).balance == FixedWeights()
    with pytest.raises(SpecError, match=r"Hybrid.objectives.balence.kind: 'pcgrad' is not an objective"):
        Hybrid(mim=MAE(), balence=PCGrad())
    with pytest.raises(SpecError, match=r"Hybrid\.objectives: "):
        Hybrid()


def test_terms_given_in_two_ways_are_all_there_or_refused() -> None:
    with pytest.raises(SpecError, match=r"^Hybrid.objectives.mim: is also an argument of its own; give it"):
        Hybrid(objectives={"mim": MAE()}, mim=MAE(weight=2))
    with pytest.raises(SpecError, match=r"^Hybrid.objectives: must be a mapping"):
        Hybrid(objectives=[MAE()], apart=Uniformity())


@pytest.mark.parametrize("full", [False, True])
def test_yaml_and_python_are_the_same_hybrid(full) -> None:
    inner = Hybrid(mim=MAE(masker=RandomMasker(ratio=0.5), salt=2), apart=Uniformity(weight=0.1))
    whole = Hybrid(both=inner, sim=SimMIM(weight={"start": 1, "end": 0}), balance=PCGrad())
    fields = tiny.fields(objective=whole)
    run = Run(**fields)
    assert parse(yaml.safe_load(run.to_yaml(full=full))) == run.spec
    assert run.spec.objective == whole
    assert dump(parse(yaml.safe_load(run.to_yaml())), full=full) == run.to_yaml(full=full)


@pytest.mark.parametrize("balance", ["fixed", "uncertainty", "pcgrad"])
def test_a_hybrid_is_short_for_objectives_and_balance(balance) -> None:
    short = hybrid(TWO, balance={"kind": balance})
    long = run_of(TWO, balance={"kind": balance})
    assert short.terms == long.terms
    (one, losses), (two, again) = tiny.steps(short, 3), tiny.steps(long, 3)
    assert losses == again
    assert tiny.same(one, two)


def test_a_weight_multiplies_the_loss_and_not_what_is_recorded() -> None:
    plain, weighed = (first_values(run_of({**TWO, "mim": {**MIM, "weight": w}})) for w in (1.0, 0.25))
    assert weighed["loss/mim"] == plain["loss/mim"]
    torch.testing.assert_close(weighed["loss"], 0.25 * plain["loss/mim"] + plain["loss/apart"])
    balanced = run_of(TWO, balance={"kind": "fixed", "weights": {"mim": 0.25}})
    assert first_values(balanced)["loss"] == pytest.approx(weighed["loss"].item())


def test_a_single_objective_has_a_weight_too() -> None:
    plain, weighed = (first_values(tiny.spec(objective={**MIM, "weight": w})) for w in (1.0, 3.0))
    torch.testing.assert_close(weighed["loss"], 3 * plain["loss/mae"])


def test_a_weight_may_follow_a_schedule() -> None:
    """From 0 to 2 over 8 steps: a quarter of the way after one."""
    run = run_of({**TWO, "apart": {**APART, "weight": FADE}})
    composed = compose(run, tiny.CPU)
    feed = tiny.feed(run, composed)
    for step in range(4):
        made = composed.step(step, feed.step(step))
        expected = made.values["loss/mim"] + 0.25 * step * made.values["loss/apart"]
        torch.testing.assert_close(made.total, expected)


def test_scheduled_weights_make_one_graph() -> None:
    run = run_of({**TWO, "apart": {**APART, "weight": FADE}}, backbone=tiny.ONE_BLOCK)
    _, eager = tiny.steps(run, 4)
    compiled = parse(yaml.safe_load(dump(run)) | {"compile": {"enabled": True, "backend": "eager"}})
    torch._dynamo.reset()
    try:
        with torch._dynamo.config.patch(error_on_recompile=True):
            _, found = tiny.steps(compiled, 4)
    finally:
        torch._dynamo.reset()
    assert found == pytest.approx(eager, rel=1e-4)


def test_weights_come_before_a_balancer_of_gradients() -> None:
    """With one term at weight 0, PCGrad has nothing to project: the gradient is that of the other one alone."""
    both = gradients(run_of({"mim": MIM, "sim": {**SIM, "weight": 0.0}}, balance={"kind": "pcgrad"}))
    alone = gradients(run_of({"mim": MIM, "sim": {**SIM, "weight": 0.0}}))
    assert both.keys() == alone.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(both[name], gradient, msg=name)
    heads = [name for name in both if name.startswith("objectives.sim")]
    assert heads
    assert all(not both[name].any() for name in heads), "heads too have the gradient of the weighed loss"


def test_hybrids_nest() -> None:
    """0.5 x (2 x mim + 3 x 0.25 x apart) + sim, names and all."""
    inner = {"mim": MIM, "apart": {**APART, "weight": 0.25}}
    weights = {"mim": 2.0, "apart": 3.0}
    nest = {
        "kind": "hybrid",
        "objectives": inner,
        "balance": {"kind": "fixed", "weights": weights},
        "weight": 0.5,
    }
    made = first_values(run_of({"both": nest, "sim": SIM}))
    flat = first_values(run_of({"mim": MIM, "apart": APART, "sim": SIM}))
    assert {name for name in made if name.startswith("loss/")} == {
        "loss/both/mim", "loss/both/apart", "loss/sim",
    }  # fmt: skip
    assert "both/apart/feature_std" in made
    expected = 0.5 * (2 * made["loss/both/mim"] + 0.75 * made["loss/both/apart"]) + made["loss/sim"]
    torch.testing.assert_close(made["loss"], expected)
    assert made["loss/both/mim"] != flat["loss/sim"]


def test_a_hybrid_of_hybrids_trains_resumes_and_learns_its_inner_balance() -> None:
    deepest = {"kind": "hybrid", "objectives": TWO, "balance": {"kind": "uncertainty"}, "weight": FADE}
    inner = {"kind": "hybrid", "objectives": {"deep": deepest, "sim": SIM}, "salt": 1}
    run = run_of({"all": inner, "mim": MIM}, balance={"kind": "pcgrad"})
    whole, losses = tiny.steps(run, 4)
    names = dict(whole.system.named_parameters())
    learned = [name for name in names if name.startswith("inner.all/deep.")]
    assert learned
    assert all(bool(names[name].any()) for name in learned), "they began at 0"
    half = compose(run, tiny.CPU)
    feed = tiny.feed(run, half)
    for step in range(2):
        half.step(step, feed.step(step))
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(copy.deepcopy(half.step.state_dict()))
    feed = tiny.feed(run, resumed)
    again = [resumed.step(step, feed.step(step)).total.item() for step in (2, 3)]
    assert again == losses[2:]
    assert tiny.same(whole, resumed)


def test_only_the_balancer_of_the_run_weighs_gradients() -> None:
    nest = {"kind": "hybrid", "objectives": TWO, "balance": {"kind": "pcgrad"}}
    with pytest.raises(SpecError, match=r"^objectives.both.balance: 'pcgrad' weighs gradients, which only"):
        compose(run_of({"both": nest, "sim": SIM}), tiny.CPU)
    with pytest.raises(SpecError, match=r"^objective.objectives.both.balance: 'pcgrad' weighs"):
        compose(hybrid({"both": nest}), tiny.CPU)


def test_equal_maskers_share_masks_unless_salted() -> None:
    """Two terms with equal maskers are one pass; with a salt each has its own, also through a hybrid around it."""
    sims = {"a": MIM, "b": {**MIM, "decoder": {**tiny.DECODER, "depth": 0}}}
    tied = compose(run_of(sims), tiny.CPU)
    assert len(tied.system.late.runs) == 1
    nest = {"kind": "hybrid", "objectives": {"c": MIM}, "salt": 2}
    salted = {**sims, "b": {**sims["b"], "salt": 1}, "in": nest, "d": {**MIM, "salt": 1}}
    run = run_of(salted)
    untied = compose(run, tiny.CPU)
    assert [request.salt for request in untied.system.late.runs] == ["", "1", "2"]
    batch = next(tiny.feed(run, untied).step(0))
    masks = untied.step.masking.sample(batch, {}, 0, 0.0)
    assert len(masks) == 3
    hidden = [mask.hidden for mask in masks]
    assert all(bool((hidden[i] != hidden[j]).any()) for i, j in ((0, 1), (0, 2), (1, 2)))
    first = compose(run_of(sims), tiny.CPU).step.masking.sample(batch, {}, 0, 0.0)[0]
    assert torch.equal(first.hidden, hidden[0]), "a salt elsewhere changes nothing"


def test_a_salt_leaves_passes_without_masks_shared() -> None:
    views = {"global": {**tiny.VIEW, "crops": 2}}
    contrast = {"kind": "infonce", "projector": HEADS["projector"]}
    terms = {"a": contrast, "b": {**contrast, "salt": 5}}
    with pytest.raises(
        SpecError, match=r"^objectives\.b\.salt: gives a term masks of its own, and this one has no"
    ):
        run_of(terms, views=views)
    run = parse(tiny.fields(objective=None, objectives=terms, batch_size=8, views=views), began=True)
    assert len(compose(run, tiny.CPU).system.plan) == 1


def test_three_methods_run_four_passes_where_six_are_asked() -> None:
    """MAE asks for 1, DINO for 3, MoCo v3 for 2; whole global crops are encoded once by each net."""
    head = {"prototypes": 12, "head": {"layers": 2, "hidden": 16, "bottleneck": 8}}
    objectives = {
        "mim": MIM,
        "dino": {"kind": "dino", **head},
        "moco": {"kind": "moco_v3", **HEADS},
    }
    views = {"global": {**tiny.VIEW, "crops": 2}, "local": {**tiny.VIEW, "size": 4, "crops": 2}}
    run = run_of(objectives, views=views, nets={"teacher": {"momentum": 0.9}})
    composed = compose(run, tiny.CPU)
    asked = [request for one in composed.step.objectives.values() for request in one.passes]
    encoded: dict[str, list[int]] = {"student": [], "teacher": []}
    for name, calls in encoded.items():
        composed.system.nets[name].register_forward_pre_hook(
            lambda _net, inputs, calls=calls: calls.append(len(inputs[0]))
        )
    composed.step(0, tiny.feed(run, composed).step(0))
    assert len(asked) == 6
    assert encoded == {"student": [3], "teacher": [1]}


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        ({"objectives": {"a-b": MIM}}, {}, "objective.objectives.a-b: names start with a letter"),
        (
            {"objectives": {"in": {"kind": "hybrid", "objectives": {"1": MIM}}}},
            {},
            "objective.objectives.in.objectives.1: names",
        ),
        ({"objectives": TWO}, {"balance": {"kind": "pcgrad"}}, "^balance: the hybrid has its own"),
        ({"objectives": TWO, "weight": 2}, {}, "^objective.weight: is for the terms of a hybrid"),
        (
            {"objectives": TWO, "balance": {"kind": "fixed", "weights": {"mae": 1}}},
            {},
            "^objective.balance.weights.mae: is not an objective of this run. Known: mim, apart",
        ),
        (
            {"objectives": {**TWO, "mim": {**MIM, "view": "locl"}}},
            {},
            "objective.objectives.mim.view: 'locl' is not",
        ),
        ({"objectives": {"mim": {**MIM, "weight": -1}}}, {}, "mim.weight: a weight is at least 0"),
        (
            {"objectives": {"mim": {**MIM, "weight": {"start": 1, "end": -1}}}},
            {},
            "mim.weight: a weight is at",
        ),
        ({"objectives": {"mim": {**MIM, "salt": -1}}}, {}, "mim.salt: must be greater"),
    ],
)
def test_what_cannot_be_is_refused(objective, changes, message) -> None:
    with pytest.raises(SpecError, match=message):
        parse(tiny.fields(objective={"kind": "hybrid", **objective}, **changes))


def test_names_of_inner_balancers_are_those_of_their_own_hybrid() -> None:
    nest = {
        "kind": "hybrid",
        "objectives": TWO,
        "balance": {"kind": "fixed", "weights": {"apart": 2.0}},
    }
    assert run_of({"both": nest, "sim": SIM}).terms.keys() == {"both", "sim"}
    wrong = {**nest, "balance": {"kind": "fixed", "weights": {"sim": 2.0}}}
    with pytest.raises(SpecError, match=r"^objectives.both.balance.weights.sim: .* Known: mim, apart$"):
        run_of({"both": wrong, "sim": SIM})


def test_names_that_modules_use_are_refused_where_the_spec_has_them() -> None:
    nest = {"kind": "hybrid", "objectives": {"keys": MIM}}
    compose(run_of({"both": nest}), tiny.CPU)  # both/keys is no attribute
    with pytest.raises(SpecError, match=r"^objective.objectives.keys: is a name that torch's modules use"):
        compose(hybrid({"keys": MIM}), tiny.CPU)


def test_errors_of_parts_name_the_term() -> None:
    bernoulli = {**MIM, "masker": {"kind": "bernoulli"}}
    nest = {"kind": "hybrid", "objectives": {"bad": bernoulli}}
    with pytest.raises(
        SpecError, match=r"^objectives.both.objectives.bad: masker: 'bernoulli' hides a varying"
    ):
        compose(run_of({"both": nest, "sim": SIM}), tiny.CPU)
    deep = {"kind": "dino", "view": "global", "local": None, "prototypes": 12}
    with pytest.raises(SpecError, match=r"objectives.both.objectives.bad.*crops"):
        run_of({"both": {**nest, "objectives": {"bad": deep}}}, nets={"teacher": {}})


def test_a_hybrid_is_no_module() -> None:
    with pytest.raises(SpecError, match="a hybrid is no module of its own"):
        Hybrid(mim=MAE()).build(None)

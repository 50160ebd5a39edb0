"""Every promise of a component is tried: one that breaks it is caught by the check of that promise."""

from __future__ import annotations

import random
import re

import pytest
import torch

from sslkit.core.backbone import HuggingFaceModel
from sslkit.core.evaluator import Predictions, Scores
from sslkit.core.view import Grid
from sslkit.errors import PluginError, SpecError
from sslkit.registry.manager import registry
from sslkit.testing.families import checks
from sslkit.testing.kit_report import NotOffered, run
from sslkit.testing.tiny_run import helper
from tests.testing.broken import (
    AugmentOf,
    BackboneOf,
    BalancerOf,
    DiceSpec,
    EvaluatorOf,
    LoggerOf,
    MaskerOf,
    ObjectiveOf,
    SourceOf,
    Wrapped,
)
from tests.testing.outcomes import caught


def exactly(count):
    return lambda draw, patches: draw.permutation(patches) < count


def test_all_families_are_checked_on_a_run_of_their_own():
    spec = MaskerOf(sample=exactly(50), hidden=50)
    outcomes = list(run("masker", checks(spec)))
    assert [check for check in outcomes if check.state == "failed"] == []
    assert [check for check in outcomes if check.state == "passed"]


@pytest.mark.parametrize(
    ("fields", "check", "match"),
    [
        ({"sample": exactly(50), "hidden": 60}, "counts", "50 to 50 patches, but `visible` 136 says 60"),
        ({"sample": exactly(50), "most": 40}, "counts", "hides 50 patches of 196, but `most` says 40"),
        ({"sample": exactly(50), "hidden": 50, "most": 60}, "counts", "`most` is 60, .* must be 50"),
        ({"sample": exactly(0)}, "counts", "hides nothing"),
        ({"sample": lambda draw, n: (draw.permutation(n) < 50).int()}, "counts", "torch.int32"),
        (
            {"sample": lambda draw, n: torch.rand(*draw.shape, n) < 0.5},
            "equal draws",
            "randomness from `draw`",
        ),
        (
            {"sample": lambda draw, n: (torch.arange(n) < 50).expand(*draw.shape, n)},
            "of their own",
            "the same mask",
        ),
        (
            {"sample": lambda draw, n: (u := draw.uniform(n)) > u.mean((0, 1))},
            "own row only",
            "depends on the other rows",
        ),
    ],
)
def test_maskers(fields, check, match):
    spec = MaskerOf(**fields)
    assert re.search(match, caught(spec, check))


def counted(module, said):
    """The number of calls is state that no checkpoint holds."""
    module.count += 1
    return said.square().mean() * module.count


@pytest.mark.parametrize(
    ("fields", "check", "match"),
    [
        ({"loss": lambda m, x: x.square().mean() * torch.nan}, "trains", "not finite at step 0: .*loss"),
        (
            {"loss": lambda m, x: (x - x.detach()).abs().sqrt().mean()},
            "trains",
            "gradients that are not finite",
        ),
        (
            {"loss": lambda m, x: x.square().mean() * random.random()},
            "repeats",
            "differ at step 0; take .*: loss",
        ),
        ({"loss": counted}, "resumes", "differs at step 2; keep all state in .*: loss"),
        ({"loss": lambda m, x: x.square().mean()}, "float32", "bfloat16; compute it in float32"),
        (
            {"loss": lambda m, x: x.square().mean()},
            "pictures",
            r"'wrong' is \(2, 4, 3, 32, 32\), expected \(rows, 2",
        ),
    ],
)
def test_objectives(fields, check, match):
    spec = ObjectiveOf(**fields)
    assert re.search(match, caught(spec, check))


def test_a_parameter_without_gradient():
    spec = ObjectiveOf(loss=lambda module, x: x.square().mean(), idle=True)
    with pytest.raises(SpecError, match=r"1 parameters take no part in any loss.*objectives\.check\.idle"):
        checks(spec)["trains every parameter, all finite"]()


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (lambda module, x: x.square().mean() * (1.0 if x.mean().item() > 9 else 2.0), "item"),
        (counted, "recompil"),
    ],
    ids=["reads a value", "recompiles"],
)
def test_graphs_that_break(loss, match):
    with pytest.raises(Exception, match=match):
        checks(ObjectiveOf(loss=loss))["compiles to one graph"]()


def test_a_compiled_loss_must_be_the_eager_one():
    spec = ObjectiveOf(loss=lambda m, x: x.square().mean() + float(torch.compiler.is_compiling()))
    assert re.search("loss.* compiled and .* eager at step 0", caught(spec, "compiles to one graph"))


def test_targets_train_in_a_masked_autoencoder():
    assert re.search(
        "two runs of one seed differ at step 0.*loss", caught(DiceSpec(), "repeats under a seed")
    )


def test_balancers():
    assert re.search(
        "not finite at step 0: loss = nan",
        caught(
            BalancerOf(join=lambda losses: losses.sum() * torch.nan), "trains every parameter, all finite"
        ),
    )


def attending(request, tokens, asked=False, count=0, scale=1.0, dtype=torch.float32, shift=0.0):
    """Equal attention of two heads to all patches where it is asked for, with one thing wrong."""
    if not (request.attention or asked):
        return tokens
    patches = tokens.patch.shape[2]
    weights = torch.full((2, 3, 2, patches + count), scale / patches, dtype=dtype)
    return tokens._replace(attention=weights, cls=tokens.cls + shift)


@pytest.mark.parametrize(
    ("fields", "check", "match"),
    [
        ({"says": Grid(1, 1, 32)}, "grid", "the spec says Grid.* and the network Grid"),
        ({"change": lambda r, t: t._replace(cls=t.cls[..., :4])}, "shapes", r"`cls` is \(2, 3, 4\)"),
        (
            {"change": lambda r, t: t._replace(patch=t.patch[:, :, 1:])},
            "shapes",
            r"`patch` is \(2, 3, 15, 16\)",
        ),
        ({"change": lambda r, t: t._replace(layers=t.layers[:1])}, "shapes", "1 answered"),
        (
            {"change": lambda r, t: t._replace(image=t.image.clone())},
            "shapes",
            "must be those of the request",
        ),
        ({"change": lambda r, t: t._replace(cls=t.cls + torch.rand(1))}, "together", "answered alone"),
        (
            {"change": lambda r, t: t._replace(cls=t.cls + r.image.mean())},
            "`drop`",
            "change the tokens in 'drop'",
        ),
        ({"change": lambda r, t: t._replace(cls=t.cls + r.image.mean())}, "`token`", "tokens in 'token'"),
        (
            {"change": lambda r, t: t._replace(attention=None)},
            "keeps its tokens",
            "was asked for and is None",
        ),
        (
            {"change": lambda r, t: attending(r, t, asked=True)},
            "keeps its tokens",
            "was not asked for and is there",
        ),
        (
            {"change": lambda r, t: attending(r, t, count=1)},
            "keeps its tokens",
            r"is \(2, 3, 2, 17\), expected .*16",
        ),
        ({"change": lambda r, t: attending(r, t, scale=-1)}, "keeps its tokens", "negative weights"),
        ({"change": lambda r, t: attending(r, t, scale=2)}, "keeps its tokens", "adds up to more than 1"),
        (
            {"change": lambda r, t: attending(r, t, dtype=torch.float64)},
            "keeps its tokens",
            "expected float32",
        ),
        ({"change": lambda r, t: attending(r, t, shift=0.1)}, "keeps its tokens", "changes the tokens"),
    ],
)
def test_backbones(fields, check, match):
    spec = BackboneOf(**fields)
    assert re.search(match, caught(spec, check))


def test_an_exported_backbone_is_one_of_timm():
    with pytest.raises(RuntimeError, match="Unknown model"):
        checks(BackboneOf(architecture="vit_of_nobody"))["exports to timm"]()


@pytest.mark.parametrize(
    ("resized", "match"),
    [
        (lambda state: ({}, ()), "names other weights"),
        (lambda state: ({name: value + 1 for name, value in state.items()}, ()), "changes '.*', which has"),
        (lambda state: (state, ("positions",)), "says it changed its own weights: positions"),
    ],
)
def test_weights_of_its_own_size_are_left(monkeypatch, resized, match):
    monkeypatch.setattr(Wrapped, "resized", lambda self, state: resized(state), raising=False)
    assert re.search(match, caught(BackboneOf(), "takes its own weights"))


@pytest.mark.parametrize(
    ("exported", "match"),
    [
        (HuggingFaceModel({}, {"w": torch.zeros(1)}), "without its `model_type`"),
        (HuggingFaceModel({"model_type": "vit"}, {}), "gives no weights"),
    ],
)
def test_what_is_exported_to_transformers_says_what_it_is(monkeypatch, exported, match):
    monkeypatch.setattr(Wrapped, "hugging_face", lambda self: exported, raising=False)
    assert re.search(match, caught(BackboneOf(), "exports to transformers"))


def test_a_backbone_may_refuse_transformers():
    with pytest.raises(NotOffered, match="refused: transformers has no such network: it is a Wrapped"):
        checks(BackboneOf())["exports to transformers"]()


def test_a_backbone_may_refuse_to_be_exported():
    with pytest.raises(NotOffered, match="refused: timm has no such network"):
        checks(BackboneOf(architecture=""))["exports to timm"]()


def test_a_backbone_may_refuse_a_mode():
    def refuse(request, tokens):
        if request.mask is not None:
            raise SpecError("cannot leave patches out")
        return tokens

    with pytest.raises(NotOffered, match="refused: cannot leave patches out"):
        checks(BackboneOf(change=refuse))["never sees hidden patches in `drop` mode"]()


def changed(**attributes):
    def change(source, split):
        for name, value in attributes.items():
            setattr(source, name, value)
        return source

    return change


def numbered(source, split):
    source.fingerprint = str(random.random())
    return source


def moody(source, split):
    source.load = lambda index: torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    return source


@pytest.mark.parametrize(
    ("change", "check", "match"),
    [
        (lambda source, split: None, "one scale", "has no training split"),
        (
            changed(images=torch.zeros(20, 3, 8, 8).double()),
            "one scale",
            r"this is torch.float64 \(3, 8, 8\)",
        ),
        (changed(channels=1), "one scale", r"\[1, H, W\], but this is torch.uint8 \(3, 32, 32\)"),
        (changed(sizes=frozenset({(8, 8)})), "one scale", "a size that `sizes` leaves out"),
        (
            changed(resident=lambda: torch.zeros(20, 3, 32, 32, dtype=torch.uint8)),
            "one scale",
            "differs between",
        ),
        (moody, "one scale", "differs when it is loaded again"),
        (
            changed(labels=torch.zeros(3, dtype=torch.int64)),
            "labels",
            r"torch.int64 \(3,\), expected int64 \[20\]",
        ),
        (changed(labels=torch.full((20,), 5)), "labels", "labels 5 to 5 for 5 classes"),
        (changed(labels=None), "labels", "names classes but has no labels"),
        (changed(regions=()), "masks", "has masks without them"),
        (changed(mask=lambda index: None), "masks", "names regions without masks"),
        (changed(regions=("one",)), "masks", "mask 0 has 1, which is no region"),
        (changed(mask=lambda index: torch.zeros(8, 8)), "masks", r"torch.float32 \(8, 8\), expected uint8"),
        (changed(fingerprint=""), "fingerprint", "is empty"),
        (numbered, "fingerprint", "when built again"),
        (changed(fingerprint="same"), "splits", "the same fingerprint"),
        (
            changed(encoded=lambda i: (b"x", "a") if i else None),
            "as they are stored",
            "some images and not others",
        ),
        (changed(encoded=lambda i: (b"", "a.png")), "as they are stored", r"no bytes of 'a\.png'"),
        (changed(encoded=lambda i: (b"x", "")), "as they are stored", "names an image ''"),
        (
            changed(encoded=lambda i: (random.randbytes(9), "a")),
            "as they are stored",
            "other bytes when it is asked",
        ),
        (changed(file_faults=lambda: [("a.tar", "is cut short")]), "checksums", r"a\.tar: is cut short"),
    ],
)
def test_sources(change, check, match):
    spec = SourceOf(change=change)
    assert re.search(match, caught(spec, check))


@pytest.mark.parametrize(
    ("fields", "check", "match"),
    [
        ({"change": lambda x, draw: x * 2}, "range", "clamp them"),
        ({"change": lambda x, draw: x.double()}, "range", "torch.float64, expected float32"),
        ({"change": lambda x, draw: x, "fixes": True}, "range", r"gives \(8, 3, 40, 48\)"),
        ({"change": lambda x, draw: x.mul_(0.5)}, "range", "in place"),
        ({"change": lambda x, draw: x * torch.rand(1)}, "equal draws", "randomness from `draw`"),
        ({"change": lambda x, draw: x * x.mean()}, "own row", "the others of its batch"),
    ],
)
def test_augments(fields, check, match):
    spec = AugmentOf(**fields)
    assert re.search(match, caught(spec, check))


def spoils(change):
    """An evaluator that does something to the network, which the loop around it does not undo."""

    def score(subject):
        change(subject.backbone())
        return {"accuracy": 1.0}

    return score


@torch.no_grad()
def first_weight_to_zero(net):
    next(net.parameters()).zero_()


def leave_a_gradient(net):
    parameter = next(net.parameters())
    parameter.grad = torch.zeros_like(parameter)


@pytest.mark.parametrize(
    ("fields", "check", "match"),
    [
        ({"score": lambda subject: {"accuracy": float("nan")}}, "finite", "accuracy = nan"),
        ({"score": lambda subject: {"accuracy": 1}}, "finite", "accuracy = 1"),
        ({"score": lambda subject: {}}, "finite", "no metric"),
        ({"score": lambda subject: {"accuracy": 1.0}, "protocol": ""}, "finite", "`protocol` is empty"),
        (
            {"score": lambda subject: {"accuracy": float(torch.rand(()))}},
            "repeats",
            "seeded by `subject.seed`",
        ),
        (
            {"score": lambda subject: Scores({"accuracy": 1.0}, tables={"curve": torch.ones(2)})},
            "stored",
            "`tables` must hold what JSON can: Object of type Tensor",
        ),
        (
            {"score": lambda subject: Scores({"accuracy": 1.0}, tables={"curve": [float("nan")]})},
            "stored",
            "`tables` must hold what JSON can",
        ),
        (
            {"score": lambda subject: Scores({"accuracy": 1.0}, Predictions(torch.ones(3), torch.ones(3)))},
            "stored",
            "two int64 tensors",
        ),
        (
            {
                "score": lambda subject: Scores(
                    {"accuracy": 1.0}, Predictions(torch.tensor([0, 1]), torch.tensor([0, 0]))
                )
            },
            "stored",
            r"right for 0\.5 of the images, but `accuracy` is 1",
        ),
        (
            {"score": lambda subject: Scores({"accuracy": 1.0}, figures={"map": lambda path: None})},
            "stored",
            "figure 'map' draws no file",
        ),
        ({"score": spoils(first_weight_to_zero)}, "as it was", "changes the network's weights"),
        ({"score": spoils(leave_a_gradient)}, "as it was", "leaves gradients"),
        ({"score": spoils(lambda net: torch.rand(()))}, "as it was", "draws from torch's own generator"),
    ],
)
def test_evaluators(fields, check, match):
    spec = EvaluatorOf(**fields)
    assert re.search(match, caught(spec, check))


def test_evaluators_see_features_of_labeled_images():
    def score(subject):
        train, test = subject.features("train"), subject.features("test")
        assert train.values.shape == (64, 16)
        assert test.labels.unique().tolist() == [0, 1, 2, 3, 4]
        return {"accuracy": 1.0}

    for check in checks(EvaluatorOf(score=score)).values():
        check()


def test_evaluators_see_attributes_masks_and_a_masked_objective():
    def score(subject):
        source, (system, _) = subject.source("test"), subject.system()
        assert set(source.attributes) == {"bright", "odd"}
        assert source.mask(3).shape == source.load(3).shape[1:]
        masked = [name for name, o in system.objectives.items() if o.passes[0].mask is not None]
        assert masked == ["masked"]
        return {"accuracy": 1.0}

    for check in checks(EvaluatorOf(score=score)).values():
        check()


def test_a_logger_must_start_again_where_a_run_goes_on():
    found = checks(LoggerOf())
    found["takes metrics, figures and checkpoints"]()
    with pytest.raises(FileExistsError):
        found["starts again in the same folder"]()


def test_problems_of_a_spec_in_the_kits_run():
    spec = helper("objective", "mae").model_copy(update={"view": "nowhere"})
    assert re.search(r"objectives\.check\.view: 'nowhere' is not a view", caught(spec, "fits the kit's run"))


def test_a_kind_that_the_kit_needs_is_missing():
    with pytest.raises(PluginError, match="needs the masker 'nothing', which no plugin offers"):
        helper("masker", "nothing")
    assert registry().owner(helper("backbone", "vit")).name == "sslkit:backbones"

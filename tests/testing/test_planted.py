"""Faults that once passed: each is planted here and must be caught, by the check that is there for it."""

from __future__ import annotations

import re

import pytest
import torch

from sslkit.core.augment import to_float, to_uint8
from sslkit.core.problem import Problem
from sslkit.specs.metrics import Metric
from sslkit.testing.families import checks
from sslkit.testing.kit_report import NotOffered
from sslkit.testing.tiny_run import IMAGE
from tests.testing.broken import (
    AugmentOf,
    BackboneOf,
    BalancerOf,
    EvaluatorOf,
    HeldSpec,
    LearnerOf,
    MaskerOf,
    ObjectiveOf,
    SketchOf,
    SourceOf,
    StagedSpec,
)
from tests.testing.outcomes import caught, unmet


def plain(masker, rows):
    masker.plain = masker.plain - rows.mean(0)


def buffered(masker, rows):
    masker.memory.sub_(rows.mean(0))


def by_halves(masker, rows):
    masker.memory.sub_(rows[0])


BUFFERS, ROWS = "keeps what it learned in buffers", "learns alike from micro-batches"


def test_a_masker_that_learns_into_a_plain_attribute():
    assert re.search(
        "masks of a resumed run differ at step 3; keep what `observe`",
        caught(LearnerOf(learn=plain), BUFFERS),
    )
    for name in (BUFFERS, ROWS):
        checks(LearnerOf(learn=buffered))[name]()


def test_a_masker_that_learns_from_means_of_a_micro_batch():
    spec = LearnerOf(learn=by_halves, rows=lambda mask: mask.hidden.float().mean((0, 1))[None])
    assert re.search("depends on how the batch is cut into micro-batches: memory", caught(spec, ROWS))


def test_a_masker_whose_stage_is_unknown():
    assert re.search(
        r"`at\(0.5\)` gives a masker that is not",
        caught(StagedSpec(), "its stages are those that it goes through"),
    )


def by_row(draw, patches):
    """Even rows hide the left half of a random half, odd rows the right one: by the number of the row."""
    ranked = draw.uniform(patches) + (draw.rows % 2)[..., None] * (torch.arange(patches) % 2)
    return ranked.argsort(-1).argsort(-1) < patches // 2


def by_place(draw, patches):
    """As `by_row`, by the place in the slice."""
    place = torch.arange(draw.rows.shape[-1]).expand(draw.rows.shape)
    ranked = draw.uniform(patches) + (place == 0)[..., None] * (torch.arange(patches) % 2)
    return ranked.argsort(-1).argsort(-1) < patches // 2


@pytest.mark.parametrize(
    ("sample", "check", "match"),
    [
        (
            by_row,
            "a row has no habits of its own",
            "more or less often in one row of the batch than in the others",
        ),
        (by_place, "a mask depends on its own row only", "on its place among them"),
    ],
)
def test_a_mask_that_depends_on_its_row_in_the_batch(sample, check, match):
    assert re.search(match, caught(MaskerOf(sample=sample, hidden=98), check))


def test_a_fair_masker_has_no_habits():
    fair = MaskerOf(sample=lambda draw, patches: draw.permutation(patches) < 98, hidden=98)
    assert unmet(checks(fair), "a row has no habits of its own") == []


PICTURES = "draws pictures of the image's shape"
SHAPES = "makes goals and scores of the promised shapes"


def counted(target, goal, seen):
    target.count.add_(1)
    return goal


@pytest.mark.parametrize(
    ("wrong", "check", "match"),
    [
        ({"image": lambda seen: seen.image[..., :8]}, PICTURES, r"gives \(2, 4, 3, 32, 8\) for images"),
        ({"image": lambda seen: seen.image.flatten(0, 1)}, PICTURES, r"gives \(8, 3, 32, 32\)"),
        ({"image": lambda seen: seen.image * torch.nan}, PICTURES, "is not finite"),
        ({"drawn": lambda seen: seen.image}, PICTURES, "`to_image` none; figures show both or neither"),
        (
            {"image": lambda seen: seen.image, "drawn": lambda seen: seen.image[:1]},
            PICTURES,
            r"`goal_image` gives \(1, 4, 3, 32, 32\) and `to_image` \(2,",
        ),
        (
            {"goal": lambda target, goal, seen: goal + seen.patch.mean()},
            "its goals depend on images and its passes only",
            "reads tokens of the student",
        ),
        (
            {"goal": lambda target, goal, seen: goal - goal.mean()},
            "a goal depends on its own image only",
            "depend on the others of its batch",
        ),
        ({"goal": lambda target, goal, seen: goal[:, :, 1:]}, SHAPES, r"gives \(2, 4, 15, 1\), expected"),
        ({"goal": counted}, SHAPES, "`forward` writes to count; read there and write in `commit`"),
        (
            {"goal": lambda target, goal, seen: goal + torch.rand(())},
            SHAPES,
            "`forward` draws from torch's generator",
        ),
        ({"score": lambda score: score.mean()}, SHAPES, r"`score` gives \(\), expected \(128,\)"),
        ({"score": lambda score: score.bfloat16()}, SHAPES, "torch.bfloat16; compute it in float32"),
        ({"score": lambda score: score / score.mean()}, SHAPES, "depends on the other patches"),
        (
            {"metrics": lambda guess: {"error": guess[:, 0]}},
            "tells metrics as scalars",
            r"'error' has the shape \(128,\)",
        ),
        (
            {"metrics": lambda guess: {"error": guess.sum() / 0}},
            "tells metrics as scalars",
            "'error' is",
        ),
    ],
)  # fmt: skip
def test_targets(wrong, check, match):
    assert re.search(match, caught(SketchOf(wrong=wrong), check))


def test_a_sound_target_passes():
    spec = SketchOf(wrong={"image": lambda seen: seen.image, "metrics": lambda guess: {"mean": guess.mean()}})
    names = (
        SHAPES,
        PICTURES,
        "its goals depend on images and its passes only",
        "tells metrics as scalars",
    )
    assert unmet(checks(spec), *names) == []


PURE = "its forward only reads"


def moved(module, x):
    module.buffer.add_(1)
    return x.square().mean().float()


def generated(module, x):
    """A generator that goes on from call to call."""
    module.__dict__.setdefault("generator", torch.Generator().manual_seed(0))
    return x.square().mean().float() * torch.rand((), generator=module.generator)


@pytest.mark.parametrize(
    ("loss", "check", "match"),
    [
        (moved, PURE, "`forward` writes to buffer; read there and write in `commit`"),
        (
            lambda module, x: (x + torch.randn(x.shape)).square().mean().float(),
            PURE,
            "`forward` draws from torch's generator, whose numbers depend on ranks and micro-batches",
        ),
        (generated, PURE, "for the same tokens; it may keep nothing and draw nothing"),
        (
            lambda module, x: x.square().mean((0, 2, 3)).softmax(0).square().sum().float(),
            "the loss of a batch is the mean of those of its parts",
            "set `compares = True` where an image's loss depends on the others",
        ),
        (
            lambda module, x: x.square().mean().float(),
            "its parts can be exported",
            "names the view 'nowhere', which the run does not have",
        ),
    ],
    ids=["buffer", "randn", "generator", "compares", "part"],
)
def test_objectives(loss, check, match):
    assert re.search(match, caught(ObjectiveOf(loss=loss), check))


@pytest.mark.parametrize(
    ("check", "match"),
    [
        (
            "changes nothing in its copies",
            "a copy's tokens follow the weights of the network it was copied from",
        ),
        ("is gathered in parts of its own", "names Linear, which are no parts of the network"),
        ("has layers for each of its parameters", "expected 0 to"),
        ("tells the attention of every block", "but `tells_attention` is true"),
    ],
)
def test_backbones(check, match):
    assert re.search(match, caught(HeldSpec(), check))


def test_a_backbone_whose_tokens_depend_on_the_batch():
    spec = BackboneOf(
        change=lambda request, tokens: tokens._replace(cls=tokens.cls - tokens.cls.mean((0, 1)))
    )
    assert re.search(
        "depend on the others of its batch in evaluation",
        caught(spec, "an image's tokens depend on itself only"),
    )


@pytest.mark.parametrize(
    ("fields", "check", "match"),
    [
        (
            {"factors": torch.tensor([1.0, 2.0, 1.0])},
            "names the factors that it multiplies by",
            r"says \[1.0, 2.0, 1.0\], but `forward` multiplies the losses by \[1.0, 1.0, 1.0\]",
        ),
        (
            {"factors": torch.ones(())},
            "names the factors that it multiplies by",
            "expected one a loss",
        ),
        (
            {"weigh": lambda gram, draw: torch.ones(3)},
            "weighs gradients by their products alone",
            "torch.float32",
        ),
        (
            {"weigh": lambda gram, draw: torch.rand(3, dtype=torch.float64)},
            "weighs gradients by their products alone",
            "`weigh` draws from torch's generator",
        ),
        ({"join": lambda losses: losses}, "joins losses to a finite scalar", r"gives \(3,\), expected a scalar"),
    ],
)  # fmt: skip
def test_balancers(fields, check, match):
    assert re.search(match, caught(BalancerOf(**fields), check))


def test_a_balancer_may_leave_out_what_it_does_not_do():
    for check, reason in (
        ("names the factors that it multiplies by", "no factors"),
        ("weighs gradients by their products alone", "weighs losses only"),
    ):
        with pytest.raises(NotOffered, match=reason):
            checks(BalancerOf())[check]()


def images(dtype, **more):
    """The kit's images in another type, in memory or one by one, from the first on or only in the middle."""

    def change(source, split):
        values = source.images.to(dtype)
        if more.get("loaded"):
            source.resident = lambda: None
            first = more.get("first", 0)
            source.load = lambda i: values[i].to(dtype) if first <= i < 19 else source.images[i]
        else:
            source.images = values
        return source

    return change


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint32, torch.int64, torch.bool])
@pytest.mark.parametrize("more", [{}, {"loaded": True}, {"loaded": True, "first": 7}], ids=str)
def test_sources_of_types_that_none_may_give(dtype, more):
    assert re.search(
        f"gives images as uint8.*but this is {dtype}", caught(SourceOf(change=images(dtype, **more)), PIXELS)
    )


def scaled(scale, dtype, held=True):
    """The images times `scale`, in memory or one by one, as another type."""

    def change(source, split):
        values = (source.images.float() * scale).to(dtype)
        kept = None if held is None else values.float() if held == "float" else values
        source.resident, source.load = (lambda: kept), (lambda i: values[i])
        return source

    return change


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1 / 255, torch.float32), (257, torch.uint16), (100, torch.int16)], ids=str
)
@pytest.mark.parametrize("held", [True, None])
def test_sources_of_16_bits_and_floats(scale, dtype, held):
    assert unmet(checks(SourceOf(change=scaled(scale, dtype, held))), PIXELS) == []


@pytest.mark.parametrize("held", [True, None])
@pytest.mark.parametrize("scale", [1.0, -1 / 255, float("nan")])
def test_sources_of_floats_outside_0_to_1(scale, held):
    assert re.search(
        "has values from .*; `to_pixels` of",
        caught(SourceOf(change=scaled(scale, torch.float32, held)), PIXELS),
    )


def test_sources_of_one_type_in_memory_and_of_another_one_by_one():
    change = scaled(1 / 255, torch.int16, "float")
    assert re.search("differs between `load` and `resident`", caught(SourceOf(change=change), PIXELS))


def attributed(**values):
    def change(source, split):
        source.attributes = values
        return source

    return change


def unnamed(source, split):
    source.name = lambda index: "image"
    return source


@pytest.mark.parametrize(
    ("change", "check", "match"),
    [
        (attributed(size=torch.ones(20)), "its attributes are numbers from -1", "torch.float32"),
        (
            attributed(size=torch.full((20,), -2)),
            "its attributes are numbers from -1",
            "has -2; -1 is unknown",
        ),
        (unnamed, "names every image", "one name for several images"),
    ],
)
def test_sources(change, check, match):
    assert re.search(match, caught(SourceOf(change=change), check))


CUT = "cuts decoded images alike"
PIXELS = "gives pixels of one scale"


def corner(images, draw):
    return images[..., :IMAGE, :IMAGE]


@pytest.mark.parametrize(
    ("cut", "match"),
    [
        (lambda images: torch.stack([x[..., :IMAGE, :IMAGE].float() for x in images]), "torch.float32"),
        (
            lambda images: torch.stack([255 - x[..., :IMAGE, :IMAGE] for x in images]),
            "away from what a call gives",
        ),
        (
            lambda images: torch.stack([x[..., :IMAGE, :IMAGE] // len(images) for x in images]),
            "depends on the others of its batch",
        ),
        (
            lambda images: to_uint8(to_float(torch.stack([x[..., :IMAGE, :IMAGE] for x in images]))),
            "`cut` of torch.uint16 gives torch.uint8",
        ),
    ],
)
def test_cuts(cut, match):
    assert re.search(match, caught(AugmentOf(change=corner, fixes=True, cut=cut), CUT))


def test_a_sound_cut():
    checks(AugmentOf(change=corner, fixes=True))[CUT]()
    with pytest.raises(NotOffered, match="leaves the size as it is"):
        checks(AugmentOf(change=lambda x, draw: x))[CUT]()


def test_an_augmentation_by_place():
    spec = AugmentOf(change=lambda x, draw: x * (1 - 0.1 * (torch.arange(len(x)) == 5))[:, None, None, None])
    assert re.search("depends on", caught(spec, "an image depends on its own row only"))


@pytest.mark.parametrize(
    ("declares", "match"),
    [
        ({}, "declares no metrics; give them"),
        ({"error": Metric("lower")}, "reports 'accuracy', which `reported_metrics` does not declare"),
        (
            {"accuracy": Metric("higher"), "loss": Metric("lower")},
            "declares 'loss', which it does not report",
        ),
    ],
)
def test_evaluators_report_what_they_declare(declares, match):
    spec = EvaluatorOf(score=lambda subject: {"accuracy": 1.0}, declares=declares)
    assert re.search(match, caught(spec, "reports the metrics that it declares"))


def asks(source):
    if "bright" not in source.attributes:
        yield Problem("", "no attribute `bright`")


def crashes(source):
    yield from () if len(source.attributes["bright"]) else [Problem("", "no image")]


def refuses(source):
    yield Problem("k", "is too large")


def test_evaluators_say_before_a_run_what_they_need():
    check = "says before a run what it needs"
    checks(EvaluatorOf(score=None, asks=asks))[check]()
    with pytest.raises(KeyError):
        checks(EvaluatorOf(score=None, asks=crashes))[check]()
    assert re.search(
        "`check` refuses what it can score: k: is too large",
        caught(EvaluatorOf(score=None, asks=refuses), check),
    )
    checks(EvaluatorOf(score=None, idle="protocol"))[check]()
    assert re.search(
        "`unused` names probes, which are no fields", caught(EvaluatorOf(score=None, idle="probes"), check)
    )

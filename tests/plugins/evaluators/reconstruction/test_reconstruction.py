"""Reconstructions of held-out images: losses as training has them, known qualities, every kind of masked objective."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from torch import nn

from sslkit import Reconstruction
from sslkit.core.balancer import Balancer
from sslkit.core.masker import Scene, make_mask
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Pictures, Request
from sslkit.core.system import System
from sslkit.errors import DataError, SpecError
from sslkit.evaluate.evaluate_network import evaluate_run
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import evaluating, reading_of
from sslkit.evaluate.subject import NetSubject
from sslkit.runs import metrics_log
from sslkit.runtime import seeds
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from sslkit.train.launch import train
from sslkit_evaluators.reconstruction.reconstruction import beside
from sslkit_maskers.specs.unguided import RandomMasker
from tests import tiny

VIEW = {**tiny.VIEW, "size": 16}
MAE = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}
SIMMIM = {"kind": "simmim", "masker": {"kind": "unit", "ratio": 0.5, "unit": 4}}
FEW = {"max_images": 20, "shown": 2, "ratios": (0.25, 0.75)}


def made(spec=None, system=None, **changes):
    """(spec of the evaluator, subject of a fresh run on digits of 16 pixels, the run's parts)."""
    spec = spec or Reconstruction(**FEW)
    run = tiny.spec(**{"views": {"global": VIEW}, "objective": MAE, **changes})
    composed = compose(run, tiny.CPU)
    whole = (system(composed) if system else composed.system, composed.env)
    reading = reading_of(run, composed.env.views["global"], tiny.CPU, contextlib.nullcontext, run=whole)
    return spec, NetSubject(composed.system.nets["student"], reading, run.data, spec, Sources(), {}), composed


def score(spec, subject, _composed=None):
    with evaluating(subject.backbone(), subject.system()[0]):
        return spec.build()(subject)


def only_objective(env):
    (name,) = env.objectives
    return env.objectives[name]


def test_metrics_come_with_the_runs_masker_and_at_every_ratio():
    spec, subject, _ = made(Reconstruction(**{**FEW, "ratios": (0.25, 0.75, 0.99)}))
    scores = score(spec, subject)
    names = ["skill", "loss", "psnr", "ssim"]
    assert list(scores.metrics) == [name + end for end in ("", "_at_0.25", "_at_0.75") for name in names]
    (table,) = scores.tables["objectives"].values()
    assert table["ratios"] == [None, 0.25, 0.75]
    assert table["hidden"] == [0.5, 0.25, 0.75]
    assert "at least one must stay" in table["refused"]["0.99"]
    assert table["loss"] == [scores.metrics[f"loss{end}"] for end in ("", "_at_0.25", "_at_0.75")]
    assert scores.tables["images"] == 20
    assert scores.metrics["psnr"] > 0
    assert -1 < scores.metrics["ssim_at_0.75"] < scores.metrics["ssim_at_0.25"] < 1, (
        "less of it is the image's own"
    )


@pytest.mark.parametrize("objective", [MAE, SIMMIM, {**MAE, "target": {"kind": "hog", "cell": 2}}])
def test_the_loss_is_that_of_training_on_the_same_masks(objective):
    """The whole objective on one batch of the same images and masks, in `drop` and in `token` mode."""
    spec, subject, composed = made(objective=objective)
    scores = score(spec, subject)
    only = torch.arange(20) * 360 // 20
    images = subject.rows("test", lambda images, _: images, only).values[None]
    built, (request,) = only_objective(composed.system), only_objective(composed.system).passes
    masker = request.mask.build(composed.env, "global")
    draw = seeds.draw(subject.seed, "mask", "global", rows=only[None])
    mask = make_mask(masker, draw, Scene(images))
    with torch.no_grad(), evaluating(composed.system):
        tokens = subject.backbone()([Request(images, mask, request.mode, request.layers)])
        expected = built({}, *tokens).loss.item()
        blank = subject.backbone()([Request(torch.zeros_like(images), mask, request.mode, request.layers)])
        blind = built({}, blank[0]._replace(image=images)).loss.item()
    assert scores.metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert scores.metrics["skill"] == pytest.approx(1 - expected / blind, abs=1e-5)
    pixels = objective.get("target", {"kind": "pixel"})["kind"] != "hog"
    assert ("psnr" in scores.metrics) == ("ssim" in scores.metrics) == pixels


def test_quality_is_that_of_the_filled_images():
    """scikit-image's measures of what the objective itself draws, hidden pixels only for PSNR."""
    from skimage.metrics import structural_similarity

    spec, subject, composed = made(Reconstruction(max_images=1, ratios=(), shown=0))
    scores = score(spec, subject)
    index = torch.tensor([0])
    images = subject.rows("test", lambda images, _: images, index).values[None]
    (request,) = only_objective(composed.system).passes
    mask = make_mask(
        request.mask.build(composed.env, "global"),
        seeds.draw(subject.seed, "mask", "global", rows=index[None]),
        Scene(images),
    )
    with torch.no_grad(), evaluating(composed.system):
        tokens = subject.backbone()([Request(images, mask, "drop", ())])
        drawn = only_objective(composed.system).pictures(*tokens)["reconstruction"]
    pixels = (drawn.images[0] * 0.4 + 0.3).clamp(0, 1).double()
    goal, filled = pixels[0, 0], pixels[2, 0]
    hidden = mask.hidden[0, 0].view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert torch.equal(goal[~hidden], filled[~hidden])
    mse = (goal - filled)[hidden].square().mean().item()
    assert scores.metrics["psnr"] == pytest.approx(-10 * math.log10(mse), abs=1e-3)
    expected = structural_similarity(
        filled.numpy(),
        goal.numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert scores.metrics["ssim"] == pytest.approx(expected, abs=1e-4)


class Sum(Balancer):
    def forward(self, losses):
        return losses.sum()


class Oracle(Objective):
    """Knows the image: its loss is `base`, and `uses` more where the encoder saw a gray one."""

    def __init__(self, uses: float, base: float, scored: bool = True, right: float = 1.0) -> None:
        super().__init__()
        self.passes = (Encode("global", mask=RandomMasker(ratio=0.5)),)
        self.crops = {"global": 2}
        self.schedules = {"scale": lambda step: float(step)}
        self.uses, self.base, self.scored, self.right = uses, base, scored, right
        self.head = nn.Linear(1, 1)
        self.seen: list[float] = []

    def forward(self, now, *tokens):
        (seen,) = tokens
        assert seen.image.shape[0] == seen.mask.hidden.shape[0] == 2, "as many crops as it needs"
        self.seen.append(float(now["scale"]))
        blank = len(self.seen) % 2 == 0  # it is asked about each image, and then about a gray one
        scores = torch.full((len(seen.mask.flat),), self.base + self.uses * blank)
        return Output(scores.mean(), scores=scores if self.scored else None)

    def pictures(self, *tokens):
        (seen,) = tokens
        columns = [seen.image[0], torch.zeros_like(seen.image[0]), seen.image[0] * self.right]
        return {"reconstruction": Pictures(("input", "masked", "reconstruction"), torch.stack(columns, 1))}


def oracle(*args, **fields):
    return lambda composed: System(
        {"student": composed.system.nets["student"]}, {"own": Oracle(*args, **fields)}, Sum()
    )


def test_a_perfect_reconstruction_is_perfect():
    metrics = score(*made(system=oracle(1.0, 0.0))).metrics
    assert metrics["psnr"] == metrics["psnr_at_0.75"] == pytest.approx(100)
    assert metrics["ssim"] == pytest.approx(1)
    assert (metrics["skill"], metrics["loss"]) == (1.0, 0.0)


@pytest.mark.parametrize(("uses", "skill"), [(0.0, 0.0), (0.5, 0.5), (1.5, 0.75), (-0.25, -1.0)])
def test_skill_is_what_seeing_the_image_saves(uses, skill):
    spec, subject, composed = made(system=oracle(uses, 0.5))
    metrics = score(spec, subject, composed).metrics
    assert metrics["skill"] == pytest.approx(skill)
    assert metrics["loss"] == pytest.approx(0.5)
    seen = subject.system()[0].objectives["own"].seen
    assert set(seen) == {float(composed.length.steps)}, "schedules are at their end"


def test_objectives_without_losses_of_patches_are_no_matter_of_this():
    with pytest.raises(DataError, match="measures objectives that predict hidden patches, such as 'mae'"):
        score(*made(system=oracle(1.0, 0.0, scored=False)))
    with pytest.raises(DataError, match="losses of 'own' are not finite: the network has diverged"):
        score(*made(system=oracle(0.0, math.inf)))


def test_runs_without_masks_are_refused_before_training():
    fields = tiny.fields(evaluate=[{"kind": "reconstruction"}], objective={"kind": "rotation"})
    with pytest.raises(
        SpecError, match="measures masked objectives, such as 'mae' or 'simmim', and there is none"
    ):
        parse(fields)
    run = tiny.spec()
    assert list(Reconstruction().problems(run)) == []
    assert [p.path for p in Reconstruction(baselines=True).problems(run)] == ["baselines"]


def test_a_network_of_no_run_is_refused():
    spec, subject, composed = made()
    bare = NetSubject(
        composed.system.nets["student"],
        subject._reading._replace(run=None),
        subject._data,
        spec,
        Sources(),
        {},
    )
    with pytest.raises(DataError, match="needs the objectives of the run that trained the network"):
        spec.build()(bare)


def test_masks_depend_on_seed_and_image_only():
    spec = Reconstruction(**FEW)
    first = score(*made(spec))
    torch.manual_seed(99)
    assert score(*made(spec)).metrics == first.metrics
    small = score(*made(spec, readout={"batch_size": 3}))
    for name, value in first.metrics.items():
        assert small.metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-4)
    other = score(*made(Reconstruction(**FEW, name="again")))
    assert other.metrics["loss"] != first.metrics["loss"], "another name has masks of its own"


def test_hybrids_have_a_curve_for_each_masked_term():
    inner = {"kind": "hybrid", "objectives": {"pixels": MAE, "simmim": SIMMIM}}
    terms = {
        "deep": inner,
        "hog": {**MAE, "target": {"kind": "hog", "cell": 2}},
        "apart": {"kind": "uniformity"},
    }
    spec, subject, _ = made(objective={"kind": "hybrid", "objectives": terms})
    scores = score(spec, subject)
    assert list(scores.tables["objectives"]) == ["deep-pixels", "deep-simmim", "hog"]
    own = [scores.tables["objectives"][name]["skill"][0] for name in ("deep-pixels", "deep-simmim", "hog")]
    assert scores.metrics["skill"] == pytest.approx(sum(own) / 3)
    assert scores.metrics["deep-pixels_loss_at_0.25"] != scores.metrics["deep-pixels_loss_at_0.75"]
    assert "deep-simmim_psnr" in scores.metrics
    assert "hog_psnr" not in scores.metrics
    assert set(scores.figures) == {"deep-pixels", "deep-simmim", "hog"}


def test_maskers_that_look_and_maskers_that_change():
    looking = {**MAE, "masker": {"kind": "attention", "net": "teacher", "ratio": 0.5}}
    guided = score(*made(objective=looking, nets={"teacher": {}})).metrics
    assert "loss_at_0.75" in guided
    changing = {
        "kind": "curriculum",
        "masker": {"kind": "random"},
        "field": "ratio",
        "start": 0.25,
        "end": 0.75,
        "levels": 2,
    }
    scores = score(*made(objective={**MAE, "masker": changing}))
    (table,) = scores.tables["objectives"].values()
    assert table["ratios"] == [None], "its ratio is not a field of its own"
    assert table["hidden"] == [0.75], "as at the end of the run"
    assert "loss_at_0.25" not in scores.metrics


def test_another_view_is_made_of_the_same_images():
    """An objective on a view of another size and normalization sees the readout's images so."""
    views = {"global": VIEW, "small": {"size": 8, "crops": 2, "normalize": {"mean": [0.1], "std": [0.9]}}}
    spec, subject, composed = made(
        views=views, objective={**MAE, "view": "small"}, readout={"view": "global"}
    )
    seen = []
    only_objective(composed.system).register_forward_pre_hook(lambda module, args: seen.append(args[1].image))
    scores = score(spec, subject)
    assert seen[0].shape == (1, 20, 1, 8, 8)
    first = subject.rows("test", lambda images, _: images, torch.tensor([0])).values
    pixels = torch.nn.functional.interpolate(first * 0.4 + 0.3, (8, 8), mode="bicubic", antialias=True).clamp(
        0, 1
    )
    torch.testing.assert_close(seen[0][0, :1], (pixels - 0.1) / 0.9, rtol=0, atol=1e-4)
    assert scores.metrics["psnr"] > 0


def test_figures_show_every_ratio(tmp_path):
    spec, subject, _ = made(Reconstruction(**FEW))
    scores = score(spec, subject)
    scores.figures["images"](tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 2000
    assert score(*made(Reconstruction(**{**FEW, "shown": 0}))).figures == {}


def test_equal_columns_stand_once():
    image = torch.rand(2, 1, 4, 4)
    parts = [
        Pictures(
            ("input", "masked", "reconstruction"), torch.stack([image, image * hidden, image + hidden], 1)
        )
        for hidden in (0.2, 0.5)
    ]
    found = beside(parts, ["own", "50%"])
    assert found.columns == (
        "input",
        "masked, own",
        "filled, own",
        "masked, 50%",
        "filled, 50%",
    )
    assert torch.equal(found.images[:, 0], image)
    assert torch.equal(found.images[:, 3], image * 0.5)


def losses(run_dir):
    return [(e["step"], e["loss"], e["lr"]) for e in metrics_log.read(run_dir) if "loss" in e]


def test_training_is_the_same_with_and_without_it(tmp_path):
    """To the last bit, also with masks that are sampled and a network in training mode; and afterwards, too."""
    evaluate = [
        {"kind": "reconstruction", "every": "2 steps", "ratios": [0.25], "max_images": 10, "shown": 2}
    ]
    runs = {}
    for name, extra in (("with", evaluate), ("without", [])):
        out = tmp_path / name
        changes = {"backbone": {**tiny.VIT, "drop_path": 0.3}, "checkpoint": {"every": "4 steps", "keep": 9}}
        changes["log"] = tiny.DRAWN
        train(tiny.spec(out, evaluate=extra, steps=6, **changes), lambda text: None)
        runs[name] = out
    assert losses(runs["with"]) == losses(runs["without"])
    seen = {e["step"]: e for e in metrics_log.read(runs["with"]) if "eval/reconstruction/skill" in e}
    assert list(seen) == [2, 4, 6]
    assert len({entry["eval/reconstruction/loss"] for entry in seen.values()}) == 3
    again = evaluate_run(runs["with"], "step-00000004")["metrics"]["reconstruction"]
    assert {f"eval/reconstruction/{name}": value for name, value in again.items()} == {
        key: value for key, value in seen[4].items() if key.startswith("eval/")
    }
    assert (runs["with"] / "figures" / "reconstruction-images.png").is_file()


def test_training_raises_the_skill():
    spec, subject, composed = made(Reconstruction(max_images=60, ratios=(), shown=0), steps=60, batch_size=64)
    before = score(spec, subject).metrics
    supply = tiny.feed(tiny.spec(views={"global": VIEW}, batch_size=64), composed)
    for step in range(60):
        composed.step(step, supply.step(step))
    after = score(spec, subject).metrics
    assert after["loss"] < before["loss"]
    assert after["skill"] > before["skill"] + 0.02
    assert after["psnr"] > before["psnr"]


def test_protocol_names_what_differs():
    assert Reconstruction().build().protocol == "reconstruction@1"
    assert Reconstruction(ratios=(0.5,), shown=1).build().protocol == "reconstruction@1(ratios=(0.5,))"
    assert Reconstruction(split="train").build().needs == ("train",)

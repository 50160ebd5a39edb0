"""Every kind works with any number of channels, or refuses by name before the first step."""

from __future__ import annotations

from math import isfinite
from typing import Literal, final

import pytest
import torch

from sslkit import catalog
from sslkit.core.evaluator import Setting
from sslkit.errors import SpecError
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import reading_of
from sslkit.evaluate.subject import evaluate
from sslkit.runtime.parallel import Single
from sslkit.specs.check import problems
from sslkit.specs.families import EvaluatorSpec, SourceSpec
from sslkit.specs.views import Normalize
from sslkit.testing.families import _PARTS
from sslkit.testing.promises.training_promises import Trial
from sslkit.testing.tiny_run import IMAGE, NoiseSource, evaluated, stage
from sslkit.train.compose import compose

CPU = torch.device("cpu")
FAMILIES = ("objective", "masker", "target", "backbone", "augment", "evaluator")
EVERY = [
    (family, kind, 13 if i % 2 else 2) for family in FAMILIES for i, kind in enumerate(catalog.kinds(family))
]
SOME = [
    ("objective", "mae"),
    ("objective", "dino"),
    ("target", "hog"),
    ("backbone", "vit"),
    ("evaluator", "knn"),
]
REFUSED = {
    (
        "augment",
        "color_jitter",
    ): r"views.global.augment.0.saturation: changes red, green and blue, and the images have",
    (
        "augment",
        "grayscale",
    ): r"views.global.augment.0: is a gray value of red, green and blue, and the images have",
    ("target", "patch_colors", 13): "objectives.check: target.levels: 4 steps of 13 channels are",
}
"""What is refused, and how."""
SMALL = {"block": {"min_block": 1}, "unit": {"unit": 8}}
"""Maskers whose examples are for larger grids than the kit's."""


@final
class Bands(SourceSpec):
    """The kit's images with another number of channels; no entry point offers them."""

    kind: Literal["bands"] = "bands"
    channels: int

    def build(self, split):
        source = NoiseSource(split, 64 if split == "train" else 32)
        generator = torch.Generator().manual_seed(len(split))
        noise = torch.randint(0, 60, (len(source), self.channels, IMAGE, IMAGE), generator=generator)
        source.images = (source.images.float().mean(1, keepdim=True) + noise).to(torch.uint8)
        source.channels, source.fingerprint = self.channels, f"bands {split} {self.channels}"
        return source


def of_channels(run, channels, **view):
    normalize = Normalize(mean=(0.4,) * channels, std=(0.2,) * channels)
    views = {
        name: spec.model_copy(update={"normalize": normalize, **view}) for name, spec in run.views.items()
    }
    return run.model_copy(update={"data": Bands(channels=channels), "views": views})


def run_of(family, spec, channels):
    run = evaluated(spec) if isinstance(spec, EvaluatorSpec) else stage(**_PARTS[family](spec))
    if family == "masker" and spec.kind_name() in ("bernoulli", "block"):
        run = stage(objectives={"check": catalog.kinds("objective")["simmim"](masker=spec)})
    return of_channels(run, channels)


def scores(spec, run):
    composed = compose(run, Single(CPU))
    net, view = composed.system.nets["student"], composed.env.views["global"]
    reading = reading_of(run, view, Single(CPU), composed.step.autocast, run=(composed.system, composed.env))
    return evaluate(net, {0: spec}, run.data, reading, Sources())[spec.label]


@pytest.mark.parametrize(
    ("family", "kind", "channels"), EVERY + [(*kind, channels) for kind in SOME for channels in (1, 4, 5)]
)
def test_every_kind(family, kind, channels, tmp_path):
    cls = catalog.kinds(family)[kind]
    spec = cls(**SMALL[kind]) if kind in SMALL else cls.example()
    if spec is None:
        pytest.skip("it has no example")
    if getattr(cls, "takes", "image") != "image" or 2 not in (getattr(cls, "axes", None) or (2,)):
        pytest.skip("it reads no images")
    run = run_of(family, spec, channels)
    refusal = REFUSED.get((family, kind)) or REFUSED.get((family, kind, channels))
    if refusal:
        with pytest.raises(SpecError, match=refusal):
            compose(run, Single(CPU))
        return
    assert list(problems(run)) == []
    if family != "evaluator":
        assert all(isfinite(values["loss"]) for values in Trial(run).steps(0, 2))
        return
    result = scores(spec, run)
    assert all(isfinite(value) for value in result.metrics.values())
    for name, draw in result.figures.items():
        draw(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_every_problem_of_the_views_is_named_at_once():
    run = of_channels(stage(), 4, show=(0, 4, 1), recipe="byol")
    with pytest.raises(SpecError) as raised:
        compose(run, Single(CPU))
    message = str(raised.value)
    assert "views.global.show: names channel 4 but the images have 4, from 0 to 3" in message
    assert "views.global.recipe: color_jitter: changes red, green and blue" in message
    assert "views.local.recipe" in message


def test_lists_by_crop_are_named_by_their_place():
    chain = catalog.kinds("augment")
    lists = ((chain["random_resized_crop"](),), (chain["random_resized_crop"](), chain["grayscale"]()))
    with pytest.raises(SpecError, match=r"views\.global\.by_crop\.1\.1: is a gray value"):
        compose(of_channels(stage(), 2, by_crop=lists), Single(CPU))


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_brightness_and_contrast_change_any_number_of_channels(channels):
    jitter = catalog.kinds("augment")["color_jitter"](saturation=0, hue=0, probability=1.0)
    run = of_channels(stage(), channels, augment=(jitter,))
    assert all(isfinite(values["loss"]) for values in Trial(run).steps(0, 1))
    assert list(jitter.channel_problems(channels)) == []


@pytest.mark.parametrize("kind", ["finetune", "peft"])
def test_fine_tuning_refuses_colors_of_other_channels(kind):
    spec = catalog.kinds("evaluator")[kind].example().model_copy(
        update={"augment": (catalog.kinds("augment")["grayscale"](),)}
    )  # fmt: skip
    run = run_of("evaluator", spec, 4)
    sources = {split: run.data.build(split) for split in ("train", "test")}
    found = [f"{p.path}: {p.message}" for p in spec.build().check(Setting(sources, None, "cls"))]
    assert any("augment.0: is a gray value" in message for message in found), found


def test_jpeg_is_refused_for_other_channels_before_a_run():
    spec = catalog.kinds("evaluator")["robustness"](corruptions=("contrast", "jpeg"))
    for channels, count in ((1, 0), (3, 0), (4, 1)):
        sources = {split: Bands(channels=channels).build(split) for split in ("train", "test")}
        messages = [p.message for p in spec.build().check(Setting(sources, None, "cls"))]
        assert len(messages) == count
    assert messages == [
        "jpeg holds images of 1 or 3 channels, and these have 4; write the others: [contrast]"
    ]

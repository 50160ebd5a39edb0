"""Augmentations of images on clips: all frames alike, each clip its own, as the image would be changed alone."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import SpecError
from sslkit.runtime import seeds
from sslkit.specs.load import parse
from sslkit_video.specs.augments import TemporallyConsistent

INNER = [
    {"kind": "color_jitter", "probability": 1.0},
    {"kind": "grayscale", "probability": 0.5},
    {"kind": "gaussian_blur", "probability": 0.7},
    {"kind": "flip"},
    {"kind": "solarize", "probability": 0.5},
]


def draw(rows):
    return seeds.draw(0, 0, "consistent", rows=torch.arange(rows))


def clips(count, frames=5):
    return torch.rand(count, 3, frames, 12, 12, generator=torch.Generator().manual_seed(0))


def built(inner):
    return TemporallyConsistent(augment=inner).build((5, 12, 12))


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: inner["kind"])
def test_frames_that_are_alike_stay_alike(inner):
    still = clips(16, 1).expand(-1, -1, 5, -1, -1).contiguous()
    changed = built(inner)(still, draw(16))
    assert changed.shape == still.shape
    assert torch.allclose(changed, changed[:, :, :1].expand_as(changed), atol=1e-6)
    altered = (changed - still).abs().amax((1, 2, 3, 4)) > 1e-3
    assert altered.any()


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: inner["kind"])
def test_each_frame_is_changed_as_an_image_of_its_row(inner):
    """Not as one tall image: a blur does not run from one frame into the next."""
    some = clips(6)
    spec = TemporallyConsistent(augment=inner)
    changed = built(inner)(some, draw(6))
    for frame in (0, 3):
        alone = spec.augment.build(12)(some[:, :, frame].contiguous(), draw(6))
        assert torch.allclose(changed[:, :, frame], alone, atol=1e-5)


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: inner["kind"])
def test_a_clip_does_not_depend_on_the_others(inner):
    some = clips(4)
    together = built(inner)(some, draw(4))
    row = seeds.draw(0, 0, "consistent", rows=torch.tensor([2]))
    assert torch.allclose(built(inner)(some[2:3], row), together[2:3], atol=1e-6)


def run(augment):
    return {
        "name": "consistent",
        "data": {"kind": "moving_digits", "videos": 8, "test_videos": 8, "frames": 8, "size": 16, "digit": 8},
        "views": {
            "global": {
                "size": [4, 16, 16],
                "transform": {"kind": "frames"},
                "augment": [{"kind": "temporally_consistent", "augment": augment}],
            }
        },
        "backbone": {"kind": "video_vit", "patch": 8, "width": 24, "depth": 1, "heads": 2},
        "objective": {"kind": "videomae"},
        "batch_size": 8,
        "steps": 1,
    }


def test_specs_have_it():
    spec = parse(run({"kind": "gaussian_blur"}))
    assert spec.views["global"].augment[0].augment.kind_name() == "gaussian_blur"


def test_what_changes_clips_is_refused_inside():
    with pytest.raises(SpecError, match=r"'temporally_consistent' changes clip; name one of images"):
        parse(run({"kind": "temporally_consistent", "augment": {"kind": "grayscale"}}))

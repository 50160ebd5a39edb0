"""The kit's own run: sound by the checks that it makes of others, and equal at every call."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import PluginError
from sslkit.specs.check import check
from sslkit.testing.families import checks
from sslkit.testing.promises import source_promises
from sslkit.testing.promises.training_promises import Trial, require_equal
from sslkit.testing.tiny_run import CHANNELS, CLASSES, IMAGE, LOCAL, Noise, Probe, helper, stage
from tests.testing.outcomes import unmet


@pytest.mark.parametrize("name", list(source_promises.checks(Noise())))
def test_the_images_are_a_sound_source(name):
    assert unmet(source_promises.checks(Noise()), name) == []


def test_the_images_tell_their_class():
    source = Noise().build("train")
    brightness = source.images.float().mean((1, 2, 3))
    means = torch.stack([brightness[source.labels == label].mean() for label in range(CLASSES)])
    assert (means.diff() > 10).all()


def test_the_images_have_attributes_and_masks():
    source = Noise().build("train")
    assert set(source.attributes) == {"bright", "odd"}
    assert all(
        values.shape == (64,) and set(values.tolist()) == {0, 1} for values in source.attributes.values()
    )
    assert torch.equal(source.attributes["bright"], (source.labels > 2).long())
    masks = torch.stack([source.mask(i) for i in range(64)])
    assert set(masks.unique().tolist()) == {0, 1, 255}
    assert (masks[:, :2] == 255).all()
    share = (masks[:, 2:] == 1).float().mean((1, 2))
    assert share[source.labels == 4].mean() > share[source.labels == 0].mean() + 0.5


@pytest.mark.parametrize("name", [name for name in checks(Probe()) if "picture" not in name])
def test_the_probe_is_a_sound_objective(name):
    assert unmet(checks(Probe()), name) == []


def test_the_run_is_what_the_kit_says():
    run = stage()
    check(run, effects=None)  # views and networks are there for the parts that want them
    trial = Trial(run)
    images = trial.batch().images
    assert images["global"].shape == (2, 4, CHANNELS, IMAGE, IMAGE)
    assert images["local"].shape == (2, 4, CHANNELS, LOCAL, LOCAL)
    assert set(trial.system.nets) == {"student", "teacher"}
    assert trial.composed.length.steps == run.steps == 4


def test_parts_replace_the_kits_own():
    masker = helper("masker", "random")
    run = stage(objectives={"own": helper("objective", "mae").model_copy(update={"masker": masker})}, seed=5)
    (objective,) = run.terms.values()
    assert objective.masker is masker
    assert run.seed == 5
    losses = Trial(run).steps(0, 2)
    assert set(losses[0]) == {"loss", "loss/own"}
    assert losses[0]["loss"] != losses[1]["loss"]


def test_seeds_make_different_runs():
    first, second = (Trial(stage(seed=seed)).steps(0, 1)[0] for seed in (0, 1))
    with pytest.raises(PluginError, match=r"differ: loss, loss/check$"):
        require_equal(first, second, "two seeds differ")
    with pytest.raises(PluginError, match=r"more: extra$"):
        require_equal(first, {**first, "extra": torch.zeros(())}, "more")
    require_equal(first, dict(first), "equal to itself")

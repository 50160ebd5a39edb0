"""Target `vq_token`: files, what it refuses, its loss and its pictures."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F

from sslkit import PatchColors, VQToken
from sslkit.build.restore import restore
from sslkit.core.passes import Request
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.export_part import export_part
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from sslkit.train.launch import train
from tests import tiny
from tests.plugins.tokenizers.shapes import MEAN, STD, crops, env
from tests.plugins.tokenizers.test_tokenizers import CODES, DECODER
from tests.train.test_trainer import silent


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tokenizer of one-channel digits, and its file. Tests must not change them."""
    folder = tmp_path_factory.mktemp("tokenizer")
    objective = {"kind": "vq_vae", "codebook": CODES | {"metric": "cosine"}, "decoder": DECODER}
    train(tiny.spec(folder / "run", objective=objective, steps=4), silent)
    export_part(folder / "run", "tokenizer", folder / "tokenizer.safetensors")
    return folder


def beit(finished, **changes):
    target = {"kind": "vq_token", "tokenizer": str(finished / "tokenizer.safetensors")}
    objective = {"kind": "beit", "masker": {"kind": "random", "ratio": 0.5}, "target": target}
    return parse(tiny.fields(objective=objective, **changes))


def test_a_file_gives_the_ids_that_the_run_itself_gives(finished):
    """Without the run's folder, for crops that another view normalized otherwise."""
    restored = restore(finished / "run")
    images = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        request = Request(((images - 0.3) / 0.4)[None], None, "drop", ())
        patch = restored.system.nets["student"].eval()([request])[0].patch
        objective = restored.system.objectives["vq_vae"]
        expected = objective.codebook(objective.project(patch)).ids
    target = VQToken(tokenizer=finished / "tokenizer.safetensors").build(env(8, 4, 1), "a")
    assert target.dim == 24
    assert torch.equal(target(crops(images[None], 1)), expected)


def test_crops_of_another_size_are_resized(finished):
    target = VQToken(tokenizer=finished / "tokenizer.safetensors").build(env(16, 8, 1), "a")
    images = torch.rand(1, 3, 1, 16, 16)
    smaller = F.interpolate(images[0], (8, 8), mode="bicubic", antialias=True).clamp(0, 1)
    same = VQToken(tokenizer=finished / "tokenizer.safetensors").build(env(8, 4, 1), "a")
    assert torch.equal(target(crops(images, 1)), same(crops(smaller[None], 1)))


def test_it_trains_is_frozen_and_resumes_from_its_own_weights(finished):
    """The tokenizer stays in evaluation mode, without gradients, and is part of the state."""
    run = beit(finished)
    whole, losses = tiny.steps(run, 3)
    target = whole.system.objectives["beit"].target
    assert not any(p.requires_grad for p in target.parameters())
    assert not any(module.training for module in target.tokenizer.modules())
    fresh = compose(run, tiny.CPU).system.objectives["beit"].target
    assert all(torch.equal(a, b) for a, b in zip(fresh.buffers(), target.buffers(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), target.parameters(), strict=True))
    assert any("tokenizer" in name and "codes" in name for name in whole.system.state_dict())
    first, _ = tiny.steps(run, 1)
    second = compose(run, tiny.CPU)
    second.step.load_state_dict(first.step.state_dict())
    feed = tiny.feed(run, second)
    assert [second.step(i, feed.step(i)).total.item() for i in (1, 2)] == losses[1:]


def test_the_tokenizer_does_not_move_the_initial_weights(finished):
    plain = parse(
        tiny.fields(objective={"kind": "beit", "target": {"kind": "pixel"}, "masker": {"kind": "random"}})
    )
    one, two = (compose(run, tiny.CPU).system.nets["student"].state_dict() for run in (plain, beit(finished)))
    assert all(torch.equal(one[name], two[name]) for name in one if "mask_token" not in name)


def test_the_loss_is_the_cross_entropy_in_float32():
    target = PatchColors(levels=2).build(env(), "a")
    guess, goal = torch.randn(6, 8), torch.tensor([0, 7, 3, 3, 1, 2])
    expected = -guess.log_softmax(-1)[range(6), goal]
    assert torch.allclose(target.score(guess, goal), expected, atol=1e-6)
    assert target.score(guess.bfloat16(), goal).dtype == torch.float32
    assert torch.allclose(target.score(torch.zeros(6, 8), goal), torch.full((6,), math.log(8)))


def test_accuracy_counts_real_patches_only():
    target = PatchColors(levels=2).build(env(), "a")
    guess, goal = torch.eye(8)[[0, 1, 2, 3]], torch.tensor([0, 1, 5, 3])
    real = torch.tensor([True, True, True, False])
    assert target.metrics(guess, goal, real)["accuracy"].item() == pytest.approx(2 / 3)


def test_pictures_color_tokens(finished):
    target = VQToken(tokenizer=finished / "tokenizer.safetensors").build(env(8, 4, 1), "a")
    seen = crops(torch.rand(1, 4, 1, 8, 8), 1)
    goal = target(seen)
    shown = target.goal_image(goal, seen)
    assert shown.shape == seen.image.shape
    colors = (shown * STD[0] + MEAN[0])[..., ::4, ::4].flatten(2)
    assert torch.allclose(colors, target.colors[goal].squeeze(-1), atol=1e-6)
    logits = F.one_hot(goal, 24).float()
    assert torch.equal(target.to_image(logits, seen), shown)
    composed = compose(beit(finished), tiny.CPU)
    batch = next(tiny.feed(beit(finished), composed).step(0))
    system = composed.system.eval()
    tokens = composed.step.encode(batch, 0)
    made = composed.step.objectives["beit"].pictures(*system.objective_tokens("beit", tokens))
    assert made["reconstruction"].columns == ("input", "masked", "target", "prediction")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"target.tokenizer: is missing. The file that `sslkit export RUN_DIR --part tokenizer` wrote"),
        ({"tokenizer": "no.safetensors"}, "no file no.safetensors; `sslkit export RUN_DIR --part tokenizer"),
        ({"tokenizer": "a", "codes": 9}, "codes: is not a field of VQToken"),
    ],
)
def test_mistakes_of_the_spec_are_named(fields, message):
    with pytest.raises(SpecError, match=message):
        parse(tiny.fields(objective={"kind": "beit", "target": {"kind": "vq_token", **fields}}))


def test_files_that_do_not_fit_are_refused(finished, tmp_path):
    file = finished / "tokenizer.safetensors"
    with pytest.raises(SpecError, match=r"cuts an image of 8 pixels into 2 x 2 tokens, but .* 4 x 4 patches"):
        VQToken(tokenizer=file).build(env(8, 2, 1), "a")
    with pytest.raises(SpecError, match="reads images of 1 channels, but these have 3"):
        VQToken(tokenizer=file).build(env(8, 4), "a")
    (tmp_path / "half").write_bytes(file.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(tmp_path / 'half'))}: cannot be read"):
        VQToken(tokenizer=tmp_path / "half").build(env(8, 4, 1), "a")

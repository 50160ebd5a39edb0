"""Objectives `vq_kd` and `vq_vae`: they learn codes, repeat, and are the same on two ranks and in micro-batches."""

from __future__ import annotations

import pytest
import torch

from sslkit import VQKD, VQVAE
from sslkit.core.context import Env, NetInfo
from sslkit.core.passes import Tokens
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.nn.codebook import Rules
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from sslkit_tokenizers.specs import CodebookSpec
from tests import tiny
from tests.distributed.forked import on_ranks
from tests.distributed.test_two_ranks import relative
from tests.plugins.tokenizers import worker

DECODER = {"width": 16, "depth": 1, "heads": 2}
CODES = {"size": 24, "dim": 4, "sample": 4, "revive": 0.1, "decay": 0.8}


def run_of(kind="vq_vae", codes=None, **changes):
    objective = {"kind": kind, "codebook": CODES | (codes or {}), "decoder": DECODER}
    objective |= {"target": {"kind": "pixel"}} if kind == "vq_kd" else {}
    return parse(tiny.fields(objective=objective, **changes))


def env(width=24):
    view = View(32, 1, 3, (0.5,) * 3, (0.25,) * 3)
    return Env({"global": view}, {"student": NetInfo(width, 2)}, {"global": Grid(4, 4, 8)})


def seen(width=24, views=1, images=6):
    pictures = torch.randn(views, images, 3, 32, 32)
    return Tokens(
        pictures, torch.zeros(views, images, width), torch.randn(views, images, 16, width), None, ()
    )


def now(step=0):
    return {"step": torch.tensor(float(step))}


def test_defaults_are_those_of_beit_v2_and_the_vq_vae_paper():
    """The conformance kit holds both to one graph, exact resumption and float32 losses."""
    kd = VQKD(target={"kind": "pixel"}).build(env())
    assert kd.codebook.rules == Rules("cosine", beta=1.0, decay=0.99, kmeans_steps=10, revive=0.0)
    assert kd.codebook.codes.shape == (8192, 32)
    assert [type(part).__name__ for part in kd.project] == ["Linear", "Tanh", "Linear"]
    assert (len(kd.decoder.blocks), kd.decoder.embed.out_features) == (3, 768)
    assert VQVAE().build(env()).codebook.rules == Rules("euclidean", beta=0.25, decay=0.99)
    assert (VQKD().target.kind, VQKD().target.loss) == ("teacher_feature", "cosine")


def test_a_codebook_can_set_the_rules_of_either():
    spec = VQVAE(codebook=CodebookSpec(metric="cosine", beta=0.5, revive=0.2, kmeans_steps=0))
    assert spec.build(env()).codebook.rules == Rules("cosine", 0.5, 0.99, 1e-5, 0, 0.2)


def test_the_loss_is_that_of_all_patches_and_the_commitment():
    objective = VQKD.example().build(env())
    tokens = seen()
    out = objective(now(), tokens)
    quantized = objective.codebook(objective.project(tokens.patch))
    guess = objective.decoder(quantized.values)
    goal = objective.target(tokens)
    expected = (guess - goal).square().mean() + quantized.commitment
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert out.metrics.keys() == {"told", "commitment", "usage", "perplexity", "alive"}
    assert out.carry["counts"].sum() == 6 * 16


def test_gradients_pass_the_codes_to_projection_and_encoder():
    objective, tokens = VQVAE.example().build(env()), seen()
    tokens.patch.requires_grad_()
    objective(now(), tokens).metrics["told"].backward()
    assert (tokens.patch.grad.abs().sum(-1) > 0).all()
    assert all(p.grad is not None for p in objective.project.parameters())


def test_samples_take_other_patches_in_other_steps():
    """And the rows of an image do not depend on the images beside it, so that ranks carry what one process would."""
    objective, tokens = VQVAE.example().build(env()), seen(views=2)
    vectors = objective.codebook(objective.project(tokens.patch)).vectors
    for step in (0, 1, 18):
        sample = objective(now(step), tokens).carry["sample"]
        places = [(4 * i + step) % 16 for i in range(4)]
        assert sample.shape == (6, 8, 4)
        assert torch.equal(sample[2], vectors[:, 2, places].flatten(0, 1))


@pytest.mark.parametrize("kind", ["vq_kd", "vq_vae"])
def test_it_learns_to_tell_digits_by_codes(kind):
    run = run_of(kind, optimizer={"lr": 0.01, "scale": "absolute"}, steps=60)
    composed, losses = tiny.steps(run, 60)
    assert sum(losses[-5:]) < 0.7 * sum(losses[1:6])
    objective = composed.system.objectives[kind]
    assert ((objective.codebook.counts > 0.1).sum() > 12).item(), "more than half of the codes are in use"


@pytest.mark.parametrize("kind", ["vq_kd", "vq_vae"])
def test_resumed_runs_are_bit_equal(kind):
    """Across the first step, after which codes start by k-means, and across steps that revive codes."""
    run = run_of(kind, micro_batch_size=8)
    whole, losses = tiny.steps(run, 5)
    for stop in (1, 3):
        first, _ = tiny.steps(run, stop)
        second = compose(run, tiny.CPU)
        second.step.load_state_dict(first.step.state_dict())
        feed = tiny.feed(run, second)
        assert [second.step(i, feed.step(i)).total.item() for i in range(stop, 5)] == losses[stop:]
        assert tiny.same(whole, second)


def test_micro_batches_move_the_codes_as_the_whole_batch_does():
    options = {"optimizer": {"lr": 0.01, "name": "sgd"}}
    whole, losses = tiny.steps(run_of(**options), 4)
    parts, again = tiny.steps(run_of(micro_batch_size=8, **options), 4)
    assert again == pytest.approx(losses, rel=1e-5)
    one, two = (c.system.objectives["vq_vae"].codebook.state_dict() for c in (whole, parts))
    assert relative(two, one) < 1e-5


def test_two_ranks_equal_one_process(tmp_path):
    """Losses, weights and codes after four steps."""
    on_ranks(worker.main, tmp_path / "two.pt")
    worker.main(str(tmp_path / "one.pt"))
    two, one = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("two", "one"))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert relative(two["state"], one["state"]) < 1e-5


def test_pictures_show_what_codes_tell_and_the_tokens():
    objective = VQVAE.example().build(env())
    made = objective.pictures(seen())["tokens"]
    assert made.columns == ("input", "told by codes", "tokens")
    assert made.images.shape == (6, 3, 3, 32, 32)
    patches = made.images[:, 2].unflatten(-1, (4, 8)).unflatten(-3, (4, 8))
    assert torch.equal(patches, patches[:, :, :, :1, :, :1].expand_as(patches)), "one color a patch"
    assert len(patches[:, :, :, 0, :, 0].permute(0, 2, 3, 1).flatten(0, 2).unique(dim=0)) <= 16


def test_mistakes_are_named():
    with pytest.raises(SpecError, match=r"view: 'local' is not a view of this run\. Did you mean 'global'\?"):
        parse(tiny.fields(objective={"kind": "vq_vae", "view": "local"}))
    with pytest.raises(SpecError, match="3 heads do not divide the width 16"):
        parse(tiny.fields(objective={"kind": "vq_vae", "decoder": {"width": 16, "heads": 3}}))
    with pytest.raises(SpecError, match="'teacher' is not a net of this run"):
        parse(tiny.fields(objective={"kind": "vq_kd"}))

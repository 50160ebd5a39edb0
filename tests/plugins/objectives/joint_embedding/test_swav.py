"""SwAV: what it takes from facebookresearch/swav."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit import SwAV
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from sslkit.functional.joint_embedding_losses import swapped as swapped_loss
from tests import tiny
from tests.plugins.objectives.joint_embedding import parts

LOCAL = {**tiny.VIEW, "size": 4, "crops": 2}
SMALL = {"kind": "swav", "projector": parts.HEAD, "prototypes": 6, "local": "local", "freeze_steps": 2}


def swav_run(**changes):
    fields = {"views": {**parts.TWO, "local": LOCAL}, "nets": {}, "steps": 30, **changes}
    return parts.run_of({**SMALL, **fields.pop("objective", {})}, **fields)


def reference_codes(scores, epsilon=0.05, iterations=3):
    """`distributed_sinkhorn` of `main_swav.py` on one process, line by line."""
    q = torch.exp(scores / epsilon).t()
    images, prototypes = q.shape[1], q.shape[0]
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(dim=1, keepdim=True)
        q /= prototypes
        q /= q.sum(dim=0, keepdim=True)
        q /= images
    return (q * images).t()


def reference_loss(embeddings, weight, crops=2, temperature=0.1):
    """The loss of `main_swav.py`, `train`, line by line; `embeddings` `[C, B, D]`."""
    output = F.normalize(embeddings.flatten(0, 1), dim=1) @ F.normalize(weight, dim=1).t()
    images, total = embeddings.shape[1], 0.0
    for crop in range(crops):
        with torch.no_grad():
            codes = reference_codes(output[images * crop : images * (crop + 1)].clone())
        loss = 0.0
        for v in range(len(embeddings)):
            if v != crop:
                x = output[images * v : images * (v + 1)] / temperature
                loss -= torch.mean(torch.sum(codes * F.log_softmax(x, dim=1), dim=1))
        total += loss / (len(embeddings) - 1)
    return total / crops


def bare(**fields):
    objective = parts.bare(
        SwAV(projector={**parts.HEAD, "out": 12}, prototypes=7, **fields), "projector"
    ).double()
    objective.commit({})  # in the new precision
    return objective


@pytest.mark.parametrize("small_crops", [0, 3])
def test_the_loss_and_its_gradients_are_those_of_the_reference(small_crops):
    """`main_swav.py`, `train`: two crops are assigned, all but the assigned one predict."""
    large = parts.random(2, 9, 12).requires_grad_()
    small = parts.random(small_crops, 9, 12, seed=1).requires_grad_()
    objective = bare(local="local" if small_crops else None)
    weight = objective.prototypes.weight.detach().clone().requires_grad_()
    expected = reference_loss(torch.cat([large, small]), weight)
    wanted = torch.autograd.grad(expected, [large, *([small] if small_crops else [])])
    found = parts.loss_of(objective, large, *([small] if small_crops else [])).loss
    given = torch.autograd.grad(found, [large, *([small] if small_crops else [])])
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)
    for ours, theirs in zip(given, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_codes_of_the_golden_give_the_loss(golden):
    """Golden dinov2_sinkhorn, `swav_T*`: lightly's codes, which every other crop predicts."""
    arrays = golden("dinov2_sinkhorn")
    scores = arrays["teacher"]
    codes = arrays["swav_T0.5"]
    torch.testing.assert_close(reference_codes(scores, 0.5), codes, rtol=0, atol=1e-10)
    logits = torch.stack([scores, scores.flip(0)])
    expected = -(codes * logits[1].log_softmax(-1)).sum(-1).mean()
    swapped = swapped_loss(logits, torch.stack([codes, torch.zeros_like(codes)]))
    assert 2 * swapped.item() == pytest.approx(expected.item(), abs=1e-10)


def test_a_crop_does_not_predict_its_own_code():
    codes = torch.stack([F.one_hot(torch.arange(3), 3), F.one_hot(torch.arange(3).flip(0), 3)]).double()
    right = 50 * codes.flip(0)
    assert swapped_loss(right, codes).item() == pytest.approx(0, abs=1e-12)
    assert swapped_loss(50 * codes, codes).item() > 10
    assert swapped_loss(torch.zeros_like(codes), codes).item() == pytest.approx(math.log(3))


def test_defaults_are_those_of_the_reference():
    """`main_swav.py` and `scripts/swav_800ep_pretrain.sh`; `resnet50.py:190-200`."""
    spec = SwAV()
    assert (spec.temperature, spec.epsilon, spec.iterations, spec.freeze_steps) == (0.1, 0.05, 3, 313)
    with torch.device("meta"):
        objective = spec.build(parts.env(2048))
    assert objective.passes == (Encode("global"),)
    first, norm, _, last = objective.projector.layers
    assert (first.weight.shape, last.weight.shape) == ((2048, 2048), (128, 2048))
    assert first.bias is not None
    assert last.bias is not None
    assert norm.affine
    assert objective.prototypes.weight.shape == (3000, 128)
    assert objective.prototypes.bias is None


def test_crops_of_all_sizes_share_the_norm():
    """`forward` of `resnet50.py` joins the outputs of all sizes before the head."""
    objective = SwAV(projector=parts.HEAD, prototypes=5, local="local").build(parts.env())
    large, small = parts.random(2, 4, 12).float(), 5 + parts.random(2, 4, 12, seed=1).float()
    parts.loss_of(objective, large, small)
    norm = objective.projector.layers[1]
    assert norm.num_batches_tracked == 1
    mean = objective.projector.layers[0](torch.cat([large, small])).flatten(0, 1).mean(0)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)


def test_prototypes_have_length_1_and_wait():
    """`args.freeze_prototypes_niters`, and the normalization before each step."""
    run = swav_run()
    composed, _ = tiny.steps(run, 0)
    weight, feed = composed.system.objectives["swav"].prototypes.weight, tiny.feed(run, composed)
    start = weight.clone()
    torch.testing.assert_close(start.norm(dim=1), torch.ones(6))
    for step, moves in enumerate((False, False, True)):
        composed.step(step, feed.step(step))
        assert torch.allclose(weight, start, atol=1e-6) is not moves
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(6))


def test_codes_get_no_gradient_and_the_loss_is_wide_under_autocast():
    objective = SwAV(projector=parts.HEAD, prototypes=5).build(parts.env())
    features = torch.randn(2, 6, 12, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = parts.loss_of(objective, features).loss
    assert loss.dtype == torch.float32
    loss.backward()
    assert objective.prototypes.weight.grad.dtype == torch.float32


def test_it_learns():
    """To below ln 6, which is what a network says that tells nothing apart."""
    view = {**tiny.VIEW, "crops": 2, "augment": [{"kind": "random_resized_crop", "scale": [0.9, 1.0]}]}
    objective = {**SMALL, "local": None}
    _, last, values = parts.learn(objective, 60, nets={}, views={"global": view}, optimizer={"lr": 0.02})
    assert last < math.log(6) - 0.2
    assert values["swav/feature_std"] > 0.6


def test_views_that_do_not_fit_are_told():
    with pytest.raises(
        SpecError,
        match=r"local: 'locals' is not a view of this run\. Did you mean 'local'\? Known: global, local",
    ):
        swav_run(objective={"local": "locals"})
    with pytest.raises(SpecError, match=r"local: is `view` itself; leave it out"):
        swav_run(objective={"local": "global"})

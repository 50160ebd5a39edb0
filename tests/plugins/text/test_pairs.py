"""The objectives `clip` and `siglip`: their loss from tokens, their parameters and bounds."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.interfaces import Tokens
from sslkit.plugin import Env, NetInfo
from sslkit_text.specs.pairs import CLIP, SigLIP

ENV = Env({}, {"student": NetInfo(12, 2), "text": NetInfo(10, 2)}, {})


def tokens(features):
    """Answers whose class tokens are `[V, B, D]`."""
    return Tokens(features, features, features[:, :, None], None, ())


def sides(images=1, texts=1, batch=6):
    generator = torch.Generator().manual_seed(0)
    return [
        tokens(torch.randn(crops, batch, width, generator=generator).requires_grad_())
        for crops, width in ((images, 12), (texts, 10))
    ]


@pytest.mark.parametrize("spec", [CLIP(dim=8), SigLIP(dim=8, chunk=4)])
def test_both_networks_and_all_parameters_get_gradients(spec):
    objective = spec.build(ENV)
    image, text = sides()
    output = objective({}, image, text)
    output.loss.backward()
    assert objective.compares
    assert image.cls.grad.abs().max() > 0
    assert text.cls.grad.abs().max() > 0
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_clip_is_its_definition():
    objective = CLIP(dim=8).build(ENV)
    image, text = sides()
    first = F.normalize(image.cls[0] @ objective.image_projection.weight.T, dim=-1)
    second = F.normalize(text.cls[0] @ objective.text_projection.weight.T, dim=-1)
    logits = first @ second.T / 0.07
    expected = (F.cross_entropy(logits, torch.arange(6)) + F.cross_entropy(logits.T, torch.arange(6))) / 2
    torch.testing.assert_close(objective({}, image, text).loss, expected)


def test_siglip_begins_with_scale_10_and_bias_minus_10():
    objective = SigLIP(dim=8).build(ENV)
    image, text = sides()
    first = F.normalize(image.cls[0] @ objective.image_projection.weight.T, dim=-1)
    second = F.normalize(text.cls[0] @ objective.text_projection.weight.T, dim=-1)
    sign = 2 * torch.eye(6) - 1
    expected = -F.logsigmoid(sign * (10 * first @ second.T - 10)).sum() / 6
    output = objective({}, image, text)
    torch.testing.assert_close(output.loss, expected)
    assert output.metrics["scale"].item() == pytest.approx(10)
    assert output.metrics["bias"].item() == -10


def test_the_parameter_is_the_logarithm_of_the_scale():
    assert CLIP().build(ENV).log_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert SigLIP().build(ENV).log_scale.item() == pytest.approx(math.log(10))


@pytest.mark.parametrize(
    ("spec", "start", "end"),
    [
        (CLIP(), 9.0, math.log(100)),
        (CLIP(), -1.0, 0.0),
        (CLIP(max_scale=None), 9.0, 9.0),
        (SigLIP(), 9.0, 9.0),
    ],
)
def test_the_scale_is_kept_in_bounds_after_each_step(spec, start, end):
    """open_clip: 1 to 100. big_vision's SigLIP has no bounds."""
    objective = spec.build(ENV)
    objective.log_scale.data.fill_(start)
    objective.commit({})
    assert objective.log_scale.item() == pytest.approx(end)


def test_metrics_are_means_of_cosines():
    objective = CLIP(dim=8).build(ENV)
    image, text = sides()
    metrics = objective({}, image, text).metrics
    cosines = objective.embed_images(image.cls[0]) @ objective.embed_texts(text.cls[0]).T
    assert metrics["positive"].item() == pytest.approx(cosines.diagonal().mean().item(), abs=1e-6)
    others = cosines[~torch.eye(6, dtype=torch.bool)]
    assert metrics["negative"].item() == pytest.approx(others.mean().item(), abs=1e-6)


def test_crops_go_together_in_turn():
    """Two crops of an image and one caption: the mean of both losses."""
    objective = CLIP(dim=8).build(ENV)
    image, text = sides(images=2)
    each = [objective({}, tokens(image.cls[v : v + 1]), text).loss for v in range(2)]
    torch.testing.assert_close(objective({}, image, text).loss, torch.stack(each).mean())


def test_both_sides_of_one_view_are_refused():
    spec = CLIP(view="text")
    assert [problem.path for problem in spec.problems(None)] == ["text_view"]
    assert list(CLIP().problems(None)) == []


def test_projections_have_no_bias_and_clips_spread():
    objective = CLIP(dim=512).build(Env({}, {"student": NetInfo(64, 1), "text": NetInfo(256, 1)}, {}))
    assert objective.image_projection.bias is None
    assert objective.image_projection.weight.std().item() == pytest.approx(64**-0.5, rel=0.05)
    assert objective.text_projection.weight.std().item() == pytest.approx(256**-0.5, rel=0.05)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_the_chunk_of_siglip_changes_nothing(chunk):
    torch.manual_seed(0)
    whole = SigLIP(dim=8).build(ENV)
    parts = SigLIP(dim=8, chunk=chunk).build(ENV)
    parts.load_state_dict(whole.state_dict())
    image, text = sides()
    torch.testing.assert_close(parts({}, image, text).loss, whole({}, image, text).loss)


def test_a_rank_by_itself_needs_two_pairs():
    assert CLIP().min_batch == SigLIP().min_batch == 2
    assert CLIP(gather="none").min_rank_batch == 2
    assert CLIP().min_rank_batch == 1

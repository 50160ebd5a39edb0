"""InfoNCE against the reference implementations' arrays, and against its definition."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.functional.info_nce import Keys, contrast_metrics, gathered, guess, info_nce, similarity, unit
from tests.near import relative_error

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def leaves(arrays, dtype, *names):
    return [arrays[name].to(dtype).requires_grad_() for name in names]


def own(rows):
    return Keys(unit(rows), 0)


def nt_xent(a, b, temperature):
    """Both directions, each against the other crop and the own one without itself."""
    a, b = own(a), own(b)
    directions = [similarity(x.rows, y, within=x) for x, y in ((a, b), (b, a))]
    return torch.stack([info_nce(similar, temperature) for similar in directions])


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_the_common_form(golden, temperature, dtype, tolerance):
    """lightly, pytorch-metric-learning and solo-learn: the mean over 2N anchors. SimCLR's own code: the sum."""
    arrays = golden("simclr_ntxent")
    a, b = leaves(arrays, dtype, "a", "b")
    losses = nt_xent(a, b, temperature)
    losses.mean().backward()
    assert relative_error(losses.mean().detach(), arrays[f"loss_T{temperature}"]) <= tolerance
    assert relative_error(losses.sum().detach(), arrays[f"google_sum_T{temperature}"]) <= tolerance
    assert relative_error(a.grad, arrays[f"grad_a_T{temperature}"]) <= tolerance
    assert relative_error(b.grad, arrays[f"grad_b_T{temperature}"]) <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_a_queue_is_mocos(golden, dtype, tolerance):
    """MoCo `moco/builder.py`: logits [positive | queue], the loss, and the gradient of the query's weights."""
    arrays = golden("moco_infonce")
    xq, k, queue = (arrays[name].to(dtype) for name in ("xq", "k", "sd.queue"))
    weight, bias = leaves(arrays, dtype, "sd.encoder_q.fc.weight", "sd.encoder_q.fc.bias")
    queries = unit(F.linear(xq, weight, bias))
    similar = similarity(queries, Keys(k, 0), queue=queue.T, in_batch=False)
    loss = info_nce(similar, 0.2)
    loss.backward()
    assert relative_error(queries.detach(), arrays["q"]) <= tolerance
    assert relative_error(similar.values.detach() / 0.2, arrays["logits"]) <= 5 * tolerance
    assert not similar.positive.any()
    assert relative_error(loss.detach(), arrays["loss"]) <= tolerance
    assert relative_error(weight.grad, arrays["grad_w_q"]) <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_both_directions_times_2t_are_moco_v3s(golden, dtype, tolerance):
    """MoCo v3 `contrastive_loss`: keys of the other crop only, 2T CE, summed over directions."""
    arrays = golden("mocov3_loss")
    q1, q2 = leaves(arrays, dtype, "q1", "q2")
    k1, k2 = (arrays[name].to(dtype) for name in ("k1", "k2"))
    first, second = (0.4 * info_nce(similarity(unit(q), own(k)), 0.2) for q, k in ((q1, k2), (q2, k1)))
    (first + second).backward()
    assert relative_error(first.detach(), arrays["loss_q1k2"]) <= tolerance
    assert relative_error((first + second).detach(), arrays["loss"]) <= tolerance
    assert relative_error(q1.grad, arrays["grad_q1"]) <= tolerance
    assert relative_error(q2.grad, arrays["grad_q2"]) <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_a_learned_scale_is_clips(golden, dtype, tolerance):
    """open_clip `ClipLoss`: gradients of both sides and of the scale. Features are free, so not normalized again."""
    arrays = golden("clip_loss")
    image, text, scale = leaves(arrays, dtype, "image", "text", "logit_scale")
    sides = ((image, text), (text, image))
    loss = torch.stack([info_nce(similarity(q, Keys(k, 0)), 1 / scale) for q, k in sides]).mean()
    loss.backward()
    assert relative_error(loss.detach(), arrays["loss"]) <= tolerance
    assert relative_error(image.grad, arrays["grad_image"]) <= 2 * tolerance
    assert relative_error(text.grad, arrays["grad_text"]) <= 2 * tolerance
    assert relative_error(scale.grad, arrays["grad_scale"]) <= tolerance


@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize("queued", [0, 3])
@pytest.mark.parametrize("within", [True, False])
def test_candidates_are_what_is_asked_for(exclude_self, queued, within):
    """The definition, query by query; keys of three ranks of which this is the second."""
    a, b, queue = (unit(torch.randn(rows, 5, dtype=torch.float64)) for rows in (12, 12, 3))
    queries = a[4:8]
    similar = similarity(
        queries,
        Keys(b, 4),
        within=Keys(a, 4) if within else None,
        exclude_self=exclude_self,
        queue=queue[:queued] if queued else None,
    )
    expected = []
    for i in range(4):
        more = [a[j] for j in range(12) if not (exclude_self and j == 4 + i)] if within else []
        candidates = torch.stack([*b, *more, *queue[:queued]])
        expected.append(-(candidates @ queries[i] / 0.3).log_softmax(0)[4 + i])
    assert similar.values.shape == (4, 12 + 12 * within + queued)
    torch.testing.assert_close(info_nce(similar, 0.3), torch.stack(expected).mean())


def test_a_hidden_candidate_has_no_gradient_and_keeps_that_of_a_learned_temperature_finite():
    rows = unit(torch.randn(4, 3)).requires_grad_()
    temperature = torch.tensor(0.1, requires_grad=True)
    similar = similarity(rows.detach(), Keys(rows.detach(), 0), within=Keys(rows, 0))
    similar.values.retain_grad()
    info_nce(similar, temperature).backward()
    assert temperature.grad.isfinite()
    assert not similar.values.grad[similar.hidden].any()
    assert similar.hidden.sum() == 4


def test_metrics_tell_positives_from_negatives():
    values = torch.tensor([[0.9, 0.1, 0.2, 1.0], [0.3, 0.2, 0.8, 0.4]])
    hidden = torch.tensor([[False, False, False, True], [False] * 4])
    similar = similarity(torch.eye(2), Keys(torch.eye(2), 0))._replace(values=values, hidden=hidden)
    found = contrast_metrics(similar)
    assert found["accuracy"].item() == 0.5
    assert found["positive"].item() == pytest.approx((0.9 + 0.2) / 2)
    assert found["negative"].item() == pytest.approx((0.1 + 0.2 + 0.3 + 0.8 + 0.4) / 5)


def test_all_alike_is_not_accurate():
    """A collapsed net ties everywhere: a tie is no hit."""
    rows = unit(torch.ones(4, 3))
    assert contrast_metrics(similarity(rows, Keys(rows, 0)))["accuracy"] == 0


def test_the_loss_leaves_reduced_precision():
    with torch.autocast("cpu", torch.bfloat16):
        rows = unit(torch.randn(8, 4).bfloat16())
        similar = similarity(rows, Keys(rows, 0), queue=unit(torch.randn(6, 4)))
        assert similar.values.dtype == info_nce(similar, 0.1).dtype == torch.float32
    torch.testing.assert_close(similar.values[:, :8], rows @ rows.T)


@pytest.mark.parametrize("gather", ["gradient", "values", "none"])
def test_alone_a_rank_has_its_own_keys(gather):
    rows = torch.randn(3, 2, requires_grad=True)
    found = gathered(rows, gather)
    assert found.rows is rows
    assert found.first == 0


@pytest.mark.parametrize(
    ("options", "candidates"), [({}, 6), ({"exclude_self": True}, 11), ({"queue": 9}, 10)]
)
def test_a_guess_costs_what_equal_cosines_do(options, candidates):
    """The loss of embeddings that are all alike, whatever the temperature."""
    same = Keys(unit(torch.ones(6, 4, dtype=torch.float64)), 0)
    if "queue" in options:
        similar = similarity(same.rows, same, queue=same.rows[:1].expand(9, -1), in_batch=False)
    else:
        similar = similarity(same.rows, same, within=same if options else None)
    assert guess(similar) == pytest.approx(info_nce(similar, 0.1).item(), rel=1e-12)
    assert guess(similar) == pytest.approx(math.log(candidates), rel=1e-12)


def test_a_guess_of_one_candidate_divides_nothing_by_zero():
    one = Keys(unit(torch.ones(1, 4)), 0)
    assert guess(similarity(one.rows, one)) == pytest.approx(math.log(2))

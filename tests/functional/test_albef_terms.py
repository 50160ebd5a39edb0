"""ALBEF's terms against the arrays of its reference, and against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.functional.albef_terms import draw_negatives, itc, itm, mlm, negative_weights
from sslkit.functional.info_nce import unit
from tests.near import relative_error

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
FILES = ["albef_alpha0", "albef_alpha04"]


def contrast(arrays, dtype, image, text, temperature):
    """Both directions, each with the other modality's momentum embeddings of the batch, then its queue."""
    image_m, text_m = (unit(arrays[f"{side}_proj_m"].to(dtype)) for side in ("image", "text"))
    candidates = [
        torch.cat([batch, arrays[f"{side}_queue_before"].to(dtype).T])
        for side, batch in (("text", text_m), ("image", image_m))
    ]
    alpha = arrays["alpha"].to(dtype)
    forth = itc(unit(image), candidates[0], image_m, temperature, alpha)
    back = itc(unit(text), candidates[1], text_m, temperature, alpha)
    return (forth + back) / 2


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_soft_contrast_is_albefs(golden, file, dtype, tolerance):
    """The temperature itself divides, and gets a gradient; the targets get none."""
    arrays = golden(file)
    image, text, temperature = (
        arrays[name].to(dtype).requires_grad_() for name in ("image_proj", "text_proj", "temp_used")
    )
    loss = contrast(arrays, dtype, image, text, temperature)
    loss.backward()
    assert relative_error(loss.detach(), arrays["loss_ita"]) <= tolerance
    for leaf, name in ((image, "image_proj"), (text, "text_proj"), (temperature, "temp")):
        assert relative_error(leaf.grad, arrays[f"grad_ita_{name}"]) <= tolerance


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_weights_of_negatives_are_albefs(golden, file, dtype, tolerance):
    """Of the online similarities to the moving average's embeddings of this batch."""
    arrays = golden(file)
    units = {
        name: unit(arrays[f"{name}"].to(dtype)) for name in arrays if "_proj" in name and "grad" not in name
    }
    for query, key, name in (("text", "image", "t2i"), ("image", "text", "i2t")):
        similarities = units[f"{query}_proj"] @ units[f"{key}_proj_m"].T / arrays["temp_used"].to(dtype)
        assert relative_error(negative_weights(similarities), arrays[f"itm_weights_{name}"]) <= tolerance


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_matching_is_albefs(golden, file, dtype, tolerance):
    arrays = golden(file)
    logits = arrays["itm_logits"].to(dtype).requires_grad_()
    loss = itm(logits)
    loss.backward()
    assert arrays["itm_labels"].tolist() == [1] * 4 + [0] * 8
    assert relative_error(loss.detach(), arrays["loss_itm"]) <= tolerance
    assert relative_error(logits.grad, arrays["grad_itm_logits"]) <= tolerance


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_masked_words_are_albefs(golden, file, dtype, tolerance):
    arrays = golden(file)
    logits = arrays["mlm_logits"].to(dtype).requires_grad_()
    momentum = arrays["mlm_logits_m"].to(dtype)
    loss = mlm(logits, arrays["mlm_labels"], momentum, arrays["alpha"].to(dtype))
    loss.backward()
    assert relative_error(loss.detach(), arrays["loss_mlm"]) <= tolerance
    assert relative_error(logits.grad, arrays["grad_mlm_logits"]) <= tolerance


def test_without_soft_targets_masked_words_are_a_cross_entropy():
    logits, labels = torch.randn(2, 5, 9), torch.tensor([[3, -100, 8, -100, 0], [-100] * 5])
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(mlm(logits, labels), expected)
    assert mlm(logits, torch.full((2, 5), -100)) == 0


def test_without_soft_targets_the_contrast_is_infonce():
    queries, candidates = unit(torch.randn(4, 6)), unit(torch.randn(9, 6))
    expected = F.cross_entropy(queries @ candidates.T / 0.2, torch.arange(2, 6))
    torch.testing.assert_close(itc(queries, candidates, queries, 0.2, 0.0, first=2), expected)


def test_the_targets_of_a_contrast_are_the_moving_averages():
    """With alpha 1 it is least where the student is the average: the entropy of the targets."""
    queries, candidates = unit(torch.randn(4, 6)), unit(torch.randn(9, 6))
    chances = (queries @ candidates.T / 0.1).softmax(1)
    entropy = -(chances * chances.log()).sum(1).mean()
    torch.testing.assert_close(itc(queries, candidates, queries, 0.1, 1.0), entropy)
    assert itc(queries.flip(0), candidates, queries, 0.1, 1.0) > entropy


def test_negatives_are_drawn_by_their_chances():
    weights = torch.tensor([[0.0, 0.1, 0.3], [0.5, 0.0, 0.25], [1.0, 0.0, 0.0]])
    draws = (torch.arange(4000) + 0.5) / 4000
    shares = torch.stack(
        [F.one_hot(draw_negatives(row.expand(4000, -1), draws), 3).double().mean(0) for row in weights]
    )
    torch.testing.assert_close(shares, (weights / weights.sum(1, keepdim=True)).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-24])
def test_no_pair_is_its_own_negative(draw):
    """Neither at the ends of the draw, nor where all other chances vanish, which ends the reference with an error."""
    certain = torch.eye(5) * 1e4
    for similarities in (torch.zeros(5, 5), certain, torch.randn(5, 5) * 300):
        columns = draw_negatives(negative_weights(similarities), torch.full((5,), draw))
        assert (columns != torch.arange(5)).all()
        assert columns.min() >= 0
        assert columns.max() < 5


def test_pairs_that_match_weigh_a_third():
    logits = torch.zeros(6, 2, requires_grad=True)
    loss = itm(logits)
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert logits.grad[:2, 1].sum() == pytest.approx(-1 / 6)
    assert logits.grad[2:, 1].sum() == pytest.approx(1 / 3)


def test_terms_leave_reduced_precision():
    with torch.autocast("cpu", torch.bfloat16):
        rows = unit(torch.randn(4, 3)).bfloat16()
        values = [
            itc(rows, rows, rows, 0.1, 0.4),
            itm(torch.randn(6, 2).bfloat16()),
            mlm(torch.randn(2, 3, 8).bfloat16(), torch.zeros(2, 3, dtype=torch.long)),
        ]
    assert [value.dtype for value in values] == [torch.float32] * 3

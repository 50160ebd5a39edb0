"""`sslkit.losses`: the numbers and gradients of the references, from tensors alone."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sslkit import losses

EXACT = {"rtol": 0, "atol": 1e-9}


def pair(arrays, *names):
    return torch.stack([arrays[name].double() for name in names]).requires_grad_()


def check(loss, inputs, expected, gradients):
    """The value, and the gradient of each crop."""
    torch.testing.assert_close(loss, expected.double(), **EXACT)
    loss.backward()
    torch.testing.assert_close(inputs.grad, torch.stack(list(gradients)).double(), **EXACT)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_simclrs(golden, temperature):
    arrays = golden("simclr_ntxent")
    crops = pair(arrays, "a", "b")
    end = f"T{temperature}"
    loss = losses.nt_xent(crops, temperature)
    check(loss, crops, arrays[f"loss_{end}"], (arrays[f"grad_a_{end}"], arrays[f"grad_b_{end}"]))
    assert loss.item() == pytest.approx(float(arrays[f"loss_{end}"]))


def test_info_nce_in_both_directions_is_moco_v3s(golden):
    """Golden mocov3_loss, at temperature 0.2 and times 0.4."""
    arrays = golden("mocov3_loss")
    queries = pair(arrays, "q1", "q2")
    first = losses.info_nce(queries[0], arrays["k2"].double(), 0.2)
    second = losses.info_nce(queries[1], arrays["k1"].double(), 0.2)
    loss = 0.4 * (first + second)
    check(loss, queries, arrays["loss"], (arrays["grad_q1"], arrays["grad_q2"]))
    assert (0.4 * first).item() == pytest.approx(float(arrays["loss_q1k2"]))


def test_info_nce_with_a_queue_is_moco_v2s(golden):
    arrays = golden("moco_infonce")
    queue = arrays["sd.queue"].T.double()
    loss = losses.info_nce(arrays["q"].double(), arrays["k"].double(), 0.2, queue, in_batch=False)
    assert loss.item() == pytest.approx(float(arrays["loss"]), abs=1e-9)


def test_byol(golden):
    arrays = golden("byol_loss")
    predictions = pair(arrays, "p1", "p2")
    loss = losses.byol(predictions, pair(arrays, "z1", "z2"))
    check(loss, predictions, arrays["loss_symmetric"], (arrays["grad_p1"], arrays["grad_p2"]))
    assert loss.item() == pytest.approx(float(arrays["deepmind_value"]))


def test_simsiam_is_lightlys(golden):
    """Minus the cosine; what is predicted gets no gradient."""
    arrays = golden("byol_loss")
    goals = pair(arrays, "z1", "z2")
    loss = losses.simsiam(pair(arrays, "p1", "p2"), goals)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["lightly_value"]))
    assert goals.grad is None


@pytest.mark.parametrize(("name", "function"), [("barlowtwins", "barlow_twins"), ("vicreg", "vicreg")])
def test_barlow_twins_and_vicreg(golden, name, function):
    arrays = golden(f"{name}_loss")
    crops = pair(arrays, "z1", "z2")
    loss = getattr(losses, function)(crops)
    check(loss, crops, arrays["loss"], (arrays["grad_z1"], arrays["grad_z2"]))
    assert loss.item() == pytest.approx(float(arrays["lightly_value"]), abs=1e-3)


def test_swav_is_a_loop_over_crops():
    """SwAV `main_swav.py`: every global crop's codes, predicted from all other crops."""
    torch.manual_seed(0)
    logits = torch.randn(4, 6, 5, dtype=torch.float64)
    total, pairs = torch.zeros((), dtype=torch.float64), 0
    for g in range(2):
        codes = losses.sinkhorn(logits[g], 0.05, 3)
        for v in range(4):
            if v != g:
                total -= (codes * (logits[v] / 0.1).log_softmax(-1)).sum(-1).mean()
                pairs += 1
    assert losses.swav(logits).item() == pytest.approx(float(total / pairs))


def test_dino(golden):
    """The first of golden dino_loss, whose center is 0; two crops of the teacher, three more of the student."""
    arrays = golden("dino_loss")
    student = arrays["student_0"].double().view(5, 4, 12).requires_grad_()
    temperature = float(arrays["teacher_temp_schedule"][int(arrays["epochs"][0])])
    teacher = arrays["teacher_0"].double().view(2, 4, 12)
    loss = losses.dino(student, teacher, torch.zeros(12), teacher_temperature=temperature)
    check(loss, student, arrays["loss_0"], arrays["grad_student_0"].view(5, 4, 12))
    shifted = losses.dino(student, teacher + 3, torch.full((12,), 3.0), teacher_temperature=temperature)
    assert shifted.item() == pytest.approx(loss.item())


def test_ibot_is_the_mean_over_hidden_patches_of_an_image():
    """By hand, an image without hidden patches included."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 7, dtype=torch.float64)
    hidden = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    center = torch.randn(7, dtype=torch.float64)
    goal = ((teacher - center) / 0.04).softmax(-1)
    each = -(goal * (student / 0.1).log_softmax(-1)).sum(-1)
    expected = (each[0, :2].mean() + each[1, 3]) / 3
    assert losses.ibot(student, teacher, hidden, center).item() == pytest.approx(float(expected))


@pytest.mark.parametrize(("normalize", "key"), [(False, "loss_raw"), (True, "loss_norm")])
def test_mae(golden, normalize, key):
    arrays = golden("mae_forward_tiny")
    images, prediction = arrays["imgs"].double(), arrays["pred"].double()
    loss = losses.mae(prediction, images, arrays["mask"].bool(), normalize=normalize)
    assert loss.item() == pytest.approx(float(arrays[key]), rel=1e-6)


def test_clip_and_siglip(golden):
    arrays = golden("clip_loss")
    sides = pair(arrays, "image", "text")
    loss = losses.clip(*sides, arrays["logit_scale"].double())
    check(loss, sides, arrays["loss"], (arrays["grad_image"], arrays["grad_text"]))
    arrays = golden("siglip_loss")
    sides = pair(arrays, "image", "text")
    loss = losses.siglip(*sides, *arrays["scale_bias_init"].double())
    check(loss, sides, arrays["loss_init"], (arrays["grad_image_init"], arrays["grad_text_init"]))
    assert loss.item() == pytest.approx(float(arrays["loss_init"]))


def test_albefs_terms(golden):
    arrays = golden("albef_alpha04")
    labels, alpha = arrays["mlm_labels"], float(arrays["alpha"])
    values = {
        "itm": losses.itm(arrays["itm_logits"]),
        "mlm": losses.mlm(arrays["mlm_logits"], labels, arrays["mlm_logits_m"], alpha),
    }
    assert {name: value.item() for name, value in values.items()} == {
        name: pytest.approx(float(arrays[f"loss_{name}"])) for name in values
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    torch.manual_seed(0)
    x = F.normalize(torch.randn(2, 8, 6), dim=-1).to(dtype)
    values = {
        "nt_xent": losses.nt_xent(x),
        "info_nce": losses.info_nce(x[0], x[1]),
        "clip": losses.clip(*x, 10.0),
        "siglip": losses.siglip(*x, 10.0, -10.0),
        "byol": losses.byol(x, x),
        "barlow_twins": losses.barlow_twins(x),
        "vicreg": losses.vicreg(x),
        "swav": losses.swav(x),
        "dino": losses.dino(x, x),
        "ibot": losses.ibot(x, x, torch.ones(2, 8, dtype=torch.bool)),
    }
    assert {name: value.dtype for name, value in values.items()} == dict.fromkeys(values, torch.float32)
    assert all(value.isfinite() for value in values.values())


def test_every_loss_says_what_it_is():
    documented = {name: inspect.getdoc(getattr(losses, name)) for name in losses.__all__}
    assert all(text and len(text) > 30 for text in documented.values())


SYMMETRIC = {
    "nt_xent": losses.nt_xent,
    "byol": lambda x: losses.byol(x, x.flip(-1)),
    "simsiam": lambda x: losses.simsiam(x, x.flip(-1)),
    "barlow_twins": losses.barlow_twins,
    "vicreg": losses.vicreg,
    "swav": losses.swav,
    "dino": lambda x: losses.dino(x, x.flip(-1)),
}
"""Losses of crops `[V, B, D]` that name no image and no crop."""


def crops_of(seed, crops=2, images=6, width=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(crops, images, width, dtype=torch.float64, generator=generator)


@given(name=st.sampled_from(sorted(SYMMETRIC)), seed=st.integers(0, 2**31), crops=st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_the_order_of_images_and_crops_is_nothing(name, seed, crops):
    """SwAV and DINO name the first two crops, so all of theirs are global here."""
    if name in ("swav", "dino"):
        crops = 2
    x = crops_of(seed, crops)
    generator = torch.Generator().manual_seed(seed + 1)
    images, order = torch.randperm(6, generator=generator), torch.randperm(crops, generator=generator)
    loss = SYMMETRIC[name]
    torch.testing.assert_close(loss(x[order][:, images]), loss(x), rtol=1e-9, atol=1e-9)


@given(name=st.sampled_from(["nt_xent", "byol", "simsiam"]), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_cosines_do_not_know_lengths(name, seed):
    x = crops_of(seed)
    lengths = torch.rand(2, 6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    torch.testing.assert_close(SYMMETRIC[name](lengths * x), SYMMETRIC[name](x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("loss", "least"), [(losses.byol, 0.0), (losses.simsiam, -1.0)], ids=["byol", "simsiam"]
)
def test_right_predictions_cost_least(loss, least):
    crop = crops_of(0)[:1].expand(3, -1, -1)
    assert loss(crop, crop).item() == pytest.approx(least, abs=1e-12)
    assert loss(-crop, crop).item() == pytest.approx(least + 2 * (4 if least == 0 else 1), abs=1e-12)


def test_vicregs_weights_are_of_its_terms():
    x = crops_of(1)
    none = {"invariance": 0.0, "variance": 0.0, "covariance": 0.0}
    parts = [losses.vicreg(x, **{**none, name: 1.0}).item() for name in none]
    assert parts[0] == pytest.approx((x[0] - x[1]).square().mean().item())
    assert parts[1] == pytest.approx(losses.variance(x).mean().item())
    assert parts[2] == pytest.approx(losses.covariance(x).sum().item())
    assert losses.vicreg(x).item() == pytest.approx(25 * parts[0] + 25 * parts[1] + parts[2])


def test_a_queue_and_other_images_are_negatives():
    """The number of candidates of equal similarity is what the loss counts."""
    same = torch.ones(4, 3, dtype=torch.float64)
    queue = F.normalize(torch.ones(5, 3, dtype=torch.float64), dim=-1)
    counts = {
        4: losses.info_nce(same, same),
        9: losses.info_nce(same, same, 0.2, queue),
        6: losses.info_nce(same, same, 0.2, queue, in_batch=False),
        7: losses.nt_xent(torch.stack([same, same])),
    }
    for count, loss in counts.items():
        assert loss.item() == pytest.approx(math.log(count))


def test_mae_of_other_errors_and_patches():
    """Hidden patches alone count, of each image alike."""
    images = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    prediction = torch.zeros(2, 4, 4, dtype=torch.float64)
    prediction[0, 0], prediction[0, 1], prediction[1, 2] = 1.0, 3.0, 2.0
    hidden = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0]], dtype=torch.bool)
    by_loss = {
        loss: losses.mae(prediction, images, hidden, normalize=False, loss=loss) for loss in ("l2", "l1")
    }
    assert by_loss["l2"].item() == pytest.approx(((1 + 9) / 2 + 4) / 2)
    assert by_loss["l1"].item() == pytest.approx(((1 + 3) / 2 + 2) / 2)
    assert losses.mae(prediction, images, ~hidden, normalize=False).item() == 0

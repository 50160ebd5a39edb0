"""The codebook: choice, gradients, how codes move, start and come back; held against two reference implementations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.nn.codebook import Codebook, Rules

PLAIN = Rules("euclidean", beta=0.25, decay=0.8, kmeans_steps=0)
UNIT = Rules("cosine", decay=0.9, kmeans_steps=0)


def codebook(codes, rules):
    made = Codebook(*codes.shape, rules)
    for buffer in (made.codes, made.sums):
        buffer.copy_(codes)
    return made


def follow(made, x, step=1):
    """One commit of what `x` chooses, all of it being the sample."""
    found = made(x)
    made.commit(found.counts, found.sums, found.vectors.flatten(0, -2), step)
    return found


def test_training_equals_vector_quantize_pytorch(golden):
    """vector-quantize-pytorch 1.32.0 with `rotation_trick=False`: forward, gradient, and one update of the codes."""
    arrays = golden("vq_assign")
    made, x = codebook(arrays["codebook"], PLAIN), arrays["x"].clone().requires_grad_()
    found = follow(made, x)
    ((found.values * arrays["train_w"]).sum() + found.commitment).backward()
    assert torch.equal(found.ids, arrays["train_index"])
    assert torch.allclose(found.values, arrays["train_quantized"], rtol=0, atol=1e-6)
    assert found.commitment.item() == pytest.approx(arrays["train_commit_loss"].item(), rel=1e-6)
    assert torch.allclose(x.grad, arrays["train_grad_x"], rtol=0, atol=1e-6)
    for name, buffer in (("codebook", made.codes), ("cluster_size", made.counts), ("embed_avg", made.sums)):
        assert torch.allclose(buffer, arrays[f"train_{name}_after"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rules", "name"), [(PLAIN, "euclid"), (UNIT, "cosine")])
def test_values_are_the_codes_of_the_reference(golden, rules, name):
    arrays = golden("vq_assign")
    codes = arrays["codebook"] if name == "euclid" else F.normalize(arrays["codebook"], dim=-1)
    found = codebook(codes, rules)(arrays["x"])
    assert torch.equal(found.ids, arrays[f"index_{name}"])
    assert torch.allclose(found.values, arrays[f"quantized_{name}"], rtol=0, atol=1e-6)


def norm_ema(weight, z, decay):
    """BEiT v2 `norm_ema_quantizer.py:149-192`, in train mode on one process, after its start."""
    z = F.normalize(z, dim=-1)
    d = z.pow(2).sum(1, keepdim=True) + weight.pow(2).sum(1) - 2 * z @ weight.T
    encodings = F.one_hot(d.argmin(1), len(weight)).type(z.dtype)
    bins = encodings.sum(0)
    zero = bins == 0
    mean = F.normalize((z.T @ encodings / bins.masked_fill(zero, 1.0)).T, dim=-1)
    mean = torch.where(zero[:, None], weight, mean)
    loss = F.mse_loss(weight[d.argmin(1)], z)
    return F.normalize(weight * decay + mean * (1 - decay), dim=-1), bins, loss


def test_three_steps_equal_beit_v2():
    """Codes, average counts and the commitment loss; among many codes some are never chosen and keep their value."""
    codes = F.normalize(torch.randn(40, 6), dim=-1)
    made, expected, counts = codebook(codes, UNIT), codes, torch.ones(40)
    for step in range(1, 4):
        z = torch.randn(25, 6)
        expected, bins, loss = norm_ema(expected, z, 0.9)
        counts = counts * 0.9 + bins * 0.1
        assert follow(made, z, step).commitment.item() == pytest.approx(loss.item(), rel=1e-5)
        assert torch.allclose(made.codes, expected, atol=1e-6)
        assert torch.allclose(made.counts, counts, atol=1e-5)
    assert (made.codes == codes).all(-1).any(), "a dead code does not move"


def test_forward_changes_no_buffer():
    made = Codebook(8, 4, UNIT)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made(torch.randn(3, 5, 4))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_codes_start_from_k_means_after_the_first_step(metric):
    made, x = Codebook(6, 3, Rules(metric)), torch.randn(4, 50, 3) + 5
    first = follow(made, x, step=0)
    again = made(x)
    assert (again.counts > 0).all(), "every center is that of some vectors"
    assert again.commitment < 0.2 * first.commitment
    assert made.counts.sum().item() == pytest.approx(200)
    assert torch.allclose(made.sums, made.codes * made.counts[:, None])


def test_a_sample_smaller_than_the_codebook_starts_as_many_codes():
    made = Codebook(12, 3, Rules("euclidean"))
    before = made.codes.clone()
    follow(made, torch.randn(5, 3), step=0)
    assert torch.equal(made.codes[5:], before[5:])
    assert made.counts.tolist() == [1.0] * 5 + [0.0] * 7


def test_equal_vectors_start_one_code():
    """As two crops without augmentations give them: of two equal codes the rounding of a processor would choose."""
    torch.manual_seed(0)
    made = Codebook(6, 3, Rules("euclidean", kmeans_steps=5))
    follow(made, torch.randn(4, 3).repeat(3, 1), step=0)
    assert torch.pdist(made.codes).min() > 1e-3


def test_the_start_depends_on_the_vectors_alone():
    x, made = torch.randn(64, 3), []
    for seed in (1, 2):
        made.append(codebook(torch.ones(6, 3), Rules("euclidean")))
        torch.manual_seed(seed)
        follow(made[-1], x, step=0)
    assert torch.equal(made[0].codes, made[1].codes)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_dead_codes_are_revived_from_the_sample_or_stay(metric):
    codes = F.normalize(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.1]]), dim=-1)
    x = torch.tensor([[1.0, 0.05]]).expand(30, 2) + 0.01 * torch.randn(30, 2)
    for revive, alive in ((0.5, True), (0.0, False)):
        made = codebook(codes, Rules(metric, decay=0.0, kmeans_steps=0, revive=revive))
        follow(made, x)
        close = (made.codes[1:, None] - made.compared(x)).norm(dim=-1).min(1).values < 1e-6
        assert close.tolist() == [alive, alive]
        assert made.counts.tolist() == ([30.0, 5.0, 5.0] if alive else [30.0, 0.0, 0.0])


def test_the_choice_is_made_in_float32_under_autocast():
    made, x = Codebook(64, 8, UNIT), torch.randn(200, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(x)
    assert torch.equal(found.ids, made(x).ids)
    assert {found.values.dtype, found.commitment.dtype, found.sums.dtype} == {torch.float32}


def test_metrics_tell_how_codes_are_used():
    made = Codebook(4, 2, UNIT)
    made.counts.copy_(torch.tensor([90.0, 9.0, 1.0, 0.0]))
    found = {name: value.item() for name, value in made.metrics(torch.tensor([2.0, 2.0, 0.0, 0.0])).items()}
    assert found == {"usage": 0.5, "perplexity": pytest.approx(2.0), "alive": 0.75}

"""CLIP's and SigLIP's losses against open_clip's and big_vision's arrays, and against their definitions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sslkit.functional.info_nce import unit
from sslkit.functional.pair_losses import clip, siglip
from tests.near import relative_error

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
SETTINGS = ["init", "late", "zero_bias"]


def leaves(arrays, dtype, *names):
    return [arrays[name].to(dtype).requires_grad_() for name in names]


def pairs(count=7, width=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(count)
    return unit(torch.randn(2, count, width, generator=generator, dtype=dtype)).unbind()


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_clip_is_open_clips(golden, dtype, tolerance):
    arrays = golden("clip_loss")
    image, text, scale = leaves(arrays, dtype, "image", "text", "logit_scale")
    loss = clip(image, text, scale)
    loss.backward()
    assert relative_error(loss.detach(), arrays["loss"]) <= tolerance
    for leaf, name in ((image, "image"), (text, "text"), (scale, "scale")):
        assert relative_error(leaf.grad, arrays[f"grad_{name}"]) <= tolerance


@pytest.mark.parametrize("chunk", [1, 4, 256])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_siglip_is_open_clips(golden, dtype, tolerance, setting, chunk):
    """The parameter is the logarithm of the scale; however many columns are held at once."""
    arrays = golden("siglip_loss")
    image, text = leaves(arrays, dtype, "image", "text")
    scale, bias = arrays[f"scale_bias_{setting}"].to(dtype)
    log_scale, bias = scale.log().requires_grad_(), bias.clone().requires_grad_()
    loss = siglip(image, text, log_scale.exp(), bias, chunk=chunk)
    loss.backward()
    assert relative_error(loss.detach(), arrays[f"loss_{setting}"]) <= tolerance
    gradients = {"image": image, "text": text, "log_scale": log_scale, "bias": bias}
    for name, leaf in gradients.items():
        assert relative_error(leaf.grad, arrays[f"grad_{name}_{setting}"]) <= tolerance, name


@pytest.mark.parametrize("setting", ["init", "litcoco"])
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_siglip_is_big_visions(golden, dtype, tolerance, setting):
    """Through its normalization, which adds 1e-8 to the length where torch's takes the larger of it and 1e-12."""
    arrays = golden("siglip_bigvision")
    image, text = leaves(arrays, dtype, "image_raw", "text_raw")
    t, b = (x.clone().requires_grad_() for x in arrays[f"t_b_{setting}"].to(dtype))
    units = [x / (x.norm(dim=1, keepdim=True) + 1e-8) for x in (image, text)]
    loss = siglip(*units, t.exp(), b)
    loss.backward()
    assert relative_error(loss.detach(), arrays[f"loss_{setting}"]) <= tolerance
    assert relative_error(image.grad, arrays[f"grad_image_raw_{setting}"]) <= tolerance
    assert relative_error(text.grad, arrays[f"grad_text_raw_{setting}"]) <= tolerance
    assert relative_error(t.grad, arrays[f"grad_t_{setting}"].squeeze()) <= tolerance
    assert relative_error(b.grad, arrays[f"grad_b_{setting}"].squeeze()) <= tolerance


def test_the_losses_are_as_defined():
    """CLIP: two cross-entropies, meaned. SigLIP: summed over pairs, divided by rows."""
    first, second = pairs()
    logits = 9.0 * first @ second.T - 3.0
    partners = torch.arange(7)
    expected = (F.cross_entropy(logits, partners) + F.cross_entropy(logits.T, partners)) / 2
    torch.testing.assert_close(clip(first, second, 9.0, -3.0), expected)
    sign = 2 * torch.eye(7, dtype=torch.float64) - 1
    torch.testing.assert_close(siglip(first, second, 9.0, -3.0), -F.logsigmoid(sign * logits).sum() / 7)


def test_a_bias_moves_siglip_and_not_clip():
    first, second = pairs()
    torch.testing.assert_close(clip(first, second, 5.0, 2.0), clip(first, second, 5.0))
    assert siglip(first, second, 5.0, 2.0) > siglip(first, second, 5.0, -2.0) + 1


def test_embeddings_that_are_all_alike_cost_a_guess():
    same = unit(torch.ones(6, 3, dtype=torch.float64))
    assert clip(same, same, 100.0).item() == pytest.approx(math.log(6))
    assert siglip(same, same, 1.0, -1.0).item() == pytest.approx(6 * math.log(2))


def test_siglip_keeps_the_last_digits_of_sure_pairs():
    """softplus is the identity above 20: of a wrong pair at 20.5 it would lose 1.25e-9."""
    first, second = unit(torch.ones(1, 1, dtype=torch.float64)), -unit(torch.ones(1, 1, dtype=torch.float64))
    assert siglip(first, second, 20.5, 0.0).item() == pytest.approx(20.5 + math.exp(-20.5), rel=1e-12)


@pytest.mark.parametrize("loss", [lambda a, b: clip(a, b, 10.0), lambda a, b: siglip(a, b, 10.0, -10.0)])
def test_the_losses_leave_reduced_precision(loss):
    first, second = pairs(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(first.bfloat16(), second.bfloat16())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(first.bfloat16().float(), second.bfloat16().float()))


def test_the_gradient_of_siglip_is_that_of_its_definition():
    """Also where a loss is scaled, and where some of its inputs need none."""
    first, second = (x.requires_grad_() for x in pairs())
    scale = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda a, b, s: 3 * siglip(a, b, s, -1.0, chunk=3), (first, second, scale)
    )
    only = torch.autograd.grad(siglip(first, second.detach(), 4.0, -1.0), first)[0]
    both = torch.autograd.grad(siglip(first, second, 4.0, -1.0), (first, second))[0]
    torch.testing.assert_close(only, both)


def test_siglip_compiles_to_one_graph():
    first, second = (x.requires_grad_() for x in pairs())
    compiled = torch.compile(siglip, fullgraph=True, dynamic=False, backend="aot_eager")
    gradients = [
        torch.autograd.grad(f(first, second, 5.0, -4.0, chunk=3), (first, second)) for f in (compiled, siglip)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0][0].abs().max() > 0.01


class Largest(TorchDispatchMode):
    """The elements of the largest tensor that is made."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.most = max([self.most, *sizes])
        return made


def held(loss, count):
    """The largest tensor of a step, and the bytes that its backward keeps."""
    first, second = (x.requires_grad_() for x in pairs(count, dtype=torch.float32))
    kept = 0

    def keep(tensor):
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(first, second).backward()
    return largest.most, kept


def test_memory_of_siglip_grows_with_the_batch_and_not_with_its_square():
    """At three sizes; that of CLIP's is measured beside it, so that the measure is seen to see."""
    sizes = (64, 128, 256)
    linear = [held(lambda a, b: siglip(a, b, 10.0, -10.0, chunk=16), size) for size in sizes]
    square = [held(lambda a, b: clip(a, b, 10.0), size) for size in sizes]
    assert [largest for largest, _ in linear] == [16 * size for size in sizes]
    assert [largest for largest, _ in square] == [size * size for size in sizes]
    for (_, less), (_, more) in pairwise(linear):
        assert more <= 2 * less
    assert square[-1][1] > 3 * square[-2][1]

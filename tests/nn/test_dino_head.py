"""Heads of self-distillation against facebookresearch/dino and bytedance/ibot."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from sslkit.nn.dino_head import PrototypeHead, Prototypes
from tests.near import error_of

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
SHAPE = {"layers": 3, "hidden": 16, "bottleneck": 6}


def loaded(head, arrays, dtype=torch.float64):
    """`head` with the reference's weights, whose names are its own."""
    head = head.to(dtype)
    head.load_state_dict({key[3:]: value for key, value in arrays.items() if key.startswith("sd.")})
    return head


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
@pytest.mark.parametrize("name", ["dino_head", "dino_head_bn"])
def test_it_is_dinos(golden, name, dtype, error):
    """facebookresearch/dino@7c446df5b9f4:vision_transformer.py DINOHead: output and every gradient."""
    arrays = golden(name)
    head = loaded(PrototypeHead(8, 20, **SHAPE, batch_norm=name.endswith("bn")), arrays, dtype)
    x = arrays["x"].to(dtype).requires_grad_()
    out = head(x)
    (out * arrays["w"].to(dtype)).sum().backward()
    assert error_of(out, arrays["y"]) <= error
    assert error_of(x.grad, arrays["grad_x"]) <= error
    expected = {key[5:]: value for key, value in arrays.items() if key.startswith("grad.")}
    found = {key: p.grad for key, p in head.named_parameters() if p.requires_grad}
    assert found.keys() == expected.keys(), "weight_g is frozen, nothing else is"
    for key, gradient in found.items():
        assert error_of(gradient, expected[key]) <= error, key


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_it_is_ibots(golden, dtype, error):
    """bytedance/ibot@da316d82636a:models/head.py iBOTHead with a last layer of its own for patches."""
    arrays = golden("ibot_head")
    head = loaded(PrototypeHead(8, 10, **SHAPE, patch_prototypes=14), arrays, dtype)
    x = arrays["x"].to(dtype)
    assert error_of(head(x[:, 0]), arrays["y_cls"]) <= error
    assert error_of(head.patch_layer(head.embed(x[:, 1:])), arrays["y_patch"]) <= error
    assert error_of(head(x[:, 0]), arrays["y_2d"]) <= error


def test_a_shared_head_has_one_last_layer():
    shared, own = PrototypeHead(8, 10, **SHAPE), PrototypeHead(8, 10, **SHAPE, patch_prototypes=14)
    assert shared.patch_layer is shared.last_layer
    assert shared.last_layers == [shared.last_layer]
    assert own.last_layers == [own.last_layer, own.last_layer2]
    assert len(list(own.parameters())) == len(list(shared.parameters())) + 2


@pytest.mark.parametrize("fixed", [True, False])
def test_prototypes_are_torchs_weight_norm(fixed):
    """`torch.nn.utils.parametrizations.weight_norm`: values and both gradients."""
    own = Prototypes(5, 7, fixed).double()
    with torch.no_grad():
        own.weight_g.copy_(torch.rand(7, 1) + 0.5)
    peer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(5, 7, bias=False).double())
    parts = peer.parametrizations.weight
    with torch.no_grad():
        parts.original0.copy_(own.weight_g)
        parts.original1.copy_(own.weight_v)
    x = torch.randn(3, 5, dtype=torch.float64)
    for layer in (own, peer):
        layer(x).square().sum().backward()
    assert torch.allclose(own(x), peer(x), atol=1e-14)
    assert torch.allclose(own.weight_v.grad, parts.original1.grad, atol=1e-13)
    assert (own.weight_g.grad is None) == fixed
    assert fixed or torch.allclose(own.weight_g.grad, parts.original0.grad, atol=1e-13)


def test_outputs_of_fixed_prototypes_are_cosines():
    head = PrototypeHead(8, 50, **SHAPE)
    x = 100 * torch.randn(20, 8)
    embedded = head.embed(x)
    assert torch.allclose(embedded.norm(dim=-1), torch.ones(20), atol=1e-6)
    expected = F.cosine_similarity(embedded[:, None], head.last_layer.weight_v, dim=-1)
    assert torch.allclose(head(x), expected, atol=1e-6)
    assert head(x).abs().max() <= 1 + 1e-6


def test_it_starts_as_the_reference_does():
    head = PrototypeHead(64, 300)
    linears = [part for part in head.mlp if isinstance(part, torch.nn.Linear)]
    assert [tuple(linear.weight.shape) for linear in linears] == [(2048, 64), (2048, 2048), (256, 2048)]
    for linear in linears:
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert (linear.bias == 0).all()
    assert (head.last_layer.weight_g == 1).all()
    assert head.last_layer.weight_v.abs().max() <= 256**-0.5


def test_one_layer_and_several():
    assert isinstance(PrototypeHead(8, 4, layers=1, bottleneck=3).mlp, torch.nn.Linear)
    two = PrototypeHead(8, 4, layers=2, hidden=5, bottleneck=3)
    assert [type(part).__name__ for part in two.mlp] == ["Linear", "GELU", "Linear"]


def test_leading_dimensions_and_copies():
    head = PrototypeHead(8, 4, **SHAPE)
    x = torch.randn(2, 3, 8)
    assert torch.equal(head(x).flatten(0, 1), head(x.flatten(0, 1)))
    assert torch.equal(copy.deepcopy(head)(x), head(x))


def test_the_bottleneck_stays_in_float32_under_autocast():
    head, x = PrototypeHead(8, 4, **SHAPE), torch.randn(6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert head.embed(x).dtype == torch.float32
        assert head(x).dtype == torch.bfloat16
        reduced = head(x).float()
    assert torch.allclose(reduced, head(x), atol=0.02)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_compiles_to_one_graph(batch_norm):
    torch._dynamo.reset()
    head = PrototypeHead(8, 4, **SHAPE, batch_norm=batch_norm)
    run = torch.compile(head, fullgraph=True, dynamic=False, backend="aot_eager")
    x = torch.randn(2, 3, 8)
    assert torch.allclose(run(x), head(x), atol=1e-6)

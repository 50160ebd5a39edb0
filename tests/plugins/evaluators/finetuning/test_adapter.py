"""Adapters: the same function at the start, and only they are trained."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from sslkit import CNN
from sslkit.errors import SpecError
from sslkit_evaluators.finetuning.adapter import Adapter, add_adapters
from tests.nn.test_low_rank import NETS, VIEW, answer


@pytest.fixture(params=NETS)
def net(request):
    torch.manual_seed(0)
    return NETS[request.param].build(VIEW).eval()


def test_the_function_is_the_same_at_the_start(net):
    own = copy.deepcopy(net)
    add_adapters(own, 4)
    assert torch.equal(answer(own), answer(net))


def test_only_adapters_are_trained_and_each_counts(net):
    own = copy.deepcopy(net)
    add_adapters(own, 4)
    adapters = [module for module in own.modules() if isinstance(module, Adapter)]
    assert len(adapters) == 2 * sum(hasattr(module, "attn_adapter") for module in own.modules())
    with torch.no_grad():
        for adapter in adapters:
            adapter.up.weight.normal_(std=0.1)
    first = answer(own)
    first.square().mean().backward()
    trained = {id(p) for adapter in adapters for p in adapter.parameters()}
    for name, parameter in own.named_parameters():
        assert parameter.requires_grad == (id(parameter) in trained), name
        assert (parameter.grad is not None) == (id(parameter) in trained), name
    for adapter in adapters:
        kept = adapter.up.weight.detach().clone()
        with torch.no_grad():
            adapter.up.weight.zero_()
            assert not torch.equal(answer(own), first)
            adapter.up.weight.copy_(kept)


def test_an_adapter_by_hand():
    adapter = Adapter(torch.zeros(6, 3), 2)
    with torch.no_grad():
        adapter.up.weight.normal_()
    x = torch.randn(5, 6)
    narrow = F.gelu(x @ adapter.down.weight.T + adapter.down.bias)
    torch.testing.assert_close(adapter(x), x + narrow @ adapter.up.weight.T + adapter.up.bias)
    assert adapter.down.weight.abs().max() <= 0.02


def test_a_copy_of_the_network_stays_plain(net):
    before = answer(net)
    add_adapters(copy.deepcopy(net), 4)
    assert torch.equal(answer(net), before)
    assert all(p.requires_grad for p in net.parameters()) or any(
        "pos_embed" in n for n, _ in net.named_parameters()
    )
    assert not any(module._forward_hooks for module in net.modules())


def test_a_network_without_blocks_is_refused():
    with pytest.raises(SpecError, match="no blocks of attention and MLP"):
        add_adapters(CNN.example().build(VIEW), 4)

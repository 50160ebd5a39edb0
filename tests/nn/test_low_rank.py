"""LoRA: the same function at the start and when merged, few values, the right layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.utils import parametrize

from sslkit import CNN, Swin, ViT
from sslkit.core.passes import Request
from sslkit.core.view import View
from sslkit.errors import SpecError
from sslkit.nn.low_rank import LowRank, add_low_rank, blocks, merge, plain_names, plain_state

VIEW = View(32, 1, 3, (0.5,) * 3, (0.5,) * 3)
SMALL = {"width": 16, "depth": 2, "heads": 2}
NETS = {
    "vit": ViT(name="vit_tiny_patch16_224", patch=8, **SMALL),
    "beit": ViT(name="beit_base_patch16_224", patch=8, positions="relative", **SMALL),
    "swin": Swin.example(),
}


def images(seed=0):
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def answer(net):
    return net([Request(images()[None], None, "drop", ())])[0].patch


@pytest.fixture(params=NETS)
def net(request):
    torch.manual_seed(0)
    return NETS[request.param].build(VIEW).eval()


def changed(net, targets=("qkv", "proj", "mlp"), rank=3, alpha=6.0):
    """A copy whose changes are not 0."""
    own = copy.deepcopy(net)
    add_low_rank(own, targets, rank, alpha)
    with torch.no_grad():
        for module in own.modules():
            if isinstance(module, LowRank):
                module.up.normal_(std=0.1)
    return own


def test_the_function_is_the_same_at_the_start(net):
    own = copy.deepcopy(net)
    add_low_rank(own, ("qkv", "proj", "mlp"), 4, 8.0)
    assert torch.equal(answer(own), answer(net))


def test_merged_weights_give_the_same_function(net):
    own = changed(net)
    before = answer(own)
    assert not torch.allclose(before, answer(net), atol=1e-3), "the changes count"
    merge(own)
    assert not any(parametrize.is_parametrized(module) for module in own.modules())
    torch.testing.assert_close(answer(own), before, rtol=0, atol=1e-5)
    assert own.state_dict().keys() == net.state_dict().keys()


def test_a_copy_that_is_merged_leaves_the_other_as_it_is(net):
    """torch's own way would take the weight from both."""
    own = changed(net)
    before, other = answer(own), copy.deepcopy(own)
    merge(other)
    assert torch.equal(answer(own), before)
    add_low_rank(other, ("qkv",), 2, 2.0)
    assert torch.equal(answer(own), before)
    merge(own)
    torch.testing.assert_close(answer(own), answer(other), rtol=0, atol=1e-5)


def test_what_else_is_parametrized_is_not_merged():
    own = changed(NETS["vit"].build(VIEW), ("proj",))
    parametrize.register_parametrization(own.net.blocks[0].attn.proj, "bias", torch.nn.Identity())
    with pytest.raises(SpecError, match="bias are parametrized; only weights can be merged"):
        merge(own)


def test_the_state_with_changes_tells_that_of_the_merged_network(net):
    own = changed(net)
    state = {name: value.clone() for name, value in own.state_dict().items()}
    names = plain_names(own)
    assert set(names) == set(net.state_dict())
    for plain, name in names.items():
        assert torch.equal(state[name], net.state_dict()[plain])
    merged = plain_state(state)
    merge(own)
    assert merged.keys() == own.state_dict().keys()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(merged[name], value)
    assert plain_state(net.state_dict()).keys() == net.state_dict().keys()
    assert plain_names(net) == {name: name for name in net.state_dict()}


def test_only_the_changes_take_gradients(net):
    own = changed(net)
    answer(own).square().mean().backward()
    for name, parameter in own.named_parameters():
        inside = name.endswith(("0.up", "0.down"))
        assert parameter.requires_grad == inside, name
        assert (parameter.grad is not None) == inside, name
    originals = {
        n.replace("parametrizations.weight.original", "weight"): p for n, p in own.named_parameters()
    }
    for name, weight in net.named_parameters():
        assert torch.equal(originals[name], weight), "the network's own weights are as they were"


@pytest.mark.parametrize(
    ("targets", "layers"), [(("qkv",), 1), (("proj",), 1), (("mlp",), 2), (("qkv", "mlp"), 3)]
)
def test_targets_choose_layers(targets, layers):
    own = changed(NETS["vit"].build(VIEW), targets)
    assert sum(isinstance(module, LowRank) for module in own.modules()) == layers * 2


def test_targets_that_are_named_twice_change_once(net):
    own, once = changed(net, ("qkv", "qkv", "mlp", "mlp")), changed(net, ("qkv", "mlp"))
    assert own.state_dict().keys() == once.state_dict().keys()
    state = {name: value.clone() for name, value in own.state_dict().items()}
    before = answer(own)
    plain = copy.deepcopy(net)
    plain.load_state_dict(plain_state(state))
    torch.testing.assert_close(answer(plain), before, atol=1e-5, rtol=1e-4)


def test_the_change_is_alpha_over_rank_times_the_product():
    weight = torch.randn(5, 7)
    change = LowRank(weight, 2, 6.0)
    assert torch.equal(change(weight), weight)
    assert change.down.shape == (2, 7)
    assert change.down.abs().max() <= 1 / 7**0.5, "loralib's uniform start"
    with torch.no_grad():
        change.up.normal_()
    torch.testing.assert_close(change(weight) - weight, 3 * change.up @ change.down)
    assert torch.linalg.matrix_rank(change(weight) - weight) == 2


def test_blocks_are_found_in_order():
    net = NETS["vit"].build(VIEW)
    assert blocks(net) == list(net.net.blocks)


def test_a_network_without_blocks_is_refused():
    net = CNN.example().build(VIEW)
    with pytest.raises(SpecError, match="no blocks of attention and MLP to adapt"):
        add_low_rank(net, ("qkv",), 2, 2.0)
    assert all(p.requires_grad for p in net.parameters())

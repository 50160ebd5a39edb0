"""Stochastic depth set afterwards equals what timm builds."""

from __future__ import annotations

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from sslkit import CNN, ViT
from sslkit.errors import SpecError
from sslkit_evaluators.finetuning.drop_path import set_drop_path
from tests.nn.test_low_rank import NETS, VIEW, answer


def rates(net):
    """Of every place in order; 0 for none."""
    places = [
        module
        for name, module in net.named_modules()
        if name.rpartition(".")[2] in ("drop_path", "drop_path1", "drop_path2")
    ]
    return [module.drop_prob if isinstance(module, DropPath) else 0.0 for module in places]


@pytest.mark.parametrize("name", NETS)
def test_equals_timms_own(name):
    spec = NETS[name]
    net = spec.build(VIEW)
    set_drop_path(net, 0.3)
    assert rates(net) == pytest.approx(rates(spec.model_copy(update={"drop_path": 0.3}).build(VIEW)))
    assert max(rates(net)) == pytest.approx(0.3)


def test_old_rates_are_replaced():
    net = ViT(name="vit_tiny_patch16_224", patch=8, width=16, depth=3, heads=2, drop_path=0.5).build(VIEW)
    set_drop_path(net, 0.2)
    assert rates(net) == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2])
    set_drop_path(net, 0.0)
    assert not any(isinstance(module, DropPath) for module in net.modules())


def test_evaluation_is_not_changed():
    net = NETS["vit"].build(VIEW).eval()
    before = answer(net)
    set_drop_path(net, 0.5)
    assert torch.equal(answer(net.eval()), before)
    torch.manual_seed(0)
    net.train()
    assert not torch.equal(answer(net), answer(net))


def test_residual_networks_have_a_place_where_it_is_off():
    net = CNN.example().build(VIEW)
    set_drop_path(net, 0.4)
    found = [m.drop_prob for m in net.modules() if isinstance(m, DropPath)]
    assert found
    assert max(found) == pytest.approx(0.4)
    torch.testing.assert_close(answer(net.eval()), answer(net))


def test_a_network_without_places_is_refused():
    with pytest.raises(SpecError, match="Linear has no stochastic depth; set `drop_path: 0`"):
        set_drop_path(nn.Linear(2, 2), 0.1)
    set_drop_path(nn.Linear(2, 2), 0.0)

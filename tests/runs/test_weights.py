"""Hashes of weights."""

from __future__ import annotations

import torch
from torch import nn

from sslkit.runs.weights import state_sha256, weights_sha256


def test_a_module_and_its_state_have_one_hash():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert weights_sha256(module) == state_sha256(module.state_dict())


def test_names_values_and_types_count_and_order_does_not():
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([3.0])
    whole = state_sha256({"a": one, "b": two})
    assert state_sha256({"b": two, "a": one}) == whole
    others = [{"a": one}, {"a": one, "c": two}, {"a": one, "b": two + 1}, {"a": one.double(), "b": two}]
    assert whole not in {state_sha256(state) for state in others}


def test_the_layout_of_memory_does_not_count():
    values = torch.arange(16.0).reshape(1, 4, 2, 2)
    turned = values.contiguous(memory_format=torch.channels_last)
    assert state_sha256({"a": values}) == state_sha256({"a": turned})

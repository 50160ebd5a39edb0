"""Typed dictionaries of modules."""

from __future__ import annotations

from torch import nn

from sslkit.core.modules import Modules


def test_only_the_types_differ_from_those_of_torch():
    """Compilers treat torch's own class as they know it, and checkpoints keep their keys."""
    layers: Modules[nn.Linear] = Modules({"one": nn.Linear(2, 3)})
    assert type(layers) is nn.ModuleDict
    assert layers["one"].out_features == 3
    assert list(layers.state_dict()) == ["one.weight", "one.bias"]

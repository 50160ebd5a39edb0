"""The parts of a module by their class."""

from torch import nn

from sslkit.functional.submodules import named_submodules, submodules


def test_parts_of_a_class_come_with_their_full_names_in_order():
    inner = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    net = nn.Sequential(nn.Linear(1, 2), inner, nn.Linear(2, 2))
    assert list(named_submodules(net, nn.Linear)) == [("0", net[0]), ("1.0", inner[0]), ("2", net[2])]
    assert list(submodules(net, nn.Sequential)) == [net, inner]
    assert list(submodules(net, nn.LayerNorm)) == []


def test_a_part_with_two_names_comes_once_and_subclasses_count():
    layer = nn.LazyLinear(3)
    assert list(submodules(nn.ModuleDict({"a": layer, "b": layer}), nn.Linear)) == [layer]

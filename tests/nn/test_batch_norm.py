"""Batch norm by ranks and groups. Two ranks are in tests/distributed/test_batch_norm.py."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.errors import SpecError
from sslkit.nn.batch_norm import BatchNorm, batch_norm, convert, is_per_rank, mode_of, over_ranks
from tests.near import beyond
from tests.nn.split_batch_norm import SplitBatchNorm

SHAPES = [(8, 6), (8, 6, 3), (8, 6, 3, 2)]


def moved(norm):
    """Scale and shift that do something."""
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    return norm


def results(norm, x, weights):
    """Output, gradients of input and parameters, and buffers after two steps."""
    for _ in range(2):
        own = x.clone().requires_grad_()
        out = norm(own)
        (out * weights).sum().backward()
    return {"out": out, "x": own.grad, **{n: p.grad for n, p in norm.named_parameters()}, **norm.state_dict()}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["sync", "local"])
def test_in_one_process_it_is_torchs(mode, shape):
    """Outputs, gradients, running statistics, in training and in evaluation; state dicts are exchangeable."""
    x, weights = torch.randn(2, *shape, dtype=torch.float64) + 1.5
    ours = moved(BatchNorm(6, mode).double())
    theirs = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d][len(shape) - 2](6).double()
    theirs.load_state_dict(ours.state_dict())
    assert beyond(results(ours, x, weights), results(theirs, x, weights), 1e-10) == {}
    assert beyond(results(ours.eval(), x, weights), results(theirs.eval(), x, weights), 1e-10) == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_grouped_arithmetic_is_torchs_where_there_is_one_group(shape):
    """What several ranks use, without the exchange."""
    x, weights = torch.randn(2, *shape, dtype=torch.float64) + 1.5
    ours, theirs = moved(BatchNorm(6).double()), moved(BatchNorm(6).double())
    ours._plain = ours._grouped
    assert beyond(results(ours, x, weights), results(theirs, x, weights), 1e-10) == {}


@pytest.mark.parametrize("splits", [2, 4])
def test_split_is_that_of_mocos_notebook(splits):
    x, weights = torch.randn(2, 16, 6, 3, 2, dtype=torch.float64) + 1.5
    ours, theirs = moved(BatchNorm(6, "split", splits).double()), SplitBatchNorm(6, splits).double()
    theirs.load_state_dict(ours.state_dict())
    expected = results(theirs, x, weights)
    expected["num_batches_tracked"] += 2  # which the notebook's never moves
    assert beyond(results(ours, x, weights), expected, 1e-10) == {}


def test_groups_of_a_shuffled_copy_cross_those_of_the_trained_net():
    """Of the n groups, any two of query and key share M / n^2 rows: exactly balanced."""
    online = BatchNorm(1, "shuffled", 2).double()
    average = copy.deepcopy(online).requires_grad_(False)
    queries, keys = (groups_of(norm, 8) for norm in (online, average))
    assert queries == [{0, 2, 4, 6}, {1, 3, 5, 7}]
    assert keys == [{0, 1, 4, 5}, {2, 3, 6, 7}]
    assert all(len(q & k) == 2 for q in queries for k in keys)


def test_groups_of_split_are_the_same_in_a_copy():
    online = BatchNorm(1, "split", 2).double()
    average = copy.deepcopy(online).requires_grad_(False)
    assert groups_of(online, 8) == groups_of(average, 8) == [{0, 2, 4, 6}, {1, 3, 5, 7}]


def groups_of(norm, rows):
    """Sets of rows that move each other's output."""
    x = torch.randn(rows, 1, dtype=torch.float64)
    base = norm(x)
    found = []
    for i in range(rows):
        other = x.clone()
        other[i] += 1
        found.append(frozenset(((norm(other) - base).abs() > 1e-9).any(1).nonzero().flatten().tolist()))
    return sorted(map(set, set(found)), key=min)


@pytest.mark.parametrize(("mode", "rows"), [("split", 6), ("shuffled", 8)])
def test_rows_must_divide_into_the_groups(mode, rows):
    norm = BatchNorm(3, mode, 4)
    for parameter in norm.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(SpecError, match=rf"{rows} rows .* 4 splits in mode '{mode}'"):
        norm(torch.randn(rows, 3))


def test_shuffled_needs_parameters_to_tell_a_copy_by():
    with pytest.raises(SpecError, match="use `split`"):
        BatchNorm(3, "shuffled", 4, scale=False, shift=False)


def test_one_value_per_channel_has_no_variance():
    with pytest.raises(ValueError, match="one value per channel"):
        BatchNorm(3, "split", 4)(torch.randn(4, 3))


@pytest.mark.parametrize("splits", [1, 2])
def test_it_keeps_the_type_of_its_input_and_counts_in_float32(splits):
    norm, x = BatchNorm(6, "split", splits), torch.randn(64, 6) + 100
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert norm.running_mean.dtype == torch.float32
    assert half.float().std(0).sub(1).abs().max() < 0.05


@pytest.mark.parametrize(("mode", "splits"), [("sync", 1), ("split", 2), ("shuffled", 2)])
def test_it_compiles_to_one_graph(mode, splits):
    torch._dynamo.reset()
    x, weights = torch.randn(2, 8, 6, 2, 2)
    eager, norm = moved(BatchNorm(6, mode, splits)), moved(BatchNorm(6, mode, splits))
    norm.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    for (name, found), expected in zip(
        results(norm, x, weights).items(), results(eager, x, weights).values(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("kind", "names"), [("affine", {"weight", "bias"}), ("scale", {"weight"}), ("plain", set())]
)
def test_kinds_have_the_parameters_of_their_names(kind, names):
    norm = batch_norm(6, kind)
    assert {name for name, _ in norm.named_parameters()} == names
    x = torch.randn(8, 6)
    torch.testing.assert_close(norm(x), F.batch_norm(x, None, None, training=True))
    assert isinstance(batch_norm(6, "none"), nn.Identity)


def test_the_trainer_takes_it_for_batch_norm_and_state_survives():
    norm = moved(BatchNorm(6, "split", 2))
    norm(torch.randn(8, 6))
    assert isinstance(norm, _BatchNorm)
    assert "mode='split', splits=2" in repr(norm)
    file = io.BytesIO()
    torch.save(norm.state_dict(), file)
    file.seek(0)
    other = nn.BatchNorm1d(6)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.running_var, norm.running_var)


def test_one_rank_has_its_own_statistics():
    mean, var = torch.randn(2, 1, 3)
    assert over_ranks(mean, var) == (mean, var)


class Peculiar(nn.BatchNorm2d):
    def forward(self, input):
        return input


def test_batch_norm_of_any_network_is_converted_with_its_values():
    """At any depth and of any dimensions; what does more than torch's is left to who knows it."""
    torch.manual_seed(0)
    inner = nn.BatchNorm1d(4, eps=1e-3, momentum=0.2)
    net = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Sequential(inner), Peculiar(3), nn.LayerNorm(4))
    inner.running_mean.normal_()
    with torch.no_grad():
        inner.weight.normal_()
    assert convert(net, "local") == 2
    new = net[1][0]
    assert isinstance(new, BatchNorm)
    assert (new.mode, new.eps, new.momentum) == ("local", 1e-3, 0.2)
    x = torch.randn(6, 4)
    torch.testing.assert_close(new.eval()(x), inner.eval()(x), rtol=0, atol=0)
    assert net[0].weight is None
    assert type(net[2]) is Peculiar
    assert convert(net, "sync") == 0, "those are converted"
    assert convert(net, "sync", extend=lambda old, new: new) == 3, "unless one says how"


def test_modes_of_torchs_norms_and_of_this_one():
    assert mode_of(nn.BatchNorm2d(2)) is None
    assert mode_of(BatchNorm(2, "split", 2)) == "split"


@pytest.mark.parametrize(
    ("norm", "alone"),
    [
        (nn.BatchNorm1d(2), True),
        (nn.InstanceNorm2d(2), True),
        (nn.SyncBatchNorm(2), False),
        (BatchNorm(2, "local"), True),
        (BatchNorm(2, "sync"), False),
        (BatchNorm(2, "split", 2), False),
        (BatchNorm(2, "shuffled", 2), False),
    ],
)
def test_whether_ranks_make_statistics_of_their_own(norm: nn.Module, alone: bool):
    assert is_per_rank(norm) is alone

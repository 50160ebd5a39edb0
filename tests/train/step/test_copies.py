"""Copies of nets that take new weights at their times."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sslkit.errors import SpecError
from sslkit.nn.frozen import frozen_copy
from sslkit.specs.load import parse
from sslkit.specs.nets import NetSpec, Refresh
from sslkit.specs.unread_names import unread_nets
from sslkit.train.compose import compose
from sslkit.train.step.copies import Copies
from sslkit.train.step.ema import set_modes
from tests import tiny

FAR = {"kind": "gram", "net": "gram"}
MIM = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}
NETS = {"teacher": {"momentum": 0.5}, "gram": {"refresh": {"of": "teacher", "every": "2 steps"}}}


def run_of(nets=NETS, **changes):
    return tiny.spec(**{"objective": FAR, "nets": nets, "batch_size": 8, **changes})


def net_of(composed, name):
    return {key: value.clone() for key, value in composed.system.nets[name].state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    ("refresh", "times"),
    [
        ({"every": "3 steps"}, [3, 6, 9, 12]),
        ({"every": "1 epochs"}, [5, 10]),
        ({"every": "2 steps", "start": "5 steps"}, [6, 8, 10, 12]),
        ({"every": "2 steps", "start": "6 steps", "count": 2}, [6, 8]),
        ({"every": "3 steps", "count": 1}, [3]),
        ({"every": "2 steps", "start": "1 epochs", "count": 3}, [6, 8, 10]),
    ],
)
def test_times(refresh, times):
    """An epoch of 5 steps; as DINOv3 counts: multiples of the period from the start on, so many of them."""
    spec = Refresh(**refresh)
    assert [done for done in range(13) if spec.due(done, 5)] == times


def test_dinov3s_recipe():
    spec = Refresh(of="student", every="10000 steps", start="1010000 steps", count=3)
    due = [done for done in range(0, 1_200_001, 1000) if spec.due(done, 1000)]
    assert due == [1_010_000, 1_020_000, 1_030_000]


def test_a_copy_takes_weights_and_statistics_at_once_and_stays_between():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    other = copy.deepcopy(net)
    copies = Copies({"copy": NetSpec(refresh=Refresh(every="2 steps"))}, {"student": net, "copy": other})
    net(torch.randn(8, 2))
    with torch.no_grad():
        net[0].weight.add_(1)
    before = other[0].weight
    copies.refresh(1, 1)
    assert not torch.equal(other[0].weight, net[0].weight)
    copies.refresh(2, 1)
    assert torch.equal(other[0].weight, net[0].weight)
    assert torch.equal(other[1].running_mean, net[1].running_mean)
    assert other[0].weight is before, "in place, as compiled forwards and optimizers know it"


def test_a_copy_is_in_evaluation_mode():
    net = nn.Sequential(nn.BatchNorm1d(3))
    nets = {"student": net, "average": copy.deepcopy(net), "copy": frozen_copy(net)}
    set_modes(nets, {"average": NetSpec(), "copy": NetSpec(refresh="never")})
    assert nets["average"][0].training
    assert not nets["copy"][0].training


def test_a_run_refreshes_from_the_moving_average_as_it_is_after_the_step():
    composed = compose(run_of(), tiny.CPU)
    feed, first = tiny.feed(run_of(), composed), net_of(composed, "student")
    assert equal(net_of(composed, "gram"), {k: v for k, v in first.items() if k in net_of(composed, "gram")})
    composed.step(0, feed.step(0))
    start = net_of(composed, "gram")
    composed.step(1, feed.step(1))
    assert equal(net_of(composed, "gram"), net_of(composed, "teacher"))
    assert not equal(net_of(composed, "gram"), start)


def test_never_keeps_the_first_weights():
    run = run_of({"gram": {"refresh": "never"}}, objective=None, objectives={"far": FAR, "mim": MIM})
    composed, first = compose(run, tiny.CPU), compose(run, tiny.CPU)
    feed = tiny.feed(run, composed)
    for step in range(3):
        composed.step(step, feed.step(step))
    assert equal(net_of(composed, "gram"), net_of(first, "gram"))
    assert not equal(net_of(composed, "student"), net_of(first, "student"))


def test_it_resumes_bit_equal_between_two_refreshes():
    run = run_of(objective=None, objectives={"far": FAR, "mim": MIM})
    whole, _ = tiny.steps(run, 5)
    half, _ = tiny.steps(run, 3)
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(copy.deepcopy(half.step.state_dict()))
    feed = tiny.feed(run, resumed)
    for step in (3, 4):
        resumed.step(step, feed.step(step))
    assert tiny.same(whole, resumed)


@pytest.mark.parametrize(
    ("nets", "message"),
    [
        (
            {"gram": {"refresh": "never", "momentum": 0.9}},
            "nets.gram.momentum: a copy .`refresh`. does not move",
        ),
        ({"gram": {"refresh": "never", "backbone": tiny.VIT}}, "nets.gram.refresh: a network of its own"),
        ({"gram": {"refresh": {"every": "end"}}}, "nets.gram.refresh.every: says when to take new weights"),
        (
            {"gram": {"refresh": {"every": "2 steps", "start": "end"}}},
            "nets.gram.refresh.start: says when to take new weights",
        ),
        (
            {"gram": {"refresh": {"every": "2 steps", "of": "gram"}}},
            "nets.gram.refresh.of: 'gram' is a frozen",
        ),
        (
            {"gram": {"refresh": {"every": "2 steps", "of": "taecher"}}},
            "nets.gram.refresh.of: 'taecher' is not",
        ),
        ({"gram": {"refresh": "sometimes"}}, "nets.gram.refresh"),
    ],
)
def test_what_cannot_be_is_refused(nets, message):
    with pytest.raises(SpecError, match=message):
        parse(tiny.fields(objective=FAR, nets=nets))


def test_a_copy_is_no_moving_average():
    fields = tiny.fields(objective={"kind": "byol"}, nets={"teacher": {"refresh": "never"}})
    with pytest.raises(SpecError, match=r"leave out `nets\.teacher\.refresh`"):
        parse(fields)


def test_a_moving_average_that_only_a_copy_reads_is_read():
    assert list(unread_nets(run_of())) == []
    alone = run_of({**NETS, "idle": {}})
    assert [problem.path for problem in unread_nets(alone)] == ["nets.idle"]

"""What a run resolves to."""

from __future__ import annotations

import json

import torch
from torch import nn

from sslkit.core.passes import Encode
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.peak_memory import peak_memory_mib
from sslkit.train.compose import compose
from sslkit.train.resolved_values import passes, resolved
from tests import tiny
from tests.fakes_train import compose_everything


def test_everything_that_follows_from_a_spec():
    objectives = {
        "a": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.25}, "decoder": tiny.DECODER},
        "b": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.75}, "decoder": tiny.DECODER},
    }
    run = tiny.spec(
        objective=None, objectives=objectives, views={"global": {**tiny.VIEW, "crops": 2}},
        optimizer={"lr": 0.5, "scale": "/512"}, micro_batch_size=16, epochs=3,
    )  # fmt: skip
    composed = compose(run, tiny.CPU)
    facts = resolved(run, composed, tiny.CPU)
    assert {key: facts[key] for key in ("images", "channels", "steps", "steps_per_epoch", "lr", "ranks")} == {
        "images": 1437, "channels": 1, "steps": 132, "steps_per_epoch": 44, "lr": 0.5 * 32 / 512, "ranks": 1,
    }  # fmt: skip
    assert facts["lr_rule"] == "0.5 /512 at batch 32"
    assert facts["warmup_steps"] == 132 / 20
    assert (facts["precision"], facts["compile"], facts["micro_batch_size"]) == ("float32", False, 16)
    assert facts["device"].startswith("cpu")
    assert [one["visible"] for one in facts["passes"]] == [3, 1]
    assert facts["passes"][0] == {
        "net": "student", "view": "global", "crops": 2, "mask": "random(ratio=0.25)", "mode": "drop",
        "patches": 4, "visible": 3, "tokens_per_step": 32 * 2 * 4, "guide": False, "for": ["a"], "stages": [],
    }  # fmt: skip
    counted = {name: facts["parameters"][name] for name in ("student", "objectives.a", "objectives.b")}
    assert sum(counted.values()) == sum(p.numel() for p in composed.step.parameters)
    assert counted["objectives.a"] == counted["objectives.b"] > 0
    assert facts["graphs"] == 1
    json.dumps(facts)


def test_passes_that_maskers_read_are_listed_first_and_once():
    composed = compose_everything(tiny.spec(nets={"teacher": {}}))
    plain = [(one["net"], one["guide"]) for one in passes(composed, composed.env)]
    assert plain == [("student", False), ("teacher", False)]
    composed.system.guided_by([Encode("global", net="teacher"), Encode("global")])
    found = passes(composed, composed.env)
    assert [(one["net"], one["guide"]) for one in found] == [
        ("teacher", True), ("student", True), ("student", False),
    ], "a pass of the student is run again for its gradients"  # fmt: skip
    assert {one["tokens_per_step"] for one in found} == {32 * 5}


def test_stages_of_masks_are_listed_with_their_tokens():
    masker = {
        "kind": "curriculum",
        "masker": {"kind": "random"},
        "field": "ratio",
        "start": 0.25,
        "end": 0.75,
    }
    objectives = {
        "a": {"kind": "mae", "masker": {**masker, "levels": 2}, "decoder": tiny.DECODER},
        "b": {"kind": "mae", "masker": {**masker, "levels": 3}, "decoder": tiny.DECODER},
        "c": {"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}},
    }
    run = tiny.spec(objective=None, objectives=objectives)
    facts = resolved(run, compose(run, tiny.CPU), tiny.CPU)
    a, b, c = facts["passes"]
    assert [(stage["step"], stage["value"]) for stage in a["stages"]] == [
        (0, "ratio 0.25"),
        (4, "ratio 0.75"),
    ]
    assert [stage["step"] for stage in b["stages"]] == [0, 2, 6]
    assert [stage["tokens_per_step"] for stage in b["stages"]] == [32 * 4, 32 * 3, 32 * 2]
    assert (b["visible"], b["tokens_per_step"]) == (3, 32 * 4), "as at the beginning"
    assert c["stages"] == []
    assert facts["graphs"] == 4, "of 2 x 3 pairs of shapes, those that occur"
    json.dumps(facts)


def test_the_hash_sees_every_value_buffer_and_name():
    def layer():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        return net.to(torch.float64)

    first = weights_sha256(layer())
    assert len(first) == 64
    assert weights_sha256(layer()) == first
    changed = layer()
    with torch.no_grad():
        changed[0].weight[0, 0] += 1e-12
    other = layer()
    other[1].running_mean += 1
    renamed = nn.ModuleDict({"a": layer()})
    assert len({first, *(weights_sha256(net) for net in (changed, other, renamed))}) == 4


def test_the_hash_takes_any_type_and_shape():
    net = nn.Module()
    net.register_buffer("count", torch.zeros((), dtype=torch.int64))
    net.register_buffer("narrow", torch.zeros(3, dtype=torch.bfloat16))
    net.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
    net.register_buffer("empty", torch.zeros(0))
    first = weights_sha256(net)
    net.narrow[0] = 1
    assert weights_sha256(net) != first


def test_memory_is_measured():
    assert 10 < peak_memory_mib(torch.device("cpu")) < 1e6

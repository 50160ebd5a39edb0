"""Self-distillation inside a run."""

from __future__ import annotations

import copy

import torch

from sslkit.train.compose import compose
from tests import tiny
from tests.distributed.distillation_cases import CROPS, HEAD, MASKER, TEACHER

PARTS = {"prototypes": 12, "head": HEAD, "freeze_last_layer": 1}
TERMS = {"dino": {"kind": "dino", **PARTS}, "ibot": {"kind": "ibot", **PARTS, "masker": MASKER}}


def run():
    return tiny.spec(objective=None, objectives=TERMS, nets=TEACHER, views=CROPS)


def test_a_hybrid_shares_the_teachers_pass_and_the_local_one():
    composed = compose(run(), tiny.CPU)
    assert len(composed.system.plan) == 4, "student on globals twice, of which one is masked; teacher; locals"


def test_prototypes_stay_in_the_first_epoch_while_the_rest_and_the_teacher_move():
    spec = run()
    composed = compose(spec, tiny.CPU)
    before = copy.deepcopy(composed.system.state_dict())
    feed = tiny.feed(spec, composed)
    for step in range(2):
        composed.step(step, feed.step(step))
    after = composed.system.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {f"objectives.ibot.{who}_head.last_layer.weight_v" for who in ("student", "teacher")} <= same
    for name in ("student_head.mlp.0.weight", "teacher_head.mlp.0.weight", "center.center"):
        assert f"objectives.dino.{name}" not in same
    assert "objectives.ibot.patch_center.center" not in same
    assert "nets.student.mask_token" not in same

"""The published recipes on the pages, against the schedules and exemptions of their references."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import yaml

from sslkit import OptimizerSpec, ViT
from sslkit.core.passes import Encode
from sslkit.core.view import View
from sslkit.optim import optimizer as optim
from sslkit.specs.families import MaskerSpec
from sslkit.specs.load import parse
from sslkit.specs.schedule import LearningRateSchedule
from tests import tiny
from tests.docs.pages import all_blocks

RECIPES: dict[str, dict[str, Any]] = {
    recipe["name"].removesuffix("-imagenet"): recipe
    for block in all_blocks("yaml")
    if "-imagenet\n" in block.text and isinstance(recipe := yaml.safe_load(block.text), dict)
}
LAST = {"dino", "ibot", "swav", "beit", "data2vec"}
PER_EPOCH = 5
VIEW = View(32, 1, 3, (0.0,) * 3, (1.0,) * 3)


def optimizer_of(name: str) -> OptimizerSpec:
    return OptimizerSpec(**RECIPES[name].get("optimizer", {}))


def schedule_of(name: str) -> LearningRateSchedule:
    return LearningRateSchedule(**RECIPES[name].get("schedule", {}))


def peak_of(name: str) -> float:
    return optimizer_of(name).peak_lr(RECIPES[name]["batch_size"])


def rates(name: str) -> list[float]:
    total = RECIPES[name]["epochs"] * PER_EPOCH
    return [schedule_of(name).at(step, total, PER_EPOCH, peak_of(name)) for step in range(total)]


def test_every_page_of_a_method_with_a_recipe_is_looked_at() -> None:
    assert {"mae", "simmim", "maskfeat", "moco-v3", "byol", "vicreg", "barlow-twins"} | LAST <= set(RECIPES)


@pytest.mark.parametrize("name", sorted(LAST))
def test_rates_are_linspace_and_then_half_a_cosine(name: str) -> None:
    """facebookresearch/dino `utils.py` cosine_scheduler, as in iBOT, BEiT and data2vec; swav `main_swav.py`."""
    schedule, recipe = schedule_of(name), RECIPES[name]
    warmup = int(schedule.warmup_epochs or 0) * PER_EPOCH
    total = recipe["epochs"] * PER_EPOCH
    peak, share = peak_of(name), np.arange(total - warmup) / (total - warmup)
    cosine = schedule.final + 0.5 * (peak - schedule.final) * (1 + np.cos(np.pi * share))
    expected = np.concatenate([np.linspace(0.3 if name == "swav" else 0.0, peak, warmup), cosine])
    np.testing.assert_allclose(rates(name), expected, rtol=1e-12, atol=1e-18)
    assert rates(name)[warmup - 1 : warmup + 1] == pytest.approx([peak, peak], rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - LAST))
def test_the_other_recipes_reach_the_peak_one_step_later(name: str) -> None:
    """MAE `util/lr_sched.py`, MoCo v3 and Barlow Twins `adjust_learning_rate`, BYOL `schedules.py`."""
    schedule, total = schedule_of(name), RECIPES[name]["epochs"] * PER_EPOCH
    warmup = schedule.warmup_steps(total, PER_EPOCH)
    if warmup:
        start, peak = schedule.warmup_start, peak_of(name)
        shares = [(step + schedule.first) / warmup for step in range(math.ceil(warmup) - schedule.first)]
        expected = [start + (peak - start) * share for share in shares]
        np.testing.assert_allclose(rates(name)[: len(expected)], expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["vicreg", "barlow-twins"])
def test_the_last_rate_is_a_thousandth_of_the_peak(name: str) -> None:
    """facebookresearch/vicreg `main_vicreg.py` and barlowtwins `main.py`, `adjust_learning_rate`: `base_lr * 0.001`."""
    assert schedule_of(name).final == pytest.approx(0.001 * peak_of(name), rel=1e-12)


CLASS_TOKENS = {
    "simmim": False,  # `optimizer.py` get_pretrain_param_groups with the encoder's `no_weight_decay`
    "beit": False,  # `optim_factory.py` with `no_weight_decay`
    "data2vec": False,
    "mae": True,  # `main_pretrain.py`: timm's helper exempts one-dimensional parameters only
    "dino": True,  # `utils.py` get_params_groups
    "ibot": True,
    "moco-v3": True,  # `main_moco.py`: all parameters
}


@pytest.mark.parametrize("name", CLASS_TOKENS)
def test_class_tokens_decay_where_the_reference_decays_them(name: str) -> None:
    backbone = ViT(name="beit_base_patch16_224", patch=8, width=16, depth=1, heads=2).build(VIEW)
    masker = parse(tiny.fields(objective={"kind": "simmim", "masker": {"kind": "random"}})).objective
    assert masker is not None
    mask: MaskerSpec = masker.masker  # type: ignore[attr-defined]
    backbone.serve([Encode("global", mask=mask, mode="token")])
    named = [(f"nets.student.{n}", p) for n, p in backbone.named_parameters()]
    groups = optim.groups(optimizer_of(name), named)
    decays = {id(p): group["decay"] for group in groups for p in group["params"]}
    by_name = {n: decays[id(p)] for n, p in named if id(p) in decays}
    assert by_name["nets.student.net.cls_token"] is CLASS_TOKENS[name]
    assert by_name["nets.student.mask_token"] is True
    assert by_name["nets.student.net.blocks.0.attn.qkv.weight"] is True

"""A predictor for each position of a crop, in BYOL, SimSiam and MoCo v3."""

from __future__ import annotations

import pytest
import torch

from sslkit import BYOL, InfoNCE, MoCoV3, SimSiam
from sslkit.core.context import Env as Context
from sslkit.core.context import Grid, Length, NetInfo, View
from sslkit.errors import SpecError
from sslkit.nn.crop_heads import CropHeads
from sslkit.nn.projection_head import ProjectionHead
from tests.plugins.objectives.joint_embedding import parts

HEADS = {"projector": parts.HEAD, "predictor": parts.HEAD}
KINDS = [BYOL, SimSiam, MoCoV3]
BEFORE = {"teacher": {"momentum": 0.9, "update": "before_forward"}}


def env(crops: int = 2) -> Context:
    grids = {"global": Grid(2, 2, 4)}
    info = NetInfo(12, 2, grids)
    view = View(8, crops, 1, (0.0,), (1.0,))
    return Context({"global": view}, {"student": info, "teacher": info}, grids, Length(10, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_crops_have_predictors_of_their_own(kind):
    shared, apart = (kind(**HEADS, predictor_per=per).build(env()) for per in ("all", "crop"))
    assert isinstance(shared.predictor, ProjectionHead)
    assert isinstance(apart.predictor, CropHeads)
    assert len(apart.predictor.heads) == 2
    first, second = (next(head.parameters()) for head in apart.predictor.heads)
    assert not torch.equal(first, second)
    assert kind().predictor_per == "all", "as the references have it"


@pytest.mark.parametrize("kind", KINDS)
def test_equal_predictors_are_one(kind):
    """Loss, and the gradient of the shared one as the sum of the others'."""
    torch.manual_seed(0)
    shared = kind(**HEADS).build(env()).double()
    apart = kind(**HEADS, predictor_per="crop").build(env()).double()
    state = shared.state_dict()
    rest = {name: value for name, value in state.items() if not name.startswith("predictor.")}
    apart.load_state_dict(rest, strict=False)
    for head in apart.predictor.heads:
        head.load_state_dict(shared.predictor.state_dict())
    z, keys = parts.random(2, 9, 12), parts.random(2, 9, 12, seed=1)
    answers = (z,) if kind is SimSiam else (z, keys)
    outputs = [parts.loss_of(objective, *answers) for objective in (shared, apart)]
    torch.testing.assert_close(outputs[0].loss, outputs[1].loss)
    for output in outputs:
        output.loss.backward()
    one = [p.grad for p in shared.predictor.parameters()]
    two = [a.grad + b.grad for a, b in zip(*(h.parameters() for h in apart.predictor.heads), strict=True)]
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b)


def test_each_crop_goes_through_its_own():
    heads = CropHeads(BYOL(**HEADS).predictor, 8, 3).double().eval()
    features = parts.random(3, 5, 8)
    out = heads.per_crop(features)
    assert out.shape == (3, 5, 8)
    for crop in range(3):
        torch.testing.assert_close(out[crop], heads.heads[crop](features[crop]))


def test_one_way_contrast_has_one():
    objective = InfoNCE(**HEADS, symmetric=False, predictor_per="crop").build(env(3))
    assert len(objective.predictor.heads) == 1


@pytest.mark.parametrize("kind", ["byol", "simsiam", "moco_v3"])
def test_it_learns(kind):
    objective = {"kind": kind, **HEADS, "predictor_per": "crop"}
    first, last, values = parts.learn(objective, nets={} if kind == "simsiam" else BEFORE, steps=25)
    assert last < first
    assert values[f"{kind}/feature_std"] > 0.2


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"kind": "byol", "predictor": None, "predictor_per": "crop"}, "objective.predictor_per: has no effect"),
        ({"kind": "infonce", "predictor_per": "crop"}, "objective.predictor_per: has no effect without `predictor`"),
        (
            {"kind": "infonce", "predictor": {"out": 128}, "joint_norm": True, "predictor_per": "crop"},
            "objective.predictor_per: `crop` has no statistics to share",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(objective, message):
    with pytest.raises(SpecError, match=message):
        parts.run_of(objective)

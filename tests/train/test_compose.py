"""From a spec to modules, and the checks that need them built."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from sslkit import ViT, catalog
from sslkit.build.maskers import make_maskers
from sslkit.build.system import make_system, make_views
from sslkit.core.context import Env, Length, NetInfo
from sslkit.core.passes import Encode
from sslkit.core.system import System
from sslkit.core.view import Grid, View
from sslkit.errors import CheckpointError, DataError, SpecError
from sslkit.train.compose import compose, training_source
from sslkit_balancers.specs import FixedWeights
from sslkit_objectives.specs.masked import MAE
from sslkit_sources.specs.images import Digits
from tests import tiny
from tests.fakes_train import CoinMasker, Everything

ENV = Env(
    {"global": View(8, 1, 1, (0.0,), (1.0,))},
    {"student": NetInfo(16, 2)},
    {"global": Grid(2, 2, 4)},
)


def says(message):
    """A pattern for the whole message."""
    return f"^{re.escape(message)}$"


def mae(**masker):
    return {"kind": "mae", "masker": {"kind": "random", **masker}, "decoder": tiny.DECODER}


def test_the_parts_of_a_run_fit_together():
    run = tiny.spec(nets={"ema": {}}, epochs=3, micro_batch_size=8)
    composed = compose(run, tiny.CPU)
    assert list(composed.system.nets) == ["student", "ema"]
    assert (composed.length.steps, composed.length.steps_per_epoch) == (3 * 44, 44)
    assert composed.order.share == (0, 1, 8)
    assert composed.env.grids == {"global": Grid(2, 2, 4)}
    info = NetInfo(16, 2, composed.env.grids)
    assert composed.env.nets == {"student": info, "ema": info}
    assert len(composed.source) == 1437
    assert composed.system.plan == (Encode("global", mask=run.objective.masker),)
    assert composed.step.masking.maskers[0].visible == 2


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    one = compose(tiny.spec(), tiny.CPU)
    torch.manual_seed(6)
    assert tiny.same(one, compose(tiny.spec(batch_size=16, steps=2), tiny.CPU))
    assert not tiny.same(one, compose(tiny.spec(seed=4), tiny.CPU))


def test_nets_start_as_copies_of_the_student():
    composed = compose(tiny.spec(nets={"ema": {}}), tiny.CPU)
    student, ema = composed.system.nets["student"], composed.system.nets["ema"]
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), ema.parameters(), strict=True))
    assert not any(p.requires_grad for p in ema.parameters())
    assert student.training
    assert not ema.training


def test_equal_requests_of_two_objectives_run_once():
    composed = compose(
        tiny.spec(objective=None, objectives={"a": mae(ratio=0.5), "b": mae(ratio=0.5)}), tiny.CPU
    )
    assert len(composed.system.plan) == 1
    two = compose(tiny.spec(objective=None, objectives={"a": mae(ratio=0.5), "b": mae(ratio=0.75)}), tiny.CPU)
    assert len(two.system.plan) == 2


def test_statistics_must_fit_the_channels():
    view = {**tiny.VIEW, "normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    with pytest.raises(
        SpecError,
        match=says(
            "views.global.normalize: gives statistics of 3 channels but the images have 1; "
            "give `mean` and `std` with one number a channel"
        ),
    ):
        compose(tiny.spec(views={"global": view}), tiny.CPU)


def test_a_batch_must_not_be_larger_than_the_data():
    with pytest.raises(
        SpecError, match=says("batch_size: 1438 is more than the 1437 training images; use at most 1437")
    ):
        compose(tiny.spec(batch_size=1438), tiny.CPU)


def test_data_without_a_training_split_is_refused(monkeypatch):
    monkeypatch.setattr(Digits, "build", lambda self, split: None)
    with pytest.raises(DataError, match=r"^data: has no training split$"):
        training_source(tiny.spec())


@pytest.mark.parametrize(("ratio", "hidden"), [(0.9, 4), (0.76, 4)])
def test_a_mask_that_hides_everything_is_refused(ratio, hidden):
    with pytest.raises(
        SpecError,
        match=says(
            f"masker: ratio {ratio} hides {hidden} of 4 patches (2 x 2); at least one must stay and one be hidden: "
            "change the ratio or the patch"
        ),
    ):
        compose(tiny.spec(objective=mae(ratio=ratio)), tiny.CPU)


@pytest.mark.parametrize("layer", [2, 7, -3])
def test_a_readout_of_a_block_that_does_not_exist_is_refused_before_training(layer):
    with pytest.raises(
        SpecError, match=says(f"readout.layer: {layer} does not exist; the backbone has 2 blocks, from 0")
    ):
        compose(tiny.spec(readout={"layer": layer}), tiny.CPU)


def test_an_error_of_an_objective_names_its_place(monkeypatch):
    def refuse(self, env):
        raise SpecError("the view is too small")

    monkeypatch.setattr(MAE, "build", refuse)
    with pytest.raises(SpecError, match=says("objective: the view is too small")):
        compose(tiny.spec(), tiny.CPU)
    with pytest.raises(SpecError, match=says("objectives.second: the view is too small")):
        compose(tiny.spec(objective=None, objectives={"second": mae(ratio=0.5)}), tiny.CPU)


def test_too_few_crops_are_refused(monkeypatch):
    build = MAE.build

    def greedy(self, env):
        objective = build(self, env)
        objective.crops = {"global": 2}
        return objective

    monkeypatch.setattr(MAE, "build", greedy)
    with pytest.raises(
        SpecError, match=says("objective: needs 2 crops of view 'global'; set `views.global.crops` to 2")
    ):
        compose(tiny.spec(), tiny.CPU)
    run = tiny.spec(views={"global": {**tiny.VIEW, "crops": 2}})
    assert compose(run, tiny.CPU).env.views["global"].crops == 2


def test_an_unknown_net_is_refused(monkeypatch):
    monkeypatch.setattr(MAE, "build", lambda self, env: Everything(16, 8))
    run = tiny.spec(nets={"ema": {}})
    message = "nets: an objective reads net 'teacher', which the run does not have. Known: student, ema"
    with pytest.raises(SpecError, match=says(message)):
        make_system(run, make_views(run, 1), Length(8, 4))


def requesting(*requests):
    """A system that plans `requests`."""
    objective = Everything(16, 8)
    objective.passes = requests
    return System({}, {"all": objective}, FixedWeights().build(["all"]))


def test_leaving_out_patches_needs_a_fixed_count():
    message = (
        "^masker: 'coins' hides a varying number of patches, but this objective leaves hidden patches out "
        r"and needs a fixed number; 2 x 2 patches fit (\w+, )*grid, (\w+, )*mixture, random(, \w+)*$"
    )
    with pytest.raises(SpecError, match=message):
        make_maskers(requesting(Encode("global", mask=CoinMasker(), mode="drop")), ENV)


def test_maskers_that_fit_are_those_of_the_grid(monkeypatch):
    larger = ENV._replace(grids={"global": Grid(14, 14, 16)})
    with pytest.raises(SpecError, match=r"14 x 14 patches fit .*inverse_block, mixture, .*random.*, unit"):
        make_maskers(requesting(Encode("global", mask=CoinMasker(), mode="drop")), larger)

    def fail(self, grid):
        raise RuntimeError("ails")

    for cls in catalog.kinds("masker").values():
        monkeypatch.setattr(cls, "build", fail)
    with pytest.raises(SpecError, match=r"14 x 14 patches fit no masker that is installed$"):
        make_maskers(requesting(Encode("global", mask=CoinMasker(), mode="drop")), larger)


def test_masking_with_tokens_takes_any_count():
    system = requesting(Encode("global"), Encode("global", mask=CoinMasker(), mode="token"))
    maskers = make_maskers(system, ENV)
    assert list(maskers) == [1]
    assert maskers[1].visible is None


def frozen(tmp_path, **changes):
    backbone = {**tiny.VIT, "width": 8, "heads": 1, **changes}
    teacher = ViT(**{k: v for k, v in backbone.items() if k != "kind"}).build(View(8, 1, 1, (0.3,), (0.4,)))
    file = tmp_path / "teacher.safetensors"
    save_file(teacher.export().state, file)
    return teacher, {"backbone": {**backbone, "checkpoint": str(file)}}


def test_a_net_of_its_own_is_frozen(tmp_path):
    teacher, fields = frozen(tmp_path)
    run = tiny.spec(nets={"wise": fields, "ema": {}})
    composed, _ = tiny.steps(run, 3)
    net, info = composed.system.nets["wise"], composed.env.nets["wise"]
    assert (info.dim, info.depth, info.grids) == (8, 2, composed.env.grids)
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    assert all(torch.equal(p, net.state_dict()[name]) for name, p in teacher.state_dict().items())


def test_a_net_of_its_own_has_patches_of_its_own(tmp_path):
    _, fields = frozen(tmp_path, patch=8)
    env = compose(tiny.spec(nets={"wise": fields}), tiny.CPU).env
    assert env.nets["wise"].grids == {"global": Grid(1, 1, 8)}
    with pytest.raises(
        SpecError, match=r"net 'wise' cuts view 'global' into 1 x 1 patches but the student into 2 x 2"
    ):
        env.same_patches("wise", "global")


def test_what_is_wrong_with_a_net_names_it(tmp_path):
    _, fields = frozen(tmp_path)
    fields["backbone"]["width"] = 16
    with pytest.raises(CheckpointError, match=r"nets\.wise: backbone\.checkpoint: .*does not fit"):
        compose(tiny.spec(nets={"wise": fields}), tiny.CPU)
    with pytest.raises(SpecError, match=r"nets\.wise\.momentum: a network of its own"):
        tiny.spec(nets={"wise": {"backbone": tiny.VIT, "momentum": 0.9}})

"""data2vec: what it takes from facebookresearch/data2vec_vision. Its target: test_teacher_feature.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit import BlockMasker, Data2Vec, RandomMasker, TeacherFeature
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import make_mask
from sslkit.core.passes import Encode, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from tests import tiny
from tests.masks import UNSEEN

GRIDS = {"global": Grid(14, 14, 16)}
ENV = Env(
    {"global": View(224, 1, 3, (0.0,) * 3, (1.0,) * 3)},
    {"student": NetInfo(24, 4, GRIDS), "teacher": NetInfo(24, 4, GRIDS)},
    GRIDS,
)
TEACHER = {"momentum": {"start": 0.999, "end": 0.9998, "shape": "linear"}}
SMALL = {"kind": "data2vec", "masker": {"kind": "random", "ratio": 0.5}}


def passes(spec, images=3):
    """What a student and a teacher of `ENV` might answer."""
    mask = make_mask(spec.masker.build(ENV, "global"), Draw(5, torch.arange(images)[None]), UNSEEN)
    layers = tuple(torch.randn(1, images, 197, 24) * 4 for _ in range(2))
    patch, cls = torch.randn(1, images, 196, 24), torch.randn(1, images, 24)
    pictures = torch.rand(1, images, 3, 224, 224)
    return Tokens(pictures, cls, patch, mask, ()), Tokens(pictures, cls, patch, None, layers)


def test_defaults_are_those_of_the_reference():
    """`README.md` (ViT-B recipe) and `modeling_cyclical.py`, `lm_head` and `_init_weights`."""
    spec = Data2Vec()
    assert spec.masker == BlockMasker(ratio=0.6123, min_block=16)
    assert spec.masker.build(ENV, "global").most == 120
    assert spec.target == TeacherFeature(layers="top_half", loss="smooth_l1", beta=2.0)
    objective = spec.build(ENV)
    assert objective.passes == (
        Encode("global", mask=spec.masker, mode="token"),
        Encode("global", net="teacher", layers=(2, 3)),
    )
    assert objective.decoder.linear.weight.shape == (24, 24)
    assert objective.decoder.linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not objective.decoder.linear.bias.any()


@pytest.mark.parametrize("spec", [Data2Vec(), Data2Vec(masker=RandomMasker(ratio=0.5))], ids=str)
def test_the_loss_is_that_of_the_reference(spec):
    """`engine_for_cyclical.py:66-124`, on masks of any count."""
    (seen, teacher), objective = passes(spec), spec.build(ENV)
    hidden = seen.mask.hidden[0]
    layers = [F.layer_norm(z[0, :, 1:].float(), (24,)) for z in teacher.layers]
    targets = F.layer_norm(sum(layers) / len(layers), (24,))[hidden]
    outputs = objective.decoder.linear(seen.patch[0])[hidden]
    found = objective({}, seen, teacher)
    assert found.loss.item() == pytest.approx(F.smooth_l1_loss(outputs, targets, beta=2.0).item(), rel=1e-5)
    assert found.metrics["target_std"].item() == pytest.approx(targets.std(0).mean().item(), rel=1e-4)
    predicted = torch.sqrt(outputs.var(dim=0) + 1e-6).mean()
    assert found.metrics["prediction_std"].item() == pytest.approx(predicted.item(), rel=1e-4)
    assert not any(value.requires_grad for value in found.metrics.values())


def test_only_hidden_patches_of_the_student_are_trained():
    spec = Data2Vec()
    (seen, teacher), objective = passes(spec), spec.build(ENV)
    for tensor in (seen.patch, *teacher.layers):
        tensor.requires_grad_()
    objective({}, seen, teacher).loss.backward()
    assert torch.equal(seen.patch.grad.abs().sum(-1) > 0, seen.mask.hidden)
    assert all(layer.grad is None for layer in teacher.layers)


def test_the_teacher_is_the_average_of_the_student_and_sees_whole_images():
    run = parse(tiny.fields(objective=SMALL, nets={"teacher": TEACHER}))
    composed = compose(run, tiny.CPU)
    assert [(p.net, p.mask is None) for p in composed.system.plan] == [("student", False), ("teacher", True)]
    name = "net.blocks.0.mlp.fc1.weight"
    student, teacher = (composed.system.nets[n].get_parameter(name) for n in ("student", "teacher"))
    start, feed = teacher.clone(), tiny.feed(run, composed)
    values = composed.step(0, feed.step(0)).values
    assert torch.allclose(teacher, start * 0.999 + student * 0.001, atol=1e-7)
    assert values["data2vec/target_std"] > 0.1
    assert values["data2vec/prediction_std"] > 1e-3


def test_pictures_show_features_as_colors():
    run = parse(tiny.fields(objective=SMALL, nets={"teacher": TEACHER}))
    objective = compose(run, tiny.CPU).system.objectives["data2vec"]
    grid = objective.target.grid
    hidden = torch.zeros(1, 2, grid.patches, dtype=torch.bool)
    hidden[..., 0] = True
    mask = make_mask(
        run.objective.masker.build(ENV._replace(grids={"global": grid}), "global"),
        Draw(0, torch.arange(2)[None]),
        UNSEEN,
    )._replace(hidden=hidden)
    patch, image = torch.randn(1, 2, 4, 16), torch.randn(1, 2, 1, 8, 8)
    teacher = Tokens(image, patch[:, :, 0], patch, None, (torch.randn(1, 2, 5, 16),))
    made = objective.pictures(Tokens(image, patch[:, :, 0], patch, mask, ()), teacher)["reconstruction"]
    assert made.columns == ("input", "masked", "target", "prediction")
    target, prediction = made.images[:, 2], made.images[:, 3]
    assert made.images.shape == (2, 4, 1, 8, 8)
    assert torch.equal(target[..., 4:], prediction[..., 4:])
    assert not torch.equal(target, prediction)


def test_a_run_without_the_teacher_is_told_to_add_it():
    message = r"objective\.target\.net: 'teacher' is not a net of this run\. Known: student\. Add it: `nets: {teacher"
    with pytest.raises(SpecError, match=message):
        parse(tiny.fields(objective=SMALL))


def test_an_unknown_view_is_named():
    with pytest.raises(SpecError, match=r"view: 'local' is not a view of this run\. Did you mean 'global'\?"):
        parse(tiny.fields(objective={**SMALL, "view": "local"}, nets={"teacher": TEACHER}))

"""What evaluators measure."""

from __future__ import annotations

import contextlib
import re

import pytest
import torch
from PIL import Image

from sslkit.core.problem import Problem
from sslkit.errors import DataError
from sslkit.evaluate.evaluation_sources import Sources, require_splits
from sslkit.evaluate.readout import reading_of
from sslkit.evaluate.subject import NetSubject, evaluate
from sslkit.nn.modes import evaluating
from sslkit.runtime import seeds
from sslkit.specs.readout import Readout
from sslkit.train.compose import compose
from sslkit_evaluators.specs.probes import KNN
from sslkit_sources.specs.folder import Folder
from sslkit_sources.specs.images import Digits
from tests import tiny
from tests.fakes_train import pictures


@pytest.fixture
def parts():
    """(spec, composed, reading) of the tiny run."""
    run = tiny.spec()
    composed = compose(run, tiny.CPU)
    return run, composed, reading_of(run, composed.env.views["global"], tiny.CPU, contextlib.nullcontext)


def forwards(net):
    """A list that grows by the images of each forward of `net`."""
    seen = []
    net.register_forward_pre_hook(lambda module, args: seen.append(args[0][0].image.shape[1]))
    return seen


def scores(parts, evaluators, net="student", sources=None):
    run, composed, reading = parts
    chosen = None if net is None else composed.system.nets[net]
    found = evaluate(chosen, dict(enumerate(evaluators)), run.data, reading, sources or Sources())
    return {label: dict(scores.metrics) for label, scores in found.items()}


def test_features_are_made_once_for_all_evaluators(parts):
    seen = forwards(parts[1].system.nets["student"])
    found = scores(parts, [KNN(), KNN(name="knn5", k=5), KNN(name="again")])
    assert list(found) == ["knn", "knn5", "again"]
    assert found["knn"] == found["again"]
    assert sum(seen) == 1797, "every image of both splits once"


def test_the_next_round_makes_them_anew(parts):
    run, composed, _ = parts
    sources = Sources()
    seen = forwards(composed.system.nets["student"])
    first = scores(parts, [KNN()], sources=sources)
    supply = tiny.feed(run, composed)
    for step in range(4):
        composed.step(step, supply.step(step))
    trained = len(seen)
    assert scores(parts, [KNN()], sources=sources) != first
    assert sum(seen[trained:]) == 1797


def test_every_module_gets_its_own_mode_back(parts):
    net = parts[1].system.nets["student"].train()
    frozen = next(iter(net.net.blocks)).eval()
    modes = [module.training for module in net.modules()]
    with evaluating(net):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == modes
    assert not frozen.training


def test_modes_come_back_after_an_error(parts):
    net = parts[1].system.nets["student"].train()
    with contextlib.suppress(KeyError), evaluating(net):
        raise KeyError
    assert all(module.training for module in net.modules())
    with evaluating(None):
        assert torch.is_grad_enabled()


def test_stochastic_depth_is_off_while_features_are_made():
    run = tiny.spec(backbone={**tiny.VIT, "drop_path": 0.9})
    composed = compose(run, tiny.CPU)
    reading = reading_of(run, composed.env.views["global"], tiny.CPU, contextlib.nullcontext)
    subject = NetSubject(composed.system.nets["student"], reading, run.data, KNN(), Sources(), {})
    with evaluating(subject.backbone()):
        one = subject.features("test").values
        again = (
            NetSubject(subject.backbone(), reading, run.data, KNN(), Sources(), {}).features("test").values
        )
    assert torch.equal(one, again)


def subject_of(parts, evaluator, net="student"):
    run, composed, reading = parts
    chosen = None if net is None else composed.system.nets[net]
    return NetSubject(chosen, reading, run.data, evaluator, Sources(), {})


def test_an_evaluator_reads_the_runs_data_unless_it_names_its_own(parts):
    ours, half = parts[0].data, Digits(test_share=0.5)
    assert len(subject_of(parts, KNN()).source("train")) == 1437
    assert len(subject_of(parts, KNN()).source("test")) == 360
    assert len(subject_of(parts, KNN(train=half)).source("train")) == 898
    assert len(subject_of(parts, KNN(train=half)).source("test")) == 899, "the test split of `train`"
    assert len(subject_of(parts, KNN(test=half)).source("train")) == 1437
    assert len(subject_of(parts, KNN(test=half)).source("test")) == 899
    both = subject_of(parts, KNN(train=half, test=ours))
    assert (len(both.source("train")), len(both.source("test"))) == (898, 360)


def test_each_evaluator_has_a_seed_of_its_own(parts):
    assert subject_of(parts, KNN()).seed == seeds.key(3, "evaluate", "knn")
    assert subject_of(parts, KNN(name="b")).seed == seeds.key(3, "evaluate", "b")


def test_raw_pixels_are_a_subject_without_a_network(parts):
    subject = subject_of(parts, KNN(), net=None)
    assert subject.features("test").values.shape == (360, 64)
    with pytest.raises(DataError, match=r"^raw pixels have no network; this evaluator cannot be used with"):
        subject.backbone()
    assert scores(parts, [KNN()], net=None)["knn"]["accuracy"] > 0.95


def test_errors_name_the_evaluator_by_its_place(parts, tmp_path):
    for i, image in enumerate(pictures(4)):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{i}.png")
    flat = Folder(root=tmp_path, channels=1)
    with pytest.raises(DataError, match=r"^evaluate\.1: these images have no labels"):
        scores(parts, [KNN(), KNN(name="b", train=flat)])


def test_a_missing_split_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a" / "0.png")
    spec = Folder(root=tmp_path)
    with pytest.raises(
        DataError, match=r"^'folder' has no test split; name one in the data or in the evaluator$"
    ):
        Sources().get(spec, "test")
    assert len(Sources().get(spec, "train")) == 1


def test_a_source_is_opened_once(monkeypatch):
    opened = []
    build = Digits.build
    monkeypatch.setattr(Digits, "build", lambda self, split: opened.append(split) or build(self, split))
    sources = Sources()
    first = sources.get(Digits(), "train")
    assert sources.get(Digits(), "train") is first
    assert sources.get(Digits(test_share=0.5), "train") is not first
    sources.put(Digits(), "test", first)
    assert sources.get(Digits(), "test") is first
    assert opened == ["train", "train"]


def test_another_layer_is_read_once_too(parts):
    subject = subject_of(parts, KNN())
    seen = forwards(parts[1].system.nets["student"])
    with evaluating(subject.backbone()):
        first, last = subject.features("test", 0), subject.features("test")
        assert subject.features("test", 0) is first
        assert subject.features("test", -1) is last
    assert sum(seen) == 720
    assert not torch.equal(first.values, last.values)


def test_rows_are_made_of_normalized_images_with_their_index(parts):
    subject = subject_of(parts, KNN(), net=None)
    found = subject.rows("test", lambda images, indices: torch.cat([images.flatten(1), indices[:, None]], 1))
    assert torch.equal(found.values[:, :-1], subject.features("test").values)
    assert found.values[:, -1].tolist() == found.indices.tolist() == list(range(360))
    assert torch.equal(found.labels, subject.features("test").labels)


def test_the_readout_of_given_images(parts):
    subject = subject_of(parts, KNN())
    with evaluating(subject.backbone()), torch.no_grad():
        made = subject.rows("test", lambda images, indices: subject.encode(images)).values
        assert torch.equal(made, subject.features("test").values)
        tokens = subject.tokens(torch.zeros(3, 1, 8, 8), layers=(0,), attention=True)
    assert tokens.patch.shape == (1, 3, 4, 16)
    assert [layer.shape for layer in tokens.layers] == [(1, 3, 5, 16)]
    assert tokens.attention.shape == (1, 3, 2, 4)


def test_a_network_of_no_run_has_no_objectives(parts):
    with pytest.raises(DataError, match=r"^this evaluator needs the objectives of the run that trained"):
        subject_of(parts, KNN()).system()
    run, composed, reading = parts
    whole = (composed.system, composed.env)
    net = composed.system.nets["student"]
    subject = NetSubject(net, reading._replace(run=whole), run.data, KNN(), Sources(), {})
    assert subject.system() is whole
    with pytest.raises(DataError, match=r"^this evaluator needs the objectives"):
        NetSubject(None, reading._replace(run=whole), run.data, KNN(), Sources(), {}).system()


def test_what_a_protocol_checks_is_told_all_at_once(parts, monkeypatch):
    asked = []

    def check(self, setting):
        asked.append({split: len(source) for split, source in setting.sources.items()})
        yield Problem("", "the test images have no masks")
        yield Problem("k", "is too large")

    monkeypatch.setattr("sslkit_evaluators.probes.knn.KNNEvaluator.check", check)
    lines = "evaluate.0: the test images have no masks\nevaluate.0.k: is too large"
    with pytest.raises(DataError, match=f"^{re.escape(lines)}$"):
        require_splits([KNN()], parts[0].data, Sources())
    assert asked == [{"train": 1437, "test": 360}]


def test_the_crop_is_the_readouts(parts):
    run, _, reading = parts
    assert subject_of(parts, KNN()).crop == 1.0
    loading = reading.loading._replace(crop=0.5)
    subject = NetSubject(None, reading._replace(loading=loading), run.data, KNN(), Sources(), {})
    assert subject.crop == 0.5
    assert not torch.equal(
        subject.features("test").values, subject_of(parts, KNN(), None).features("test").values
    )


def test_blocks_are_pooled_as_the_readout_is(parts):
    run, composed, reading = parts
    net, patch = composed.system.nets["student"], torch.randn(3, 4, 16)
    cls = torch.randn(3, 16)
    for fields, expected in (
        ({}, cls),
        ({"pool": "mean"}, patch.mean(1)),
        ({"pool": "mean", "pyramid": (2,)}, patch.unflatten(1, (2, 2)).mean(2).flatten(1)),
    ):
        other = reading._replace(readout=Readout(**fields))
        subject = NetSubject(net, other, run.data, KNN(), Sources(), {})
        torch.testing.assert_close(subject.pooled(cls, patch), expected)

"""Accuracy under corruptions."""

from __future__ import annotations

import contextlib

import pytest
import torch

from sslkit import Robustness
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import evaluating, reading_of
from sslkit.evaluate.subject import NetSubject
from sslkit.train.compose import compose
from sslkit_evaluators.images import robustness
from tests import tiny


@pytest.fixture(scope="module")
def digits():
    """Raw pixels of the digits, as a subject."""
    run = tiny.spec()
    composed = compose(run, tiny.CPU)
    reading = reading_of(run, composed.env.views["global"], tiny.CPU, contextlib.nullcontext)
    return lambda spec, net=None: NetSubject(net, reading, run.data, spec, Sources(), {}), composed


def scores(digits, net=None, **fields):
    spec = Robustness(**{"corruptions": ("contrast", "gaussian_noise"), "severities": (1, 5), **fields})
    with evaluating(net), torch.no_grad():
        return spec.build()(digits[0](spec, net))


@pytest.mark.parametrize("classifier", ["knn", "logistic"])
def test_metrics_are_means_of_the_table(digits, classifier, tmp_path):
    found = scores(digits, classifier=classifier)
    curves = found.tables["accuracy"]
    assert list(curves) == ["contrast", "gaussian_noise"]
    everything = [value for curve in curves.values() for value in curve]
    assert found.metrics["accuracy"] == pytest.approx(sum(everything) / 4)
    assert found.metrics["contrast_accuracy"] == pytest.approx(sum(curves["contrast"]) / 2)
    assert found.metrics["relative"] == pytest.approx(
        found.metrics["accuracy"] / found.metrics["clean_accuracy"]
    )
    assert found.metrics["clean_accuracy"] > 0.9
    low, high = found.intervals["accuracy"]
    assert low < found.metrics["accuracy"] < high
    found.figures["severity"](tmp_path / "severity.png")
    assert (tmp_path / "severity.png").stat().st_size > 1000


def test_worse_images_are_classified_worse(digits):
    curve = scores(digits, corruptions=("gaussian_blur",)).tables["accuracy"]["gaussian_blur"]
    clean = scores(digits, corruptions=("gaussian_blur",)).metrics["clean_accuracy"]
    assert clean >= curve[0] > curve[1]


def test_no_corruption_is_the_clean_accuracy(digits, monkeypatch):
    """The path of spoiled images: pixels back from the network's input, through it again."""
    monkeypatch.setattr(robustness, "corrupt", lambda images, *rest: images)
    net = digits[1].system.nets["student"]
    for found in (scores(digits), scores(digits, net)):
        assert found.metrics["accuracy"] == pytest.approx(found.metrics["clean_accuracy"], abs=0.005)


def test_scores_repeat_and_depend_on_the_seed(digits):
    first = scores(digits).metrics
    assert scores(digits).metrics == first
    assert scores(digits, name="other").metrics != first, "another name draws other noise"


def test_every_corruption_is_tried_by_default():
    assert len(Robustness().build().corruptions) == 8
    assert Robustness().build().protocol == "robustness@1"
    assert Robustness(severities=(3,)).build().protocol == "robustness@1(severities=(3,))"

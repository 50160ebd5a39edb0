"""One run that all tests of reports read."""

from __future__ import annotations

import pytest

from sslkit.report.run_data import read_run
from sslkit.train.launch import train
from tests import tiny
from tests.train.test_trainer import silent

EVALUATE = [
    {"kind": "knn", "every": "4 steps", "baselines": True},
    {"kind": "logistic", "strengths": [1.0], "iterations": 30},
    {"kind": "geometry", "neighbours": 5, "restarts": 1, "max_images": 100},
    {"kind": "attention", "max_images": 16, "shown": 2},
    {"kind": "lowshot", "shares": [], "shots": [1, 2], "draws": 1, "head": "knn"},
]


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """A finished tiny run with five evaluators."""
    out = tmp_path_factory.mktemp("report") / "run"
    train(tiny.spec(out, evaluate=EVALUATE, log=tiny.DRAWN), say=silent)
    return out


@pytest.fixture
def run(run_dir):
    return read_run(run_dir)

"""Two gloo ranks share the images of an evaluation and find what one process finds."""

from __future__ import annotations

import pytest
import yaml

from sslkit.cli.main import main
from sslkit.runs.evaluations import evaluations
from tests import tiny
from tests.distributed.forked import on_ranks, sslkit
from tests.evaluate import every

QUIET = {"attention": {"shown": 0}}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Evaluations of every kind, by one process and by two ranks; batches of 16 leave a rank without some images."""
    root = tmp_path_factory.mktemp("ranks")
    asked = [{**one, **QUIET.get(one["kind"], {})} for one in every.evaluators()]
    spec = {
        "backbone": tiny.VIT,
        "size": 8,
        "normalize": every.VIEW["normalize"],
        "data": every.folders(root / "images"),
        "readout": {"batch_size": 16, "pool": "mean"},
        "evaluate": [one for one in asked if one["kind"] not in every.OF_RUNS],
        "device": "cpu",
        "workers": 0,
    }
    for name in ("one", "two"):
        (root / f"{name}.yaml").write_text(yaml.safe_dump({**spec, "out": str(root / name)}))
    on_ranks(sslkit, "evaluate", root / "two.yaml")
    assert main(["evaluate", str(root / "one.yaml")]) == 0
    return evaluations(root / "one"), evaluations(root / "two")


def close(one, two):
    """Whether values that JSON can hold are the same up to rounding."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(close(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(close, one, two))
    return one == pytest.approx(two, rel=1e-5, abs=1e-6) if isinstance(one, float) else one == two


@pytest.mark.parametrize("kind", sorted(set(every.KINDS) - every.OF_RUNS))
def test_two_ranks_equal_one_process(both, kind):
    one, two = (found[kind] for found in both)
    assert close(dict(two.metrics), dict(one.metrics))
    assert close(two.tables, one.tables)
    assert two.data == one.data
    assert two.weights_sha256 == one.weights_sha256
    if one.predictions() is None:
        assert two.predictions() is None
    else:
        assert two.predictions().labels.tolist() == one.predictions().labels.tolist()
        assert two.predictions().guesses.tolist() == one.predictions().guesses.tolist()
        assert two.intervals == one.intervals

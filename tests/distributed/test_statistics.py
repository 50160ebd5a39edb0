"""Running statistics of two ranks: one network for all, whatever norms the images of a rank."""

from __future__ import annotations

import pytest
import torch
import yaml

from sslkit.evaluate.evaluate_network import evaluate_run
from sslkit.runs import metrics_log
from sslkit.runtime.parallel import Parallel
from sslkit.train.step.running_statistics import is_watched
from tests import tiny
from tests.distributed import statistics_worker as worker
from tests.distributed.forked import on_ranks, sslkit


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "two.pt"
    on_ranks(worker.main, path)
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "one.pt"
    worker.main(str(path))
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("case", [case for case in worker.BACKBONES if case != "peculiar"])
def test_all_ranks_have_the_same_statistics(two, case):
    """A moving average that averages them included."""
    named = {name: values for name, values in two[case]["buffers"].items() if "running_" in name}
    assert named
    for name, values in named.items():
        assert len(values) == 2
        assert torch.equal(values[0], values[1]), name
        assert values[0].unique().numel() > 1, "it moved from where it began"


@pytest.mark.parametrize("case", ["timm", "timm activated"])
def test_two_ranks_train_a_timm_network_as_one_does(two, one, case):
    assert two[case]["losses"] == pytest.approx(one[case]["losses"], rel=1e-4)
    for name, values in one[case]["buffers"].items():
        torch.testing.assert_close(two[case]["buffers"][name][0], values[0], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("case", ["timm local", "plugin"])
def test_statistics_of_ranks_alone_are_averaged(two, one, case):
    """Means of equal shares are the mean of all; variances within a rank leave out how far the ranks are apart."""
    assert two[case]["losses"] != pytest.approx(one[case]["losses"], rel=1e-6)
    first = min(name for name in one[case]["buffers"] if name.startswith("nets.student") and "mean" in name)
    found, expected = (side[case]["buffers"][first][0] for side in (two, one))
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)


def test_a_buffer_that_each_rank_has_its_own_of_is_refused_by_name(two, one):
    assert "losses" in one["peculiar"], "one rank may do as it likes"
    message = two["peculiar"]["error"]
    assert message.startswith("buffer 'nets.student.module.1.follows' is not the same on all 2 ranks")
    assert "change buffers in `commit`" in message


def test_ranks_look_often_at_first():
    assert [step for step in range(40) if is_watched(step)] == [0, 1, 3, 7, 15, 31]


@pytest.mark.parametrize("backbone", ["timm local", "cnn local"])
def test_a_run_and_its_evaluation_afterwards_agree(tmp_path, backbone):
    """They saw the ranks' own statistics and those of the first rank."""
    fields = tiny.fields(
        views={"global": {**worker.VIEWS["global"], "crops": 2}},
        backbone=worker.BACKBONES[backbone],
        objective={"kind": "rotation", "turns": [0, 0]},
        steps=4,
        batch_size=16,
        evaluate=[{"kind": "knn", "every": "4 steps"}],
        optimizer={"name": "sgd", "lr": 0.05},
    )
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(fields))
    on_ranks(sslkit, "run", tmp_path / "spec.yaml", "--out", tmp_path / "run")
    scores = [e["eval/knn/accuracy"] for e in metrics_log.read(tmp_path / "run") if "eval/knn/accuracy" in e]
    afterwards = evaluate_run(tmp_path / "run")
    assert afterwards["metrics"]["knn"]["accuracy"] == scores[-1]


def test_one_process_has_no_spread():
    parallel: Parallel = tiny.CPU
    assert torch.equal(parallel.spread(torch.tensor([3.0, -1.0])), torch.zeros(2))

"""Every temporal term in one run: graphs, ranks, micro-batches, kills."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from sslkit.cli.main import main
from tests import tiny
from tests.distributed import temporal_worker
from tests.distributed.forked import on_ranks
from tests.plugins.video import temporal_run
from tests.train.test_kill import killed_and_whole


@pytest.fixture(scope="module")
def plain():
    return temporal_run.losses(tiny.CPU)


def test_the_same_seed_makes_the_same_steps(plain):
    totals, state = temporal_run.losses(tiny.CPU)
    assert totals == plain[0]
    assert all(torch.equal(state[name], value) for name, value in plain[1].items())


def test_one_graph_makes_the_same_step(plain):
    """Flow is an operation that a graph holds as a whole."""
    torch._dynamo.reset()
    compiled, _ = temporal_run.losses(tiny.CPU, 2, compile={"enabled": True, "backend": "aot_eager"})
    assert compiled == pytest.approx(plain[0][:2], rel=1e-4)


def test_two_ranks_make_the_steps_of_one_process(tmp_path, plain):
    on_ranks(temporal_worker.main, tmp_path / "two.pt")
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    assert two["losses"] == pytest.approx(plain[0], rel=1e-4)
    for name, value in plain[1].items():
        torch.testing.assert_close(two["state"][name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_a_killed_run_ends_bit_equal(tmp_path):
    changes = {"steps": 30, "checkpoint": {"every": "4 steps"}}
    cut, whole = killed_and_whole(tmp_path, temporal_run.fields(**changes), 1, 0)
    assert cut == whole


def test_a_run_from_its_spec_records_every_term_and_draws_clips_that_move(tmp_path):
    log = {"every": 1, "flops": False, "figures": True}
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(temporal_run.fields(steps=2, log=log)))
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 0
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = {name: value for record in records for name, value in record.items()}
    assert {f"loss/{term}" for term in temporal_run.TERMS} <= set(last)
    assert last["motion/end_point_error_of_none"] > 0
    figures = {file.name for file in (tmp_path / "run" / "figures").iterdir()}
    assert {"motion-flow.png", "motion-flow.gif"} <= figures


def test_clips_in_other_orders_than_the_term_says_are_refused(tmp_path, capsys):
    fields = temporal_run.fields()
    fields["views"]["turned"]["by_crop"] = [[], []]
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(fields))
    assert main(["validate", str(path)]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "needs clips in 2 orders" in message
    assert "[[], [{kind: reorder}]]" in message

"""Embeddings by two gloo ranks, and after a kill, are those of one process that was left alone."""

from __future__ import annotations

import signal

import pytest

from sslkit import embed
from tests.distributed import embed_worker
from tests.distributed.forked import on_ranks, started
from tests.evaluate.embeddings.subjects import BROKEN, labeled, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return labeled(tmp_path_factory.mktemp("data") / "images", BROKEN)


@pytest.fixture(scope="module")
def alone(run, data, tmp_path_factory):
    """What one process writes."""
    out = tmp_path_factory.mktemp("alone") / "e.parquet"
    embed_worker.whole(run, data, out)
    return out.read_bytes()


def test_two_ranks_equal_one(run, data, alone, tmp_path):
    on_ranks(embed_worker.whole, run, data, tmp_path / "e.parquet")
    assert (tmp_path / "e.parquet").read_bytes() == alone
    assert [path.name for path in tmp_path.iterdir()] == ["e.parquet"]


def test_a_kill_leaves_no_duplicate_and_no_gap(run, data, alone, tmp_path):
    """The rest is made by two ranks, as the number of ranks may change."""
    out = tmp_path / "e.parquet"
    process = started(embed_worker.killed, run, data, out, output=tmp_path / "printed")
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "printed").read_text()
    assert not out.exists()
    on_ranks(embed_worker.whole, run, data, out)
    assert out.read_bytes() == alone


def test_a_kill_loses_no_batch_that_was_on_the_disk(run, data, tmp_path):
    out = tmp_path / "e.npy"
    process = started(embed_worker.killed, run, data, out, output=tmp_path / "printed")
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert embed(run, data=data, out=out, batch_size=4, workers=0, device="cpu").before == 12

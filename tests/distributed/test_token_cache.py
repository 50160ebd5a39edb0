"""Two ranks compute cached tokens together, and train on them as one process does."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.runs import metrics_log
from sslkit.specs.load import dump
from tests import tiny
from tests.distributed import token_cache_worker
from tests.distributed.forked import on_ranks

VIEWS = {"global": tiny.VIEW, "fixed": {"size": 8, "normalize": tiny.VIEW["normalize"]}}
TEACHER = {"backbone": {**tiny.VIT, "width": 24, "depth": 1}, "cache": "exact"}


def losses(out):
    return [one["loss"] for one in metrics_log.read(out)]


def tokens(folder):
    (file,) = (folder / "tokens").glob("*.npy")
    return np.load(file)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The spec, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("alone")
    run = tiny.spec(
        nets={"teacher": TEACHER}, views=VIEWS, objective={"kind": "distill", "teacher_view": "fixed"}, steps=3,
        optimizer={"lr": 0.01, "clip": 1.0},
    )  # fmt: skip
    (folder / "spec.yaml").write_text(dump(run))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLKIT_CACHE", "")  # is put back afterwards
        token_cache_worker.main(folder / "spec.yaml", str(folder / "cache"), str(folder / "run"))
    return folder


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_equal_one(alone, tmp_path, parallel):
    printed = on_ranks(
        token_cache_worker.main,
        alone / "spec.yaml",
        tmp_path / "cache",
        tmp_path / "run",
        f"parallel={parallel}",
    )
    assert printed.count("are computed once") == 1
    np.testing.assert_allclose(tokens(tmp_path / "cache"), tokens(alone / "cache"), atol=1e-5)
    assert losses(tmp_path / "run") == pytest.approx(losses(alone / "run"), rel=1e-4)
    assert not list((tmp_path / "cache" / "tokens").glob("*.partial"))

"""Segmentation, concepts and reconstructions by two gloo ranks, which share the images."""

from __future__ import annotations

import json

import pytest

from tests.distributed import scenes_worker
from tests.distributed.forked import on_ranks


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process found, and what each of two ranks did."""
    folder = tmp_path_factory.mktemp("scenes")
    on_ranks(scenes_worker.main, folder / "two")
    scenes_worker.main(str(folder / "one"))
    return [json.loads((folder / name).read_text()) for name in ("one.0", "two.0", "two.1")]


@pytest.mark.parametrize("label", ["dense", "concept", "reconstruction"])
def test_two_ranks_find_what_one_process_finds(found, label):
    one, first, second = (said[label] for said in found)
    assert first["metrics"] == second["metrics"], "all ranks know the same"
    assert first["tables"] == second["tables"]
    assert first["metrics"].keys() == one["metrics"].keys()
    assert list(first["metrics"].values()) == pytest.approx(list(one["metrics"].values()), rel=1e-5, abs=1e-5)
    assert first["figures"] == one["figures"], "the first rank draws all"


def test_tables_of_two_ranks_are_those_of_one_process(found):
    one, first, _ = found
    assert first["dense"]["tables"]["confusion"] == one["dense"]["tables"]["confusion"]
    for name, curve in one["reconstruction"]["tables"]["objectives"].items():
        other = first["reconstruction"]["tables"]["objectives"][name]
        for key in ("loss", "hidden", "psnr", "ssim", "skill"):
            assert other[key] == pytest.approx(curve[key], rel=1e-5, abs=1e-5)

"""Opening Hugging Face data sets: what is where, and what is told where it is not."""

from __future__ import annotations

import os

import numpy as np
import pytest

from sslkit.errors import DataError
from sslkit_shards.hf_datasets import Place, common_state, files_of, open_split
from tests.plugins.shards.hf_sets import dataset_of, datasets, save
from tests.plugins.shards.tars import png


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_a_place_is_told_with_its_configuration():
    assert str(Place("a/b", "train")) == "a/b train"
    assert str(Place("a/b", "test", "small", "1a2b")) == "a/b (small) test"


def test_a_saved_split_is_named_train(tmp_path):
    folder = save(tmp_path / "x", 3)
    assert len(open_split(Place(str(folder), "train"))) == 3
    with pytest.raises(DataError, match="holds one split, named `train` here; 'test' is not in it"):
        open_split(Place(str(folder), "test"))


def test_rows_are_not_copied_into_memory(tmp_path):
    opened = open_split(Place(str(save(tmp_path / "x", 5, (2, 3))), "train"))
    assert [path.name for path in files_of(opened)] == [
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]
    assert files_of(dataset_of([png(0)])) == []


def test_json_lines_are_written_into_the_cache_once(tmp_path, cache):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "x.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    place = Place(str(tmp_path / "set"), "train")
    first = open_split(place)
    assert first["text"][:] == ["a", "b"]
    (path,) = files_of(first)
    assert path.is_relative_to(cache)
    changed = path.stat().st_mtime_ns
    assert files_of(open_split(place)) == [path]
    assert path.stat().st_mtime_ns == changed


def test_a_folder_of_nothing(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="set train: `datasets` cannot open it: "):
        open_split(Place(str(tmp_path / "set"), "train"))


def test_the_state_changes_with_any_file(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"0123")
    before = common_state(paths)
    assert before.shape == (1, 4)
    assert before[0, 0] == 8
    assert np.array_equal(common_state(paths), before)
    os.utime(paths[0], ns=(1, 1))
    assert not np.array_equal(common_state(paths), before)
    assert common_state([*paths, tmp_path / "gone"])[0, 0] == -1, "so that nothing is kept"

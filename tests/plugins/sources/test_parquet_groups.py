"""Parquet files that are read by row groups: the same images, order by blocks, and flat memory."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sslkit import Parquet
from sslkit.core.view import View
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import WorkerFeed
from sslkit.data.sampler import BatchShare, Order
from sslkit.errors import DataError, SpecError
from sslkit.specs.load import parse
from sslkit.specs.views import ViewSpec
from sslkit_sources.parquet_images import GroupCache, group_images, group_sizes, held_images
from tests import tiny
from tests.plugins.sources.test_parquet import values, write
from tests.specs.valid import small
from tests.train.test_kill import killed_and_whole

COUNTS = (5, 1, 9, 3, 7, 2, 9)
BATCH = 6
STEPS = sum(COUNTS) // BATCH
VIEWS = {"g": View(2, 1, 1, (0.0,), (1.0,))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of unequal size, whose row groups have two rows or one."""
    folder, number = tmp_path_factory.mktemp("groups"), 0
    for place, count in enumerate(COUNTS):
        numbers = range(number, number + count)
        write(
            folder / f"{place}.parquet",
            numbers,
            [i % 3 for i in numbers],
            patient=[f"p{i // 4}" for i in numbers],
        )
        number += count
    return folder  # fmt: skip


def build(folder, side="train", **fields):
    return Parquet(files=folder, order="groups", **fields).build(side)


def test_images_labels_and_names_are_those_of_files_in_memory(folder):
    held, grouped = Parquet(files=folder).build("train"), build(folder)
    assert values(grouped) == values(held) == list(range(sum(COUNTS)))
    assert grouped.labels.tolist() == held.labels.tolist()
    assert grouped.classes == held.classes
    assert [grouped.name(i) for i in (0, 5, 35)] == [held.name(i) for i in (0, 5, 35)]
    assert held.blocks is None
    assert sum(grouped.blocks.sizes) == len(grouped)
    assert set(grouped.blocks.sizes) == {1, 2}


def test_the_fingerprint_does_not_tell_how_files_are_read(folder):
    assert build(folder).fingerprint == Parquet(files=folder).build("train").fingerprint


@pytest.mark.filterwarnings("ignore:data.split")
@pytest.mark.parametrize("by", [{"by": "image"}, {"by": "group"}])
def test_drawn_splits_are_those_of_files_in_memory(folder, by):
    fields = {"split": {"test": 0.3, **by}, "group_column": "patient"}
    for side in ("train", "test"):
        held, grouped = Parquet(files=folder, **fields).build(side), build(folder, side, **fields)
        assert values(grouped) == values(held)
        assert [grouped.name(i) for i in range(len(held))] == [held.name(i) for i in range(len(held))]
        assert grouped.labels.tolist() == held.labels.tolist()
        assert sum(grouped.blocks.sizes) == len(held)
        assert grouped.fingerprint == held.fingerprint


def test_few_row_groups_are_in_memory(folder, monkeypatch):
    reads = []
    source = build(folder, window=2)
    fresh = GroupCache.fresh
    monkeypatch.setattr(GroupCache, "fresh", lambda *a: reads.append(a[1:]) or fresh(*a))
    values(source)
    assert len(reads) == len(set(reads)) == sum(-(-count // 2) for count in COUNTS), "each once"
    (cache,) = {id(part.cache): part.cache for part in source._parts}.values()
    assert len(cache._groups) == 3, "those of a window, and one where two meet"
    source.digests()
    assert len(cache._groups) == 3


def test_a_group_that_is_read_again_stays_longer(folder):
    cache = GroupCache("image", 2)
    path = folder / "2.parquet"
    for group in (0, 1, 0, 2):
        cache.read(path, group)
    assert [key[1] for key in cache._groups] == [0, 2]
    received = pickle.loads(pickle.dumps(cache))
    assert (received.column, received.most, len(received._groups)) == ("image", 2, 0)


def test_a_pickled_source_brings_no_images(folder):
    source = build(folder)
    source.load(0)
    received = pickle.loads(pickle.dumps(source))
    assert torch.equal(received.load(7), source.load(7))
    assert received.fingerprint == source.fingerprint


def test_digests_are_those_of_files_in_memory_whichever_rows_are_kept(folder):
    path = folder / "2.parquet"
    held, grouped = held_images(path, "image"), group_images(path, GroupCache("image", 1))
    assert np.array_equal(held.digests(), grouped.digests())
    rows = np.array([1, 4, 8])
    assert np.array_equal(held.chosen(rows).digests(), grouped.chosen(rows).digests())
    assert grouped.chosen(rows).group_sizes() == [1, 0, 1, 0, 1]
    assert grouped.chosen(rows).cell(1) == held.chosen(rows).cell(1) == held.cell(4)
    assert group_sizes(path) == [2, 2, 2, 2, 1]


def test_damage_is_named_as_of_files_in_memory(tmp_path):
    path = write(tmp_path / "x.parquet", [1, b"junk", None], [0, 0, 0])
    source = build(path)
    with pytest.raises(DataError, match=r"x\.parquet row 1: cannot be decoded: it is not an image"):
        source.load(1)
    with pytest.raises(DataError, match=r"x\.parquet row 2: column 'image' holds no bytes"):
        source.load(2)
    with pytest.raises(DataError, match=r"x\.parquet: has no column 'img'; .*`image_column`"):
        build(path, image_column="img")
    with pytest.raises(DataError, match="holds int64; expected encoded images"):
        build(path, image_column="label")
    path.write_bytes(b"text")
    with pytest.raises(DataError, match=r"x\.parquet: cannot be read as parquet"):
        build(path)


def test_a_file_that_is_cut_off_later_is_an_error_of_its_images(folder, tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes((folder / "2.parquet").read_bytes())
    source = build(path, window=1)
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"x\.parquet: cannot be read as parquet"):
        source.load(3)


def test_no_rows(tmp_path):
    table = pq.read_table(write(tmp_path / "x.parquet", [1], [0]))
    pq.write_table(table.slice(0, 0), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds no rows"):
        build(tmp_path / "x.parquet")


def test_a_window_needs_the_order(folder):
    with pytest.raises(SpecError, match=r"data\.window: has no effect without `order: groups`"):
        parse(small(data={"kind": "parquet", "files": str(folder), "window": 3}))


def seen(source, world, workers, start, stop):
    """The images of each step, whatever rank they came to."""
    steps = {step: [] for step in range(start, stop)}
    for rank in range(world):
        feed = WorkerFeed(
            source, Order(len(source), BATCH, 4, BatchShare(rank, world, 1), source.blocks),
            Pipeline({"g": ViewSpec(size=2)}, VIEWS, 4), tiny.CPU.device,
            start=start, stop=stop, how=Loading(workers, "batch_size"), unreadable=None,
        )  # fmt: skip
        try:
            for step in range(start, stop):
                for batch in feed.step(step):
                    steps[step] += (batch.images["g"][0, :, 0, 0, 0] * 255).round().int().tolist()
        finally:
            feed.close()
    return steps


@pytest.mark.parametrize(("world", "workers"), list(itertools.product((1, 2, 3), (0, 2))))
def test_every_image_comes_once_an_epoch_on_ranks_and_workers(folder, world, workers):
    source = build(folder, channels=1, window=3)
    steps = seen(source, world, workers, 0, STEPS)
    assert Counter(itertools.chain(*steps.values())) == Counter(range(sum(COUNTS)))
    assert steps == seen(source, 1, 0, 0, 2) | seen(source, world, workers, 2, STEPS), "also in two parts"


@pytest.mark.slow
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(folder, tmp_path):
    data = {"kind": "parquet", "files": str(folder), "channels": 1, "order": "groups", "window": 3}
    fields = tiny.fields(
        data=data, batch_size=BATCH, workers=2, steps=24, checkpoint={"every": "3 steps"}, max_duplicates=1
    )
    killed, whole = killed_and_whole(tmp_path, fields, kills=2, seed=1)
    assert killed == whole


def test_paths_without_bytes_are_told_only_where_no_row_has_any(tmp_path):
    assert len(build(write(tmp_path / "x.parquet", [None, None, 3], [0, 1, 0]))) == 3
    with pytest.raises(
        DataError, match=r"y\.parquet: column 'image' holds paths, such as 'x\.png', and no bytes"
    ):
        build(write(tmp_path / "y.parquet", [None, None, None], [0, 1, 0]))

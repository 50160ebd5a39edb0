"""The order by shards: as often each sample, fewer requests to a store."""

from __future__ import annotations

from collections import Counter

import pytest

from sslkit.data.sampler import BatchShare, Order
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit_shards.shard_files import ShardFiles
from sslkit_shards.specs.webdataset import WebDataset
from tests.plugins.shards.tars import write_shards
from tests.plugins.shards.test_resume import run_fields, write_mixed
from tests.specs.valid import small
from tests.train.test_kill import killed_and_whole

COUNTS = (5, 1, 9, 3, 7, 2, 9)


@pytest.fixture
def stored(tmp_path):
    """Shards in a store."""
    from fsspec import filesystem

    for path in write_shards(tmp_path / "data", COUNTS):
        filesystem("memory").pipe(f"/ordered/{path.name}", path.read_bytes())
    return "memory://ordered/{000000..000006}.tar"


def shards_in_order(source):
    """The shard of each sample of the first epoch."""
    order = Order(len(source), 6, 1, BatchShare(0, 1, 6), source.blocks)
    every = [
        i
        for step in range(order.steps_per_epoch)
        for part, _ in order.micro_batches(step)
        for i in part.tolist()
    ]
    assert Counter(every) == Counter(range(sum(COUNTS)))
    return every


def test_blocks_are_the_shards(stored):
    assert WebDataset(shards=stored, channels=1).build("train").blocks is None
    blocks = WebDataset(shards=stored, channels=1, order="shards", window=3).build("train").blocks
    assert (tuple(blocks.sizes), blocks.window) == (COUNTS, 3)
    assert WebDataset(shards=stored, channels=1, order="shards").build("train").blocks.window == 16


@pytest.mark.parametrize(("order", "fetched"), [("shards", len(COUNTS)), ("whole", 2 * len(COUNTS))])
def test_few_shards_are_fetched_where_room_is_small(stored, order, fetched, tmp_path, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    calls, get_file = [], MemoryFileSystem.get_file
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda s, a, b: calls.append(a) or get_file(s, a, b))
    spec = WebDataset(
        shards=stored,
        channels=1,
        order=order,
        window=2,
        range="type",
        copy_to=tmp_path / "c",
        copy_gib=60_000 / 2**30,
    )
    source = spec.build("train")
    for path in (tmp_path / "c").glob("*"):
        path.unlink()
    calls.clear()
    for index in shards_in_order(source):
        source.load(index)
    assert (len(calls) <= fetched) if order == "shards" else (len(calls) >= fetched)


def test_fields_without_effect_are_told(tmp_path):
    write_shards(tmp_path, [3])
    for fields, message in (
        ({"window": 3}, r"data\.window: .*without `order: shards`"),
        ({"copy_gib": 3}, r"data\.copy_gib: .*without `copy_to`"),
    ):
        with pytest.raises(SpecError, match=message):
            parse(small(data={"kind": "webdataset", "shards": str(tmp_path), "channels": 1, **fields}))


def test_copies_travel_to_spawned_workers(tmp_path):
    import pickle

    from sslkit_shards.local_copies import Kept

    files = pickle.loads(pickle.dumps(ShardFiles(["memory://ordered/a.tar"], Kept(tmp_path, 10))))
    assert files._kept == Kept(tmp_path, 10)


@pytest.mark.slow
def test_a_run_by_shards_that_is_killed_ends_as_if_it_had_not_been(tmp_path):
    write_mixed(tmp_path / "data")
    fields = run_fields(tmp_path / "data", workers=1, steps=20, checkpoint={"every": "4 steps"})
    fields["data"] |= {"order": "shards", "window": 2}
    killed, whole = killed_and_whole(tmp_path, fields, kills=1, seed=3)
    assert killed == whole

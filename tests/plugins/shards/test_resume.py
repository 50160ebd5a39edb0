"""Every sample once an epoch, on any number of ranks and workers, and after a kill: the position is a step."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
import yaml

from sslkit.core.view import View
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import WorkerFeed
from sslkit.data.sampler import BatchShare, Order
from sslkit.specs.views import ViewSpec
from sslkit_shards.specs.hf import HuggingFace
from sslkit_shards.specs.webdataset import WebDataset
from tests import tiny
from tests.distributed.forked import on_ranks, sslkit
from tests.plugins.shards import killed_rank
from tests.plugins.shards.hf_sets import dataset_of, save
from tests.plugins.shards.tars import members_of, png, write_shards, write_tar
from tests.train.test_kill import killed_and_whole, outcome

COUNTS = (5, 1, 9, 3, 7, 2, 9)
BATCH = 6
"""Of which each epoch has six, so that nothing is left out."""
STEPS = sum(COUNTS) // BATCH
VIEWS = {"g": View(8, 1, 1, (0.0,), (1.0,))}


@pytest.fixture(scope="module", params=["webdataset", "hf"])
def source(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("shards")
    if request.param == "hf":
        return HuggingFace(path=str(save(folder / "set", sum(COUNTS), COUNTS)), channels=1).build("train")
    write_shards(folder, COUNTS)
    return WebDataset(shards=str(folder), channels=1).build("train")


def seen(source, world, workers, start, stop):
    """The samples of each step, whatever rank they came to."""
    steps = {step: [] for step in range(start, stop)}
    for rank in range(world):
        feed = WorkerFeed(
            source, Order(len(source), BATCH, 4, BatchShare(rank, world, 1)),
            Pipeline({"g": ViewSpec(size=8)}, VIEWS, 4), tiny.CPU.device,
            start=start, stop=stop, how=Loading(workers, "batch_size"), unreadable=unexpected,
        )  # fmt: skip
        try:
            for step in range(start, stop):
                for batch in feed.step(step):
                    pixels = (batch.images["g"][0, :, 0, 0] * 255).round().int()
                    steps[step] += (pixels[:, 0] + 256 * pixels[:, 1]).tolist()
        finally:
            feed.close()
    return steps


def unexpected(index, reason):
    raise AssertionError(f"{index}: {reason}")


@pytest.mark.parametrize(("world", "workers"), list(itertools.product((1, 2, 3), (0, 1, 2))))
def test_every_sample_comes_once_an_epoch(source, world, workers):
    steps = seen(source, world, workers, 0, 2 * STEPS)
    assert steps == seen(source, 1, 0, 0, 2 * STEPS), "in the batches of one process"
    for epoch in range(2):
        every = Counter(itertools.chain(*(steps[epoch * STEPS + i] for i in range(STEPS))))
        assert every == Counter(range(sum(COUNTS)))
    assert steps[0] != steps[STEPS]


@pytest.mark.parametrize("first", [(1, 0), (2, 1), (3, 2)])
@pytest.mark.parametrize("then", [(1, 2), (2, 0), (3, 1)])
@pytest.mark.parametrize("cut", [4])
def test_a_resumed_epoch_goes_on_with_the_samples_that_were_not_seen(source, first, then, cut):
    steps = seen(source, *first, 0, cut) | seen(source, *then, cut, STEPS)
    assert Counter(itertools.chain(*steps.values())) == Counter(range(sum(COUNTS)))


def test_what_does_not_fill_a_batch_is_left_out_of_an_epoch(source):
    order = Order(len(source), 5, 4, BatchShare(0, 1, 5))
    epoch = torch.cat([i for step in range(order.steps_per_epoch) for i, _ in order.micro_batches(step)])
    assert len(epoch) == len(epoch.unique()) == sum(COUNTS) - sum(COUNTS) % 5


def write_mixed(folder):
    """Shards of images of two sizes, so that workers decode them; one of them is damaged."""
    number = 0
    for place, count in enumerate(COUNTS):
        names = range(number, number + count)
        samples = [(f"{i:04d}", {"png": png(i, 8 + i % 2), "cls": b"%d" % (i % 4)}) for i in names]
        if place == 2:
            samples[3] = (samples[3][0], {"png": png(1)[:40], "cls": b"0"})
        write_tar(folder / f"{place}.tar", members_of(samples))
        number += count


def run_fields(folder, **changes):
    return tiny.fields(
        data={"kind": "webdataset", "shards": str(folder / "{0..6}.tar"), "channels": 1},
        batch_size=BATCH, max_corrupt=0.1, **changes,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_as_if_it_had_not_been(tmp_path):
    write_mixed(tmp_path / "data")
    fields = run_fields(tmp_path / "data", workers=2, steps=24, checkpoint={"every": "3 steps"})
    killed, whole = killed_and_whole(tmp_path, fields, kills=2, seed=1)
    assert killed == whole
    for run in ("cut", "whole"):
        skipped = (tmp_path / run / "skipped.txt").read_text()
        assert "/2.tar/0009.png" in skipped, "an unreadable sample is listed by shard and key"


@pytest.mark.slow
def test_a_run_on_rows_of_hugging_face_that_is_killed_ends_as_if_it_had_not_been(tmp_path):
    images = [png(i, 8 + i % 2) for i in range(sum(COUNTS))]
    images[9] = images[9][:40]
    dataset_of(images).save_to_disk(str(tmp_path / "set"))
    data = {"kind": "hf", "path": str(tmp_path / "set"), "channels": 1}
    fields = run_fields(tmp_path, workers=2, steps=24, checkpoint={"every": "3 steps"}) | {"data": data}
    killed, whole = killed_and_whole(tmp_path, fields, kills=2, seed=1)
    assert killed == whole
    for run in ("cut", "whole"):
        assert "set train row 9" in (tmp_path / run / "skipped.txt").read_text()


@pytest.mark.slow
def test_ranks_of_which_one_is_killed_end_as_if_it_had_not_been(tmp_path):
    write_mixed(tmp_path / "data")
    spec, whole, cut = tmp_path / "spec.yaml", tmp_path / "whole", tmp_path / "cut"
    fields = run_fields(tmp_path / "data", workers=1, steps=16, checkpoint={"every": "3 steps"})
    spec.write_text(yaml.safe_dump(fields))
    on_ranks(sslkit, "run", spec, "--out", whole)
    with pytest.raises(AssertionError, match="-9"):
        on_ranks(killed_rank.main, 1, 5, cut, "run", spec, "--out", cut)
    on_ranks(sslkit, "resume", cut)
    assert outcome(cut) == outcome(whole)

"""Statistics of images: values against NumPy, samples, signals, workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sslkit.analysis.image_data import image_statistics as module
from sslkit.analysis.image_data import survey as passes
from sslkit.analysis.image_data.image_statistics import image_statistics
from sslkit.analysis.image_data.reading_bar import ReadingBar
from sslkit.analysis.image_data.survey import IMAGES, survey
from sslkit.errors import DataError
from sslkit.specs.views import Normalize
from tests import tiny
from tests.analysis.image_data.samples import arrays, fields, save
from tests.fakes_train import MadeSource, pictures

COUNT = 3 * IMAGES + 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("images"), arrays(COUNT))


def expected():
    """`[3, N]` values of every pixel."""
    return np.concatenate([image.reshape(-1, 3) for image in arrays(COUNT)]).T / 255


def test_mean_and_deviation_are_those_of_every_pixel(folder):
    statistics, values = image_statistics(fields(folder)), expected()
    assert [c.mean for c in statistics.channels] == pytest.approx(values.mean(1))
    assert [c.std for c in statistics.channels] == pytest.approx(values.std(1))
    assert [c.p99 for c in statistics.channels] == pytest.approx(
        np.percentile(values, 99, axis=1, method="inverted_cdf")
    )
    assert (statistics.read, statistics.images, statistics.unreadable) == (COUNT, {"train": COUNT}, [])
    assert statistics.dtypes == {"uint8": COUNT}


def test_workers_find_what_this_process_finds(folder):
    assert image_statistics(fields(folder, workers=2)) == image_statistics(fields(folder))


def test_sizes_and_classes(folder):
    statistics = image_statistics(fields(folder))
    assert statistics.sizes[12, 20] == sum(image.shape == (12, 20, 3) for image in arrays(COUNT))
    assert len(statistics.sizes) == 3
    assert statistics.height == (9, 12.0, 31)
    assert statistics.width == (5, 20.0, 20)
    assert statistics.classes == {"train": {"class0": (COUNT + 1) // 2, "class1": COUNT // 2}}


def test_the_yaml_is_what_a_view_takes(folder):
    pasted = yaml.safe_load(image_statistics(fields(folder)).to_yaml())
    normalize = Normalize.model_validate(pasted["normalize"])
    assert normalize.mean == pytest.approx(expected().mean(1), rel=1e-3)
    assert normalize.std == pytest.approx(expected().std(1), rel=1e-3)


def test_small_values_are_numbers_in_the_yaml_too():
    channel = module.ChannelSummary(1.2345678e-5, 4e-6, 0.0, 0.0, 1.0, 1.0)
    statistics = module.ImageStatistics(
        {}, 0, 0, 0, [channel], {}, None, None, passes.Counter(), {}, [], None, None
    )
    assert yaml.safe_load(statistics.to_yaml()) == {"normalize": {"mean": [1.235e-05], "std": [4e-06]}}


def test_a_sample_is_drawn_from_the_seed_and_says_so(folder):
    one, again, other = (image_statistics(fields(folder, seed=seed), 20) for seed in (1, 1, 2))
    assert one == again
    assert one.channels != other.channels
    assert (one.read, one.asked, one.duplicates) == (20, 20, None)
    assert one.channels[0].mean == pytest.approx(expected()[0].mean(), abs=0.05)


def test_a_sample_larger_than_the_data_is_all_of_them(folder):
    assert image_statistics(fields(folder), COUNT + 100).read == COUNT


def test_images_that_cannot_be_read_are_named_and_counted_in_nothing(tmp_path):
    root = save(tmp_path / "images", arrays(6))
    (root / "class0" / "002.png").write_bytes(b"no image")
    statistics = image_statistics(fields(root))
    ((name, reason),) = statistics.unreadable
    assert name == str(Path("class0", "002.png"))
    assert "not an image in a known format" in reason
    assert (statistics.read, statistics.sizes.total()) == (6, 5)
    kept = np.concatenate([image.reshape(-1, 3) for i, image in enumerate(arrays(6)) if i != 2]) / 255
    assert [c.mean for c in statistics.channels] == pytest.approx(kept.mean(0))


def test_a_folder_without_a_readable_image_is_an_error(tmp_path):
    root = save(tmp_path / "images", arrays(3))
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match=r"none of 3 training images can be read; the first: .*the file is empty"
    ):
        image_statistics(fields(root))


def test_a_constant_channel_is_told(tmp_path):
    images = arrays(4)
    for image in images:
        image[..., 1] = 7
    assert image_statistics(fields(save(tmp_path / "images", images))).constant == [1]


def test_a_whole_run_is_taken_too():
    statistics = image_statistics(tiny.spec())
    assert statistics.images == {"train": 1437, "test": 360}
    assert sum(statistics.classes["test"].values()) == 360


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_with_what_was_read_so_far(name, folder, monkeypatch):
    """A sample, as the order is random: nothing that was computed is lost."""
    bar, before = ReadingBar("reading"), signal.getsignal(getattr(signal, name))
    monkeypatch.setattr(ReadingBar, "update", lambda *_: os.kill(os.getpid(), getattr(signal, name)))
    statistics = image_statistics(fields(folder), bar=bar)
    assert (statistics.signal, statistics.read, statistics.duplicates) == (name, IMAGES, None)
    assert statistics.channels[0].mean == pytest.approx(expected()[0].mean(), abs=0.05)
    assert signal.getsignal(getattr(signal, name)) is before


def test_a_signal_with_the_last_batch_ends_nothing(folder, monkeypatch):
    def at_the_end(bar, done, total):
        if done == total:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ReadingBar, "update", at_the_end)
    assert image_statistics(fields(folder), bar=ReadingBar("reading")).signal is None


def test_the_facts_of_an_image():
    source = MadeSource(pictures(3, channels=3, side=20), broken=frozenset({2}))
    source.images[0] = torch.tensor([1, 2, 3])[:, None, None]
    source.images[1] = source.images[1, :1]
    seen = survey(source, 0, 0)
    assert [fact[1:] for fact in seen.facts] == [
        (20, 20, "uint8", True, False),
        (20, 20, "uint8", False, True),
    ]
    assert seen.reasons == [(2, "image 2 is broken")]


def test_one_pixel_that_differs_between_those_that_are_looked_at_first_is_seen():
    source = MadeSource(torch.full((1, 3, 20, 20), 9, dtype=torch.uint8))
    source.images[0, 1, 3, 3] = 8
    (fact,) = survey(source, 0, 0).facts
    assert not fact.constant
    assert not fact.gray

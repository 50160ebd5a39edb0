"""Columns of images of Hugging Face data sets, one kind of column at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.errors import DataError
from sslkit.interfaces import Decoder, digest
from sslkit_shards.hf_images import AT_ONCE, images_in
from tests.plugins.shards.hf_sets import dataset_of, datasets
from tests.plugins.shards.tars import number_in, png

GRAY = Decoder(1)


class Some:
    """Rows and a decoder, as a source has them."""

    def __init__(self, count, decoder=GRAY):
        self.rows, self.decoder = np.arange(count), decoder


def binary(images, kind="binary"):
    features = datasets.Features({"image": datasets.Value(kind)})
    return datasets.Dataset.from_dict({"image": list(images)}, features=features)


def by_path(paths):
    cells = [None if path is None else {"bytes": None, "path": path} for path in paths]
    return datasets.Dataset.from_dict(
        {"image": cells}, features=datasets.Features({"image": datasets.Image()})
    )


def numbers(values, feature):
    return datasets.Dataset.from_dict({"image": values}, features=datasets.Features({"image": feature}))


@pytest.mark.parametrize("kind", ["binary", "large_binary"])
def test_plain_bytes_are_image_files(kind):
    images = images_in(binary([png(3), png(4), None], kind), "image", 1, "set")
    assert number_in(images.pixels(1, GRAY)) == 4
    assert images.file(0) == png(3)
    assert not images.by_path
    assert images.digests()[1].tobytes() == digest(png(4))
    with pytest.raises(DataError, match="set row 2: holds no image"):
        images.file(2)


def test_a_feature_image_is_not_decoded_by_the_package():
    images = images_in(dataset_of([png(5), None, png(6)]), "image", 1, "set")
    assert images.file(2) == png(6)
    assert number_in(images.pixels(2, GRAY)) == 6
    assert images.digests()[0].tobytes() == digest(png(5))
    assert not images.digests()[1].any()


def test_hashes_of_more_rows_than_are_read_at_once():
    count = AT_ONCE + 5
    digests = images_in(dataset_of([png(i) for i in range(count)]), "image", 1, "set").digests()
    assert [row.tobytes() for row in digests] == [digest(png(i)) for i in range(count)]


def test_rows_in_another_order_than_they_are_stored():
    dataset = dataset_of([png(i) for i in range(6)]).select([4, 1, 5])
    images = images_in(dataset, "image", 1, "set")
    assert [number_in(images.pixels(i, GRAY)) for i in range(3)] == [4, 1, 5]
    assert images.digests()[0].tobytes() == digest(png(4))


def test_paths_are_read_as_files_and_hashed_by_what_they_hold(tmp_path):
    paths = [tmp_path / "a" / "0.png", tmp_path / "b" / "1.png"]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        path.write_bytes(png(number))
    images = images_in(by_path([str(path) for path in paths] + [None]), "image", 1, "set")
    assert images.by_path
    assert number_in(images.pixels(1, GRAY)) == 1
    digests = images.digests()
    assert [row.tobytes() for row in digests[:2]] == [digest(png(0)), digest(png(1))]
    assert not digests[2].any()
    with pytest.raises(DataError, match="set row 2: holds no image"):
        images.pixels(2, GRAY)


def test_one_path_that_many_rows_share(tmp_path):
    path = tmp_path / "0.png"
    path.write_bytes(png(9))
    images = images_in(by_path([str(path)] * 3), "image", 1, "set")
    assert {row.tobytes() for row in images.digests()} == {digest(png(9))}


def test_a_file_that_is_gone_is_named_with_its_row(tmp_path):
    images = images_in(by_path([str(tmp_path / "no.png")]), "image", 1, "set")
    with pytest.raises(DataError, match=r"set row 0: .*no\.png cannot be read: No such file"):
        images.file(0)
    assert not images.digests().any()


def test_a_damaged_image_is_named_with_its_row():
    images = images_in(binary([png(1)[:40]]), "image", 1, "set")
    with pytest.raises(DataError, match="set row 0: cannot be decoded"):
        images.pixels(0, GRAY)


@pytest.mark.parametrize(
    ("feature", "channels"),
    [
        (datasets.Array2D((4, 4), "uint8"), 3),
        (datasets.Array3D((4, 4, 3), "uint8"), 1),
        (datasets.Array3D((2, 4, 4), "uint8"), 3),
    ],
)
def test_arrays_of_other_channels_are_refused(feature, channels):
    dataset = numbers([np.zeros(feature.shape, np.uint8)], feature)
    with pytest.raises(DataError, match=rf"images have the shape .*`channels` is {channels}"):
        images_in(dataset, "image", channels, "set")


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "float32", "float64"])
def test_arrays_keep_the_type_of_their_feature(kind):
    values = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2).astype(kind)
    images = images_in(numbers(values, datasets.Array3D((3, 4, 2), kind)), "image", 2, "set")
    assert images.numbers(1).dtype == kind
    assert np.array_equal(images.numbers(1), values[1].transpose(2, 0, 1))
    assert images.file(1) is None


def test_arrays_of_one_content_and_another_shape_differ():
    flat = numbers([np.zeros((2, 8), np.uint8)], datasets.Array2D((2, 8), "uint8"))
    tall = numbers([np.zeros((8, 2), np.uint8)], datasets.Array2D((8, 2), "uint8"))
    prints = [images_in(dataset, "image", 1, "set").digests().tobytes() for dataset in (flat, tall)]
    assert prints[0] != prints[1]


def test_channels_come_last_where_both_axes_would_do():
    values = np.random.default_rng(0).integers(0, 9, (1, 3, 5, 3), dtype=np.uint8)
    images = images_in(numbers(values, datasets.Array3D((3, 5, 3), "uint8")), "image", 3, "set")
    assert np.array_equal(images.numbers(0), values[0].transpose(2, 0, 1))


def test_the_range_of_arrays_is_that_of_the_spec_or_of_percentiles():
    values = [np.full((2, 2), float(i), np.float32) for i in range(11)]
    images = images_in(numbers(values, datasets.Array2D((2, 2), "float32")), "image", 1, "set")

    class Ends:
        percentile = (0, 100)

    decoder = images.settled(Some(3), Ends(), lambda: Some(11))
    assert decoder.pixel_range == ((0.0,), (10.0,)), "of the training images"
    assert torch.equal(images.pixels(5, decoder), torch.full((1, 2, 2), 0.5))
    fixed = images.settled(Some(3), (0.0, 20.0), lambda: Some(11))
    assert fixed.pixel_range == ((0.0,), (20.0,))


def test_cells_that_are_empty_tell_nothing_of_the_range():
    values = [None, np.full((2, 2), 1.0, np.float32), np.zeros((2, 2), np.float32)]
    images = images_in(numbers(values, datasets.Array2D((2, 2), "float32")), "image", 1, "set")
    assert images.settled(Some(3), "auto", lambda: Some(3)).pixel_range is None


def test_the_range_of_files_is_that_of_their_pixels():
    images = images_in(dataset_of([png(i) for i in range(3)]), "image", 1, "set")
    assert images.settled(Some(3), "auto", lambda: Some(3)) == GRAY
    decoder = images.settled(Some(3), (0.0, 510.0), lambda: Some(3))
    assert images.pixels(2, decoder).max() < 0.5


@pytest.mark.parametrize("feature", [datasets.Value("string"), datasets.List(datasets.Image())])
def test_other_features_are_refused_by_name(feature):
    cells = ["text"] if feature == datasets.Value("string") else [[{"bytes": png(0), "path": None}]]
    with pytest.raises(DataError, match=r"column 'image' is a feature (Value|List); expected Image, Array2D"):
        images_in(numbers(cells, feature), "image", 1, "set")

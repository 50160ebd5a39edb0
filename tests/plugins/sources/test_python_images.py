"""Sources of objects of Python."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset

from sslkit import PythonData, SplitSpec
from sslkit.errors import DataError, SpecError, SslkitWarning
from sslkit.testing import check_spec
from sslkit_sources.item_images import Keys
from sslkit_sources.python_datasets import as_dataset, described, sampled
from sslkit_sources.python_images import How, ItemSource
from sslkit_sources.seeded_items import item_of, places, random_note, seeded
from tests.plugins.sources.python_sets import LABELS, PIXELS, Items, chw, flipped, pil

TENSOR = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
PAIRS = Items(lambda i: (pil(i), LABELS[i]), targets=LABELS)


def train(data, **fields):
    return PythonData(train=data, **fields).build("train")


@pytest.mark.parametrize(
    "data",
    [TENSOR, PIXELS, [pil(i) for i in range(40)], PAIRS, Items(chw), (TENSOR, LABELS),
     Items(lambda i: {"image": pil(i)})],
    ids=["tensor", "array", "list", "dataset", "tensors", "pair", "mappings"],
)  # fmt: skip
def test_every_form_gives_the_same_images(data):
    source = train(data)
    assert len(source) == 40
    assert source.channels == 3
    for index in (0, 17, 39):
        assert torch.equal(source.load(index), chw(index))


def test_what_is_in_memory_is_resident():
    assert torch.equal(train(TENSOR).resident(), TENSOR)
    assert train(PAIRS).resident() is None
    assert train(PIXELS).digests().shape == (40, 16)


def test_labels_and_classes():
    assert train((TENSOR, LABELS)).labels.tolist() == LABELS
    assert train(TENSOR).labels is None
    assert train((PIXELS, np.array(LABELS)), classes=tuple("abcd")).classes == ("a", "b", "c", "d")
    assert train(PAIRS).labels.tolist() == LABELS
    assert train(PAIRS).classes == ("0", "1", "2", "3")
    assert train(Items(chw)).labels is None
    assert train((TENSOR, [str(x) for x in LABELS])).classes == ("0", "1", "2", "3")


def test_reading_every_item_for_its_label_is_told():
    source = train(Items(lambda i: (chw(i), LABELS[i])))
    with pytest.warns(
        SslkitWarning, match="every item is read once for its label; a list `targets` of the dataset"
    ):
        assert source.labels.tolist() == LABELS


def test_the_test_split():
    both = PythonData(train=(TENSOR[:30], LABELS[:30]), test=(TENSOR[30:], LABELS[30:]))
    assert len(both.build("train")) == 30
    assert torch.equal(both.build("test").load(0), chw(30))
    assert PythonData(train=TENSOR).build("test") is None


@pytest.mark.parametrize("data", [(TENSOR, LABELS), PAIRS], ids=["array", "dataset"])
def test_a_test_split_that_is_drawn(data):
    spec = PythonData(train=data, split=SplitSpec(test=0.25))
    parts = [spec.build(split) for split in ("train", "test")]
    assert len(parts[0]) + len(parts[1]) == 40
    assert 0 < len(parts[1]) < 20
    every = sorted(tuple(part.load(i).flatten().tolist()) for part in parts for i in range(len(part)))
    assert every == sorted(tuple(chw(i).flatten().tolist()) for i in range(40))
    labels = torch.cat([part.labels for part in parts])
    assert sorted(labels.tolist()) == sorted(LABELS)


def test_split_and_test_exclude_each_other():
    with pytest.raises(SpecError, match="`split` draws the test split from `train`, and `test` gives one"):
        PythonData(train=TENSOR, test=TENSOR, split=SplitSpec(test=0.5))


def test_floats_between_0_and_1_pass():
    source = train(Items(lambda i: chw(i) / 255))
    assert source.load(0).dtype == torch.float32
    assert torch.allclose(source.load(0) * 255, chw(0).float())
    assert torch.equal(train(TENSOR / 255).load(4), chw(4) / 255)


@pytest.mark.parametrize(
    "data", [Items(lambda i: chw(i) / 127.5 - 1), TENSOR / 127.5 - 1], ids=["dataset", "tensor"]
)
def test_normalized_images_are_refused_with_the_way_out(data):
    with pytest.raises(
        DataError, match=r"data.range: .*A `Normalize` in a dataset's transform often makes such floats"
    ):
        train(data)
    source = train(data, range=(-1, 1))
    assert torch.allclose(source.load(0) * 255, chw(0).float(), atol=1e-3)


def test_integers_of_another_type_need_a_range():
    with pytest.raises(DataError, match=r"range: \[0, 255\]"):
        train(TENSOR.long())
    assert torch.allclose(train(TENSOR.long(), range=(0, 255)).load(0) * 255, chw(0).float(), atol=1e-3)


def test_percentiles_are_of_some_images():
    source = train(TENSOR.float(), range={"percentile": [0, 100]})
    assert float(source.load(0).max()) <= 1


def test_gray_items_among_color_become_color():
    source = train(Items(lambda i: pil(i, "L" if i == 5 else "RGB")))
    assert source.load(5).shape == (3, 8, 8)


def test_an_item_of_other_channels_is_an_error_of_that_item():
    source = train(Items(lambda i: torch.zeros(4, 8, 8, dtype=torch.uint8) if i == 5 else chw(i)))
    with pytest.raises(DataError, match="item 5: has 4 channels, where the first has 3"):
        source.load(5)


def test_an_item_that_cannot_be_read_says_which():
    source = train(Items(lambda i: 1 // 0 if i == 1 else chw(i)))
    with pytest.raises(DataError, match=r"item 1: .*division"):
        source.load(1)
    with pytest.raises(DataError, match=r"item 0: an image is a str"):
        train(Items(lambda i: "cat.png"))


def test_random_transforms_give_each_item_a_seed_of_its_own():
    with pytest.warns(
        SslkitWarning, match="changes its images at random; each is read with a seed of its own"
    ):
        source = train(Items(flipped))
    random.seed(1)
    first = source.load(3)
    random.seed(2)
    assert torch.equal(source.load(3), first)
    assert len({tuple(source.load(i).flatten().tolist()) for i in range(10)}) == 10


def test_a_generator_that_nobody_can_seed_is_told():
    generator = np.random.default_rng(0)
    noisy = Items(lambda i: torch.from_numpy(generator.integers(0, 256, (3, 8, 8), np.uint8)))
    assert "by a generator that is not torch's, NumPy's or Python's" in random_note(noisy, Keys())
    assert random_note(Items(chw), Keys()) == ""


def test_reading_draws_from_no_generator():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SslkitWarning)
        source = train(Items(flipped))
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    source.load(0)
    after = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert after == (random.random(), np.random.random(), torch.rand(1).item())
    with seeded(3):
        inside = torch.rand(1)
    with seeded(3):
        assert torch.equal(torch.rand(1), inside)


def test_places_are_from_the_first_to_the_last():
    assert places(3) == [0, 1, 2]
    assert places(1) == [0]
    assert len(places(1000)) == 16
    assert places(1000)[0] == 0
    assert places(1000)[-1] == 999


class Stream(IterableDataset[object]):
    """Has no items by index."""

    def __iter__(self):
        return iter([chw(0)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            Stream(),
            "a Stream is no set of images by index; give a dataset with `__len__`|a Stream does not say",
        ),
        (
            DataLoader(PAIRS),
            "a DataLoader is no set of images by index; give its `dataset`, as the run makes",
        ),
        ([], "a list has no items"),
        ((TENSOR, LABELS[:3]), "there are 40 images and 3 labels; give as many of both"),
        ({"image": TENSOR}, "a dict is no set of images by index"),
        (iter([1]), "a list_iterator is no set of images by index"),
        ((TENSOR, LABELS, LABELS), "a tuple is no set of images by index"),
    ],
)
def test_what_is_no_dataset(data, message):
    with pytest.raises(SpecError, match=message):
        PythonData(train=data)


def test_plain_values_are_refused_in_words():
    for value in ("photos/", 3, None):
        with pytest.raises(
            SpecError, match=r"PythonData.train: is an object of Python, which only Python can give"
        ):
            PythonData(train=value)


def test_what_is_told_of_an_object_follows_from_its_content():
    one = described(PAIRS)
    assert one["python"] == "Items"
    assert one["images"] == 40
    assert described(Items(lambda i: (pil(i), LABELS[i]), targets=LABELS)) == one
    assert described(Items(lambda i: (pil(i + 1), LABELS[i]), count=39))["digest"] != one["digest"]
    assert described((TENSOR, LABELS))["digest"] != described((TENSOR, LABELS[::-1]))["digest"]
    assert described((TENSOR, LABELS))["python"] == "Tensor"


def test_every_kind_of_content_counts():
    def digest(item):
        return sampled(Items(lambda i: item, count=2))

    items = [1, 2, "1", None, 0.5, chw(0), chw(1), chw(0).float(), PIXELS[0], PIXELS[1], pil(0), pil(1), (1,), [1, 2],
             {"a": 1}, {"b": 1}, np.int64(4), torch.tensor(7), object()]  # fmt: skip
    assert len({digest(item) for item in items}) == len(items)
    assert digest(pil(0)) == digest(pil(0))
    broken = sampled(Items(lambda i: 1 // 0, count=2))
    assert broken == sampled(Items(lambda i: 1 // 0, count=2))


def test_fingerprints_are_of_content_and_settings():
    same = [train(Items(lambda i: (pil(i), LABELS[i]), targets=LABELS)).fingerprint for _ in range(2)]
    assert same[0] == same[1]
    others = [
        train(PAIRS, range="type").fingerprint,
        train(PAIRS, classes=tuple("abcd")).fingerprint,
        train(Subset(PAIRS, list(range(39)))).fingerprint,
        train(TENSOR).fingerprint,
        train((TENSOR, LABELS)).fingerprint,
    ]
    assert len({*same, *others}) == 6


def test_names_of_images():
    assert train(TENSOR).name(3) == "Tensor item 3"
    assert train(PAIRS).name(3) == "Items item 3"


def test_parts_of_the_source_are_there_alone():
    source = ItemSource(as_dataset(PAIRS), How(Keys()), "mine")
    assert item_of(PAIRS, 4, Keys())[1] == LABELS[4]
    assert source.pixel_range is None


@pytest.mark.parametrize("data", [(TENSOR, LABELS), PAIRS], ids=["array", "dataset"])
def test_the_kit(data):
    report = check_spec(PythonData(train=data, test=(TENSOR.flip(-1), LABELS)))
    report.require()
    assert report.checks

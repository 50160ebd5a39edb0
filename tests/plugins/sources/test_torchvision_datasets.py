"""Datasets and transforms of torchvision as data of a run, and workers that read them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, TensorDataset, random_split
from torchvision import transforms
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import v2

from sslkit import PythonData, Run
from sslkit.errors import DataError, SslkitWarning
from tests.tiny import fields


def fake(transform: object = None, size: int = 24) -> FakeData:
    return FakeData(size, (3, 12, 10), 4, transform=transform)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders of images of different sizes."""
    draw = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(0, 256, (10 + i, 12, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def source(data: object):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SslkitWarning)
        return PythonData(train=data).build("train")


def trained(data: object, out: Path, **changes: object) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SslkitWarning)
        view = {
            "size": 8,
            "augment": [{"kind": "random_resized_crop"}],
            "normalize": {"mean": [0.5] * 3, "std": [0.2] * 3},
        }
        run = Run(**{**fields(out, steps=2, batch_size=8, views={"global": view}, **changes), "data": data})
        result = run.fit()
    digest: str = result.summary["weights_sha256"]
    return digest


def test_a_dataset_without_transforms_gives_pil_images():
    images = source(fake())
    assert images.load(3).shape == (3, 12, 10)
    assert images.load(3).dtype == torch.uint8
    assert torch.equal(images.load(3), transforms.PILToTensor()(fake()[3][0]))


@pytest.mark.parametrize(
    "transform",
    [
        transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()]),
        v2.Compose([v2.ToImage(), v2.Resize((8, 8)), v2.ToDtype(torch.float32, scale=True)]),
        transforms.Compose([transforms.Grayscale(), transforms.Resize((8, 8)), transforms.PILToTensor()]),
    ],
    ids=["ToTensor", "v2", "gray"],
)
def test_transforms_are_applied(transform):
    images = source(fake(transform))
    assert images.load(5).shape[1:] == (8, 8)
    assert torch.equal(images.load(5), torch.as_tensor(transform(fake()[5][0])))


@pytest.mark.parametrize(
    "transform",
    [
        transforms.Compose(
            [transforms.RandomResizedCrop(8), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        ),
        v2.Compose([v2.RandomCrop(6), v2.ToImage()]),
        transforms.Compose([transforms.ToTensor(), lambda image: image * torch.rand(())]),
    ],
    ids=["transforms", "v2", "function"],
)
def test_random_transforms_are_told_and_fixed(transform):
    with pytest.warns(
        SslkitWarning, match="changes its images at random; each is read with a seed of its own"
    ):
        images = PythonData(train=fake(transform)).build("train")
    assert torch.equal(images.load(5), images.load(5))


def test_normalize_is_refused():
    normalized = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
    with pytest.raises(DataError, match=r"values of -2 to 2 .*leave it out, as views normalize"):
        source(fake(normalized))


def test_crops_of_a_contrastive_transform_are_refused():
    two = transforms.Lambda(lambda image: [transforms.ToTensor()(image)] * 2)
    with pytest.raises(
        DataError, match="item 0: an image is a list of 2: the crops of a view are made by the run"
    ):
        source(fake(two))


def test_class_folders_and_their_parts(folder):
    whole = ImageFolder(str(folder))
    images = source(whole)
    assert images.classes == ("cats", "dogs")
    assert images.labels.tolist() == whole.targets
    part = source(Subset(whole, [23, 0]))
    assert part.labels.tolist() == [1, 0]
    assert part.classes == ("cats", "dogs")
    first, _ = random_split(whole, [10, 14], generator=torch.Generator().manual_seed(0))
    assert source(first).labels.tolist() == [whole.targets[i] for i in first.indices]
    assert source(ConcatDataset([whole, whole])).labels.tolist() == whole.targets * 2


def test_tensor_datasets():
    images, labels = torch.rand(10, 3, 8, 8), torch.arange(10) % 3
    both = source(TensorDataset(images, labels))
    assert both.labels.tolist() == labels.tolist()
    assert torch.equal(both.load(4), images[4])
    assert source(TensorDataset(images)).labels is None


def test_deep_images_keep_their_values():
    deep = torch.randint(0, 65536, (10, 1, 8, 8), dtype=torch.int32).to(torch.uint16)
    assert torch.equal(source(deep).load(2).int(), deep[2].int())
    assert source(deep).load(2).dtype == torch.uint16


def test_workers_read_what_this_process_reads(folder, tmp_path):
    """Images of several sizes are read by processes, epoch after epoch."""
    data = ImageFolder(str(folder), transforms.RandomHorizontalFlip())
    assert trained(data, tmp_path / "here", workers=0) == trained(data, tmp_path / "there", workers=2)


def test_images_of_one_size_are_decoded_once(tmp_path):
    data = fake(transforms.PILToTensor())
    assert trained(data, tmp_path / "held") == trained(data, tmp_path / "read", resident="0 GiB")

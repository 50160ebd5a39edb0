"""Which feed a run gets, and that it makes no difference."""

import pytest
import torch
from PIL import Image

from sslkit.data.loaders import ResidentFeed, WorkerFeed
from sslkit.data.resident import resident
from sslkit.errors import DataError
from sslkit.train.supply import augments_in_workers, supply
from sslkit_sources.specs.folder import Folder
from tests import tiny
from tests.fakes_train import MadeSource, pictures

CPU = torch.device("cpu")
CUDA = torch.device("cuda")  # only named here, never used
VIEW = {"size": 8, "crops": 2, "recipe": "byol"}


def unexpected(index, reason):
    raise AssertionError(f"image {index} was reported: {reason}")


def files(tmp_path, sizes, broken=()):
    for i, side in enumerate(sizes):
        image = pictures(1, 3, side, seed=i)[0]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i:02d}.png")
    for i in broken:
        (tmp_path / f"{i:02d}.png").write_bytes(b"nothing")
    return Folder(root=tmp_path).build("train")


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_one_size_are_decoded_once_and_kept(tmp_path, workers):
    source = files(tmp_path, [12] * 70)
    before = torch.get_rng_state()
    images = resident(source, 1 << 20, CPU, workers, unexpected)
    assert images.shape == (70, 3, 12, 12)
    assert images.dtype == torch.uint8
    assert all(torch.equal(images[i], source.load(i)) for i in range(70))
    assert torch.equal(before, torch.get_rng_state())


def test_another_size_a_small_budget_or_none_means_workers(tmp_path):
    mixed = files(tmp_path, [12, 12, 12, 14, 12])
    assert resident(mixed, 1 << 20, CPU, 0, unexpected) is None
    even = MadeSource(pictures(5))
    assert resident(even, 5 * 144, CPU, 0, unexpected) is not None
    assert resident(even, 5 * 144 - 1, CPU, 0, unexpected) is None
    assert resident(even, 0, CPU, 0, unexpected) is None
    even.sizes = frozenset({(12, 12), (13, 12)})
    assert resident(even, 1 << 20, CPU, 0, unexpected) is None


def test_images_that_are_in_memory_anyway_cost_nothing_on_a_cpu():
    source = tiny.steps(tiny.spec(steps=1), 0)[0].source
    held = source.resident()
    assert resident(source, 0, CPU, 0, unexpected) is held
    assert resident(source, held.numel() - 1, CUDA, 0, unexpected) is None
    assert resident(source, held.numel(), CUDA, 0, unexpected) is held


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read_are_replaced_and_listed(tmp_path, workers):
    source, said = files(tmp_path, [12] * 8, broken=(3, 7)), []
    images = resident(source, 1 << 20, CPU, workers, lambda i, reason: said.append((i, reason)))
    assert torch.equal(images[3], source.load(4))
    assert torch.equal(images[7], source.load(0))
    assert [index for index, _ in said] == [3, 7]
    assert "cannot be decoded" in said[0][1]


def test_too_many_of_them_end_the_run(tmp_path):
    def strict(index, reason):
        raise DataError("too many")

    with pytest.raises(DataError, match="too many"):
        resident(files(tmp_path, [12] * 4, broken=(1,)), 1 << 20, CPU, 0, strict)
    for i in range(4):
        (tmp_path / f"{i:02d}.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="4 images in a row cannot be read"):
        resident(Folder(root=tmp_path).build("train"), 1 << 20, CPU, 0, unexpected)


@pytest.mark.parametrize(
    ("where", "device", "expected"),
    [("auto", CPU, True), ("auto", CUDA, False), ("workers", CUDA, True), ("device", CPU, False)],
)
def test_who_augments(where, device, expected):
    assert augments_in_workers(tiny.spec(augment_on=where), device) is expected


def supplied(tmp_path, **changes):
    normalize = {"mean": [0.4] * 3, "std": [0.2] * 3}
    run = tiny.spec(
        data={"kind": "folder", "root": str(tmp_path)}, views={"global": {**VIEW, "normalize": normalize}},
        batch_size=8, micro_batch_size=4, steps=3, **changes,
    )  # fmt: skip
    return supply(run, tiny.compose(run, tiny.CPU), CPU, 0, unexpected)


def batches(feed):
    try:
        return [batch for step in range(3) for batch in feed.step(step)]
    finally:
        feed.close()


def test_every_way_gives_the_same_batches(tmp_path):
    """Bit by bit: held on the device, cut or wholly augmented by workers, with colors and blur."""
    files(tmp_path, [12] * 11)
    ways = {
        "resident": supplied(tmp_path, workers=0),
        "cut by workers": supplied(tmp_path, workers=1, resident="0 GiB", augment_on="device"),
        "augmented by workers": supplied(tmp_path, workers=1, resident="0 GiB"),
        "here": supplied(tmp_path, workers=0, resident="0 GiB"),
    }
    assert isinstance(ways["resident"], ResidentFeed)
    assert all(isinstance(feed, WorkerFeed) for name, feed in ways.items() if name != "resident")
    made = {name: batches(feed) for name, feed in ways.items()}
    assert len(made["resident"]) == 6
    assert made["resident"][0].images["global"].shape == (2, 4, 3, 8, 8)
    for name, found in made.items():
        for one, two in zip(made["resident"], found, strict=True):
            assert torch.equal(one.rows, two.rows), name
            assert torch.equal(one.images["global"], two.images["global"]), name

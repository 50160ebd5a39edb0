"""What `show` shows is what a run of the spec trains on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from sslkit.analysis.image_data import network_inputs as module
from sslkit.analysis.image_data.network_inputs import as_json, draw_inputs, network_inputs
from sslkit.errors import DataError, SpecError
from sslkit.train.compose import compose
from sslkit.train.supply import supply
from tests import tiny
from tests.analysis.image_data.samples import arrays, fields, save

VIEWS = {
    "global": {"size": 16, "crops": 2, "recipe": "byol"},
    "local": {"size": 8, "augment": [{"kind": "random_resized_crop", "scale": [0.1, 0.4]}]},
}
"""One whose chains differ by crop, and one of another size."""


def unexpected(index, reason):
    raise AssertionError(reason)


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "images", arrays(7))


@pytest.mark.parametrize("step", [0, 5])
@pytest.mark.parametrize("augment_on", ["workers", "device"])
def test_they_are_the_crops_of_a_run_to_the_bit(folder, step, augment_on):
    """Of files of several sizes, which workers decode; steps 2 and on are in another epoch."""
    mae = {"kind": "mae", "masker": {"kind": "random"}, "decoder": tiny.DECODER}
    run = tiny.spec(
        data={"kind": "folder", "root": str(folder)}, views=VIEWS, batch_size=3, augment_on=augment_on,
        objective=None, objectives={view: {**mae, "view": view} for view in VIEWS},
    )  # fmt: skip
    feed = supply(run, compose(run, tiny.CPU), tiny.CPU.device, step, unexpected)
    (batch,) = feed.step(step)
    inputs = network_inputs(run, 3, step)
    assert [(one.step, one.row) for one in inputs] == [(step, 0), (step, 1), (step, 2)]
    for view, crops in batch.images.items():
        assert torch.equal(torch.stack([one.crops[view] for one in inputs], 1), crops)


def test_they_are_those_of_images_in_memory_too():
    run = tiny.spec()
    (batch,) = tiny.feed(run, compose(run, tiny.CPU)).step(0)
    inputs = network_inputs(run, 5)
    assert torch.equal(torch.stack([one.crops["global"] for one in inputs], 1), batch.images["global"][:, :5])


def test_more_than_a_batch_goes_on_with_the_next_step(folder):
    inputs = network_inputs(fields(folder, views=VIEWS, batch_size=3), 5)
    assert [(one.step, one.row) for one in inputs] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert len({one.name for one in inputs}) == 5
    (again,) = network_inputs(fields(folder, views=VIEWS, batch_size=3), 1, step=1)
    assert torch.equal(again.crops["global"], inputs[3].crops["global"])


@pytest.mark.parametrize("batch", [None, 100])
def test_there_are_no_more_than_an_epoch_has(folder, batch):
    inputs = network_inputs(fields(folder, views=VIEWS, batch_size=batch), 50)
    assert len({one.name for one in inputs}) == len(inputs) == 7


def test_another_seed_shows_others(folder):
    one, other = (network_inputs(fields(folder, views=VIEWS, seed=seed), 7) for seed in (0, 1))
    assert [x.name for x in one] != [x.name for x in other]


def test_an_image_that_cannot_be_read_is_replaced_and_the_name_is_that_of_the_other(folder):
    names = {one.name: one for one in network_inputs(fields(folder, views=VIEWS), 7)}
    broken = sorted(names)[2]
    (folder / broken).write_bytes(b"")
    inputs = network_inputs(fields(folder, views=VIEWS), 7)
    assert broken not in {one.name for one in inputs}
    (pair,) = (
        [x for x in inputs if x.name == name] for name in names if [y.name for y in inputs].count(name) > 1
    )
    assert torch.equal(pair[0].image, pair[1].image)
    assert torch.equal(pair[0].image, names[pair[0].name].image)


def test_the_sheet_has_the_crops_with_their_normalization_undone(folder, tmp_path, monkeypatch):
    rows = []
    monkeypatch.setattr(module, "save_sheet", lambda path, some: rows.extend(some))
    inputs = draw_inputs(fields(folder, views=VIEWS), tmp_path / "s.png", 2)
    assert [crop.title for crop in rows[0].crops] == ["global 0", "global 1", "local 0"]
    for row, one in zip(rows, inputs, strict=True):
        _, height, width = one.image.shape
        assert row.name == f"{one.name}   {height} x {width}, 3 x uint8"
        assert torch.equal(row.original, one.image / 255)
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        for crop in row.crops:
            assert torch.allclose(crop.pixels, (crop.normalized * std + mean).clamp(0, 1))


def test_it_is_drawn(folder, tmp_path):
    draw_inputs(fields(folder, views=VIEWS), tmp_path / "new" / "s.png", 2)
    with Image.open(tmp_path / "new" / "s.png") as image:
        assert image.format == "PNG"


def test_json_tells_the_values_of_each_view(folder):
    inputs = network_inputs(fields(folder, views=VIEWS), 2)
    first = as_json(inputs)["images"][0]
    assert (first["step"], first["row"], first["dtype"]) == (0, 0, "uint8")
    view = first["views"]["global"]
    assert (view["crops"], view["size"]) == (2, 16)
    assert view["mean"] == pytest.approx(inputs[0].crops["global"].mean((0, 2, 3)).tolist())


def test_what_is_missing_is_named(folder):
    with pytest.raises(SpecError, match="views: is missing; what arrives in the network are crops of these"):
        network_inputs(fields(folder))
    gray = {"global": {"size": 8, "normalize": {"mean": [0.5], "std": [0.2]}}}
    with pytest.raises(
        SpecError, match=r"views.global.normalize: gives statistics of 1 channels but the images have 3"
    ):
        network_inputs(fields(folder, views=gray))
    for path in Path(folder).rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="7 images in a row cannot be read"):
        network_inputs(fields(folder, views=VIEWS))

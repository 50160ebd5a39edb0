"""Features of sources."""

from __future__ import annotations

import contextlib
import re

import pytest
import torch
from PIL import Image

from sslkit.build.system import make_system, make_views
from sslkit.core.context import Length
from sslkit.core.passes import Request
from sslkit.core.source import Source
from sslkit.core.view import View
from sslkit.errors import DataError, SpecError
from sslkit.evaluate.encoders import net_encoder, pixel_encoder, pyramid_means
from sslkit.evaluate.features import Loading, require_labels, rows
from sslkit.functional.resize import resize_center
from sslkit.specs.readout import Readout
from sslkit_sources.resident_source import ResidentSource
from sslkit_sources.specs.folder import Folder
from tests import tiny
from tests.fakes_train import MadeSource, pictures

VIEW = View(8, 1, 1, (0.3,), (0.5,))
COUNT = 11
LABELS = torch.arange(COUNT) % 3


def loading(batch_size=4, workers=0, crop=1.0, view=VIEW, told=None):
    def unreadable(source, index, reason):
        if told is not None:
            told[index] = reason

    return Loading(view, crop, batch_size, workers, tiny.CPU, unreadable)


def extract(source, encode, loading):
    return rows(source, lambda images, indices: encode(images), loading)


@pytest.fixture(scope="module")
def net():
    run = tiny.spec()
    system, _ = make_system(run, make_views(run, 1), Length(8, 4))
    return system.nets["student"].eval()


def encoder(net, **readout):
    return net_encoder(net, Readout(**readout), contextlib.nullcontext)


def made(broken=frozenset(), side=12):
    return MadeSource(pictures(COUNT, side=side), LABELS, broken)


def test_features_come_in_order_with_their_labels():
    source = made(side=8)
    features = extract(source, pixel_encoder, loading())
    expected = ((source.images.float() / 255 - 0.3) / 0.5).flatten(1)
    torch.testing.assert_close(features.values, expected)
    assert features.values.dtype == torch.float32
    assert torch.equal(features.labels, LABELS)
    assert features.classes == ("0", "1", "2")


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_images_are_cut_at_the_center_to_the_views_size(crop):
    source = made(side=20)
    values = extract(source, pixel_encoder, loading(crop=crop)).values * 0.5 + 0.3
    expected = resize_center(source.images.float() / 255, 8, crop).flatten(1)
    torch.testing.assert_close(values, expected, atol=0.5 / 255 + 1e-6, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 3, 11, 100])
def test_the_batch_size_changes_nothing_but_rounding(net, batch_size):
    one = extract(made(), encoder(net), loading(5)).values
    torch.testing.assert_close(
        extract(made(), encoder(net), loading(batch_size)).values, one, atol=1e-6, rtol=1e-5
    )


ONLY = torch.tensor([9, 2, 3, 10, 0])


@pytest.mark.parametrize("workers", [0, 2])
def test_no_more_is_read_than_was_asked_for(workers):
    """In the order that was asked for, with the indices of the source."""
    seen, told = [], {}
    source = made(broken={3, 7}, side=8)
    whole = rows(source, lambda images, indices: images.flatten(1), loading())

    def make(images, indices):
        seen.append(indices)
        return images.flatten(1)

    found = rows(source, make, loading(2, workers, told=told), ONLY)
    assert torch.equal(torch.cat(seen), torch.tensor([9, 2, 10, 0]))
    assert torch.equal(found.indices, torch.tensor([9, 2, 10, 0]))
    assert torch.equal(found.labels, LABELS[found.indices])
    places = [whole.indices.tolist().index(i) for i in found.indices.tolist()]
    assert torch.equal(found.values, whole.values[places])
    assert list(told) == [3], "another broken image was not asked for"


def test_the_same_few_of_images_in_memory():
    images = pictures(COUNT, side=17)
    resident = ResidentSource(images, LABELS, ("0", "1", "2"), "made")
    found, expected = (
        rows(source, lambda images, _: images, loading(2), ONLY)
        for source in (resident, MadeSource(images, LABELS))
    )
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.indices, ONLY)
    assert torch.equal(found.labels, LABELS[ONLY])


def test_none_of_the_chosen_can_be_read():
    with pytest.raises(DataError, match="none of the 2 images can be read; the first is"):
        rows(made(broken={1, 5}), lambda images, _: images, loading(), torch.tensor([5, 1]))
    with pytest.raises(DataError, match="none of the 0 images can be read; the first is none"):
        rows(made(), lambda images, _: images, loading(), torch.tensor([], dtype=torch.int64))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("side", [8, 17])
def test_images_in_memory_and_decoded_ones_give_equal_features(net, workers, side):
    images = pictures(COUNT, side=side)
    resident = ResidentSource(images, LABELS, ("0", "1", "2"), "made")
    expected = extract(resident, encoder(net), loading())
    found = extract(MadeSource(images, LABELS), encoder(net), loading(workers=workers))
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.labels, expected.labels)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("broken", [{0}, {3, 4, 5, 6, 7}, {8, 10}])
def test_unreadable_images_are_dropped_with_their_labels(workers, broken):
    kept = [i for i in range(COUNT) if i not in broken]
    whole = extract(made(), pixel_encoder, loading())
    told = {}
    found = extract(made(frozenset(broken)), pixel_encoder, loading(workers=workers, told=told))
    assert torch.equal(found.values, whole.values[kept])
    assert torch.equal(found.labels, LABELS[kept])
    assert told.keys() == broken
    assert all(told.values())


def test_where_no_image_can_be_read_the_first_is_named():
    message = "none of the 11 images can be read; the first is 0"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        extract(made(frozenset(range(COUNT))), pixel_encoder, loading())


def test_a_file_that_is_no_image_is_dropped(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("L", (9, 9), 40 * i).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "1.png").write_bytes(b"not an image")
    source: Source = Folder(root=tmp_path, channels=1).build("train")
    features = extract(source, pixel_encoder, loading())
    assert features.labels.tolist() == [0, 0, 1, 1, 1]
    assert features.values.shape == (5, 64)


def test_images_without_labels_are_refused():
    with pytest.raises(DataError, match="have no labels, which evaluation needs: give class sub-folders"):
        require_labels(MadeSource(pictures(3)))
    found = extract(MadeSource(pictures(3)), pixel_encoder, loading())
    assert found.labels is None
    assert len(found.values) == 3


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_rows_have_any_shape_and_know_their_image(shape):
    """A scalar, a vector or a table of each image, made from its index."""
    broken = {1, 7}

    def make(images, indices):
        return indices.double().view(-1, *[1] * len(shape)).expand(-1, *shape)

    found = rows(made(frozenset(broken)), make, loading())
    kept = [i for i in range(COUNT) if i not in broken]
    assert found.indices.tolist() == kept
    assert found.values.shape == (len(kept), *shape)
    assert found.values.dtype == torch.float32
    assert found.values.flatten(1).amax(1).tolist() == kept if shape else found.values.tolist() == kept


def test_a_source_is_read_without_gradients_and_without_torchs_generator(net):
    before = torch.get_rng_state()
    features = extract(made(), encoder(net), loading())
    assert not features.values.requires_grad
    assert torch.equal(before, torch.get_rng_state())


def test_every_pool_and_layer_reads_what_it_says(net):
    images = torch.randn(5, 1, 8, 8)
    tokens = net([Request(images[None], None, "drop", (0, 1))])[0]
    first, last = (layer[0] for layer in tokens.layers)
    read = {
        ("cls", -1): tokens.cls[0],
        ("mean", -1): tokens.patch[0].mean(1),
        ("cls", 0): first[:, 0],
        ("mean", 0): first[:, 1:].mean(1),
        ("cls", 1): last[:, 0],
        ("mean", -2): first[:, 1:].mean(1),
    }
    for (pool, layer), expected in read.items():
        torch.testing.assert_close(encoder(net, pool=pool, layer=layer)(images), expected)
    assert not torch.equal(read["cls", -1], read["cls", 1]), "only the last output is normed"


def test_reduced_precision_still_gives_float32_features(net):
    def autocast():
        return torch.autocast("cpu", torch.bfloat16)

    full = extract(made(), encoder(net), loading()).values
    reduced = extract(made(), net_encoder(net, Readout(), autocast), loading()).values
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, full)
    torch.testing.assert_close(reduced, full, atol=0.1, rtol=0.1)


def test_a_rank_without_a_batch_takes_part(monkeypatch):
    """With fewer batches than ranks it adds zeros; the sums are made by all ranks alike."""
    sums = []

    def total(values):
        sums.append(values.clone())
        return values + torch.tensor([1, 1, 64, 0, 0, 0, 0, 0]) if len(sums) == 1 else values

    monkeypatch.setattr(tiny.CPU, "rank", 3)
    monkeypatch.setattr(tiny.CPU, "world", 4)
    monkeypatch.setattr(tiny.CPU, "total", total)
    features = extract(made(), pixel_encoder, loading(batch_size=6))
    assert [x.tolist() for x in sums[:1]] == [[0] * 8]
    assert [tuple(x.shape) for x in sums[1:]] == [(COUNT, 64), (COUNT,)]
    assert not any(x.any() for x in sums[1:])
    assert features.values.shape == (0, 64)


@pytest.mark.parametrize("layer", [-1, 0])
def test_a_pyramid_joins_the_means_of_parts_along_the_first_axis(net, layer):
    images = torch.randn(5, 1, 8, 8)
    tokens = net([Request(images[None], None, "drop", (0,))])[0]
    patch = tokens.patch[0] if layer == -1 else tokens.layers[0][0][:, 1:]
    upper, lower = patch[:, :2].mean(1), patch[:, 2:].mean(1)  # 2 x 2 patches
    expected = torch.cat([patch.mean(1), upper, lower], dim=1)
    read = encoder(net, pool="mean", layer=layer, pyramid=(1, 2))(images)
    torch.testing.assert_close(read, expected)
    flat = encoder(net, pool="mean", layer=layer)(images)
    torch.testing.assert_close(encoder(net, pool="mean", layer=layer, pyramid=(1,))(images), flat)


@pytest.mark.parametrize(("extent", "parts"), [(6, 3), (4, 4), (5, 1), (5, 2)])
def test_parts_of_a_pyramid_are_equal_and_overlap_where_they_must(extent, parts):
    patch = torch.arange(float(extent)).repeat_interleave(3)[None, :, None]
    ends = [(part * extent // parts, -(-(part + 1) * extent // parts)) for part in range(parts)]
    expected = torch.tensor([[sum(range(low, high)) / (high - low) for low, high in ends]])
    torch.testing.assert_close(pyramid_means(patch, extent, [parts]), expected)


def test_a_pyramid_that_does_not_fit_is_refused_before_a_run():
    run = tiny.spec(readout={"pool": "mean", "pyramid": [1, 3]})
    with pytest.raises(SpecError, match=r"readout\.pyramid: 3 parts cannot be made of 2 patches"):
        make_system(run, make_views(run, 1), Length(8, 4))
    with pytest.raises(SpecError, match="readout: `pyramid` makes wider features than `head` reads"):
        tiny.spec(readout={"pool": "mean", "pyramid": [1], "head": "mae.decoder"})

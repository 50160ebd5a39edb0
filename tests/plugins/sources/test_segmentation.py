"""Images with masks in two folders: which mask is whose, what its values mean, and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from sslkit import Segmentation
from sslkit.core.evaluator import Setting
from sslkit.errors import DataError, SpecError
from sslkit.testing.promises import source_promises
from sslkit_evaluators.segmentation.dense import constant_masks
from sslkit_evaluators.specs.dense import Dense
from sslkit_sources.mask_regions import names_in
from tests import tiny

VALUES = np.array([[0, 0, 1, 2], [0, 1, 1, 255], [2, 2, 0, 255]], dtype=np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if mode == "P":
        palette = Image.new("P", image.size)
        palette.putpalette([value for i in range(256) for value in (255 - i, i // 2, 7)])
        palette.putdata(array.flatten().tolist())
        image = palette
    elif mode is not None:
        image = image.convert(mode)
    image.save(path, **options)


def picture(seed: int = 0, shape: tuple[int, int] = (3, 4)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path) -> Path:
    """Three images of 3 x 4 pixels with masks of three regions, one in a folder of its own."""
    for seed, name in enumerate(["b.png", "a.jpg", "street/0.png"]):
        save(tmp_path / "images" / name, picture(seed))
        save(tmp_path / "masks" / Path(name).with_suffix(".png"), np.roll(VALUES, seed))
    return tmp_path


def build(root: Path, split: str = "train", **fields: object):
    return Segmentation(root=root, **{"regions": 3, **fields}).build(split)


def test_a_drawn_split_keeps_images_with_their_masks(root):
    for street in range(8):
        for i in range(2):
            name = f"street {street}/{i}.png"
            save(root / "images" / name, picture(street))
            save(root / "masks" / name, np.roll(VALUES, street))
    split = {"test": 0.4, "seed": 1}
    spec = Segmentation(root=root, regions=3, split=split)
    whole, sides = build(root), [spec.build(side) for side in ("train", "test")]
    places = {whole.name(i): i for i in range(len(whole))}
    drawn = [[places[source.name(i)] for i in range(len(source))] for source in sides]
    assert sorted(drawn[0] + drawn[1]) == list(range(len(whole)))
    for source, indices in zip(sides, drawn, strict=True):
        for i, place in enumerate(indices):
            assert torch.equal(source.load(i), whole.load(place))
            assert torch.equal(source.mask(i), whole.mask(place))
    assert len({source.fingerprint for source in (whole, *sides)}) == 3
    assert tiny.spec(root / "run", data=spec.model_dump())


def test_images_of_a_street_stay_together(root):
    split = {"test": 0.4, "by": "folder", "seed": 1}
    spec = Segmentation(root=root, regions=3, split=split)
    with pytest.raises(DataError, match=r"2 of 3 images lie in none .* such as 'a\.jpg'"):
        spec.build("train")
    for name in ("a.jpg", "b.png"):
        (root / "images" / name).unlink()
    for street in range(8):
        for name in (f"street {street}/0.png", f"street {street}/deep/1.png"):
            save(root / "images" / name, picture(street))
            save(root / "masks" / name, VALUES)
    sides = [spec.build(side) for side in ("train", "test")]
    streets = [{source.name(i).split("/")[0] for i in range(len(source))} for source in sides]
    assert not streets[0] & streets[1]
    assert len(streets[0] | streets[1]) == 9
    with pytest.raises(SpecError, match="leave one out"):
        Segmentation(root=root, test=root, regions=3, split=split)


def test_a_listing_names_the_images_with_labels_splits_and_attributes(root, tmp_path):
    table = "path,label,split,site\nstreet/0.png,day,test,x\na.jpg,night,train,y\nb.png,day,train,y\n"
    (tmp_path / "list.csv").write_text(table)
    (root / "images" / "spare.png").write_bytes((root / "images" / "b.png").read_bytes())
    spec = Segmentation(root=root, regions=3, listing=tmp_path / "list.csv")
    (root / "masks" / "spare.png").write_bytes((root / "masks" / "b.png").read_bytes())
    whole, train, test = (
        Segmentation(root=root, regions=3).build("train"),
        spec.build("train"),
        spec.build("test"),
    )
    assert [train.name(i) for i in range(len(train))] == ["a.jpg", "b.png"]
    assert (train.classes, train.labels.tolist(), test.labels.tolist()) == (("day", "night"), [1, 0], [0])
    assert (train.attributes["site"].tolist(), test.attributes["site"].tolist()) == ([1, 1], [0])
    places = {whole.name(i): i for i in range(len(whole))}
    for source in (train, test):
        for i in range(len(source)):
            assert torch.equal(source.mask(i), whole.mask(places[source.name(i)]))
    assert len({source.fingerprint for source in (whole, train, test)}) == 3
    assert tiny.spec(root / "run", data=spec.model_dump())


def test_a_listing_divides_by_group_and_by_a_list_of_its_own(root, tmp_path):
    for i in range(12):
        save(root / "images" / f"{i}.png", picture(i))
        save(root / "masks" / f"{i}.png", VALUES)
    table = "path,drive\n" + "".join(f"{i}.png,d{i % 6}\n" for i in range(12))
    (tmp_path / "list.csv").write_text(table)
    fields = {"listing": tmp_path / "list.csv", "columns": {"group": "drive"}}
    split = {"test": 0.4, "by": "group", "seed": 1}
    spec = Segmentation(root=root, regions=3, split=split, **fields)
    sides = [spec.build(side) for side in ("train", "test")]
    drives = [{int(source.name(i)[:-4]) % 6 for i in range(len(source))} for source in sides]
    assert drives[0] | drives[1] == set(range(6))
    assert not drives[0] & drives[1]
    (tmp_path / "test.txt").write_text("a.jpg\n")
    tests = build(root, "test", listing=tmp_path / "list.csv", test_listing=tmp_path / "test.txt")
    assert (tests.name(0), tests.labels) == ("a.jpg", None)


def test_faults_of_a_listing_are_told_with_their_line(root, tmp_path):
    (tmp_path / "list.csv").write_text("path\na.jpg\nimages/b.png\n")
    with pytest.raises(
        DataError, match=r"list\.csv: line 3: names 'images/b\.png', and there is no such file"
    ):
        build(root, listing=tmp_path / "list.csv")
    (root / "images" / "z.png").write_bytes((root / "images" / "b.png").read_bytes())
    (tmp_path / "list.csv").write_text("path\na.jpg\nz.png\n")
    with pytest.raises(DataError, match=r"z\.png: has no mask \(1 of 2 images have none\)"):
        build(root, listing=tmp_path / "list.csv")
    with pytest.raises(SpecError, match="`test` needs a `test_listing`"):
        build(root, listing=tmp_path / "list.csv", test=root)
    data = Segmentation(root=root, regions=3, columns={"path": "file"}).model_dump()
    with pytest.raises(SpecError, match=r"data\.columns: has no effect without `listing`"):
        tiny.spec(root / "run", data=data)


def test_each_image_has_the_mask_of_its_name(root):
    source = build(root)
    assert [source.name(i) for i in range(len(source))] == ["a.jpg", "b.png", "street/0.png"]
    for index, shift in enumerate((1, 0, 2)):
        assert np.array_equal(source.mask(index).numpy(), np.roll(VALUES, shift))
        assert source.mask(index).dtype == torch.uint8
    assert torch.equal(source.load(1), torch.from_numpy(picture(0)).permute(2, 0, 1))
    assert (source.labels, source.classes, source.regions) == (None, (), ("0", "1", "2"))
    assert (source.channels, source.resident()) == (3, None)


def test_it_keeps_what_a_source_promises(root, tmp_path):
    for name in ("images/b.png", "masks/b.png"):
        target = tmp_path / "test" / name
        target.parent.mkdir(parents=True)
        target.write_bytes((root / name).read_bytes())
    spec = Segmentation(root=root, test=tmp_path / "test", regions=3)
    for check in source_promises.checks(spec).values():
        check()
    assert len(spec.build("test")) == 1
    assert Segmentation(root=root, regions=3).build("test") is None


@pytest.mark.parametrize("mode", ["P", "L"])
def test_a_palette_says_colors_and_not_regions(root, mode):
    save(root / "masks" / "a.png", VALUES, mode)
    assert np.array_equal(build(root).mask(0).numpy(), VALUES)


def test_black_and_white_masks_have_two_regions(root):
    save(root / "masks" / "a.png", (VALUES == 1).astype(np.uint8) * 255, "1")
    assert np.array_equal(build(root, regions=2).mask(0).numpy(), VALUES == 1)


def test_the_ignored_value_becomes_255(root):
    found = build(root, regions=256 - 1, ignore_index=0)
    with pytest.raises(
        DataError, match=r"has the value 255, but there are 255 regions, from 0, and 0 is ignored"
    ):
        found.mask(1)
    save(root / "masks" / "b.png", VALUES.clip(0, 2))
    assert np.array_equal(found.mask(1).numpy(), np.where(VALUES.clip(0, 2) == 0, 255, VALUES.clip(0, 2)))


def test_names_come_from_a_file(root, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("road\ncar \nsky\n\n", encoding="utf-8")
    assert build(root, regions=names).regions == ("road", "car", "sky")
    for text in ("one", "a\nb\na", ""):
        names.write_text(text)
        with pytest.raises(DataError, match="expected 2 to 255 different ones, one on each line"):
            names_in(names)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        names_in(tmp_path / "none.txt")


def test_a_strange_value_names_file_and_value(root):
    with pytest.raises(
        DataError, match=r"masks/b\.png: has the value 2, but there are 2 regions, from 0, and 255"
    ):
        build(root, regions=2).mask(1)


def test_a_mask_has_the_size_of_the_upright_image(root):
    save(root / "masks" / "b.png", VALUES.T)
    with pytest.raises(DataError, match=r"masks/b\.png: is 4 x 3 pixels, but its image, upright, 3 x 4"):
        build(root).mask(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "images" / "a.jpg", picture(), exif=exif)
    save(root / "masks" / "a.png", VALUES.T)
    turned = build(root)
    assert turned.load(0).shape[1:] == turned.mask(0).shape == (4, 3)


def test_masks_in_color_or_damaged_are_errors(root):
    save(root / "masks" / "b.png", picture())
    with pytest.raises(
        DataError, match=r"masks/b\.png: is a RGB image; expected a palette or 8-bit gray PNG"
    ):
        build(root).mask(1)
    (root / "masks" / "b.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"masks/b\.png: cannot be decoded"):
        build(root).mask(1)
    save(root / "masks" / "b.png", VALUES)
    (root / "images" / "b.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"images/b\.png: cannot be decoded"):
        build(root).mask(1)


def test_an_image_without_a_mask_is_named(root):
    (root / "masks" / "street" / "0.png").unlink()
    with pytest.raises(
        DataError, match=r"0\.png: has no mask \(1 of 3 images have none\); expected .*masks/street/0\.png"
    ):
        build(root)


def test_two_images_may_not_share_a_mask(root):
    save(root / "images" / "a.png", picture())
    with pytest.raises(DataError, match=r"a\.jpg and a\.png would share a mask"):
        build(root)


def test_the_fingerprint_tells_images_masks_and_meaning(root):
    first = build(root).fingerprint
    assert build(root).fingerprint == first
    seen = {first, build(root, regions=4).fingerprint, build(root, ignore_index=0).fingerprint}
    save(root / "masks" / "spare.png", VALUES)
    assert build(root).fingerprint == first, "a mask of no image does not matter"
    save(root / "masks" / "b.png", np.zeros((30, 40), dtype=np.uint8))
    seen.add(build(root).fingerprint)
    save(root / "images" / "b.png", picture(9, (30, 40)))
    seen.add(build(root).fingerprint)
    assert len(seen) == 5


def test_problems_are_told_before_a_run(root, tmp_path):
    def problems(**fields: object) -> list[str]:
        spec = Segmentation(**{"root": root, "regions": 3, **fields})
        return [f"{p.path}: {p.message}" for p in spec.problems(tiny.spec())]

    assert problems() == []
    (missing,) = problems(regions=tmp_path / "names.txt")
    assert missing.startswith("regions: ")
    assert "no such file; expected a text file with a name on each line" in missing
    found = problems(root=tmp_path / "nowhere", test=root)
    assert [text.partition(":")[0] for text in found] == ["root", "root"]
    (tmp_path / "half" / "images").mkdir(parents=True)
    save(tmp_path / "half" / "images" / "0.png", picture())
    (found_one,) = problems(test=tmp_path / "half")
    assert "half/masks: no such folder" in found_one
    with pytest.raises(DataError, match=r"half/masks: no such folder"):
        build(tmp_path / "half")


def test_specs_in_yaml(root):
    run = tiny.spec(data={"kind": "segmentation", "root": str(root), "regions": 3})
    assert run.data == Segmentation(root=root, regions=3)
    with pytest.raises(SpecError, match="regions"):
        tiny.spec(data={"kind": "segmentation", "root": str(root), "regions": 1})
    assert Segmentation.example() is None


def test_values_of_black_and_white_masks(root):
    for name in ("a", "b", "street/0"):
        save(root / "masks" / f"{name}.png", (VALUES == 1).astype(np.uint8) * 255)
    assert set(build(root, regions=2).mask(0).unique().tolist()) == {0, 255}, "255 is ignored by default"
    source = build(root, regions=2, values=[0, 255])
    assert np.array_equal(source.mask(0).numpy(), VALUES == 1)
    assert source.fingerprint != build(root, regions=2).fingerprint
    with pytest.raises(DataError, match=r"has the value 255, .* 2 regions, of values 0, 7, and 9 is ignored"):
        build(root, regions=2, values=[0, 7], ignore_index=9).mask(0)
    for values in ([0, 1, 2], [5, 5]):
        with pytest.raises(DataError, match="give each region one of its own"):
            build(root, regions=2, values=values)


def test_masks_of_one_region_are_told_before_the_run(root):
    """A mean intersection over union of 1.0 came out, over one region."""
    for name in ("a", "b", "street/0"):
        save(root / "masks" / f"{name}.png", (VALUES == 1).astype(np.uint8) * 255)
    message = constant_masks("test", build(root, regions=2))
    assert "all test masks show only region '0', of 2 regions" in message
    assert "`values: [0, 255]`" in message
    setting = Setting({"train": build(root), "test": build(root, regions=3)}, None, "cls")
    problems = [problem.message for problem in Dense().build().check(setting)]
    assert [text.partition(" masks")[0] for text in problems] == ["all train", "all test"]
    assert constant_masks("test", build(root, regions=2, values=[0, 255])) is None
    for name in ("a", "b", "street/0"):
        save(root / "masks" / f"{name}.png", np.full_like(VALUES, 255))
    assert "all train masks have no labeled pixel" in constant_masks("train", build(root))


def scientific(root: Path, image_HWC: np.ndarray, **options: object) -> None:
    """Images `a.tif`, `b.tif` of any type, with masks of three regions."""
    for name in ("a", "b"):
        (root / "images").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / "images" / f"{name}.tif", image_HWC, **options)
        save(root / "masks" / f"{name}.png", VALUES)


def test_float_images_have_a_range_and_masks_of_their_size(tmp_path):
    """Their masks could not be read: PIL was asked for the size of the image."""
    image = np.arange(12, dtype=np.float64).reshape(3, 4) * 100 - 300
    scientific(tmp_path, image)
    source = build(tmp_path, channels=1, range=(-300, 800))
    assert torch.allclose(source.load(0), torch.from_numpy((image[None] + 300) / 1100).float())
    assert np.array_equal(source.mask(0).numpy(), VALUES)


def test_bands_of_satellite_tiles(tmp_path):
    image = np.random.default_rng(0).integers(0, 4000, (3, 4, 5), dtype=np.uint16)
    scientific(tmp_path, image, photometric="minisblack", planarconfig="contig")
    source = build(tmp_path, channels=3, bands=(4, 0, 2), range=(0, 4000))
    assert np.allclose(source.load(1).numpy(), image.transpose(2, 0, 1)[[4, 0, 2]] / 4000, atol=1e-6)
    assert (source.channels, source.mask(1).shape) == (3, (3, 4))
    assert source.fingerprint != build(tmp_path, channels=3, bands=(4, 0, 2), range="type").fingerprint
    with pytest.raises(DataError, match=r"5 bands \(uint16\).*`bands: \[\.\.\]`"):
        build(tmp_path)


def test_masks_of_turned_tiffs_have_the_upright_size(tmp_path):
    image = np.random.default_rng(0).integers(0, 60000, (4, 3), dtype=np.uint16)
    scientific(tmp_path, image, extratags=[(274, 3, 1, 6, True)])
    source = build(tmp_path, channels=1)
    assert source.load(0).shape[1:] == source.mask(0).shape == (3, 4)
    save(tmp_path / "masks" / "a.png", VALUES.T)
    with pytest.raises(DataError, match=r"a\.png: is 4 x 3 pixels, but its image, upright, 3 x 4"):
        source.mask(0)


def test_test_images_have_the_range_of_the_training_images(tmp_path):
    for side, factor in (("train", 100), ("test", 10)):
        scientific(tmp_path / side, (np.arange(12).reshape(3, 4) * factor).astype(np.uint16))
    spec = Segmentation(
        root=tmp_path / "train", test=tmp_path / "test", regions=3, channels=1, range={"percentile": (0, 100)}
    )
    assert [float(spec.build(side).load(0).max()) for side in ("train", "test")] == [1.0, pytest.approx(0.1)]


def test_transparency_and_fields_of_images(root):
    rgba = np.dstack([picture(), np.full((3, 4), 51, np.uint8)])
    save(root / "images" / "b.png", rgba)
    assert build(root, channels=4, alpha="channel").load(1)[3].unique().tolist() == [51]
    with pytest.raises(SpecError, match=r"`bands` names 2 but channels is 3"):
        Segmentation(root=root, regions=3, bands=(0, 1))


def test_a_shrunk_image_keeps_its_mask(root):
    large = np.kron(picture(), np.ones((20, 20, 1), np.uint8))
    save(root / "images" / "a.jpg", large)
    save(root / "masks" / "a.png", np.kron(VALUES, np.ones((20, 20), np.uint8)))
    source = build(root, shrink=15)
    assert source.load(0).shape == (3, 15, 20)
    assert source.mask(0).shape == (60, 80)

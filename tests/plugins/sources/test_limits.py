"""What data from elsewhere may cost, and what it may break: limits are checked before anything is paid."""

from __future__ import annotations

import io
import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sslkit import CIFAR10, Folder, Parquet, Segmentation
from sslkit.data.decoding.decode import Decoder
from sslkit.data.decoding.image_limits import MOST_PIXELS
from sslkit.errors import DataError
from sslkit.files.image_endings import ALWAYS as EXTENSIONS
from sslkit_sources import listing
from sslkit_sources.hugging_face import class_names
from sslkit_sources.parquet_files import parquet_files
from tests.damage import damaged_json, read_or_refused
from tests.plugins.sources.test_folder import write
from tests.plugins.sources.test_parquet import picture
from tests.plugins.sources.test_parquet import write as write_parquet


def encoded(width: int, height: int, mode: str = "RGB", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, kind)
    return buffer.getvalue()


def names(root: Path) -> list[str]:
    source = Folder(root=root).build("train")
    return [source.name(i) for i in range(len(source))]


def test_two_folders_that_link_to_each_other_count_once(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        write(tmp_path / name)
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    assert names(tmp_path) == ["a/1.png", "a/2.png", "b/3.png"]


def test_a_link_out_of_the_root_is_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "deep" / "1.png")
    (tmp_path / "root" / "a").mkdir(parents=True)
    for name in ("second", "first"):
        (tmp_path / "root" / "a" / name).symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "root") == ["a/first/deep/1.png"], "under the first name in order"


def test_a_class_that_is_another_class_by_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "root" / "cats" / "1.png")
    (tmp_path / "root" / "felines").symlink_to(tmp_path / "root" / "cats")
    with pytest.raises(
        DataError, match=r"felines: is a link to .*cats, whose images are those of another class"
    ):
        Folder(root=tmp_path / "root").build("train")


def test_a_link_back_to_the_root_is_no_class(tmp_path: Path) -> None:
    write(tmp_path / "root" / "a" / "1.png")
    (tmp_path / "root" / "all").symlink_to(tmp_path / "root")
    assert names(tmp_path / "root") == ["a/1.png"]
    assert listing.class_names(listing.Where((tmp_path / "root",), EXTENSIONS)) == ("a",)


def test_patterns_enter_a_folder_once(tmp_path: Path) -> None:
    for name in ("a", "a/x"):
        write_parquet(tmp_path / name / "train.parquet", [1], [0])
    write_parquet(tmp_path / ".hidden" / "train.parquet", [1], [0])
    (tmp_path / "a" / "x" / "up").symlink_to(tmp_path / "a")
    files = parquet_files(tmp_path / "**" / "*.parquet")
    assert files == [tmp_path / "a" / "train.parquet", tmp_path / "a" / "x" / "train.parquet"]
    assert parquet_files(tmp_path / "**" / "**" / "x" / "*.parquet") == files[1:]
    assert parquet_files(tmp_path / "a" / "*.parquet") == files[:1]
    assert parquet_files(tmp_path / "nowhere" / "**" / "*.parquet") == []


def test_a_pipe_among_images_is_no_image(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    os.mkfifo(tmp_path / "2.png")
    source = Folder(root=tmp_path).build("train")
    assert source.fingerprint, "hashing opens it neither"
    with pytest.raises(DataError, match=r"2\.png: is a named pipe; expected a regular file"):
        source.load(1)


def test_pipes_in_place_of_tables_and_lists(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    write(tmp_path / "images" / "1.png")
    write(tmp_path / "masks" / "1.png", mode="L")
    with pytest.raises(DataError, match="pipe: is a named pipe"):
        Folder(root=tmp_path / "images", attributes=pipe).build("train")
    with pytest.raises(DataError, match="pipe: is a named pipe"):
        Segmentation(root=tmp_path, regions=pipe).build("train")
    (tmp_path / "masks" / "1.png").unlink()
    os.mkfifo(tmp_path / "masks" / "1.png")
    with pytest.raises(DataError, match=r"masks/1\.png: is a named pipe"):
        Segmentation(root=tmp_path, regions=3).build("train").mask(0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_an_image_past_the_limit_is_refused_by_its_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(40, 25, kind=kind)
    assert Decoder(3, max_pixels=1000)(data, "x").shape == (3, 25, 40)

    def never(image: Image.Image) -> None:
        pytest.fail("it was decoded")

    monkeypatch.setattr(Image.Image, "load", never)
    expected = (
        "x: has 40 x 25 pixels, more than max_pixels=999; make it smaller, or raise the field `max_pixels`"
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        Decoder(3, max_pixels=999)(data, "x")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("times", [1.5, 3], ids=["warned of", "refused"])
def test_pils_own_limit_gives_the_same_error(
    strict: bool, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PIL warns past its limit and refuses past twice that, in words that name no field."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(1000 / times))
    with warnings.catch_warnings():
        warnings.simplefilter("error" if strict else "ignore")
        with pytest.raises(
            DataError, match=r"has (1000|40 x 25) pixels, more than max_pixels=300; .*`max_pixels`"
        ):
            Decoder(3, max_pixels=300)(encoded(40, 25), "x")


def test_who_raises_the_field_raises_pils_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert Decoder(3, max_pixels=1000)(encoded(40, 25), "x").shape == (3, 25, 40)


def test_the_field_reaches_every_source(tmp_path: Path) -> None:
    assert {spec.model_fields["max_pixels"].default for spec in (Folder, Parquet, Segmentation)} == {
        MOST_PIXELS
    }
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(encoded(6, 5))
    (tmp_path / "masks" / "a.png").write_bytes(encoded(7, 5, "L"))
    parquet = write_parquet(tmp_path / "x.parquet", [encoded(6, 5)], [0])
    message = r"has 6 x 5 pixels, more than max_pixels=29;"
    with pytest.raises(DataError, match=message):
        Folder(root=tmp_path / "images", max_pixels=29).build("train").load(0)
    with pytest.raises(DataError, match=message):
        Parquet(files=parquet, max_pixels=29).build("train").load(0)
    masks = Segmentation(root=tmp_path, regions=3, max_pixels=30).build("train")
    with pytest.raises(DataError, match=r"masks/a\.png: has 7 x 5 pixels, more than max_pixels=30;"):
        masks.mask(0)


def test_a_large_cifar_image_is_refused_by_its_header(tmp_path: Path) -> None:
    table = pa.table({"img": [{"bytes": encoded(320, 32)}], "label": [1]})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"row 0: has 320 x 32 pixels; a CIFAR-10 image has 32 x 32"):
        CIFAR10(root=tmp_path).build("train")


@pytest.mark.parametrize("label", [100_000, 2**31, 2**62, 2**64 - 1])
def test_a_label_that_is_no_class_is_refused_at_once(tmp_path: Path, label: int) -> None:
    labels = pa.array([0, 1, label], pa.uint64())
    path = write_parquet(tmp_path / "x.parquet", [1, 2, 3], labels)
    expected = (
        f"column 'label' has the label {label}, and 3 different labels in all; labels count the classes from 0, up to "
        "max_classes=100,000. Number the classes from 0, write their names, raise the field `max_classes`"
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        Parquet(files=path).build("train")
    assert len(Parquet(files=path, label_column=None).build("train")) == 3


def test_who_raises_the_field_has_more_classes(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [1, 2], [0, 7])
    with pytest.raises(DataError, match="max_classes=7"):
        Parquet(files=path, max_classes=7).build("train")
    assert len(Parquet(files=path, max_classes=8).build("train").classes) == 8
    named = write_parquet(tmp_path / "y.parquet", [1, 2], [0, 2**40], names=("a", "b"))
    with pytest.raises(DataError, match=r"label 1099511627776 in column 'label' is none of the 2 classes"):
        Parquet(files=named).build("train")


HUB = {
    "info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["x", "y"], "_type": "ClassLabel"}}}
}


def test_damaged_metadata_costs_class_names_only(tmp_path: Path) -> None:
    """A line tells of each damage that took the names. Names that are fewer than the labels are refused as ever."""
    path, told, table = (
        tmp_path / "x.parquet",
        0,
        pa.table({"image": [picture(1), picture(2)], "label": [1, 0]}),
    )
    for damage in damaged_json(HUB, seed=11, tries=150):
        pq.write_table(table.replace_schema_metadata({b"huggingface": damage.data}), path)
        with warnings.catch_warnings(record=True) as lines:
            warnings.simplefilter("always")
            source = read_or_refused(lambda: Parquet(files=path).build("train"))
        if isinstance(source, str):
            assert re.search(r"label 1 in column 'label' is none of the 1 classes\.", source), damage.name
            continue
        assert source is not None
        assert source.labels is not None
        assert source.labels.tolist() == [1, 0], damage.name
        assert len(source.classes) >= 2, damage.name
        assert len(lines) <= 1, damage.name
        for line in lines:
            told += 1
            assert source.classes == ("0", "1"), damage.name
            assert re.match(
                rf"{path}: metadata 'huggingface'.* is damaged: .*; classes go by", str(line.message)
            )
    assert told > 50


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, ()),
        ({b"other": b"{"}, ()),
        ({b"huggingface": json.dumps({"info": {"features": None}}).encode()}, ()),
        ({b"huggingface": json.dumps({"info": {"features": {"label": [{"dtype": "int64"}]}}}).encode()}, ()),
        ({b"huggingface": json.dumps({"info": {"features": {"label": {"names": None}}}}).encode()}, ()),
        ({b"huggingface": json.dumps(HUB).encode()}, ("x", "y")),
    ],
)
def test_metadata_without_names_is_not_damaged(metadata, expected) -> None:
    assert class_names(Path("x.parquet"), metadata, "label") == expected


def test_damaged_parquet_files_are_refused(tmp_path: Path) -> None:
    from tests.damage import damaged_bytes

    path = write_parquet(tmp_path / "x.parquet", [1, 2, 3], [0, 1, 0])
    whole = path.read_bytes()
    for damage in damaged_bytes(whole, seed=3, tries=60):
        if not damage.name.startswith(("cut", "empty")):
            continue
        path.write_bytes(damage.data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = read_or_refused(lambda: Parquet(files=path).build("train"))
        assert "x.parquet: cannot be read as parquet" in str(outcome), damage.name


def test_images_with_damage_are_refused(tmp_path: Path) -> None:
    from tests.damage import damaged_bytes

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        buffer = io.BytesIO()
        noise.save(buffer, kind)
        for damage in damaged_bytes(buffer.getvalue(), seed=9, tries=40):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcome = read_or_refused(lambda data=damage.data: Decoder(3, max_pixels=10_000)(data, "x"))
            assert isinstance(outcome, str) or outcome.shape[0] == 3, (kind, damage.name)

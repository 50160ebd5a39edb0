"""Captions of images: made of labels, in a table, in files beside them, in members of shards, in parquet columns."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sslkit import Digits, Folder, Parquet
from sslkit.analysis.image_data.data_fields import DataFields, streams_beside
from sslkit.analysis.image_data.image_faults import Fault, check_images, too_many
from sslkit.interfaces import text_of
from sslkit.plugin import DataError, SpecError
from sslkit_text.caption_places import BesideImages, from_labels, from_table
from sslkit_text.captioned_source import CaptionedSource
from sslkit_text.specs.captions import CaptionColumn, CaptionFiles, CaptionTable, ClassCaptions
from tests.plugins.text.pictures import Pictures, captioned


def write_pictures(folder, names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 2 * i, 0)).save(path)


def test_each_class_has_a_caption_of_every_template():
    spec = ClassCaptions(images=Digits(), templates=("the number {}", "{}!"), names={"3": "three"})
    source = spec.build("test")
    label = source.labels[0].item()
    word = "three" if label == 3 else str(label)
    assert source.caption(0) == f"the number {word}\0{word}!"
    assert text_of(source.read(0, "caption")) == source.caption(0)
    assert torch.equal(source.read(0, "image"), source.images.load(0))
    assert [*spec.streams] == ["image", "caption"]
    assert (spec.streams["caption"].type, spec.streams["caption"].axes) == ("text", 1)
    three = int((source.labels == 3).nonzero()[0])
    assert source.caption(three).startswith("the number three")


def test_labels_and_templates_must_fit():
    with pytest.raises(SpecError, match="for the name of the class"):
        ClassCaptions(images=Digits(), templates=("no place",))
    with pytest.raises(DataError, match="owl"):
        from_labels(Pictures(4), ("{}",), {"owl": "bird"})
    unlabeled = Pictures(4)
    unlabeled.labels = None
    with pytest.raises(DataError, match="no labels"):
        from_labels(unlabeled, ("{}",), {})


def test_a_captioned_source_is_that_of_its_images():
    source = captioned(["a", "b\0c", "d"])
    assert len(source) == 3
    assert source.labels.tolist() == [0, 1, 0]
    assert source.classes == ("cat", "dog")
    assert source.name(1) == "1"
    assert (source.channels_of("image"), source.channels_of("caption")) == (1, 1)
    assert [text_of(text) for text in source.held("caption")] == ["a", "b\0c", "d"]
    assert source.held("image") is None
    assert source.encoded(0) is None
    assert source.mask(0) is None


def test_the_fingerprint_covers_captions():
    same, other = captioned(["a", "b"]), captioned(["a", "c"])
    assert same.fingerprint == captioned(["a", "b"]).fingerprint
    assert same.fingerprint != other.fingerprint
    assert (same.digests() == other.digests()).all(1).tolist() == [True, False]


def test_an_image_without_a_caption_is_unreadable():
    source = captioned(["a", " ", "c"])
    with pytest.raises(DataError, match="1: has no caption"):
        source.read(1, "caption")
    assert source.held("caption") is None
    assert source.digests().shape == (3, 16)


def table(tmp_path, text, name="captions.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_names_images(tmp_path):
    """Several rows are several captions; one that is quoted may hold commas; order does not matter."""
    images = Pictures(3, ["cats/a.png", "b.png", "c.png"])
    path = table(tmp_path, 'path,caption\nb.png,"one, two"\ncats/a.png,a cat\nb.png,three\nother.png,x\n')
    assert from_table(images, path, "path", "caption") == ["a cat", "one, two\0three", ""]
    tabs = table(tmp_path, "file\ttext\nb.png\tone, two\n", "captions.tsv")
    assert from_table(images, tabs, "file", "text") == ["", "one, two", ""]


def test_tables_that_do_not_fit_say_so(tmp_path):
    images = Pictures(2, ["a.png", "b.png"])
    with pytest.raises(DataError, match="no column 'caption'"):
        from_table(images, table(tmp_path, "path,text\na.png,x\n"), "path", "caption")
    with pytest.raises(DataError, match=r"names none of the images: it has 'z\.png', they have 'a\.png'"):
        from_table(images, table(tmp_path, "path,caption\nz.png,x\n"), "path", "caption")
    spec = CaptionTable(images=Digits(), table=tmp_path / "none.csv")
    assert [problem.path for problem in spec.problems(None)] == ["table"]


def test_a_folder_and_its_table(tmp_path):
    write_pictures(tmp_path / "train", ["a.png", "b.png"])
    path = table(tmp_path, "path,caption\na.png,first\nb.png,second\n")
    spec = CaptionTable(images=Folder(root=tmp_path / "train"), table=path)
    source = spec.build("train")
    assert [source.caption(i) for i in range(2)] == ["first", "second"]
    assert spec.build("test") is None


def test_texts_beside_images(tmp_path):
    """One caption a line; read when asked for, in workers too."""
    write_pictures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_text("one cat\n\n two cats \n", encoding="utf-8")
    spec = CaptionFiles(images=Folder(root=tmp_path), root=tmp_path)
    source = pickle.loads(pickle.dumps(spec.build("train")))
    assert source.caption(0) == "one cat\0two cats"
    assert source.held("caption") is None
    with pytest.raises(DataError, match=r"b\.txt"):
        source.caption(1)


class Samples(Pictures):
    """Gives texts itself, as a source of shards does."""

    def text(self, index, ending):
        return None if index else f"a picture as {ending}"


def test_texts_of_samples():
    source = CaptionedSource(Samples(2), BesideImages(Samples(2), None, ".txt"))
    assert source.caption(0) == "a picture as txt"
    with pytest.raises(DataError, match="no member"):
        source.caption(1)
    with pytest.raises(DataError, match="give `root`"):
        BesideImages(Pictures(2), None, ".txt")(0)


def test_a_column_of_the_images_own_files(tmp_path):
    """Texts, lists of texts, and rows without one."""
    write_pictures(tmp_path, ["a.png", "b.png", "c.png"])
    images = [{"bytes": (tmp_path / name).read_bytes()} for name in ("a.png", "b.png", "c.png")]
    columns = {"image": images, "words": ["one", "two", None], "lists": [["a", "b"], ["c"], ["d"]]}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    parquet = Parquet(files=tmp_path / "train.parquet", label_column=None)
    source = CaptionColumn(images=parquet, column="words").build("train")
    assert [source.caption(i) for i in range(2)] == ["one", "two"]
    with pytest.raises(DataError, match="no caption"):
        source.caption(2)
    assert CaptionColumn(images=parquet, column="lists").build("train").caption(0) == "a\0b"
    with pytest.raises(DataError, match="no column 'caption'"):
        CaptionColumn(images=parquet).build("train")
    with pytest.raises(DataError, match="no row of a parquet file"):
        CaptionColumn(images=Digits()).build("train")


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("path,caption\na.png,one\nb.png,two\n", ["one", "two"]),
        ("caption,path\none,a.png\ntwo,b.png\n", ["one", "two"]),
        ('path,caption\na.png,"said ""hello"""\nb.png,two\n', ['said "hello"', "two"]),
        ("path,caption,more\na.png,one,1\nb.png,two,2\n", ["one", "two"]),
        ("path,caption\na.png,Naïve café 東京\n", ["Naïve café 東京", ""]),
        ("path,caption\r\na.png,one\r\nb.png,two\r\n", ["one", "two"]),
        ("path,caption\na.png,\na.png,later\n,nobody\n", ["later", ""]),
        ("path,caption\na.png,one", ["one", ""]),
    ],
)
def test_forms_of_tables(tmp_path, text, captions):
    """Columns in any order, quotes, other letters, ends of lines, and rows that say nothing."""
    images = Pictures(2, ["a.png", "b.png"])
    assert from_table(images, table(tmp_path, text), "path", "caption") == captions


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("one cat", "one cat"),
        ("one cat\n", "one cat"),
        ("  one cat  \n\n\n", "one cat"),
        ("one\ntwo\r\nthree", "one\0two\0three"),
        ("Naïve 東京\n", "Naïve 東京"),
    ],
)
def test_forms_of_text_files(tmp_path, text, caption):
    write_pictures(tmp_path, ["cats/a.png"])
    (tmp_path / "cats" / "a.txt").write_bytes(text.encode())
    source = CaptionFiles(images=Folder(root=tmp_path), root=tmp_path).build("train")
    assert source.caption(0) == caption


def test_an_empty_text_file_is_no_caption(tmp_path):
    write_pictures(tmp_path, ["a.png"])
    (tmp_path / "a.txt").write_text("\n \n")
    source = CaptionFiles(images=Folder(root=tmp_path), root=tmp_path).build("train")
    with pytest.raises(DataError, match="has no caption"):
        source.read(0, "caption")


def test_a_quoted_caption_keeps_its_lines(tmp_path):
    """Ends of lines, and what only some programs take for one, do not cut it."""
    images = Pictures(2, ["a.png", "b.png"])
    path = table(tmp_path, 'path,caption\na.png,"one\nand\u2028more"\nb.png,two\u0085too\n')
    assert from_table(images, path, "path", "caption") == ["one\nand\u2028more", "two\u0085too"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'path'; it is empty"),
        ("path;caption\na.png;one\n", r"its columns are path;caption \(commas between columns\)"),
        ("path,caption\n", "has no captions in column 'caption'"),
        ("path,caption\na.png,\n", "has no captions in column 'caption'"),
        ("path,caption\nphotos/a.png,one\n", "write paths below the folder of the images"),
        ('path,caption\na.png,"' + "x" * 200_000 + "\n", "is a quote open"),
    ],
)
def test_mistakes_in_tables_say_what_to_do(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        from_table(Pictures(2, ["a.png", "b.png"]), path, "path", "caption")
    assert str(caught.value).startswith(f"{path}: ")


def test_folders_of_text_files_are_checked_before_a_run(tmp_path):
    """Test images of another folder never get the captions of training images that have their names."""
    images = Folder(root=tmp_path / "train", test=tmp_path / "val")
    for folder in ("train", "val"):
        write_pictures(tmp_path / folder, ["a.png"])
        (tmp_path / folder / "a.txt").write_text(folder)
    one = CaptionFiles(images=images, root=tmp_path / "train")
    (problem,) = one.problems(None)
    assert problem.path == "test_root"
    assert "name the folder of their captions" in problem.message
    both = CaptionFiles(images=images, root=tmp_path / "train", test_root=tmp_path / "val")
    assert list(both.problems(None)) == []
    assert both.build("train").caption(0) == "train"
    assert both.build("test").caption(0) == "val"
    none = CaptionFiles(images=images, root=tmp_path / "trains", test_root=tmp_path / "vals")
    assert [problem.path for problem in none.problems(None)] == ["root", "test_root"]


def test_data_check_finds_images_without_a_caption(tmp_path):
    """They are no fault where no view reads captions."""
    write_pictures(tmp_path / "photos", ["a.png", "b.png", "c.png"])
    path = table(tmp_path, "path,caption\na.png,first\nb.png,second\n")
    data = CaptionTable(images=Folder(root=tmp_path / "photos"), table=path)
    views = {"global": {"size": 8}, "text": {"stream": "caption", "size": 8, "transform": {"kind": "bpe"}}}
    fields = DataFields(data=data, workers=0, views=views)
    results = check_images(fields)
    assert results["train"].faults["unreadable"] == [Fault("c.png", "c.png: has no caption")]
    (line,) = too_many(results, fields.max_corrupt)
    assert "1 of 3 train images cannot be read" in line
    images = DataFields(data=data, workers=0, views={"global": {"size": 8}})
    assert "unreadable" not in check_images(images)["train"].faults
    assert (streams_beside(fields), streams_beside(images)) == ({"caption": 1}, {})

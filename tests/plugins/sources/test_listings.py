"""Listings: CSV and text files that name the images of a folder, their labels, splits, groups and attributes."""

from __future__ import annotations

import csv
import random
import string
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslkit import Folder
from sslkit.errors import DataError, SpecError, SslkitWarning
from sslkit.specs.listing_table import files_of, read_table
from sslkit.specs.load import parse_as
from tests import tiny
from tests.plugins.sources.test_folder import write

NAMES = ("a/0.png", "a/2.png", "b/1.png", "b/3.png", "c d/4,5.png")
TABLE = (
    "path,label,split,group,color\n"
    "b/1.png,dog,train,x,red\n"
    "a/0.png,cat,Training,x,\n"
    "a/2.png,cat,test,y,blue\n"
    '"c d/4,5.png",10,train,z,red\n'
    "b/3.png,dog,TEST,z,red\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(NAMES):
        write(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def listed(root: Path, text: str | bytes, name: str = "images.csv", **fields: object) -> Folder:
    """The images of `root` that a listing of this content names."""
    file = root.parent / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return parse_as(Folder, {"root": root, "listing": file, **fields})


def rows(spec: Folder, split: str = "train") -> dict[str, object]:
    """Image -> its class, or its number where there are none."""
    source = spec.build(split)
    labels = (
        range(len(source)) if source.labels is None else [source.classes[i] for i in source.labels.tolist()]
    )
    return {source.name(i): label for i, label in enumerate(labels)}


def refusal(spec: Folder, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        spec.build(split)
    return str(caught.value).replace(str(spec.listing.parent), "")


def test_the_columns_say_label_split_and_attributes(root: Path) -> None:
    spec = listed(root, TABLE)
    assert rows(spec) == {"a/0.png": "cat", "b/1.png": "dog", "c d/4,5.png": "10"}
    assert rows(spec, "test") == {"a/2.png": "cat", "b/3.png": "dog"}
    train, test = spec.build("train"), spec.build("test")
    assert train.classes == test.classes == ("10", "cat", "dog"), "a number is a name"
    assert list(train.attributes) == ["color"]
    assert train.attributes["color"].tolist() == [-1, 1, 1], "blue, red; an empty cell is unknown"
    assert test.attributes["color"].tolist() == [0, 1]
    assert tiny.spec(root.parent / "run", data=spec.model_dump()), "validate finds nothing"


def test_images_are_those_of_the_folder(root: Path) -> None:
    source, folder = listed(root, TABLE).build("test"), Folder(root=root).build("train")
    places = {folder.name(i): i for i in range(len(folder))}
    for i in range(len(source)):
        assert (source.load(i) == folder.load(places[source.name(i)])).all()


WRITTEN: dict[str, Callable[[str], bytes]] = {
    "semicolons": lambda text: (
        text.replace('"c d/4,5.png"', "c d/4.5.png").replace(",", ";").replace("4.5", "4,5").encode()
    ),
    "tabs": lambda text: (
        text.replace('"c d/4,5.png"', "c d/4.5.png").replace(",", "\t").replace("4.5", "4,5").encode()
    ),
    "byte-order mark": lambda text: text.encode("utf-8-sig"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "blank lines": lambda text: text.replace("\n", "\n\n").encode(),
    "blanks": lambda text: text.replace(",", " , ").replace("4 , 5", "4,5").replace('" ,', '",').encode(),
    "backslashes": lambda text: text.replace("/", "\\").encode(),
    "dots": lambda text: text.replace("a/", "./a//").replace("b/", "a/../b/").encode(),
    "row numbers of pandas": lambda text: "".join(
        f"{'' if i == 0 else i - 1},{line}\n" for i, line in enumerate(text.splitlines())
    ).encode(),
    "no line at the end": lambda text: text.rstrip().encode(),
}


@pytest.mark.parametrize("way", WRITTEN)
def test_the_same_table_however_it_is_written(root: Path, way: str) -> None:
    plain = [listed(root, TABLE).build(split).fingerprint for split in ("train", "test")]
    other = listed(root, WRITTEN[way](TABLE), "other.csv")
    assert [other.build(split).fingerprint for split in ("train", "test")] == plain


def test_paths_may_be_absolute_below_the_root(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    plain = rows(listed(root, "path,label\na/0.png,x\nb/1.png,y\n"))
    for base in (root, root.parent / "link"):
        assert rows(listed(base, f"path,label\n{base}/a/0.png,x\n{root}/b/1.png,y\n")) == plain


def test_rows_in_any_order_are_the_same_data(root: Path) -> None:
    header, *lines = TABLE.splitlines()
    prints = set()
    for seed in range(4):
        random.Random(seed).shuffle(lines)
        prints.add(listed(root, "\n".join([header, *lines])).build("train").fingerprint)
    assert len(prints) == 1


def test_columns_go_by_other_names(root: Path) -> None:
    text = TABLE.replace("path,label,split,group", "file,diagnosis,fold,patient")
    columns = {"path": "file", "label": "diagnosis", "split": "fold", "group": "patient"}
    spec = listed(root, text, columns=columns)
    assert rows(spec) == rows(listed(root, TABLE, "plain.csv"))
    assert list(spec.build("train").attributes) == ["color"]
    assert list(listed(root, TABLE, columns={"attributes": ["group"]}).build("train").attributes) == ["group"]
    assert listed(root, TABLE, columns={"attributes": []}).build("train").attributes == {}


def test_columns_can_be_left_out(root: Path) -> None:
    source = listed(root, TABLE, columns={"label": None, "split": None}).build("train")
    assert (source.labels, source.classes, len(source)) == (None, (), 5)
    assert sorted(source.attributes) == ["color", "label", "split"]
    assert listed(root, "path\na/0.png\n").build("train").labels is None
    assert listed(root, "path\na/0.png\n").build("test") is None


def test_columns_with_a_value_of_its_own_for_each_image_are_no_attributes(root: Path) -> None:
    text = "path,id,site\na/0.png,1,x\na/2.png,2,x\nb/1.png,3,y\n"
    assert list(listed(root, text).build("train").attributes) == ["site"]
    assert list(listed(root, text, columns={"attributes": ["id"]}).build("train").attributes) == ["id"]


def test_a_text_file_takes_the_labels_of_class_folders(root: Path) -> None:
    spec = listed(root, "b/1.png\r\n\r\na/2.png\r\n", "some.txt")
    assert rows(spec) == {"a/2.png": "a", "b/1.png": "b"}
    every = listed(root, "\n".join(NAMES), "all.txt")
    assert every.build("train").fingerprint == Folder(root=root).build("train").fingerprint
    write(root / "loose.png")
    assert rows(listed(root, "loose.png\n", "loose.txt")) == {"loose.png": 0}
    assert "mixes loose images" in refusal(listed(root, "loose.png\na/0.png\n", "mixed.txt"))


def test_a_listing_of_its_own_for_the_test_split(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "held" / "9.png", 9)
    (tmp_path / "test.csv").write_text("path,label,color\n9.png,dog,red\n")
    text = (
        TABLE.replace(",split", "")
        .replace(",train", "")
        .replace(",Training", "")
        .replace(",test", "")
        .replace(",TEST", "")
    )
    spec = listed(root, text, test=tmp_path / "held", test_listing=tmp_path / "test.csv")
    assert len(spec.build("train")) == 5
    test = spec.build("test")
    assert rows(spec, "test") == {"9.png": "dog"}
    assert (test.classes, test.attributes["color"].tolist()) == (("10", "cat", "dog"), [1])
    (tmp_path / "test.csv").write_text("path,label\n9.png,cow\n")
    assert "/test.csv: line 2: the label 'cow' is none of the 3 classes" in refusal(spec, "test")
    (tmp_path / "test.csv").write_text("path\na/0.png\n")
    same = listed(root, text, test_listing=tmp_path / "test.csv")
    assert rows(same, "test") == {"a/0.png": 0}, "below root, without labels"


@pytest.mark.filterwarnings("ignore:data.split. .*another `seed` may do better")
def test_a_split_is_drawn_by_group_folder_or_image(root: Path) -> None:
    for i in range(40):
        write(root / f"series {i % 8}" / f"{i}.png", i)
    text = "path,group,label\n" + "".join(f"series {i % 8}/{i}.png,p{i % 12},{i % 2}\n" for i in range(40))
    for by, key in (("group", lambda i: i % 12), ("folder", lambda i: i % 8), ("image", lambda i: i)):
        spec = listed(root, text, split={"test": 0.4, "by": by, "seed": 1})
        sides = [{int(Path(name).stem) for name in rows(spec, split)} for split in ("train", "test")]
        assert sides[0] | sides[1] == set(range(40))
        assert {key(i) for i in sides[0]}.isdisjoint(key(i) for i in sides[1]), by
    lines = [f"series {i % 8}/{i}.png" for i in range(40)]
    spec = listed(root, "\n".join(lines), "text.txt", split={"test": 0.4, "by": "folder"})
    folders = [{name.partition("/")[0] for name in rows(spec, split)} for split in ("train", "test")]
    assert not folders[0] & folders[1]
    assert spec.build("train").labels is None, "folders that stay together are no classes"


def test_validation_tests_where_nothing_else_does(root: Path) -> None:
    text = "path,split\na/0.png,train\na/2.png,val\nb/1.png,unlabeled\n"
    spec = listed(root, text)
    assert [list(rows(spec, split)) for split in ("train", "test")] == [["a/0.png", "b/1.png"], ["a/2.png"]]
    both = listed(root, text + "b/3.png,test\n")
    with pytest.warns(
        SslkitWarning, match="1 of 4 images are of the split 'validation', which is not read beside"
    ):
        both.build("train")
    assert list(rows(both, "test")) == ["b/3.png"]
    labels = listed(root, text.replace("path,", "path,label,").replace(".png,", ".png,x,"))
    with pytest.warns(SslkitWarning, match="'unlabeled'"):
        assert rows(labels) == {"a/0.png": "x"}


def test_labels_may_be_missing_in_one_split(root: Path) -> None:
    spec = listed(root, "path,label,split\na/0.png,x,train\nb/1.png,y,train\na/2.png,,test\n")
    assert rows(spec) == {"a/0.png": "x", "b/1.png": "y"}
    assert spec.build("test").labels is None


FAULTS = {
    "empty": ("", "/images.csv: is empty; expected a header and a row for each image"),
    "no rows": ("path,label\n", "has a header and no rows"),
    "no path": ("file,label\na/0.png,x\n", "line 1: has no column 'path'. Known: file, label. Name the one"),
    "no header": ("a/0.png,x\n", "line 1: has no column 'path'"),
    "twice in the header": ("path,label,label\na/0.png,x,y\n", "line 1: has the column 'label' twice"),
    "short row": (
        "path,label\na/0.png,x\na/2.png\n",
        "line 3: has 1 cells, but the header has 2 (path, label)",
    ),
    "long row": ("path,label\n\nc d/4,5.png,x\n", "line 3: has 3 cells, but the header has 2"),
    "open quotation": (
        'path,label\n"a/0.png,x\nb/1.png,y\n',
        "cannot be read as CSV: unexpected end of data",
    ),
    "no name": ("path,label\na/0.png,x\n,y\n", "line 3: names no image"),
    "missing": (
        "path\na/0.png\na/9.png\nb/9.png\n",
        "line 3: names 'a/9.png', and there is no such file below",
    ),
    "how many": (
        "path\na/0.png\na/9.png\nb/9.png\n",
        "(2 of 3 are missing); correct the path, or remove the row",
    ),
    "no ending": ("path\na/0\n", "'0.png' is, so write paths with their endings"),
    "below another": ("path\nphotos/a/0.png\n", "it is below , so write `root: `"),
    "folder": ("path\na\n", "line 2: names 'a', and there is no such file"),
    "twice": ("path\na/0.png\nb/1.png\n./a/0.png\n", "line 4: names './a/0.png', as line 2 does"),
    "outside": ("path\n../other.png\n", "line 2: names '../other.png', which does not lie below"),
    "outside and back": ("path\na/../../photos/a/0.png\n", "which does not lie below"),
    "absolute": ("path\n/photos/a/0.png\n", "line 2: names '/photos/a/0.png', which does not lie below"),
    "sibling": ("path\n../photos2/a.png\n", "which does not lie below"),
    "the root": ("path\n.\n", "which does not lie below"),
    "some labels": (
        "path,label\na/0.png,x\nb/1.png,\n",
        "line 3: has no label (1 of 2 images of this split have none)",
    ),
    "no split": (
        "path,split\na/0.png,train\nb/1.png,\n",
        "line 3: has '' in the column 'split'; expected train, test, val",
    ),
    "odd split": ("path,split\na/0.png,0\n", "line 2: has '0' in the column 'split'"),
    "tests only": ("path,split\na/0.png,test\n", "its column 'split' has no image to train on, only test"),
    "null character": ("path\na/\0.png\n", "'a/\\x00.png'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_told_with_their_line(root: Path, fault: str) -> None:
    text, message = FAULTS[fault]
    assert message in refusal(listed(root, text))


def test_lines_are_those_of_the_file(root: Path) -> None:
    text = 'path,note\na/0.png,"two\nlines"\n\nb/1.png\n'
    assert "line 5: has 1 cells" in refusal(listed(root, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a/0.png 3\n",
            "a text file has a path on each line and no more; for labels write CSV with the header",
        ),
        ("a/0.png\na/0.png\n", "line 2: names 'a/0.png', as line 1 does"),
        ("../x.png\n", "line 1: names '../x.png', which does not lie below"),
    ],
)
def test_faults_of_text_files(root: Path, text: str, message: str) -> None:
    assert message in refusal(listed(root, text, "images.txt"))


def test_another_encoding_is_told(root: Path) -> None:
    assert "is damaged or no text: byte 0 is not UTF-8; save it in UTF-8" in refusal(
        listed(root, TABLE.encode("utf-16"))
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"split": {"test": 0.5}},
            "its column 'split' says which images are tests, and the field `split` does, too",
        ),
        (
            {"columns": {"label": "diagnosis"}},
            "line 1: has no column 'diagnosis', which `columns` names. Known: color, ",
        ),
        ({"columns": {"attributes": ["site"]}}, "has no column 'site', which `columns` names"),
        (
            {"columns": {"split": None, "group": "patient"}, "split": {"test": 0.5, "by": "group"}},
            "has no column 'patient', which `columns` names",
        ),
    ],
)
def test_columns_that_do_not_fit_the_fields(root: Path, fields: dict[str, object], message: str) -> None:
    assert message in refusal(listed(root, TABLE, **fields))


def test_groups_that_are_missing(root: Path) -> None:
    split = {"test": 0.5, "by": "group"}
    assert "it has no column 'group'." in refusal(listed(root, "path\na/0.png\na/2.png\n", split=split))
    assert "it has no columns." in refusal(listed(root, "a/0.png\na/2.png\n", "x.txt", split=split))
    some = listed(root, "path,group\na/0.png,x\na/2.png,\n", split=split)
    assert "line 3: has no group in the column 'group'" in refusal(some)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"root": ["photos", "more"]}, "paths of a `listing` are below one folder"),
        ({"attributes": "x.csv"}, "`attributes` has no effect with `listing`"),
        ({"extensions": [".png"]}, "`extensions` has no effect with `listing`"),
        ({"test": "held"}, "`test` needs a `test_listing`"),
        ({"test_listing": "x.csv", "split": {"test": 0.1}}, "`test_listing` names one; leave one out"),
        ({"columns": {"path": ""}}, "columns.path"),
        ({"columns": {"label": "a", "lable": "b"}}, "columns.lable"),
    ],
)
def test_fields_that_exclude_each_other(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        parse_as(Folder, {"root": "photos", "listing": "x.csv", **fields})


def test_fields_without_effect_and_files_that_are_not_there(root: Path, tmp_path: Path) -> None:
    for fields in ({"columns": {"path": "file"}}, {"test_listing": tmp_path / "x.csv"}):
        data = Folder(root=root, **fields).model_dump()
        with pytest.raises(
            SpecError, match=f"data.{next(iter(fields))}: .*`listing`|data.test_listing: .*no such file"
        ):
            tiny.spec(tmp_path / "run", data=data)
    data = Folder(root=root, listing=tmp_path / "gone.csv").model_dump()
    with pytest.raises(SpecError, match=r"data\.listing: .*gone\.csv: no such file"):
        tiny.spec(tmp_path / "run", data=data)


CELLS = st.text(string.ascii_letters + string.digits + " ,;\t'\"|äß/\\-_.", max_size=8).map(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    cells=st.lists(st.tuples(CELLS.filter(bool), CELLS), min_size=5, max_size=5),
    delimiter=st.sampled_from(",;\t"),
    order=st.permutations(range(5)),
)
def test_what_a_csv_writer_writes_is_read(
    root: Path, cells: list[tuple[str, str]], delimiter: str, order: list[int]
) -> None:
    file = root.parent / "round.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerow(["label", "path", "note"])
        writer.writerows([cells[i][0], NAMES[i], cells[i][1]] for i in order)
    spec = Folder(root=root, listing=file, columns={"attributes": ["note"]})
    assert rows(spec) == {name: label for name, (label, _) in zip(NAMES, cells, strict=True)}
    notes = spec.build("train").attributes["note"].tolist()
    values = sorted({note for _, note in cells if note})
    assert len({note for note in notes if note >= 0}) == len(values)
    assert [note < 0 for note in notes] == [not note for _, note in cells]


def test_a_million_rows_are_read_in_seconds(tmp_path: Path) -> None:
    """A tenth of that; each folder is listed once."""
    count = 100_000
    for folder in range(10):
        (tmp_path / str(folder)).mkdir()
    names = [f"{i % 10}/{i:06d}.png" for i in range(count)]
    for name in names[:2000]:
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text(
        "path,label\n" + "".join(f"{name},{name[0]}\n" for name in names[:2000] * 50)
    )
    began = time.process_time()
    table = read_table(tmp_path / "list.csv", "path")
    assert len(table.paths) == count
    with pytest.raises(DataError, match=r"line 2002: names '0/000000\.png', as line 2 does"):
        files_of(table, tmp_path)
    assert time.process_time() - began < 5


def test_nothing_is_warned_of_that_is_right(root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = [len(listed(root, TABLE).build(split)) for split in ("train", "test")]
    assert min(counts) > 0

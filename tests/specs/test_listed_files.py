"""Listings without a source: what a source of one's own gets from the front door."""

from __future__ import annotations

import os
import string
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslkit.plugin import (
    DataError,
    ListedFiles,
    ListingColumns,
    ListingFile,
    SplitSpec,
    SslkitWarning,
    listed_files,
    names_of,
    value_numbers,
)
from sslkit.plugin import (
    test_split_conflict as conflict_of,
)

SIDES = ("train", "test")
NAMES = ("a/0.x", "a/1.x", "b/2.x", "b/3.x", "c/4.x", "c/5.x")


class Rules(NamedTuple):
    """The first folder is the class; its letter is the group."""

    folders: bool = False
    grouped: bool = True

    def labels(
        self, root: Path, files: Sequence[str], classes: tuple[str, ...]
    ) -> tuple[list[int] | None, tuple[str, ...]]:
        """By first folder."""
        classes = classes or tuple(sorted({file[0] for file in files}))
        return [classes.index(file[0]) for file in files], classes

    def together(
        self, root: Path, files: Sequence[str], labels: Sequence[int] | None, by: str
    ) -> Sequence[str] | None:
        """By first folder."""
        return [file[0] for file in files] if by == "folder" or self.grouped else None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).touch()
    return tmp_path / "files"


def read(
    root: Path,
    text: str,
    split: str = "train",
    *,
    name: str = "list.csv",
    draw: SplitSpec | None = None,
    rules: Rules | None = None,
    **columns: object,
) -> ListedFiles | None:
    """What a listing of this text says of `split`."""
    file = root.parent / name
    file.write_text(text, encoding="utf-8")
    train = ListingFile(file, root)
    return listed_files(train, None, ListingColumns(**columns), draw, split, rules or Rules())


def test_labels_splits_and_attributes_come_from_the_columns(root: Path) -> None:
    text = "path,label,split,site\nb/2.x,dog,train,x\na/0.x,cat,test,y\na/1.x,10,train,\n"
    listed = read(root, text)
    assert listed is not None
    assert (listed.root, listed.files) == (root, ["a/1.x", "b/2.x"])
    assert listed.classes == ("10", "cat", "dog"), "a number is a name"
    assert listed.labels == [0, 2]
    assert listed.attributes == {}, "each image has a site of its own"
    named = read(root, text, attributes=("site",))
    assert named is not None
    assert named.attributes == {"site": [-1, 0]}
    assert named.attribute_values == {"site": ("x", "y")}
    tests = read(root, text, "test", attributes=("site",))
    assert tests is not None
    assert (tests.files, tests.labels, tests.attributes) == (["a/0.x"], [1], {"site": [1]})


def test_a_text_file_leaves_labels_to_the_rules(root: Path) -> None:
    listed = read(root, "b/3.x\n\na/1.x\n", name="some.txt")
    assert listed is not None
    assert (listed.files, listed.labels, listed.classes) == (["a/1.x", "b/3.x"], [0, 1], ("a", "b"))
    assert read(root, "b/3.x\n", "test", name="some.txt") is None


def test_no_test_images_are_no_split(root: Path) -> None:
    text = "path,split\na/0.x,train\n"
    assert read(root, text, "test") is None
    assert read(root, "path\na/0.x\n", "test") is None


@pytest.mark.parametrize("by", ["image", "folder", "group"])
def test_a_draw_divides_without_rest_and_keeps_together(root: Path, by: str) -> None:
    text = "path\n" + "\n".join(NAMES)
    draw = SplitSpec(test=0.5, by=by, seed=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SslkitWarning)
        sides = [read(root, text, split, draw=draw) for split in SIDES]
    files = [[] if side is None else side.files for side in sides]
    assert sorted(files[0] + files[1]) == sorted(NAMES)
    assert all(files)
    if by != "image":
        folders = [{name[0] for name in names} for names in files]
        assert not folders[0] & folders[1]


def test_a_column_of_groups_comes_before_what_files_tell(root: Path) -> None:
    text = "path,group\n" + "\n".join(f"{name},g{i % 3}" for i, name in enumerate(NAMES))
    draw = SplitSpec(test=0.5, by="group", seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SslkitWarning)
        sides = [read(root, text, split, draw=draw) for split in SIDES]
    groups = [{NAMES.index(name) % 3 for name in side.files} if side else set() for side in sides]
    assert not groups[0] & groups[1]
    assert groups[0] | groups[1] == {0, 1, 2}


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("path\na/0.x\na/1.x\n", {}, "it has no column 'group'. Known: path. Name one, as in"),
        ("path,patient\na/0.x,p\na/1.x,p\n", {}, "it has no column 'group'"),
        ("path,group\na/0.x,p\na/1.x,\n", {}, "line 3: has no group in the column 'group'"),
    ],
)
def test_groups_that_nothing_tells_are_refused(
    root: Path, text: str, columns: dict[str, object], message: str
) -> None:
    draw = SplitSpec(test=0.5, by="group")
    with pytest.raises(DataError) as caught:
        read(root, text, draw=draw, rules=Rules(grouped=False), **columns)
    assert message in str(caught.value)


def test_only_with_folders_may_a_path_be_a_folder(root: Path) -> None:
    listed = read(root, "path\na\nb\n", rules=Rules(folders=True))
    assert listed is not None
    assert listed.files == ["a", "b"]
    with pytest.raises(DataError, match="line 2: names 'a', and there is no such file"):
        read(root, "path\na\nb\n")


def test_two_listings_share_classes_and_values(root: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,label,site\na/0.x,cat,s\na/1.x,dog,s\nb/2.x,dog,t\n")
    (tmp_path / "test.csv").write_text("path,label,site,more\nc/4.x,dog,t,1\n")
    train, test = (ListingFile(tmp_path / f"{side}.csv", root) for side in SIDES)
    listed = listed_files(train, test, ListingColumns(), None, "test", Rules())
    assert listed is not None
    assert (listed.classes, listed.labels) == (("cat", "dog"), [1])
    assert (listed.attributes, listed.attribute_values) == ({"site": [1]}, {"site": ("s", "t")})
    (tmp_path / "test.csv").write_text("path,label,site\nc/4.x,dog,u\n")
    with pytest.raises(DataError, match=r"test\.csv: attribute 'site' is 'u', which no training image has"):
        listed_files(train, test, ListingColumns(), None, "test", Rules())


CELLS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    labels=st.lists(CELLS, min_size=len(NAMES), max_size=len(NAMES)),
    order=st.permutations(range(len(NAMES))),
    delimiter=st.sampled_from(",;\t"),
)
def test_rows_in_any_order_and_with_any_delimiter_say_the_same(
    root: Path, labels: list[str], order: list[int], delimiter: str
) -> None:
    lines = [delimiter.join((NAMES[i], labels[i])) for i in order]
    listed = read(root, "\n".join([delimiter.join(("path", "label")), *lines]))
    assert listed is not None
    assert listed.files == [name.replace("/", os.sep) for name in NAMES]
    assert listed.labels is not None
    assert [listed.classes[label] for label in listed.labels] == labels
    assert listed.classes == names_of(labels)


def test_values_are_numbered_by_their_names() -> None:
    columns = {"site": ["b", None, "a"], "age": ["10", "9", "10"]}
    names = {name: names_of(values) for name, values in columns.items()}
    assert names == {"site": ("a", "b"), "age": ("9", "10")}
    assert value_numbers(columns, names, "table") == {"site": [1, -1, 0], "age": [1, 0, 1]}
    with pytest.raises(DataError, match="table: attribute 'site' is 'b', which no training image has"):
        value_numbers(columns, {**names, "site": ("a",)}, "table")
    with pytest.raises(DataError, match="attribute 'age' is '10'"):
        value_numbers(columns, {"site": ("a", "b")}, "table")


@pytest.mark.parametrize(
    ("draw", "test", "listing", "test_listing", "message"),
    [
        (True, "held", None, None, "`split` draws the test split from `root`, and `test` names one"),
        (True, None, "l", "t", "`test_listing` names one; leave one out"),
        (False, "held", "l", None, "`listing` names the training images, so `test` needs a `test_listing`"),
        (False, "held", "l", "t", None),
        (False, None, "l", "t", None),
        (False, "held", None, None, None),
        (True, None, "l", None, None),
    ],
)
def test_fields_that_name_test_images_twice(
    draw: bool, test: str | None, listing: str | None, test_listing: str | None, message: str | None
) -> None:
    files = [None if name is None else Path(name) for name in (listing, test_listing)]
    conflict = conflict_of(SplitSpec(test=0.5) if draw else None, test, *files)
    assert (conflict is None) == (message is None)
    assert (message or "") in (conflict or "")


def test_what_is_odd_about_a_draw_is_told_with_the_training_images() -> None:
    draw, names = SplitSpec(test=0.5, seed=1), [f"i{i}" for i in range(20)]
    labels = [0] * 19 + [1]
    with pytest.warns(SslkitWarning) as caught:
        train = draw.places(names, "train", "photos", labels=labels, classes=("a", "b"), notes=("told too",))
    texts = [str(warning.message) for warning in caught]
    assert texts[-1] == "told too"
    assert any("1 of 2 classes have no" in text for text in texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = draw.places(names, "test", "photos", labels=labels, classes=("a", "b"), notes=("told too",))
    assert sorted([*train, *test]) == list(range(20))
    with pytest.raises(DataError, match="photos: `split` has 1 image to divide"):
        draw.places(["one"], "train", "photos")

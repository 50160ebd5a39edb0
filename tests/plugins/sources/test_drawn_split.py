"""Test splits drawn from one folder: membership by seed and name alone, groups together, and what is refused."""

from __future__ import annotations

import math
import random
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sslkit import Folder, SplitSpec
from sslkit.errors import DataError, SpecError, SslkitWarning
from sslkit.specs.load import parse_as
from sslkit_sources.drawn_split import at_places, drawn
from sslkit_sources.listing import Listing
from tests import tiny
from tests.plugins.sources.test_folder import write

NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1),
    min_size=2,
    unique=True,
)
DRAWS = st.builds(SplitSpec, test=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1))


def names(spec: Folder, split: str) -> list[str]:
    source = spec.build(split)
    return [source.name(i) for i in range(len(source))]


def tree(root: Path, patients: int, each: int, classes: tuple[str, ...] = ("a", "b")) -> Path:
    for label in classes:
        for patient in range(patients):
            for image in range(each):
                path = root / label / f"p{patient}" / f"{image}.png"
                write(path, ord(label) * 10_000 + patient * 100 + image)
    return root


@given(DRAWS, NAMES, st.randoms())
def test_membership_is_that_of_each_name_whatever_stands_beside_it(
    draw: SplitSpec, images: list[str], random_: random.Random
) -> None:
    alone = {name: draw.are_test([name])[0] for name in images}
    shuffled = random_.sample(images, len(images))
    assert dict(zip(shuffled, draw.are_test(shuffled), strict=True)) == alone
    half = images[: len(images) // 2]
    assert draw.are_test(half) == [alone[name] for name in half], "more images move none"


@given(NAMES, st.integers(0, 9), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_a_larger_share_keeps_the_test_images(images: list[str], seed: int, one: float, other: float) -> None:
    small, large = (SplitSpec(test=share, seed=seed).are_test(images) for share in sorted((one, other)))
    assert all(big or not little for little, big in zip(small, large, strict=True))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.8])
def test_shares_are_those_of_independent_draws(share: float) -> None:
    total, spread = 50_000, 4.5
    images = [f"{i // 100}/{i:06d}.png" for i in range(total)]
    splits = [SplitSpec(test=share, seed=seed).are_test(images) for seed in (0, 1)]
    for split in splits:
        assert abs(sum(split) - total * share) < spread * math.sqrt(total * share * (1 - share))
    both = sum(a and b for a, b in zip(*splits, strict=True))
    joint = share**2
    assert abs(both - total * joint) < spread * math.sqrt(total * joint * (1 - joint)), (
        "seeds are independent"
    )


def test_membership_is_on_file() -> None:
    """Another version of sslkit, or of Python, tests on the same images."""
    images = [f"cats/{i:04d}.jpg" for i in range(40)]
    test = [i for i, drawn in enumerate(SplitSpec(test=0.2, seed=3).are_test(images)) if drawn]
    assert test == [1, 4, 11, 15, 24, 33, 37, 38]


def test_letters_composed_otherwise_are_the_same_letters() -> None:
    images = [f"Müller/é{i}.png" for i in range(200)]
    draw = SplitSpec(test=0.5)
    assert draw.are_test(images) == draw.are_test([unicodedata.normalize("NFD", name) for name in images])


@given(DRAWS, st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=2))
def test_groups_are_never_divided(draw: SplitSpec, rows: list[tuple[str, int]]) -> None:
    files = [f"{label}/p{patient}/{i}.png" for i, (label, patient) in enumerate(rows)]
    classes = tuple(sorted({label for label, _ in rows}))
    listed = Listing(files, [classes.index(label) for label, _ in rows], classes)
    by_folder = SplitSpec(test=draw.test, seed=draw.seed, by="folder")
    by_group = SplitSpec(test=draw.test, seed=draw.seed, by="group")
    groups = [f"p{patient}" for _, patient in rows]
    assume(len(set(draw.are_test(groups))) == 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [drawn(listed, by_folder, split, "root") for split in ("train", "test")]
        same = [at_places(listed, by_group.places(groups, split, "root")) for split in ("train", "test")]
    of_part = [{file.split("/")[1] for file in part.files} for part in parts]
    assert not of_part[0] & of_part[1], "a patient who is in several classes is one"
    assert sorted(parts[0].files + parts[1].files) == sorted(files)
    assert parts == same
    for part in parts:
        assert part.labels == [classes.index(file[0]) for file in part.files]


def test_a_folder_is_divided_without_rest(tmp_path: Path) -> None:
    spec = Folder(root=tree(tmp_path, 12, 2), split={"test": 0.3, "by": "folder", "seed": 1})
    assert tiny.spec(tmp_path / "run", data=spec.model_dump()), "validate finds nothing"
    train, test = names(spec, "train"), names(spec, "test")
    assert sorted(train + test) == names(Folder(root=tmp_path), "train")
    assert {name.split("/")[1] for name in train}.isdisjoint(name.split("/")[1] for name in test)
    sources = [spec.build(split) for split in ("train", "test")]
    assert sources[0].classes == sources[1].classes == ("a", "b")
    for source in sources:
        assert source.labels.tolist() == [int(source.name(i)[0] == "b") for i in range(len(source))]
    images = Folder(root=tmp_path, split={"test": 0.3})
    assert names(images, "test") != test
    assert (
        len(
            {
                names(images.model_copy(update={"split": SplitSpec(test=0.3, seed=s)}), "test")[0]
                for s in range(9)
            }
        )
        > 1
    )


def test_more_images_and_another_root_move_none(tmp_path: Path) -> None:
    spec = Folder(root=tree(tmp_path / "one", 10, 2), split={"test": 0.3})
    before = names(spec, "test")
    tree(tmp_path / "one", 14, 3)
    assert set(before) <= set(names(spec, "test"))
    assert set(before).isdisjoint(names(spec, "train"))
    tree(tmp_path / "other", 2, 2)
    both = Folder(root=[tmp_path / "other", tmp_path / "one"], split={"test": 0.3})
    assert {f"one/{name}" for name in before} <= set(names(both, "test"))


def test_the_folder_with_its_split_has_the_fingerprint_of_its_images_alone(tmp_path: Path) -> None:
    spec = Folder(root=tree(tmp_path / "all", 10, 1), split={"test": 0.4})
    for name in names(spec, "test"):
        (tmp_path / "held" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "held" / name).write_bytes((tmp_path / "all" / name).read_bytes())
    held = Folder(root=tmp_path / "held").build("train")
    assert spec.build("test").fingerprint == held.fingerprint
    plain = Folder(root=tmp_path / "all").build("train").fingerprint
    assert len({plain, spec.build("train").fingerprint, held.fingerprint}) == 3


def test_folders_of_one_level_stay_together_and_are_no_classes(tmp_path: Path) -> None:
    for patient in range(8):
        for image in range(2):
            write(tmp_path / f"patient {patient}" / f"{image}.png", 10 * patient + image)
    spec = Folder(root=tmp_path, split={"test": 0.4, "by": "folder"})
    train, test = spec.build("train"), spec.build("test")
    assert (train.labels, train.classes, test.labels, test.classes) == (None, (), None, ())
    assert {n.split("/")[0] for n in names(spec, "train")}.isdisjoint(
        n.split("/")[0] for n in names(spec, "test")
    )


def error(**fields: object) -> str:
    with pytest.raises(DataError) as caught:
        Folder(**fields).build("train")
    return str(caught.value)


def test_what_cannot_be_divided_is_refused_by_name(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "flat" / f"{i}.png", i)
    flat = tmp_path / "flat"
    few = error(root=flat, split={"test": 0.01})
    assert few.startswith(
        f"{flat}: `split` has 3 images to divide, and with `test: 0.01` and `seed: 0` none is for test"
    )
    assert "none is for training; lower `test`" in error(root=flat, split={"test": 0.999})
    assert "3 of 3 images lie in none" in error(root=flat, split={"test": 0.5, "by": "folder"})
    assert "a column `group` in `listing`" in error(root=flat, split={"test": 0.5, "by": "group"})
    one = tree(tmp_path / "one", 1, 3)
    message = error(root=one, split={"test": 0.5, "by": "folder"})
    assert "has 1 folder to divide, so one split would be empty; write `by: image`" in message
    write(one / "a" / "loose.png")
    message = error(root=one, split={"test": 0.5, "by": "folder"})
    assert "1 of 7 images lie in none that could stay together, such as 'a/loose.png'" in message


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"split": {"test": 0.1}, "test": "held"}, "leave one out"),
        ({"split": {"test": 0}}, "split.test"),
        ({"split": {"test": 1}}, "split.test"),
        ({"split": {}}, "split.test"),
        ({"split": {"test": 0.1, "by": "patient"}}, "split.by"),
        ({"split": {"test": 0.1, "seed": -1}}, "split.seed"),
    ],
)
def test_specs_that_are_no_splits(fields: dict[str, object], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        parse_as(Folder, {"root": "photos", **fields})


def test_classes_that_a_split_lacks_and_uneven_groups_are_told(tmp_path: Path) -> None:
    tree(tmp_path, 6, 1)
    write(tmp_path / "rare" / "p9" / "0.png")
    with pytest.warns(SslkitWarning) as caught:
        Folder(root=tmp_path, split={"test": 0.4}).build("train")
    assert any("1 of 3 classes have no" in str(w.message) and "(rare)" in str(w.message) for w in caught)
    for image in range(40):
        write(tmp_path / "a" / "p0" / f"{image}.png", image)
    (note,) = SplitSpec(test=0.4, by="folder").notes([True] * 9 + [False], None, ())
    assert "90.0% of the images are in the test split, where `test: 0.4` of the folders" in note
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Folder(root=tmp_path, split={"test": 0.4}).build("test")


def test_attributes_count_through_the_values_of_both_splits(tmp_path: Path) -> None:
    tree(tmp_path / "images", 10, 1)
    paths = names(Folder(root=tmp_path / "images"), "train")
    table = "path,site\n" + "".join(f"{path},{place}\n" for place, path in enumerate(paths))
    (tmp_path / "table.csv").write_text(table)
    spec = Folder(root=tmp_path / "images", attributes=tmp_path / "table.csv", split={"test": 0.3})
    for split in ("train", "test"):
        source = spec.build(split)
        sites = [paths[place] for place in source.attributes["site"].tolist()]
        assert sites == [source.name(i) for i in range(len(source))]


def test_percentiles_are_those_of_the_training_images(tmp_path: Path) -> None:
    tree(tmp_path, 8, 1)
    split = {"test": 0.4}
    spec = Folder(root=tmp_path, split=split, range={"percentile": [5, 95]})
    train, test = spec.build("train"), spec.build("test")
    assert train.decoder.pixel_range == test.decoder.pixel_range

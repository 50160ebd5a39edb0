"""Runs to compare: which belong together, and which may not be compared."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sslkit.analysis.compare.run_groups import (
    Entry,
    common_labels,
    differing,
    grouped,
    leaves,
    read_entries,
    require_comparable,
    require_one_step,
    setting_of,
)
from sslkit.errors import DataError, SpecError
from sslkit.runs.lock import LOCK
from tests.evaluate.made_runs import evaluated, right, run_folder

BASE = right(0.8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture
def entries(tmp_path):
    """Make runs with an evaluation `knn` by (folder, seed, fields of the spec)."""

    def make(*runs: tuple[str, int, dict[str, object]]) -> list[Entry]:
        paths = [
            evaluated(run_folder(tmp_path / name, seed, **fields), "knn", BASE) for name, seed, fields in runs
        ]
        return read_entries(paths, None)

    return make


def members(groups) -> list[list[str]]:
    return [[entry.run_dir.name for entry in group.entries] for group in groups]


def test_leaves_name_everything_by_its_path():
    nested = {"a": 1, "b": {"c": [0.5, {"d": None}], "e": {}}, "f": []}
    assert dict(leaves(nested)) == {
        "a": "1", "b.c.0": "0.5", "b.c.1.d": "None", "b.e": "{}", "f": "[]",
    }  # fmt: skip


@given(JSON, JSON)
def test_different_values_have_different_leaves(one, two):
    same = sorted(leaves({"v": one})) == sorted(leaves({"v": two}))
    assert same == (repr_of(one) == repr_of(two))


def repr_of(value: object) -> object:
    """`value` with its leaves as text and without the order of fields."""
    if isinstance(value, dict) and value:
        return {"dict": {key: repr_of(inner) for key, inner in value.items()}}
    if isinstance(value, list) and value:
        return {"dict": {str(i): repr_of(inner) for i, inner in enumerate(value)}}
    return str(value)


def test_runs_that_differ_only_in_the_seed_are_one_setting(entries):
    found = entries(
        ("b1", 1, {"lr": 0.1}), ("a", 0, {"lr": 0.2}), ("b0", 0, {"lr": 0.1}), ("c", 0, {"lr": 0.1, "steps": 5})
    )  # fmt: skip
    assert members(grouped(found)) == [["b0", "b1"], ["a"], ["c"]], "by seed, in the order given"


def on_images(entries: list[Entry], *contents: str | None) -> list[Entry]:
    """The runs, trained on images of those fingerprints."""
    return [entry._replace(images=content) for entry, content in zip(entries, contents, strict=True)]


def test_seeds_on_the_same_images_in_other_places_are_one_setting(entries):
    runs = entries(("a", 0, {"data": {"root": "/one"}}), ("b", 1, {"data": {"root": "/two"}}))
    assert members(grouped(on_images(runs, "x", "x"))) == [["a", "b"]]
    assert members(grouped(on_images(runs, "x", None))) == [["a"], ["b"]], "not recorded: their spec counts"


def test_other_images_in_one_place_are_another_setting(entries):
    runs = entries(("a", 0, {"data": {"root": "/one"}}), ("b", 1, {"data": {"root": "/one"}}))
    groups = grouped(on_images(runs, "x" * 20, "y" * 20))
    assert members(groups) == [["a"], ["b"]]
    assert differing(groups) == {"images": ("x" * 12, "y" * 12)}
    assert members(grouped(runs)) == [["a", "b"]]


def test_where_the_same_images_lie_is_no_difference(entries):
    runs = entries(
        ("a", 0, {"lr": 1, "data": {"root": "/one"}}), ("b", 0, {"lr": 2, "data": {"root": "/two"}})
    )
    assert differing(grouped(on_images(runs, "x", "x"))) == {"lr": ("1", "2")}
    assert differing(grouped(runs)) == {"lr": ("1", "2"), "data.root": ("/one", "/two")}


def test_the_fingerprint_of_training_images_comes_from_the_lock(tmp_path):
    path = evaluated(run_folder(tmp_path / "a"), "knn", BASE)
    assert read_entries([path], None)[0].images is None
    lock = yaml.safe_load((path / LOCK).read_text(encoding="utf-8"))
    lock["data"] = {"data.train": {"fingerprint": "content:1", "images": 3}}
    (path / LOCK).write_text(yaml.safe_dump(lock), encoding="utf-8")
    assert read_entries([path], None)[0].images == "content:1"


def test_the_order_of_fields_does_not_matter(entries):
    found = entries(("a", 0, {"x": {"p": 1, "q": 2}}), ("b", 1, {"x": {"q": 2, "p": 1}}))
    assert len(grouped(found)) == 1


@pytest.mark.parametrize("field", ["name", "out", "workers", "evaluate", "checkpoint", "log", "seed"])
def test_fields_that_change_no_weight(entries, field):
    (entry,) = entries(("a", 4, {"workers": 2, "evaluate": [], "checkpoint": {}, "log": {}}))
    assert field in entry.spec
    assert field not in setting_of(entry)
    assert entry.seed == 4


def test_what_differs_is_listed_once_for_each_setting(entries):
    found = entries(("a", 0, {"lr": 1}), ("b", 0, {"lr": 2}), ("c", 0, {"lr": 2, "extra": {"x": 1}}))
    assert differing(grouped(found)) == {"lr": ("1", "2", "2"), "extra.x": ("-", "-", "1")}
    assert differing(grouped(found[:1])) == {}


def test_names_follow_the_specs_then_the_folders_then_numbers(entries):
    by_spec = entries(
        ("p-0", 0, {"name": "p"}), ("p-1", 1, {"name": "p"}), ("q-0", 0, {"name": "q", "lr": 1})
    )
    assert [group.name for group in grouped(by_spec)] == ["p", "q"]
    by_folder = entries(
        ("x-0", 0, {"name": "n"}), ("x-1", 1, {"name": "n"}), ("y", 0, {"name": "n", "lr": 1})
    )
    assert [group.name for group in grouped(by_folder)] == ["x", "y"]


def test_folders_without_a_common_beginning_are_called_by_the_first(entries):
    found = entries(("one", 0, {"v": 1}), ("two", 1, {"v": 1}), ("other", 0, {"v": 2}))
    assert [group.name for group in grouped(found)] == ["one", "other"]


def test_labels_that_all_have(entries):
    a, b = entries(("a", 0, {}), ("b", 1, {}))
    for path, label in ((a.run_dir, "linear"), (b.run_dir, "linear"), (b.run_dir, "dense")):
        evaluated(path, label, BASE)
    a, b = read_entries([a.run_dir, b.run_dir], None)
    assert common_labels([a, b], []) == (["knn", "linear"], ["dense"])
    assert common_labels([a, b], ["linear"]) == (["linear"], [])
    with pytest.raises(SpecError, match=r"'dense' was not evaluated in .*a\. Known: knn, linear, dense"):
        common_labels([a, b], ["knn", "dense"])


def test_correct_needs_predictions_that_make_the_headline(tmp_path):
    run = run_folder(tmp_path / "run")
    evaluated(run, "knn", BASE)
    evaluated(run, "rounded", BASE, metrics={"accuracy": float(BASE.mean()) + 3e-6})
    evaluated(run, "balanced", BASE, metrics={"mean_class_accuracy": 0.77})
    evaluated(run, "geometry", None, metrics={"rank": 3.5})
    (entry,) = read_entries([run], None)
    assert np.array_equal(entry.correct("knn"), BASE)
    assert np.array_equal(entry.correct("rounded"), BASE)
    assert entry.correct("balanced") is None, "its intervals would be those of another number"
    assert entry.correct("geometry") is None


def test_headlines_are_finite(tmp_path):
    run = run_folder(tmp_path / "run")
    evaluated(run, "good", None, metrics={"loss": 2, "other": None})
    evaluated(run, "bad", None, metrics={"loss": float("nan")})
    (entry,) = read_entries([run], None)
    assert entry.headline("good") == 2.0
    with pytest.raises(
        DataError, match=r"bad\.json: `loss` is no finite number, so there is nothing to compare"
    ):
        entry.headline("bad")


def test_every_run_is_held_against_the_first(tmp_path):
    paths = [evaluated(run_folder(tmp_path / name, i), "knn", BASE) for i, name in enumerate("abc")]
    require_comparable(read_entries(paths, None), "knn")
    evaluated(paths[2], "knn", BASE, protocol="knn@2", readout={"crop": 0.5})
    with pytest.raises(SpecError) as caught:
        require_comparable(read_entries(paths, None), "knn")
    assert str(caught.value) == (
        f"knn: {paths[0]} and {paths[2]} cannot be compared, for they differ in the protocol (knn@1, knn@2); "
        "the readout's crop (1.0, 0.5). Evaluate both alike, or choose among evaluators with --evaluator"
    )


def test_seeds_share_their_step(entries):
    found = entries(("a", 0, {}), ("b", 1, {}))
    (group,) = grouped(found)
    require_one_step(group, "knn")
    evaluated(found[1].run_dir, "knn", BASE, step=30)
    (group,) = grouped(read_entries([entry.run_dir for entry in found], None))
    with pytest.raises(SpecError, match=r"measured at different steps \(.*a at 10, .*b at 30\)"):
        require_one_step(group, "knn")

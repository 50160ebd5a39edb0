"""The records of a comparison."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sslkit.analysis.compare.compare_runs import compare
from sslkit.analysis.compare.comparison_table import Comparison
from tests.evaluate.made_runs import evaluated, right, run_folder, worsened

BASE = right(0.8)


@pytest.fixture
def found(tmp_path) -> Comparison:
    """Three settings on two data sets, the first with two seeds."""
    runs = []
    for i, (name, seed) in enumerate((("a", 0), ("a", 1), ("b", 0), ("c", 0))):
        run = run_folder(tmp_path / f"{name}{seed}", seed, name=name, kind=name)
        for label in ("knn", "digits"):
            evaluated(run, label, worsened(BASE, 20 * i))
        evaluated(run, "rank", None, metrics={"rank": 3.0 + i})
        runs.append(run)
    return compare(runs)


def test_scores_and_pairs_are_found_by_name(found):
    assert found.score("b", "digits").values == (0.7,)
    assert found.score("a", "rank").values == (3.0, 4.0)
    pair = found.pair("knn", "c", "b")
    assert (pair.label, pair.first, pair.second) == ("knn", "b", "c"), "in the order of the settings"
    assert pair is found.pair("knn", "b", "c")


def test_there_is_a_score_of_each_setting_and_a_pair_of_every_two(found):
    assert len(found.scores) == 3 * 3
    assert len(found.pairs) == 3 * 3
    assert {(s.setting, s.label) for s in found.scores} == {
        (setting.name, measure.label) for setting in found.settings for measure in found.measures
    }


def test_json_has_plain_values_under_the_names_of_the_fields(found):
    said = found.to_json()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["settings"][0]["seeds"] == [0, 1]
    assert said["measures"][0] == found.measures[0]._asdict()
    assert said["scores"][0]["seeds"]["mean"] == found.scores[0].seeds.mean
    assert said["meta"][0]["wins"]["a"]["b"] == list(found.meta[0].wins["a"]["b"])
    assert said["meta"][0]["ranking"]["ranks"] == list(found.meta[0].ranking.ranks)
    assert said["differing"] == {"kind": ["a", "b", "c"]}


def test_pairs_without_a_test_are_told_apart_in_json(found):
    lone = [pair for pair in found.to_json()["pairs"] if pair["difference"] is None]
    assert [(p["label"], p["first"], p["second"], p["p"]) for p in lone] == [("rank", "b", "c", None)]
    assert all(p["significant"] is False for p in lone)


def test_predictions_of_another_number_are_not_used(tmp_path):
    """The headline is a mean over classes: neither Wilson's interval nor McNemar's test is about it."""
    runs = [
        evaluated(run_folder(tmp_path / n, kind=n), "knn", BASE, metrics={"mean_class_accuracy": value})
        for n, value in (("a", 0.6), ("b", 0.7))
    ]
    found = compare(runs)
    assert (found.measures[0].accuracy, found.measures[0].images) == (False, None)
    assert found.scores[0].method is None
    assert found.pairs[0].difference is None


def test_numbers_are_plain(found):
    def leaves(value):
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from leaves(inner)
        else:
            yield value

    assert not [leaf for leaf in leaves(found.to_json()) if isinstance(leaf, np.generic)]

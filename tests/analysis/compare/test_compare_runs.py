"""Comparing runs by their stored evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sslkit
from sslkit import statistics
from sslkit.analysis.compare.compare_runs import UNTESTED, compare
from sslkit.errors import CheckpointError, DataError, SpecError
from tests.evaluate.made_runs import evaluated, right, run_folder, worsened

BASE = right(0.8)
NONE = "no significant difference"


def single(root: Path, folder: str, correct: np.ndarray, **fields: object) -> Path:
    """A run of a setting of its own, evaluated by `knn`."""
    return evaluated(run_folder(root / folder, **{"lr": folder, **fields}), "knn", correct)


def seeds(root: Path, name: str, shares: list[float], first: int = 0) -> list[Path]:
    """Runs of one setting, one for each share of right images."""
    return [
        evaluated(
            run_folder(root / f"{name}-s{seed}", seed, name=name, objective={"kind": name}),
            "knn", right(share, seed),
        )
        for seed, share in enumerate(shares, start=first)
    ]  # fmt: skip


def test_two_runs_are_compared_on_their_images(tmp_path):
    worse = worsened(BASE, 30)
    found = compare([single(tmp_path, "a", BASE), single(tmp_path, "b", worse)])
    assert [setting.name for setting in found.settings] == ["a", "b"]
    (pair,) = found.pairs
    assert pair.mcnemar == statistics.mcnemar(BASE, worse)
    bootstrap = statistics.paired_bootstrap(BASE, worse)
    assert pair.difference is not None
    assert pair.difference[:4] == bootstrap[:4]
    assert pair.difference.p == pair.p == pair.mcnemar.p < 1e-6
    assert pair.significant
    assert pair.verdict.startswith("a better than b by 7.50 points [")
    assert pair.verdict.endswith("], p < 0.001")
    assert pair.effects == {
        "cohens_h": pytest.approx(statistics.cohens_h(0.8, 0.725)),
        "cohens_g": 0.5,
        "odds_ratio": 61,
    }


def test_scores_have_the_interval_of_their_images(tmp_path):
    found = compare([single(tmp_path, "a", BASE)])
    score, interval = found.score("a", "knn"), statistics.accuracy_interval(BASE)
    assert (score.low, score.high, score.method) == (interval.low, interval.high, "wilson, over images")
    assert (score.values, score.step, score.seeds.std) == ((0.8,), 10, None)
    assert found.pairs == ()
    (measure,) = found.measures
    assert measure == ("knn", "knn@1", "accuracy", True, 400, "knn-test", "higher")


def test_identical_predictions_do_not_differ(tmp_path):
    found = compare([single(tmp_path, "a", BASE), single(tmp_path, "b", BASE)])
    assert (found.pairs[0].p, found.pairs[0].verdict) == (1, NONE)
    assert not found.pairs[0].significant


def test_the_order_of_runs_only_swaps_the_sign(tmp_path):
    paths = [single(tmp_path, "a", BASE), single(tmp_path, "b", worsened(BASE, 12))]
    one, two = compare(paths).pairs[0], compare(paths[::-1]).pairs[0]
    assert (one.p, one.verdict) == (two.p, two.verdict)
    assert one.difference.estimate == -two.difference.estimate
    assert one.difference.low == pytest.approx(-two.difference.high)


def test_p_values_are_adjusted_over_everything_that_is_compared(tmp_path):
    shares = {"a": 0, "b": 9, "c": 14}
    paths = [single(tmp_path, name, worsened(BASE, by)) for name, by in shares.items()]
    for path, by in zip(paths, (5, 0, 0), strict=True):
        evaluated(path, "digits", worsened(BASE, by))
    found = compare(paths)
    assert [(p.label, p.first, p.second) for p in found.pairs] == [
        (label, *names) for label in ("digits", "knn") for names in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    raw = [pair.difference.p for pair in found.pairs]
    assert [pair.p for pair in found.pairs] == pytest.approx(statistics.holm(raw).tolist())
    assert found.pair("knn", "c", "b") is found.pairs[5]
    hidden = found.pair("knn", "b", "c")
    assert hidden.difference.p == pytest.approx(0.03125) == hidden.p / 4
    assert hidden.verdict == NONE, "significant alone, but not among six"
    alone = compare(paths[1:], ["knn"]).pairs[0]
    assert alone.significant


def test_seeds_of_a_setting_are_one_setting(tmp_path):
    good, bad = seeds(tmp_path, "mae", [0.85, 0.87, 0.86]), seeds(tmp_path, "byol", [0.70, 0.72, 0.73])
    found = compare([good[2], bad[0], good[0], bad[2], bad[1], good[1]])
    assert [(s.name, s.seeds) for s in found.settings] == [("mae", (0, 1, 2)), ("byol", (0, 1, 2))]
    assert found.settings[0].runs == tuple(map(str, good))
    score = found.score("mae", "knn")
    assert score.seeds == statistics.seed_summary([0.85, 0.87, 0.86])
    assert (score.low, score.high, score.method) == (score.seeds.low, score.seeds.high, "t, over seeds")
    pair = found.pairs[0]
    assert pair.difference == statistics.welch_t([0.85, 0.87, 0.86], [0.70, 0.72, 0.73])
    assert pair.mcnemar is None
    assert pair.effects == {"cohens_d": statistics.cohens_d([0.85, 0.87, 0.86], [0.70, 0.72, 0.73])}
    assert pair.verdict.startswith("mae better than byol by 14.33 points")
    assert found.differing == {"objective.kind": ("mae", "byol")}


def test_equal_seeds_pair_up_if_asked(tmp_path):
    good, bad = seeds(tmp_path, "mae", [0.80, 0.90, 0.70]), seeds(tmp_path, "byol", [0.79, 0.88, 0.69])
    welch, paired = (compare([*good, *bad], pair_seeds=pair).pairs[0] for pair in (False, True))
    assert paired.difference == statistics.paired_t([0.80, 0.90, 0.70], [0.79, 0.88, 0.69])
    assert paired.p < welch.p
    with pytest.raises(SpecError, match="the same seeds, at least two; mae has 0, 1, 2 and byol 0, 1"):
        compare([*good, *bad[:2]], pair_seeds=True)
    with pytest.raises(SpecError, match="at least two"):
        compare([good[0], bad[0]], pair_seeds=True)


def test_one_seed_against_several_is_a_pooled_t(tmp_path):
    good, bad = seeds(tmp_path, "mae", [0.85, 0.87, 0.86]), seeds(tmp_path, "byol", [0.70])
    pair = compare([*good, *bad]).pairs[0]
    assert pair.difference == statistics.pooled_t([0.85, 0.87, 0.86], [0.70])
    assert pair.significant


def test_metrics_without_predictions_are_compared_over_seeds_only(tmp_path):
    runs = []
    for name, values in (("mae", (2.0, 2.1, 2.2)), ("byol", (3.0, 3.1, 3.3))):
        for seed, value in enumerate(values):
            path = run_folder(tmp_path / f"{name}{seed}", seed, objective={"kind": name})
            runs.append(evaluated(path, "geometry", None, metrics={"rank": value}, protocol="geometry@1"))
    found = compare(runs)
    assert found.pairs[0].verdict.startswith("byol higher than mae by 1.033 [")
    assert not found.measures[0].accuracy
    assert found.meta == ()
    lone = compare([runs[0], runs[3]])
    assert (lone.pairs[0].verdict, lone.pairs[0].p, lone.pairs[0].difference) == (UNTESTED, None, None)
    assert lone.score("mae0", "geometry").low is None
    json.dumps(lone.to_json(), allow_nan=False)


def test_names_of_settings(tmp_path):
    a, b = seeds(tmp_path / "x", "mae", [0.8, 0.81]), seeds(tmp_path / "y", "byol", [0.8, 0.7])
    assert [s.name for s in compare([*a, *b]).settings] == ["mae", "byol"]
    named = [single(tmp_path / "z", n, BASE, name="run") for n in ("p", "q")]
    assert [s.name for s in compare(named).settings] == ["p", "q"], "one name for all: the folders'"
    more = [
        evaluated(run_folder(tmp_path / "w" / f"{n}_seed{s}", s, objective=n), "knn", right(0.8, s))
        for n in ("low", "high") for s in (1, 2)
    ]  # fmt: skip
    assert [s.name for s in compare(more).settings] == ["low_seed", "high_seed"]
    same = [single(tmp_path / place, "run", BASE, name="run", lr=place) for place in ("one", "two")]
    assert [s.name for s in compare(same).settings] == ["run (1)", "run (2)"]


def test_fields_that_change_no_weight_make_no_setting(tmp_path):
    a = run_folder(tmp_path / "a", 0, workers=4, log={"every": 1}, evaluate=[{"kind": "knn"}])
    b = run_folder(tmp_path / "b", 1, workers=0, log={"every": 9}, evaluate=[])
    found = compare([evaluated(path, "knn", right(0.8, i)) for i, path in enumerate((a, b))])
    assert len(found.settings) == 1
    assert found.differing == {}


def test_what_settings_differ_in_is_told(tmp_path):
    a = single(tmp_path, "a", BASE, views={"g": {"augment": [{"scale": [0.2, 1]}]}})
    b = single(tmp_path, "b", BASE, views={"g": {"augment": [{"scale": [0.5, 1]}, {"kind": "flip"}]}})
    assert compare([a, b]).differing == {
        "lr": ("a", "b"),
        "views.g.augment.0.scale.0": ("0.2", "0.5"),
        "views.g.augment.1.kind": ("-", "flip"),
    }


def test_evaluations_that_only_some_have_are_left_out_and_said(tmp_path):
    a, b = single(tmp_path, "a", BASE), single(tmp_path, "b", BASE)
    evaluated(a, "linear", BASE)
    found = compare([a, b])
    assert ([m.label for m in found.measures], found.left_out) == (["knn"], ("linear",))
    with pytest.raises(SpecError, match=r"'linear' was not evaluated in .*b\. Known: knn, linear"):
        compare([a, b], ["linear"])
    c = evaluated(run_folder(tmp_path / "c"), "dense", BASE)
    with pytest.raises(SpecError, match=r"no evaluation was made of all runs\. Some have: knn, dense"):
        compare([b, c])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": "knn@2"}, r"the protocol \(knn@1, knn@2\)"),
        ({"settings": {"kind": "knn", "k": 5}}, r"the setting `k` \(20, 5\)"),
        ({"settings": {"kind": "knn"}}, r"the setting `k` \(20, -\)"),
        ({"readout": {"crop": 0.875}}, r"the readout's crop \(1.0, 0.875\)"),
        (
            {"data": {"test": {"fingerprint": "other"}}},
            r"the train data .*; the test data \(other fingerprints\)",
        ),
        ({"metrics": {"top5": 0.9}}, r"the metric \(accuracy, top5\)"),
    ],
)
def test_what_was_measured_otherwise_is_refused(tmp_path, changes, reason):
    a = single(tmp_path, "a", BASE)
    b = evaluated(run_folder(tmp_path / "b"), "knn", BASE, **changes)
    with pytest.raises(SpecError, match=rf"knn: .*a and .*b cannot be compared, for they differ in {reason}"):
        compare([a, b])
    evaluated(a, "linear", BASE)
    evaluated(b, "linear", BASE)
    assert compare([a, b], ["linear"]).pairs, "another evaluation still can"


def test_names_and_places_of_evaluators_may_differ(tmp_path):
    settings = {"kind": "knn", "k": 20, "every": "5 epochs", "train": {"root": "elsewhere"}, "name": "x"}
    b = evaluated(run_folder(tmp_path / "b"), "knn", BASE, settings=settings)
    assert compare([single(tmp_path, "a", BASE), b]).pairs[0].p == 1


def test_other_images_are_refused_in_spite_of_one_fingerprint(tmp_path):
    a, b = single(tmp_path, "a", BASE), single(tmp_path, "b", BASE[:-1])
    with pytest.raises(SpecError, match=r"the scored images \(400 and 399, with other labels\)"):
        compare([a, b])
    (b / "evaluations" / "step-00000010" / "knn.npz").unlink()
    with pytest.raises(SpecError, match="having predictions"):
        compare([a, b])


def test_runs_that_are_no_two_samples_are_refused(tmp_path):
    a = single(tmp_path, "a", BASE)
    with pytest.raises(SpecError, match="is given twice"):
        compare([a, tmp_path / "." / "a"])
    again = evaluated(run_folder(tmp_path / "again", lr="a"), "knn", BASE)
    with pytest.raises(SpecError, match=r"are one setting with one seed \(0\).*train it with another seed"):
        compare([a, again])
    with pytest.raises(SpecError, match="nothing to compare"):
        compare([])


def test_steps(tmp_path):
    a, b = (evaluated(run_folder(tmp_path / n, i), "knn", right(0.8, i)) for i, n in enumerate("ab"))
    evaluated(b, "knn", right(0.9), step=20)
    with pytest.raises(SpecError, match=r"different steps \(.*a at 10, .*b at 20\)\. Choose one with --step"):
        compare([a, b])
    assert compare([a, b], step=10).scores[0].step == 10
    assert compare([b]).scores[0].values == (0.9,), "the last"
    with pytest.raises(CheckpointError, match="no evaluation of step 20"):
        compare([a, b], step=20)


def test_folders_without_what_is_needed(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run"):
        compare([tmp_path])
    with pytest.raises(CheckpointError, match="holds no evaluations"):
        compare([run_folder(tmp_path / "a")])
    b = evaluated(run_folder(tmp_path / "b"), "knn", None, metrics={"loss": None})
    with pytest.raises(DataError, match="`loss` is no finite number"):
        compare([b])


def test_the_level_is_that_of_intervals_and_of_tests(tmp_path):
    paths = [single(tmp_path, "a", BASE), single(tmp_path, "b", worsened(BASE, 8))]
    wide, narrow = (compare(paths, level=level) for level in (0.999, 0.9))
    assert (wide.level, wide.pairs[0].significant, narrow.pairs[0].significant) == (0.999, False, True)
    assert wide.scores[0].low < narrow.scores[0].low
    with pytest.raises(SpecError, match="level"):
        compare(paths, level=95)


def test_several_data_sets_are_ranked(tmp_path):
    paths = []
    for name, by in (("a", 0), ("b", 30), ("c", 60)):
        path = single(tmp_path, name, worsened(BASE, by))
        for other in ("digits", "photos"):
            evaluated(path, other, worsened(BASE, by if other == "digits" else 0))
        evaluated(path, "again", BASE, data={"test": {"fingerprint": "knn-test"}}, protocol="knn@1")
        evaluated(path, "linear", BASE, protocol="linear@1")
        paths.append(path)
    found = compare(paths)
    (meta,) = found.meta
    assert (meta.protocol, meta.labels) == ("knn@1", ("again", "digits", "photos")), (
        "`knn` has the data of `again`"
    )
    scores = [[found.score(n, label).seeds.mean for n in "abc"] for label in meta.labels]
    assert meta.ranking == statistics.friedman(scores)
    assert meta.wins["a"]["c"] == (1, 2, 0), "better on the digits"
    assert meta.wins["c"]["a"] == (0, 2, 1)
    two = compare(paths[:2]).meta[0]
    assert two.ranking is None
    assert set(two.wins) == {"a", "b"}


def test_everything_is_json(tmp_path):
    paths = [single(tmp_path, "a", BASE), single(tmp_path, "b", worsened(BASE, 9))]
    found = compare(paths)
    read = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(read) == list(found._fields)
    assert read["pairs"][0]["difference"]["p"] == found.pairs[0].p
    assert read["pairs"][0]["mcnemar"] == {"only_first": 9, "only_second": 0, "p": found.pairs[0].p}
    assert read["settings"][1] == {"name": "b", "runs": [str(paths[1])], "seeds": [0]}


def test_it_is_part_of_the_package(tmp_path):
    assert sslkit.compare is compare
    assert sslkit.compare([str(single(tmp_path, "a", BASE))]).settings[0].name == "a"


def test_the_seed_is_the_bootstrap_s(tmp_path):
    paths = [single(tmp_path, "a", BASE), single(tmp_path, "b", right(0.78, 3))]
    assert compare(paths).to_json() == compare(paths).to_json()
    one, two = (compare(paths, seed=seed).pairs[0].difference for seed in (0, 1))
    assert (one.low, one.high) != (two.low, two.high)
    assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=0.005)
    assert one.p == two.p, "McNemar's needs none"

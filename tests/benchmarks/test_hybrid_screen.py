"""The screen of hybrids: parents, claims that need both of them, Holm over all, conflict by thirds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sslkit.specs.sweep import grid, read_sweep_spec
from sslkit.statistics import welch_t
from tests.conftest import ROOT

KNN, LINEAR = "eval/knn/accuracy", "eval/linear/accuracy"


@pytest.fixture
def screen(scripts):
    return scripts("hybrid_screen")


def setting(screen, name, knn, linear=None, runs=()):
    values = {KNN: knn, LINEAR: knn if linear is None else linear}
    return screen.Setting(name, values, list(runs))


def by_name(*settings):
    return {one.name: one for one in settings}


def parents(screen):
    return setting(screen, "mae", [0.40, 0.41, 0.42]), setting(screen, "infonce", [0.44, 0.45, 0.46])


def test_every_row_of_the_sweep_is_a_parent_or_a_hybrid_of_one(screen, cifar10):
    sweep = read_sweep_spec(ROOT / "examples" / "cifar10_hybrid_screen.yaml")
    cells = grid(sweep, last=[("data.root", str(cifar10))]).cells
    rows = {str(cell.values["row"]): cell.spec for cell in cells}
    hybrids = {name for name in rows if screen.family_of(name)}
    assert rows.keys() - hybrids == {parent for pair in screen.FAMILIES.values() for parent in pair}
    for family in screen.FAMILIES:
        kinds = {rows[name].balance.kind for name in hybrids if screen.family_of(name) == family}
        assert kinds == {"fixed", "uncertainty", "pcgrad", "mgda", "gradnorm"}
    assert all(len(rows[name].terms) == 2 for name in hybrids)
    assert {cell.spec.seed for cell in cells} == {0, 1, 2}
    assert all({one.kind for one in spec.evaluate} == {"knn", "linear"} for spec in rows.values())


def test_names_tell_families(screen):
    assert screen.family_of("mae_contrast") == "mae_contrast"
    assert screen.family_of("mae_contrast_pcgrad") == "mae_contrast"
    assert screen.family_of("mae") is None
    assert screen.family_of("mae_contrastive") is None


def test_a_claim_needs_both_parents(screen):
    mae, infonce = parents(screen)
    hybrid = setting(screen, "mae_contrast", [0.44, 0.455, 0.47])
    (knn, linear) = screen.claims(by_name(mae, infonce, hybrid))
    better = welch_t([44, 45.5, 47], [44, 45, 46])
    assert knn.score == "k-NN"
    assert knn.gains[1].estimate == pytest.approx(better.estimate)
    assert knn.p == pytest.approx(better.p / 2), "the parent that is harder to beat"
    assert linear.p == knn.p
    assert screen.above_both([knn, linear]) == []


def test_a_hybrid_below_a_parent_is_far_from_a_claim(screen):
    mae, infonce = parents(screen)
    (knn, _) = screen.claims(by_name(mae, infonce, setting(screen, "mae_contrast", [0.42, 0.43, 0.44])))
    assert knn.gains[0].estimate > 0 > knn.gains[1].estimate
    assert knn.p > 0.9


def test_holm_counts_all_hybrids_and_scores(screen):
    mae, infonce = parents(screen)
    good = setting(screen, "mae_contrast", [0.54, 0.55, 0.56])
    bad = [setting(screen, f"mae_contrast_{name}", [0.44, 0.45, 0.47]) for name in ("pcgrad", "mgda")]
    made = screen.claims(by_name(mae, infonce, good, *bad))
    assert len(made) == 6
    assert screen.above_both(made) == ["mae_contrast"]
    line = screen.claims_table(made).splitlines()[2]
    assert line.startswith("| `mae_contrast` | k-NN | +14.0 [")
    assert line.count("p < 0.001") + line.count("p = 0.00") == 2, line
    assert screen.above_both(made, level=1e-9) == []
    assert [c.hybrid for c in screen.claims(by_name(mae, infonce, good, *bad), ["mae_contrast"])] == [
        "mae_contrast"
    ] * 2


def test_one_score_alone_is_no_claim(screen):
    mae, infonce = parents(screen)
    half = setting(screen, "mae_contrast", [0.54, 0.55, 0.56], linear=[0.44, 0.45, 0.46])
    assert screen.above_both(screen.claims(by_name(mae, infonce, half))) == []


def test_single_seeds_are_not_tested(screen):
    mae, infonce = parents(screen)
    assert screen.claims(by_name(mae, infonce, setting(screen, "mae_contrast", [0.6]))) == []
    assert screen.claims(by_name(mae, setting(screen, "mae_contrast", [0.6, 0.7]))) == []


def test_finalists_are_the_best_of_each_family_by_both_scores(screen):
    settings = by_name(
        setting(screen, "mae_contrast", [0.5], linear=[0.5]),
        setting(screen, "mae_contrast_pcgrad", [0.48], linear=[0.56]),
        setting(screen, "dino_patch_mgda", [0.3]),
        setting(screen, "simclr", [0.9]),
    )
    assert screen.finalists(settings) == ["mae_contrast_pcgrad", "dino_patch_mgda"]


def written(folder: Path, cosines) -> Path:
    folder.mkdir(parents=True)
    lines = [{"step": 10 * (i + 1), "balance/a_b/cosine": value} for i, value in enumerate(cosines)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_conflict_is_told_by_thirds_of_the_training(screen, tmp_path):
    runs = [written(tmp_path / "0", [0.2, 0.4, -0.1, 0.3, -0.2, -0.4]), written(tmp_path / "1", [0.3] * 6)]
    thirds = screen.conflict_over_time(setting(screen, "mae_contrast", [0.5, 0.5], runs=runs))
    assert [share for share, _ in thirds] == [0, 0.25, 0.5]
    assert [cosine for _, cosine in thirds] == pytest.approx([0.3, 0.2, 0.0])
    assert screen.conflict_over_time(setting(screen, "mae", [0.5], runs=[])) == []


def test_what_a_sweep_left_is_read_and_told(screen, tmp_path, capsys):
    def line(name, values):
        run = str(written(tmp_path / name, [0.1, -0.1, 0.1]))
        metrics = {metric: {"values": values} for metric in (KNN, LINEAR)} | {
            "flops": {"values": [6e13] * len(values)},
            "seconds": {"values": [600.0] * len(values)},
        }
        return {"setting": name, "runs": [run], "metrics": metrics}

    settings = [line("mae", [0.4, 0.41]), line("infonce", [0.44, 0.45]), line("mae_contrast", [0.54, 0.55])]
    (tmp_path / "sweep.json").write_text(json.dumps({"settings": settings, "missing": ["dino__seed-0"]}))
    screen.main(["--sweep", str(tmp_path), "--json", str(tmp_path / "out.json")])
    out = capsys.readouterr().out
    assert "| `mae_contrast` | 1 | 60.0 | 10.0 | 54.5 ± 0.7 [" in out
    assert "not finished: dino__seed-0" in out
    assert "best of each family: mae_contrast" in out
    written_out = json.loads((tmp_path / "out.json").read_text())
    assert written_out["finalists"] == ["mae_contrast"]
    assert len(written_out["claims"]) == 2


def test_without_a_sweep_it_says_what_writes_one(screen, tmp_path):
    with pytest.raises(SystemExit, match=r"sweep\.json: no such file; `sslkit sweep` writes it"):
        screen.main(["--sweep", str(tmp_path)])

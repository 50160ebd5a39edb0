"""The plan of the race: tuning first and alike, both orders, levers one by one, and no stage twice."""

from __future__ import annotations

import argparse
import json

import pytest


@pytest.fixture
def plan(scripts):
    return scripts("time_to_accuracy_plan")


@pytest.fixture
def args(tmp_path):
    return argparse.Namespace(out=tmp_path, tune=5.0, race=30.0, sslkit_race=10.0)


def names(plan, args):
    return [stage.name for stage in plan.stages(args)]


def write(folder, rates=None, marks=(), reached=()):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"rates": rates or {"sslkit": 1.0}}))
    if marks:
        (folder / "results.json").write_text(json.dumps({"marks": list(marks), "reached": list(reached)}))


def mark(side, seconds, accuracy):
    return {"side": side, "step": int(seconds), "seconds": seconds, "accuracy": accuracy}


def tuned(plan, out):
    """All of tuning is done; one worker, `sgd-0.12` and `size-24-bfloat16-batch-256` were the best."""
    for n in plan.WORKERS:
        write(out / f"workers-{n}", {"lightly": 300.0 if n == 1 else 200.0})
    for side, settings, winner in (
        ("lightly", plan.LIGHTLY, "sgd-0.12"),
        ("sslkit", plan.SSLKIT, "size-24-bfloat16-batch-256"),
    ):
        for name in settings:
            end = 0.6 if name == winner else 0.5
            write(out / f"{side}-{name}", marks=[mark(side, 60, 0.9), mark(side, 300, end)])


def test_workers_come_first_and_settings_are_as_many_on_both_sides(plan, args):
    assert names(plan, args) == ["workers-0", "workers-1", "workers-2"]
    for n in plan.WORKERS:
        write(args.out / f"workers-{n}", {"lightly": 100.0 - n})
    tuning = plan.stages(args)[3:]
    sides = [stage.words[stage.words.index("--only") + 1] for stage in tuning]
    assert sides.count("lightly") == sides.count("sslkit") == len(plan.LIGHTLY) == len(plan.SSLKIT)
    assert all(stage.words[-4:] == ("--minutes", "5.0", "--marks", "3") for stage in tuning)
    assert all("--test" not in stage.words for stage in tuning)
    assert all("0" in stage.words for stage in tuning if "lightly" in stage.words)


def test_the_best_of_each_race_in_both_orders_and_levers_go_one_by_one(plan, args):
    tuned(plan, args.out)
    assert plan.chosen(args.out) == ("1", "sgd-0.12", "size-24-bfloat16-batch-256"), (
        "the end counts, not the highest"
    )
    ours = {stage.name: stage.words for stage in plan.stages(args)}
    assert list(ours)[-5:] == [
        "race-sslkit-first", "race-lightly-first",
        "without-views.global.size", "without-precision", "without-batch_size",
    ]  # fmt: skip
    race = ours["race-lightly-first"]
    assert race[:2] == ("--first", "lightly")
    assert ours["race-sslkit-first"][2:] == race[2:]
    assert {"--lightly-workers", "1", "sgd", "0.12", *plan.SSLKIT["size-24-bfloat16-batch-256"]} <= set(race)
    assert race[-4:] == ("--minutes", "30.0", "--sslkit-minutes", "10.0")
    away = ours["without-batch_size"]
    assert away[away.index("--set") + 1 :] == (*plan.SSLKIT["size-24-bfloat16-batch-256"], "batch_size=512")
    assert away[:2] == ("--only", "sslkit")


def test_a_setting_without_changes_has_no_lever(plan):
    assert plan.without("lars-2") == {}
    assert plan.of_sslkit("lars-2") == ()


def test_the_table_has_the_ratio_at_what_lightly_ended_with(plan, args):
    tuned(plan, args.out)
    marks = [mark("lightly", 1800, 0.62), mark("lightly", 900, 0.63), mark("sslkit", 600, 0.65)]
    reached = [{"accuracy": 0.62, "sslkit": 420.0, "lightly": 1800.0, "ratio": 4.29}]
    write(args.out / "race-sslkit-first", {"sslkit": 400.0, "lightly": 300.0}, marks, reached)
    write(args.out / "race-lightly-first", {"sslkit": 400.0, "lightly": 300.0}, marks[:1])
    lines = plan.table(args).splitlines()
    assert "| `race-sslkit-first` | sslkit 400, lightly 300 |  | 7.0 | 4.29 |" in lines
    assert "| `race-lightly-first` | sslkit 400, lightly 300 |  | not reached |  |" in lines
    assert "| `sslkit-size-24-bfloat16-batch-256` | sslkit 1 | 60.0 |  |  |" in lines


def run(plan, tmp_path, monkeypatch, call, *words):
    monkeypatch.setattr(plan, "call", call)
    return plan.main(["--root", "x", "--out", str(tmp_path), *words])


def test_it_goes_from_stage_to_stage_until_all_are_done(plan, tmp_path, monkeypatch, capsys):
    seen = []

    def call(stage, args, minutes):
        seen.append(stage.name)
        side = "lightly" if "lightly" in stage.name else "sslkit"
        rates = {"lightly": 1.0, "sslkit": 1.0}
        write(args.out / stage.name, rates, () if "--rates" in stage.words else [mark(side, 60, 0.5)])
        return 0

    assert run(plan, tmp_path, monkeypatch, call) == 0
    assert len(seen) == len(set(seen)) == 3 + 6 + 6 + 2
    assert seen[-2:] == ["race-sslkit-first", "race-lightly-first"]
    assert run(plan, tmp_path, monkeypatch, call) == 0
    assert len(seen) == 17, "nothing is made twice"
    capsys.readouterr()
    assert plan.main(["--root", "x", "--out", str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out.count(" done") == 17


def test_it_stops_when_time_is_up_and_where_a_stage_fails(plan, tmp_path, monkeypatch):
    assert (
        run(plan, tmp_path, monkeypatch, lambda *_: pytest.fail("began"), "--minutes", "0") == plan.UNFINISHED
    )
    assert run(plan, tmp_path, monkeypatch, lambda *_: 7) == 7
    assert run(plan, tmp_path, monkeypatch, lambda *_: 0) != 0, "nothing came of it: lightly is not there"


def test_a_stage_gets_what_is_left_of_the_time(plan, tmp_path, monkeypatch):
    words = []
    done = argparse.Namespace(returncode=3)
    monkeypatch.setattr(plan.subprocess, "run", lambda line, check: words.extend(line) or done)
    args = argparse.Namespace(root="x", out=tmp_path, lightly=tmp_path, calibrate=60.0, turn=20.0, threads=2)
    assert plan.call(plan.Stage("race", ("--first", "sslkit")), args, 12.5) == 3
    assert words[words.index("--budget") + 1] == "12.50"
    assert words[-2:] == ["--first", "sslkit"]
    assert words[words.index("--out") + 1] == str(tmp_path / "race")

"""The closing summary."""

from __future__ import annotations

import pytest

from sslkit.cli.closing import close, lines

PATHS = {
    "run": "runs/a", "metrics": "runs/a/metrics.jsonl", "lock": "runs/a/spec.lock.yaml",
    "checkpoint": "runs/a/checkpoints/step-00000100", "figures": ["runs/a/figures/curves.png"], "skipped": None,
}  # fmt: skip
SUMMARY = {
    "name": "a", "finished": True, "stopped_by": None, "step": 100, "seconds": 12.34, "metrics": {"loss": 0.98765},
    "best": {}, "baselines": {}, "skipped_images": 0, "paths": PATHS,
}  # fmt: skip


def said(**changes):
    return list(lines({**SUMMARY, **changes}))


def test_a_run_without_evaluation_says_what_was_written():
    assert said() == [
        "",
        "a: 100 steps in 12.3 s, loss 0.9877",
        "written:",
        "  runs/a/metrics.jsonl",
        "  runs/a/spec.lock.yaml",
        "  runs/a/checkpoints/step-00000100",
        "  runs/a/figures/curves.png",
        "  runs/a/summary.json",
        "next:",
        "  sslkit report runs/a",
        "  sslkit evaluate runs/a 'evaluate=[{kind: knn}]'",
    ]


def test_commands_can_be_copied_where_the_folder_has_spaces():
    paths = {**PATHS, "run": "my runs/a"}
    assert said(paths=paths, metrics=LAST)[-1] == "  sslkit report 'my runs/a'"
    assert said(paths=paths, finished=False, stopped_by="SIGINT")[-1] == "  sslkit resume 'my runs/a'"


def test_what_has_no_best_value_is_said_without():
    """Of a metric of which neither more nor less is better, and of one that was never finite."""
    table = said(
        best={}, metrics={"eval/attention/entropy": 3.0, "eval/attention/distance": 1.0, "eval/b/loss": None}
    )
    assert table[2:5] == [
        "                       last  best  (step)",
        "  attention entropy  3.0000              ",
        "             b loss                      ",
    ]


def test_a_stopped_run_says_how_to_go_on():
    assert said(finished=False, stopped_by="SIGINT", step=40) == [
        "",
        "stopped by SIGINT at step 40; everything is saved. Go on with:",
        "  sslkit resume runs/a",
    ]


def test_a_run_stopped_before_its_first_checkpoint_says_so():
    told = said(finished=False, stopped_by="SIGTERM", step=0, paths={**PATHS, "checkpoint": None})
    assert told[1] == "stopped by SIGTERM at step 0; there is no checkpoint yet. Go on with:"


@pytest.mark.parametrize(
    ("by", "code"), [(None, 0), ("SIGINT", 130), ("SIGUSR2", 140), ("another rank", 143)]
)
def test_the_exit_code_is_the_one_of_the_signal(by, code, capsys):
    assert close({**SUMMARY, "finished": by is None, "stopped_by": by}) == code


BEST = {
    "eval/knn/accuracy": {"value": 0.9, "step": 50},
    "eval/knn/top5": {"value": 0.99, "step": 60},
    "eval/linear/accuracy": {"value": 0.95, "step": 100},
}
LAST = {"loss": 0.5, "eval/knn/accuracy": 0.875, "eval/knn/top5": 0.98, "eval/linear/accuracy": 0.95}


def test_the_headline_of_each_evaluator_stands_in_a_table():
    table = said(best=BEST, metrics=LAST)[2:5]
    assert table == [
        "                     last    best  (step)",
        "     knn accuracy  0.8750  0.9000    (50)",
        "  linear accuracy  0.9500  0.9500   (100)",
    ]


def test_baselines_stand_beside_what_was_reached():
    baselines = {"baseline/untrained/knn/accuracy": 0.45, "baseline/raw_pixels/knn/accuracy": 0.97}
    table = said(best=BEST, metrics=LAST, baselines=baselines)[2:5]
    assert table == [
        "                     last    best  (step)  untrained  raw pixels",
        "     knn accuracy  0.8750  0.9000    (50)     0.4500      0.9700",
        "  linear accuracy  0.9500  0.9500   (100)                       ",
    ]


def test_the_weights_at_the_start_stand_beside_the_last_score():
    """What lacks of them is forgotten."""
    table = said(best=BEST, metrics=LAST, baselines={"baseline/start/knn/accuracy": 0.95})[2:4]
    assert table == [
        "                     last    best  (step)   start",
        "     knn accuracy  0.8750  0.9000    (50)  0.9500",
    ]


def test_skipped_images_and_missing_values_are_told():
    text = said(
        skipped_images=3,
        metrics={"loss": None},
        paths={**PATHS, "skipped": "runs/a/skipped.txt", "checkpoint": None},
    )
    assert text[1] == "a: 100 steps in 12.3 s"
    assert "3 images could not be read; they are listed in runs/a/skipped.txt" in text
    assert not any("None" in line for line in text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.4, "59.4 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.9, "1 h 0 min"),
        (93784, "26 h 3 min"),
    ],
)
def test_durations(seconds, text):
    assert said(seconds=seconds)[1] == f"a: 100 steps in {text}, loss 0.9877"


def test_only_the_first_rank_prints(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert close(SUMMARY) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    assert close(SUMMARY) == 0
    assert capsys.readouterr().out == "\n".join(said()) + "\n"

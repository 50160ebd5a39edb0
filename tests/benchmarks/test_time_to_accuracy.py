"""The race against lightly: what is scored, by whom, and when it was reached."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from sslkit.specs.load import dump
from sslkit.train.launch import train
from tests.conftest import ROOT

TINY = [
    "backbone.name=test_resnet", "batch_size=16", "log.flops=false", "log.figures=false", "optimizer.lr=0.1",
]  # fmt: skip


@pytest.fixture
def script(scripts):
    return scripts("time_to_accuracy")


@pytest.fixture
def small(script, monkeypatch):
    """Of the 200 images of the tests 50 are held out."""
    monkeypatch.setattr(script, "TRAINING", 200)
    monkeypatch.setattr(script, "HELD_OUT", 50)
    return script


def arguments(script, root, *more):
    return script.arguments(["--root", str(root), "--set", *TINY, *more])


def mark(script, side, seconds, accuracy):
    return script.Mark(side, int(seconds), seconds, accuracy)


def test_times_lie_on_straight_lines_between_marks(script):
    seen = [mark(script, "sslkit", s, a) for s, a in [(0, 0.2), (60, 0.4), (120, 0.3), (180, 0.5)]]
    assert script.reached(seen, 0.3) == pytest.approx(30)
    assert script.reached(seen, 0.4) == pytest.approx(60)
    assert script.reached(seen, 0.45) == pytest.approx(165), "not on the way down"
    assert script.reached(seen, 0.6) is None


def test_the_table_has_the_ratio_and_what_lightly_ends_with(script):
    ours = [mark(script, "sslkit", s, a) for s, a in [(0, 0.2), (60, 0.5), (120, 0.62)]]
    theirs = [mark(script, "lightly", s, a) for s, a in [(0, 0.2), (180, 0.5), (360, 0.56)]]
    lines = {line["accuracy"]: line for line in script.table(ours + theirs)}
    assert set(lines) == {0.40, 0.45, 0.50, 0.55, 0.56, 0.60}
    assert lines[0.50] == {"accuracy": 0.50, "sslkit": 60, "lightly": 180, "ratio": 3}
    assert lines[0.60]["ratio"] is None
    assert lines[0.56]["ratio"] == pytest.approx(360 / 90)
    assert "| 0.5000 | 1.00 | 3.00 | 3.00 |" in script.shown(script.table(ours + theirs))


def test_one_side_alone_has_a_table_too(script):
    alone = [mark(script, "sslkit", s, a) for s, a in [(0, 0.2), (60, 0.5)]]
    assert [line["ratio"] for line in script.table(alone)] == [None, None, None]


def test_what_is_held_out_is_not_trained_on(small, cifar10):
    args = arguments(small, cifar10)
    spec = small.spec_of(args)
    bank, voters, scored, places = small.splits(args, spec)
    trained = spec.data.build("train")
    assert (len(trained), len(voters), len(places)) == (150, 150, 50)
    assert bank is scored
    assert set(voters.tolist()) | set(places.tolist()) == set(range(200))
    assert (trained.resident() == bank.resident()[voters]).all()


def test_the_test_images_are_scored_when_asked_for(small, cifar10):
    args = arguments(small, cifar10, "--test")
    spec = small.spec_of(args)
    assert len(spec.data.build("train")) == 200
    _, voters, scored, places = small.splits(args, spec)
    assert (len(voters), len(places)) == (200, 40)
    assert scored.fingerprint == spec.data.build("test").fingerprint


def test_a_row_of_a_sweep_is_a_recipe(script, cifar10):
    file = ROOT / "examples" / "cifar10_hybrids.yaml"
    spec = script.spec_of(script.arguments(["--root", str(cifar10), "--spec", f"{file}:infonce"]))
    assert (spec.objective.kind, spec.steps, spec.data.limit) == ("simclr", 200, 45_000)


def test_scores_are_those_of_the_evaluator_and_each_is_made_once(
    small, cifar10, tmp_path, monkeypatch, capsys
):
    args = arguments(small, cifar10, "--test", "--only", "sslkit", "--out", str(tmp_path / "out"))
    spec = small.spec_of(args)
    fields = spec.model_copy(update={"out": args.out / "race" / "sslkit", "epochs": None, "steps": 4})
    summary = train(
        type(spec).model_validate(fields.model_dump() | {"checkpoint": {"every": "2 steps", "keep": 100}}),
        say=lambda _: None,
    )
    seen = small.scored(args, spec, {"sslkit": [(0.0, 1e12)]})
    assert [one.step for one in seen] == [0, 2, 4]
    assert seen[-1].accuracy == summary["metrics"]["eval/knn/accuracy"]
    assert all(a.seconds < b.seconds for a, b in pairwise(seen))
    monkeypatch.setattr(small, "score", None)
    assert small.scored(args, spec, {"sslkit": [(0.0, 1e12)]}) == seen
    (args.out / "race" / "lightly").mkdir()
    both = small.scored(args, spec, {"sslkit": [(0.0, 1e12)], "lightly": [(0.0, 1e12)]})
    assert both[0] == seen[0]._replace(side="lightly"), "both begin with the same network"
    small.draw(seen, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_both_sides_get_the_spec_and_what_is_tuned(script, tmp_path):
    args = script.arguments(
        [
            "--root",
            "x",
            "--first",
            "lightly",
            "--lightly-batch",
            "256",
            "--lightly-lr",
            "0.3",
            "--lightly-workers",
            "1",
        ]
    )
    both = script.commands(args, tmp_path, {"sslkit": 8, "lightly": 9}, {"sslkit": 2, "lightly": 3})
    assert list(both) == ["lightly", "sslkit"]
    assert {"steps=8", "checkpoint.every=2 steps", "evaluate=[]"} <= set(both["sslkit"])
    words = " ".join(both["lightly"])
    for part in (
        "--steps 9",
        "--every 3",
        "--batch 256",
        "--lr 0.3",
        "--workers 1",
        str(args.out / "spec.yaml"),
    ):
        assert part in words


def test_without_lightly_it_says_so_and_ends_well(script, scripts, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(scripts("lightly_simclr").importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(
        "sys.argv", ["time_to_accuracy.py", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert script.main() == 0
    out = capsys.readouterr().out
    assert out.startswith("skipped: lightly is not installed")
    assert out.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_lightly_trains_the_same_network(small, scripts, cifar10, tmp_path, monkeypatch):
    pytest.importorskip("lightly", reason="lightly is not installed")
    lightly = scripts("lightly_simclr")
    args = arguments(small, cifar10, "--lightly-workers", "0", "--out", str(tmp_path / "out"))
    spec = small.spec_of(args)
    (tmp_path / "spec.yaml").write_text(dump(spec))
    words = ["x", "--spec", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out" / "race" / "lightly")]
    monkeypatch.setattr("sys.argv", [*words, "--steps", "4", "--every", "2", "--workers", "0"])
    assert lightly.main() == 0
    seen = small.scored(args, spec, {"lightly": [(0.0, 1e12)]})
    assert [one.step for one in seen] == [0, 2, 4]
    kept = [json.loads(line) for line in (args.out / "scores.jsonl").read_text().splitlines()]
    assert [one["accuracy"] for one in kept] == [one.accuracy for one in seen]
    before, after = (small.backbone_of(spec, args.out / "race", one) for one in (seen[0], seen[-1]))
    states = before.state_dict(), after.state_dict()
    assert states[0].keys() == states[1].keys()
    assert any(not state.equal(states[1][name]) for name, state in states[0].items())


def test_lightly_goes_on_where_sigterm_stopped_it(small, scripts, cifar10, tmp_path, monkeypatch):
    pytest.importorskip("lightly", reason="lightly is not installed")
    lightly = scripts("lightly_simclr")
    spec = small.spec_of(arguments(small, cifar10, "--lightly-workers", "0"))
    (tmp_path / "spec.yaml").write_text(dump(spec))
    out = tmp_path / "out"
    monkeypatch.setattr(
        "sys.argv",
        [
            "x",
            "--spec",
            str(tmp_path / "spec.yaml"),
            "--out",
            str(out),
            "--steps",
            "3",
            "--every",
            "1",
            "--workers",
            "0",
        ],
    )
    asked = SimpleNamespace(asked=True)
    monkeypatch.setattr(lightly, "Stop", lambda: asked)
    assert lightly.main() == 143
    assert [path.name for path in sorted(out.glob("step-*"))] == ["step-00000001.pt"]
    assert torch.load(out / "state.pt", weights_only=True)["step"] == 1
    asked.asked = False
    assert lightly.main() == 0
    assert [path.name for path in sorted(out.glob("step-*"))] == [f"step-0000000{n}.pt" for n in (1, 2, 3)]


def test_what_lightly_saves_brings_all_of_it_back(scripts, tmp_path):
    lightly = scripts("lightly_simclr")

    def parts():
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
        return {"model": model, "optimizer": optimizer}

    torch.manual_seed(0)
    one, other = parts(), parts()
    assert lightly.go_on(other, tmp_path / "state.pt") == 0
    one["model"](torch.ones(1, 2)).sum().backward()
    one["optimizer"].step()
    lightly.whole(
        tmp_path / "state.pt", {"step": 7, **{name: part.state_dict() for name, part in one.items()}}
    )
    assert lightly.go_on(other, tmp_path / "state.pt") == 7
    assert one["model"].weight.equal(other["model"].weight)
    assert len(other["optimizer"].state_dict()["state"]) == 2


@pytest.fixture
def started(small, cifar10, tmp_path):
    args = arguments(small, cifar10, "--minutes", "1", "--out", str(tmp_path / "out"))
    args.out.mkdir()
    state = small.State(args.out / "state.json")
    state.keep(rates={"sslkit": 16.0, "lightly": 8.0})
    return args, small.spec_of(args), state


def test_a_race_that_was_stopped_goes_on_and_one_that_was_killed_begins_anew(small, started, monkeypatch):
    args, spec, state = started
    (args.out / "race").mkdir()
    (args.out / "race" / "of-a-killed-call").touch()
    calls = []

    def race(args, folder, steps, every, *, seconds, until, earlier):
        calls.append((dict(steps), earlier))
        return small.turns.Taken(
            {"sslkit": [(0.0, 5.0)], "lightly": []}, ["lightly"] if len(calls) == 1 else []
        )

    monkeypatch.setattr(small, "race", race)
    assert not small.raced(args, spec, state, 0.0)
    assert not (args.out / "race" / "of-a-killed-call").exists()
    assert small.State(args.out / "state.json").values["race"] == "stopped"
    assert small.raced(args, spec, small.State(args.out / "state.json"), 0.0)
    assert calls[0] == ({"sslkit": 60, "lightly": 30}, {})
    assert calls[1][1] == {"sslkit": [(0.0, 5.0)], "lightly": []}
    state.keep(race="running")
    assert small.raced(args, spec, state, 0.0)
    assert calls[2][1] == {}, "nobody knows when it ran"


def test_when_time_is_up_nothing_is_scored_any_more(small, started):
    args, spec, _ = started
    assert small.scored(args, spec, {"lightly": [(0.0, 1.0)]}, until=0.0) is None
    assert not (args.out / "scores.jsonl").exists()


def test_time_that_is_up_is_an_exit_code_of_its_own(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", "--root", "y", "--only", "sslkit"])
    monkeypatch.setattr(script.signal, "signal", lambda *_: None)
    monkeypatch.setattr(script, "run", lambda args: False)
    assert script.main() == script.UNFINISHED
    assert "call again" in capsys.readouterr().out

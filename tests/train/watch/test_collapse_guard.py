"""The collapse guard: its rules on made records, and in whole runs that collapse on purpose or do not."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sslkit.errors import SpecError, TrainingError
from sslkit.runs import metrics_log
from sslkit.train.launch import resume, train
from sslkit.train.step.stepper import Stepper
from sslkit.train.watch import collapse_guard
from sslkit.train.watch.collapse_guard import GRACE, RECORDS, RULES, STEPS, CollapseGuard, Finding
from tests import tiny

NAN = math.nan


def guard(mode: Any = "warn") -> CollapseGuard:
    return CollapseGuard(mode, peak_lr=0.5)


def show(
    watcher: CollapseGuard,
    metric: str,
    values: Sequence[float],
    *,
    every: int = 10,
    first: int = 0,
    lr: float = 0.5,
) -> list[int]:
    """Records of `metric` every so many steps; the steps at which something was found."""
    found = []
    for i, value in enumerate(values, start=1):
        step = first + i * every
        if watcher.look({"step": step, "lr": lr, "loss": 1.0, "loss/a": 1.0, metric: value}):
            found.append(step)
    return found


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("feature_std", [0.01]),
        ("feature_std", [0.09, 0.05, 0.02, 0.01]),
        ("feature_std", [0.9, 0.5, 0.22, 0.2]),
        ("prototype_entropy_share", [0.2]),
        ("prototype_entropy_share", [0.43]),
        ("teacher_entropy_share", [0.9999]),
        ("teacher_entropy_share", [0.9985]),
        ("teacher_entropy_share", [1.0000001]),
        ("loss_share", [1.0005, 0.9995]),
        ("loss_share", [7.0]),
    ],
)
def test_what_looks_collapsed_is_found_once_after_grace_and_persistence(
    metric: str, values: list[float]
) -> None:
    watcher = guard()
    series = (values * 20)[:20] if len(values) != 4 else values + values[-1:] * 16
    found = show(watcher, f"a/{metric}", series)
    assert len(found) == 1
    assert found[0] <= GRACE + STEPS + 30 <= 200
    (finding,) = watcher.findings
    assert finding.metric == f"a/{metric}"
    assert finding.step == found[0]
    assert finding.step - finding.since >= STEPS
    assert finding.value == series[found[0] // 10 - 1]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("feature_std", 0.12),
        ("feature_std", NAN),
        ("prototype_entropy_share", 0.5),
        ("teacher_entropy_share", 0.997),
        ("teacher_entropy_share", 0.0),
        ("loss_share", 0.99),
        ("loss_share", 3.0),
        ("loss_share", 1.01),
        ("loss_share", 0.0),
        ("loss_share", -3.0),
        ("target_std", 0.001),
        ("other", 0.0),
    ],
)
def test_what_looks_healthy_or_is_unknown_is_left_alone(metric: str, value: float) -> None:
    watcher = guard()
    assert show(watcher, f"a/{metric}", [value] * 50) == []
    assert watcher.findings == []


def test_totals_without_an_objective_are_judged_by_their_last_name_only() -> None:
    watcher = guard()
    for step in range(10, 300, 10):
        watcher.look({"step": step, "lr": 0.5, "a/feature_std": 0.01, "b/feature_std": 0.9})
    assert [finding.metric for finding in watcher.findings] == ["a/feature_std"]


@pytest.mark.parametrize("metric", ["target_std", "prediction_std"])
def test_deviations_of_targets_are_compared_with_their_highest(metric: str) -> None:
    """Their scale depends on the target; predictions begin near 0 and rise."""
    falling = guard()
    assert len(show(falling, f"a/{metric}", [0.001, 0.4, 0.8, 0.4, 0.1] + [0.02] * 10)) == 1
    small = guard()
    assert show(small, f"a/{metric}", [0.001, 0.002, 0.0015] * 20) == []
    half = guard()
    assert show(half, f"a/{metric}", [0.8] + [0.05] * 40) == []


def test_features_are_compared_with_their_highest_and_with_a_floor() -> None:
    """A quarter of what they were is a fall from a high start; alike from the start is judged by the floor alone."""
    assert show(guard(), "a/feature_std", [0.9] * 5 + [0.24] * 40) == []
    assert len(show(guard(), "a/feature_std", [0.9] * 5 + [0.21] * 40)) == 1
    assert show(guard(), "a/feature_std", [0.25] * 5 + [0.11] * 40) == []
    assert len(show(guard(), "a/feature_std", [0.25] * 5 + [0.09] * 40)) == 1


def test_a_target_that_never_varied_is_found() -> None:
    assert len(show(guard(), "a/target_std", [0.0] * 20)) == 1


def test_the_warm_up_counts_by_its_share_of_the_learning_rate() -> None:
    """A network that hardly moves yet is not judged; its features may all be alike at first."""
    assert show(guard(), "a/feature_std", [0.01] * 40, lr=0.05) == []
    (late,) = show(guard(), "a/feature_std", [0.01] * 60, lr=0.05)
    assert late == GRACE * 10 + STEPS
    assert show(guard(), "a/feature_std", [0.01] * 100, lr=0.0) == []


@pytest.mark.parametrize(("every", "step"), [(1, 90), (5, 90), (10, 90), (20, 140), (50, 250)])
def test_persistence_counts_steps_and_records(every: int, step: int) -> None:
    (found,) = show(guard(), "a/feature_std", [0.01] * 100, every=every)
    assert found == step
    assert found >= GRACE + max(STEPS, (RECORDS - 1) * every)


def test_a_record_that_looks_healthy_begins_anew() -> None:
    four_of_five = [0.01, 0.01, 0.01, 0.01, 0.5]
    assert show(guard(), "a/feature_std", four_of_five * 20) == []
    assert show(guard(), "a/feature_std", [0.5] * 10 + [0.01] * 5) == [150]


def test_what_recovers_is_given_time() -> None:
    """Features that spread from almost nothing are no collapse, as long as they do spread."""
    rising = [0.011 * 1.12**i for i in range(30)]
    assert rising[5] < 0.1 < rising[-1]
    assert show(guard(), "a/feature_std", rising) == []
    creeping = [0.05 * 1.01**i for i in range(30)]
    assert len(show(guard(), "a/feature_std", creeping)) == 1


def test_changes_near_nothing_are_noise() -> None:
    assert len(show(guard(), "a/feature_std", [0.001, 0.004] * 20)) == 1


def test_every_metric_is_told_of_once() -> None:
    watcher = guard()
    for step in range(10, 500, 10):
        watcher.look({"step": step, "lr": 0.5, "a/feature_std": 0.01, "b/feature_std": 0.02})
    assert [finding.metric for finding in watcher.findings] == ["a/feature_std", "b/feature_std"]
    assert watcher.news() == watcher.findings
    assert watcher.news() == []


def test_off_finds_nothing() -> None:
    watcher = guard("off")
    assert show(watcher, "a/feature_std", [0.0] * 100) == []
    assert watcher.news() == []
    assert not watcher.stopping


def test_only_stop_stops() -> None:
    for mode, stops in (("warn", False), ("stop", True)):
        watcher = guard(mode)
        assert not watcher.stopping
        show(watcher, "a/feature_std", [0.0] * 20)
        assert watcher.stopping is stops


def test_state_goes_through_json_and_continues_to_the_same_end() -> None:
    values = [0.5, 0.6, 0.04, 0.09] + [0.02] * 20
    whole = guard()
    expected = show(whole, "a/target_std", values)
    assert len(expected) == 1
    for cut in range(len(values)):
        first, second = guard(), guard()
        found = show(first, "a/target_std", values[:cut])
        second.restore(json.loads(json.dumps(first.state())))
        found += show(second, "a/target_std", values[cut:], first=cut * 10)
        assert found == expected
        assert second.findings == whole.findings
        assert second.state() == whole.state()


def test_what_an_earlier_part_found_neither_speaks_nor_stops_again() -> None:
    first, second = guard("stop"), guard("stop")
    show(first, "a/feature_std", [0.0] * 20)
    second.restore(first.state())
    assert show(second, "a/feature_std", [0.0] * 20, first=200) == []
    assert second.news() == []
    assert not second.stopping
    assert second.findings == first.findings


def test_a_checkpoint_without_a_guard_is_as_a_start() -> None:
    watcher = guard()
    watcher.restore({})
    assert watcher.state() == guard().state()


@pytest.mark.parametrize("metric", RULES)
def test_warnings_say_what_since_when_why_and_what_to_do(metric: str) -> None:
    high = [1.0] * 6
    low = {"teacher_entropy_share": [1.0] * 20, "loss_share": [1.0] * 20}.get(metric, [0.001] * 20)
    watcher = guard()
    show(watcher, f"mine/{metric}", high + low)
    (finding,) = watcher.findings
    for part in (f"mine/{metric} is ", f"at step {finding.step}", f"since step {finding.since}: "):
        assert part in finding.text
    before, after = finding.text.split(" Usual causes: ")
    causes, remedies = after.split(". Try: ")
    assert min(map(len, (before, causes, remedies))) > 20


def test_the_reason_to_stop_names_the_way_on(tmp_path: Path) -> None:
    watcher = guard("stop")
    show(watcher, "a/feature_std", [0.0] * 20)
    reason = watcher.reason(tmp_path)
    assert reason.startswith("collapse: a/feature_std is 0 at step 90")
    assert f"`sslkit resume {tmp_path}` goes on" in reason
    assert "log.collapse=stop" in reason


VIEWS = {"global": {**tiny.VIEW, "crops": 2}}
QUIET = {"flops": False, "figures": False}
"""What is neither looked at here nor cheap."""
SMALL = {**tiny.VIT, "depth": 1}
SEED = 31
"""Of no run that the thresholds were chosen or judged on."""
MOMENTUM = {"byol": 0.99, "dino": 0.996}
HEAD = {"hidden": 32, "out": 16}
BYOL = {"kind": "byol", "projector": HEAD, "predictor": HEAD}
DINO = {
    "kind": "dino",
    "local": None,
    "prototypes": 64,
    "head": {"layers": 2, "hidden": 32, "bottleneck": 16},
}
SIMCLR = {"kind": "simclr", "projector": {**HEAD, "out_norm": "scale"}}


def fields(objective: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """200 steps on digits."""
    momentum = MOMENTUM.get(objective["kind"])
    nets = {} if momentum is None else {"teacher": {"momentum": momentum}}
    base = {
        "objective": objective,
        "nets": nets,
        "views": VIEWS,
        "backbone": SMALL,
        "seed": SEED,
        "steps": 200,
        "batch_size": 32,
        "optimizer": {"lr": 1e-3, "scale": "absolute"},
        "log": {**QUIET, "every": 10},
        "checkpoint": {"every": "end"},
    }
    return {**base, **changes}


def silent(_text: str) -> None:
    pass


@pytest.mark.parametrize("objective", [BYOL, DINO, SIMCLR], ids=lambda o: o["kind"])
def test_healthy_runs_are_quiet(
    objective: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = train(tiny.spec(tmp_path, **fields(objective)), silent)
    assert summary["warnings"] == []
    assert not any("warning" in entry for entry in metrics_log.read(tmp_path))
    assert "collapse" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("objective", "metric"),
    [
        pytest.param({**BYOL, "predictor": None}, "feature_std", id="byol without predictor"),
        pytest.param({**DINO, "centering": "none"}, "prototype_entropy_share", id="dino without centering"),
        pytest.param({**DINO, "teacher_temperature": 1.0}, "teacher_entropy_share", id="dino too warm"),
        pytest.param({**SIMCLR, "temperature": 1000.0}, "loss_share", id="simclr too warm"),
        pytest.param({**SIMCLR, "temperature": 0.01}, "loss_share", id="simclr too cold"),
    ],
)
def test_runs_that_collapse_on_purpose_are_warned_of(
    objective: Mapping[str, Any], metric: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = train(tiny.spec(tmp_path, **fields(objective)), silent)
    name = f"{objective['kind']}/{metric}"
    (warning,) = [warning for warning in summary["warnings"] if warning["metric"] == name]
    assert warning["step"] <= 200
    records = metrics_log.read(tmp_path)
    assert {"step": warning["step"], "warning": warning} in records
    (judged,) = [entry for entry in records if entry["step"] == warning["step"] and name in entry]
    assert judged[name] == warning["value"]
    assert capsys.readouterr().err.count(f"warning: {warning['text']}") == 1
    assert "warning" not in summary["metrics"]


WARM = {**SIMCLR, "temperature": 1000.0}


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ask the run to leave once `step` is done."""
    original = Stepper.__call__

    def call(self: Stepper, number: int, batches: Any) -> Any:
        result = original(self, number, batches)
        if number + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(Stepper, "__call__", call)


def numbers(run_dir: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "images_per_s"} for entry in metrics_log.read(run_dir)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found at step 18: 10 of grace, whose last record counts, then 4 more, 2 steps apart."""
    monkeypatch.setattr(collapse_guard, "GRACE", 10.0)
    monkeypatch.setattr(collapse_guard, "STEPS", 8)


QUICK = {
    "steps": 26,
    "batch_size": 8,
    "schedule": {"warmup_epochs": 0, "shape": "constant"},
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("cut", "said"), [(15, [0, 1]), (22, [1, 0])])
def test_a_run_that_is_cut_warns_as_a_whole_one_does(
    cut: int, said: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    changes = fields(WARM, **QUICK, log={**QUIET, "every": 2})
    whole = train(tiny.spec(tmp_path / "whole", **changes), silent)
    assert [warning["step"] for warning in whole["warnings"]] == [18]
    capsys.readouterr()
    with monkeypatch.context() as patch:
        stop_at(patch, cut)
        train(tiny.spec(tmp_path / "cut", **changes), silent)
    heard = [capsys.readouterr().err.count("warning: collapse")]
    assert resume(tmp_path / "cut", silent)["warnings"] == whole["warnings"]
    heard.append(capsys.readouterr().err.count("warning: collapse"))
    assert heard == said
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")


@pytest.mark.usefixtures("impatient")
def test_stop_saves_and_ends_the_run_and_resume_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sslkit.runs.recorder.FLUSH_SECONDS", -1.0)
    spec = tiny.spec(tmp_path, **fields(WARM, **QUICK, log={**QUIET, "every": 2, "collapse": "stop"}))
    with pytest.raises(TrainingError, match=r"collapse: simclr/loss_share .*`sslkit resume .*` goes on"):
        train(spec, silent)
    (warning,) = [entry["warning"] for entry in metrics_log.read(tmp_path) if "warning" in entry]
    assert warning["step"] == 18
    (kept,) = (tmp_path / "checkpoints").iterdir()
    assert kept.name == "step-00000018"
    summary = resume(tmp_path, silent)
    assert summary["finished"]
    assert summary["warnings"] == [warning]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mode", ["off", "stop"])
def test_the_end_of_a_run_is_judged_too(mode: str, tmp_path: Path) -> None:
    """What the last records complete is said, and with `stop` still an error; off is silent to the end."""
    spec = tiny.spec(
        tmp_path, **fields(WARM, **{**QUICK, "steps": 18}, log={**QUIET, "every": 2, "collapse": mode})
    )
    if mode == "off":
        assert train(spec, silent)["warnings"] == []
    else:
        with pytest.raises(TrainingError, match="collapse: simclr/loss_share"):
            train(spec, silent)
        assert resume(tmp_path, silent)["finished"]


def test_other_modes_are_refused() -> None:
    with pytest.raises(SpecError, match=r"log\.collapse"):
        tiny.spec(log={"collapse": "loud"})


def test_a_finding_is_plain_data() -> None:
    finding = Finding("a/feature_std", 90, 50, 0.01, "text")
    assert json.loads(json.dumps(finding._asdict())) == finding._asdict()

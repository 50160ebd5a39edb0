"""Signals that ask a run to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import sslkit
from sslkit import Run
from sslkit.errors import Interrupted
from sslkit.runs.checkpoint import FOLDER, META, Checkpoints
from sslkit.runtime import signals
from sslkit.runtime.signals import Abandoned, StopRequest, exit_code, leave_signals, listened
from sslkit.specs.load import dump
from sslkit.train.launch import resume, train
from sslkit_evaluators.probes.knn import KNNEvaluator
from tests import tiny
from tests.train.test_trainer import numbers, silent, stop_at

ALL = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
KNN = {"kind": "knn", "every": "3 steps"}


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def later(monkeypatch):
    """Lets time pass: `later()` makes the next signal one that was meant."""
    now = [1000.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])

    def wait():
        now[0] += signals.SAME

    return wait


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_and_the_handlers_come_back(number, capfd):
    before = [signal.getsignal(one) for one in ALL]
    with StopRequest() as stop:
        assert stop.signal is None
        send(number)
        assert stop.signal == number.name
    assert [signal.getsignal(one) for one in ALL] == before
    assert (
        capfd.readouterr().err == f"\n{number.name}: saving, then leaving; a second signal leaves at once\n"
    )


def test_ranks_other_than_the_first_are_silent(capfd):
    with StopRequest(speaks=False):
        send(signal.SIGTERM)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_at_once_and_names_the_last_checkpoint(later, first, second):
    with StopRequest(lambda: "The last good checkpoint is X.") as stop:
        send(first)
        later()
        with pytest.raises(Interrupted) as caught:
            send(second)
    assert str(caught.value) == (
        f"{second.name} after {first.name}: left at once. The last good checkpoint is X."
    )
    assert (caught.value.signal, stop.signal) == (second.name, first.name)
    assert isinstance(caught.value, KeyboardInterrupt)


def test_what_a_terminal_and_torchrun_both_pass_on_is_one_signal():
    with StopRequest() as stop:
        send(signal.SIGINT)
        send(signal.SIGTERM)
        send(signal.SIGINT)
    assert stop.signal == "SIGINT"


def catch_every_error():
    """As a plugin may do; it must not keep the run from leaving."""
    try:
        send(signal.SIGUSR1)
    except Exception:
        pytest.fail("it is no error")
    pytest.fail("the work goes on")


def test_work_that_is_made_again_is_cut_off_wherever_it_is():
    with StopRequest() as stop:
        with pytest.raises(Abandoned), stop.abandoning():
            catch_every_error()
        with pytest.raises(Abandoned), stop.abandoning():
            pytest.fail("more of it begins")
    with StopRequest() as stop:
        with stop.abandoning(), stop.abandoning():
            pass
        send(signal.SIGTERM)
        assert stop.signal == "SIGTERM", "outside of the block the work goes on"


def test_what_nohup_and_shells_ignore_stays_ignored():
    before = [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)]
    try:
        with StopRequest() as stop:
            send(signal.SIGHUP)
            send(signal.SIGINT)
            assert stop.signal is None
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in zip((signal.SIGHUP, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)


def test_a_program_keeps_its_own_handler_of_user_signals():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with StopRequest() as stop:
            send(signal.SIGUSR1)
            assert (stop.signal, heard) == (None, [signal.SIGUSR1])
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_another_thread_leaves_signals_to_their_owner():
    before, noted = signal.getsignal(signal.SIGTERM), []

    def run():
        with StopRequest() as stop:
            noted.append((stop.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert noted == [(None, before)]


def test_a_system_without_user_signals_has_the_others(monkeypatch):
    for name in signals.UNLESS_HANDLED:
        monkeypatch.delattr(signal, name)
    assert listened() == [signal.SIGTERM, signal.SIGINT]
    with StopRequest() as stop:
        send(signal.SIGTERM)
    assert stop.signal == "SIGTERM"


def test_workers_leave_all_of_them_to_the_main_process():
    before = {number: signal.getsignal(number) for number in ALL}
    try:
        leave_signals(0)
        assert {signal.getsignal(number) for number in ALL} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129), ("another rank", 143)]
)
def test_exit_codes_are_those_of_shells(name, code):
    assert exit_code(name) == code


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run: (folder, summary). Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(tiny.spec(out, evaluate=[{**KNN, "baselines": True}]), silent)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_what_schedulers_send_saves_and_resume_ends_bit_equal(whole, tmp_path, monkeypatch, number):
    with monkeypatch.context() as patch:
        stop_at(patch, 5, lambda: send(number))
        stopped = train(tiny.spec(tmp_path, evaluate=[{**KNN, "baselines": True}]), silent)
    assert (stopped["finished"], stopped["stopped_by"], stopped["step"]) == (False, number.name, 5)
    assert resume(tmp_path, silent)["weights_sha256"] == whole[1]["weights_sha256"]
    assert numbers(tmp_path) == numbers(whole[0])


@pytest.mark.parametrize(("call", "step"), [(1, 0), (2, 0), (3, 3), (5, 8)])
def test_a_signal_during_an_evaluation_ends_it_and_leaves_it_to_resume(
    whole, tmp_path, monkeypatch, call, step
):
    """Baselines before the first step, an evaluation on the way, and the last one."""
    original, calls = KNNEvaluator.__call__, []

    def evaluate(self, subject):
        calls.append(subject)
        if len(calls) == call:
            send(signal.SIGTERM)
            pytest.fail("the evaluation goes on")
        return original(self, subject)

    with monkeypatch.context() as patch:
        patch.setattr(KNNEvaluator, "__call__", evaluate)
        stopped = train(tiny.spec(tmp_path, evaluate=[{**KNN, "baselines": True}]), silent)
    assert (stopped["finished"], stopped["stopped_by"], stopped["step"]) == (False, "SIGTERM", step)
    kept = Checkpoints(tmp_path / FOLDER).all()
    if step:
        assert kept[-1].name == f"step-{step:08d}"
        assert not json.loads((kept[-1] / META).read_text())["evaluated"]
    else:
        assert (kept, stopped["paths"]["checkpoint"]) == ([], None)
    resumed = resume(tmp_path, silent)
    assert resumed["weights_sha256"] == whole[1]["weights_sha256"]
    assert (resumed["best"], resumed["baselines"]) == (whole[1]["best"], whole[1]["baselines"])
    assert numbers(tmp_path) == numbers(whole[0])


@pytest.mark.parametrize("at", [0, 3, 4])
def test_a_signal_while_a_batch_is_waited_for_saves_what_is_done(whole, tmp_path, monkeypatch, at):
    """As with storage that hangs; nothing of the step has been computed, and no evaluation is made twice."""
    original = sslkit.data.loaders.ResidentFeed.step

    def hanging(self, step):
        if step == at:
            send(signal.SIGTERM)
            pytest.fail("it waits on")
        yield from original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(sslkit.data.loaders.ResidentFeed, "step", hanging)
        stopped = train(tiny.spec(tmp_path, evaluate=[{**KNN, "baselines": True}]), silent)
    assert (stopped["stopped_by"], stopped["step"]) == ("SIGTERM", at)
    kept = Checkpoints(tmp_path / FOLDER).all()
    assert [path.name for path in kept][-1:] == ([f"step-{at:08d}"] if at else [])
    assert all(json.loads((path / META).read_text())["evaluated"] for path in kept)
    assert resume(tmp_path, silent)["weights_sha256"] == whole[1]["weights_sha256"]


def test_a_second_signal_leaves_a_run_without_saving(tmp_path, monkeypatch, later):
    def twice():
        send(signal.SIGTERM)
        later()
        send(signal.SIGTERM)

    with monkeypatch.context() as patch:
        stop_at(patch, 5, twice)
        with pytest.raises(
            Interrupted, match=r"left at once\. The last good checkpoint is .*step-00000003; `sslkit"
        ):
            train(tiny.spec(tmp_path), silent)
    assert [path.name for path in Checkpoints(tmp_path / FOLDER).all()] == ["step-00000003"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_loop_over_runs_does_not_go_on_to_the_next(tmp_path, monkeypatch, number):
    stop_at(monkeypatch, 5, lambda: send(number))
    begun = []

    def fit_three():
        for i in range(3):
            begun.append(i)
            try:
                Run(**tiny.fields(tmp_path / str(i))).fit()
            except Exception:
                pytest.fail("it is no error")

    with pytest.raises(Interrupted) as caught:
        fit_three()
    assert begun == [0]
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.signal == number.name
    out = str(tmp_path / "0")
    assert str(caught.value) == (
        f"stopped by {number.name} at step 5; `sslkit resume {out}` or `sslkit.resume_run({out!r})` continues"
    )
    monkeypatch.undo()
    assert sslkit.resume_run(out).summary["finished"]


def test_resuming_in_python_raises_alike(tmp_path, monkeypatch):
    stop_at(monkeypatch, 5, lambda: send(signal.SIGTERM))
    with pytest.raises(Interrupted):
        Run(**tiny.fields(tmp_path)).fit()
    stop_at(monkeypatch, 7, lambda: send(signal.SIGHUP))
    with pytest.raises(Interrupted, match="stopped by SIGHUP at step 7"):
        sslkit.resume_run(tmp_path)


STUBBORN = """
import sys, time
from sslkit.cli.main import main
from sslkit_evaluators.probes.knn import KNNEvaluator

def evaluate(self, subject):
    print("evaluating", flush=True)
    while True:
        try:
            time.sleep(600)
        except Exception:
            pass

KNNEvaluator.__call__ = evaluate
sys.exit(main(sys.argv[1:]))
"""


def test_a_long_evaluation_is_left_within_seconds_and_the_exit_code_tells(tmp_path):
    """A whole process, as a scheduler sees it."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(dump(tiny.spec(tmp_path / "run", evaluate=[KNN])))
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, "run", str(spec)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any(line == "evaluating\n" for line in process.stdout)
    begun = time.monotonic()
    process.send_signal(signal.SIGUSR1)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < 30
    assert process.returncode == 128 + signal.SIGUSR1
    assert "stopped by SIGUSR1 at step 3; everything is saved. Go on with:" in out
    assert f"  sslkit resume {tmp_path / 'run'}" in out
    assert "SIGUSR1: saving, then leaving; a second signal leaves at once" in err
    assert Checkpoints(tmp_path / "run" / FOLDER).all()[-1].name == "step-00000003"

"""Records of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import final

import pytest
import torch

from sslkit.core.logger import Logger
from sslkit.runs.metrics_log import METRICS, read, rewind
from sslkit.runs.recorder import Recorder
from sslkit.runs.run_loggers import Loggers
from tests import tiny

NOBODY = Loggers({}, pytest.fail)


@final
class Listener(Logger):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, Mapping[str, float]]] = []
        self.closed = False

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.heard.append((step, values))

    def close(self) -> None:
        self.closed = True


def losses(value):
    return {"loss": torch.tensor(value), "loss/a": torch.tensor(value * 2, dtype=torch.bfloat16)}


def test_records_are_held_until_the_flush_and_then_stand_in_order(tmp_path):
    listener = Listener()
    recorder = Recorder(tmp_path, Loggers({"it": listener}, pytest.fail), tiny.CPU)
    recorder.add({"step": 1, "lr": 0.5}, losses(1.0))
    recorder.add({"step": 2, "lr": 0.25}, losses(2.0))
    assert read(tmp_path) == []
    recorder.flush()
    expected = [
        {"step": 1, "lr": 0.5, "loss": 1.0, "loss/a": 2.0},
        {"step": 2, "lr": 0.25, "loss": 2.0, "loss/a": 4.0},
    ]
    assert read(tmp_path) == expected
    assert listener.heard == [(1, {k: v for k, v in expected[0].items() if k != "step"}),
                              (2, {k: v for k, v in expected[1].items() if k != "step"})]  # fmt: skip
    recorder.flush()
    assert len(read(tmp_path)) == 2
    recorder.close()
    assert listener.closed


def test_held_values_may_change_on_the_device_after_they_are_flushed(tmp_path):
    recorder = Recorder(tmp_path, NOBODY, tiny.CPU)
    value = torch.tensor(1.0)
    recorder.add({"step": 1}, {"loss": value})
    recorder.flush()
    value.fill_(9.0)
    recorder.add({"step": 2}, {"loss": value})
    recorder.flush()
    assert [entry["loss"] for entry in read(tmp_path)] == [1.0, 9.0]


def test_the_latest_value_of_every_metric_is_known(tmp_path):
    recorder = Recorder(tmp_path, NOBODY, tiny.CPU)
    recorder.write({"step": 1, "loss": 3.0})
    recorder.write({"step": 2, "eval/knn/accuracy": 0.5})
    assert recorder.latest == {"step": 2, "loss": 3.0, "eval/knn/accuracy": 0.5}


def test_what_is_not_finite_is_null_and_the_file_stays_json(tmp_path):
    Recorder(tmp_path, NOBODY, tiny.CPU).write(
        {"step": 1, "loss": float("nan"), "lr": float("inf"), "x": 1.5}
    )
    (line,) = (tmp_path / METRICS).read_text().splitlines()
    assert json.loads(line, parse_constant=lambda name: pytest.fail(name)) == {
        "step": 1, "loss": None, "lr": None, "x": 1.5,
    }  # fmt: skip


def test_reading_is_due_once_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("sslkit.runs.recorder.time.monotonic", lambda: now[0])
    recorder = Recorder(tmp_path, NOBODY, tiny.CPU)
    assert not recorder.due
    now[0] += 1.5
    assert recorder.due
    recorder.flush()
    assert not recorder.due


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    listener = Listener()
    monkeypatch.setattr(tiny.CPU, "rank", 1)
    recorder = Recorder(tmp_path, Loggers({"it": listener}, pytest.fail), tiny.CPU)
    recorder.add({"step": 1}, losses(1.0))
    recorder.flush()
    assert recorder.latest["loss"] == 1.0
    assert not (tmp_path / METRICS).exists()
    assert listener.heard == []


def write(run_dir: Path, *lines: str) -> None:
    (run_dir / METRICS).write_bytes("".join(lines).encode("latin-1"))


def test_lines_that_a_crash_damaged_are_left_out(tmp_path):
    write(tmp_path, '{"step": 1}\n', "\n", "\x00\x00\xff\n", '{"step": 2}\n', '{"step": 3, "lo')
    assert read(tmp_path) == [{"step": 1}, {"step": 2}]


def test_a_run_without_records_has_none(tmp_path):
    assert read(tmp_path) == []
    rewind(tmp_path, 5)
    assert read(tmp_path) == []


def test_rewinding_drops_what_came_after_a_step(tmp_path):
    entries = [{"step": 0, "baseline/x": 1}, {"step": 1}, {"step": 2}, {"step": 2, "eval/a": 1}, {"step": 3}]
    write(tmp_path, *(json.dumps(entry) + "\n" for entry in entries), '{"step": 1')
    rewind(tmp_path, 2)
    assert read(tmp_path) == entries[:4]
    assert (tmp_path / METRICS).read_text().endswith("}\n"), "the next record begins a line of its own"
    rewind(tmp_path, 2, evaluated=False)
    assert read(tmp_path) == entries[:3], "an evaluation that the checkpoint does not know of is made again"
    rewind(tmp_path, -1)
    assert read(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]


def test_lines_that_the_disk_had_not_taken_come_from_the_checkpoint_once(tmp_path):
    write(tmp_path, '{"step": 1}\n', '{"step": 2}\n')
    rewind(tmp_path, 4, held=['{"step": 2}', '{"step": 3, "loss": 0.5}', '{"step": 5}'])
    assert read(tmp_path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]


def test_records_of_one_flush_may_tell_different_things(tmp_path):
    """`log.conflict` measures some steps only."""
    recorder = Recorder(tmp_path, NOBODY, tiny.CPU)
    recorder.add({"step": 1}, losses(1.0))
    recorder.add({"step": 2}, {**losses(2.0), "balance/conflict": torch.tensor(0.5)})
    recorder.add({"step": 3}, losses(3.0))
    recorder.flush()
    assert read(tmp_path) == [
        {"step": 1, "loss": 1.0, "loss/a": 2.0},
        {"step": 2, "loss": 2.0, "loss/a": 4.0, "balance/conflict": 0.5},
        {"step": 3, "loss": 3.0, "loss/a": 6.0},
    ]

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sslkit import TensorBoard
from sslkit.errors import SpecError


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def test_scalars_are_read_back(tmp_path):
    logger = TensorBoard().build(tmp_path, "run")
    logger.metrics(10, {"loss": 0.5, "loss/mae": 0.25})
    logger.metrics(20, {"loss": 0.125, "eval/knn/accuracy": 0.75})
    logger.close()
    events = read(tmp_path / "tensorboard")
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(10, 0.5), (20, 0.125)]
    assert set(events.Tags()["scalars"]) == {"loss", "loss/mae", "eval/knn/accuracy"}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_figure_is_read_back(tmp_path, mode):
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    Image.fromarray(picture).convert(mode).save(tmp_path / "f.png")
    logger = TensorBoard(folder="events").build(tmp_path, "run")
    logger.figure(7, "reconstruction", tmp_path / "f.png")
    logger.close()
    (event,) = read(tmp_path / "events").Images("reconstruction")
    assert (event.step, event.width, event.height) == (7, 3, 2)


def test_checkpoint_flushes(tmp_path):
    logger = TensorBoard().build(tmp_path, "run")
    logger.metrics(1, {"loss": 2.0})
    logger.saved(1, tmp_path / "checkpoints")
    assert read(tmp_path / "tensorboard").Scalars("loss")[0].value == 2.0
    logger.close()


def test_resumed_run_replaces_steps_after_the_checkpoint(tmp_path):
    killed = TensorBoard().build(tmp_path, "run")
    for step in (1, 2, 3):
        killed.metrics(step, {"loss": float(step)})
    killed.close()
    resumed = TensorBoard().build(tmp_path, "run")
    resumed.metrics(2, {"loss": 20.0})
    resumed.close()
    events = read(tmp_path / "tensorboard").Scalars("loss")
    assert [(e.step, e.value) for e in events] == [(1, 1.0), (2, 20.0)]


def test_nothing_recorded_leaves_no_folder(tmp_path):
    logger = TensorBoard().build(tmp_path, "run")
    logger.saved(1, tmp_path)
    logger.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["..", "a/../../b", "/events"])
def test_events_stay_in_the_run_folder(folder):
    with pytest.raises(SpecError, match=r"folder: is a folder below the run folder, without `\.\.`"):
        TensorBoard(folder=folder)
    assert TensorBoard(folder="logs/events").folder == "logs/events"

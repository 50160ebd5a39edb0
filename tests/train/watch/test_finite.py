"""Guards: losses, images."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import DataError, TrainingError
from sslkit.train.watch.finite import FiniteGuard, UnreadableImages, broken
from tests import tiny

NAN, INF = float("nan"), float("inf")


def watch(guard, *steps):
    """Show the guard losses of steps 1, 2, ..."""
    for step, values in enumerate(steps, start=1):
        named = {f"loss/{name}": torch.tensor(v) for name, v in zip(guard.names, values, strict=True)}
        guard.watch(step, {"a/metric": torch.tensor(NAN), **named})


def last_good():
    return "The last good checkpoint is X."


def test_finite_losses_pass():
    guard = FiniteGuard(["a", "b"], tiny.CPU.device)
    watch(guard, (1.0, 2.0), (-1e30, 0.0))
    guard.check(lambda: pytest.fail("asked for the last good checkpoint"))


@pytest.mark.parametrize(
    ("steps", "step", "name"),
    [
        ([(1.0, 1.0), (1.0, NAN), (NAN, NAN)], 2, "b"),
        ([(INF, 1.0), (1.0, 1.0)], 1, "a"),
        ([(1.0, 1.0), (1.0, 1.0), (-INF, NAN)], 3, "a"),
    ],
)
def test_the_first_step_and_objective_are_named(steps, step, name):
    guard = FiniteGuard(["a", "b"], tiny.CPU.device)
    watch(guard, *steps)
    with pytest.raises(TrainingError) as caught:
        guard.check(last_good)
    message = str(caught.value)
    assert message.startswith(
        f"step {step}: the loss of objective {name!r} is not finite. {last_good()} Usual causes"
    )


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_parameter_that_is_not_finite_is_named(bad):
    good, also = torch.full((3, 2), 3e38), torch.zeros(())
    assert broken([("good", good), ("also", also)]) is None, "a sum of large values is no infinity"
    other = torch.zeros(2, 5)
    other[1, 4] = bad
    assert broken([("good", good), ("net.weight", other), ("more", torch.tensor([bad]))]) == "net.weight"


def unreadable(path, total=100, share=0.02):
    return UnreadableImages(path / "skipped.txt", total, share, lambda index: f"cats/{index}.png")


def test_skipped_images_are_counted_once_and_listed(tmp_path):
    images = unreadable(tmp_path)
    assert not (tmp_path / "skipped.txt").exists()
    images.add(5, "is\ncut  short")
    images.add(5, "is cut short")
    images.add(7, "is empty")
    assert (tmp_path / "skipped.txt").read_text() == "5\tcats/5.png\tis cut short\n7\tcats/7.png\tis empty\n"
    assert len(images.reasons) == 2


def test_past_the_share_the_run_stops(tmp_path):
    images = unreadable(tmp_path)
    images.add(1, "x")
    images.add(2, "x")
    with pytest.raises(DataError) as caught:
        images.add(3, "cats/3.png: is empty")
    assert str(caught.value) == (
        "3 of 100 images cannot be read, more than max_corrupt=0.02; they are listed in "
        f"{tmp_path / 'skipped.txt'}. The last: cats/3.png: is empty"
    )
    assert len((tmp_path / "skipped.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(("share", "allowed"), [(0.0, 0), (1.0, 4)])
def test_none_or_all_may_be_unreadable(tmp_path, share, allowed):
    images = unreadable(tmp_path, total=4, share=share)
    for index in range(allowed):
        images.add(index, "x")
    if allowed < 4:
        with pytest.raises(DataError, match="1 of 4 images"):
            images.add(allowed, "x")


def test_a_resumed_run_goes_on_counting(tmp_path):
    unreadable(tmp_path).add(1, "x")
    resumed = unreadable(tmp_path)
    assert resumed.reasons == {1: "x"}
    resumed.add(1, "x")
    resumed.add(2, "x")
    with pytest.raises(DataError, match="3 of 100"):
        resumed.add(3, "x")


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path):
    (tmp_path / "skipped.txt").write_text("1\tcats/1.png\tx\n2\tca")
    assert unreadable(tmp_path).reasons == {1: "x"}


def test_any_name_can_be_listed(tmp_path):
    """Names of files may hold tabs, newlines, and bytes that are no UTF-8."""
    images = UnreadableImages(tmp_path / "s", 100, 1.0, lambda index: "a\tb\nc\u2028\udcff")
    images.add(1, "because\t\udcff")
    assert len(UnreadableImages(tmp_path / "s", 100, 1.0, str).reasons) == 1

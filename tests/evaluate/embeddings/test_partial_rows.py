"""Half-finished embeddings: what counts as done is on the disk, in whatever order batches came."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.errors import CheckpointError, StorageError
from sslkit.evaluate.embeddings import partial_rows
from sslkit.evaluate.embeddings.partial_rows import (
    ABSENT,
    ENDING,
    READ,
    UNREADABLE,
    PartialRows,
    Rows,
    in_words,
)

ROWS = Rows(10, (3,), "float32")
PLAN = {"weights": "a", "shape": (3,)}


@pytest.fixture
def partial(tmp_path):
    begun = PartialRows(tmp_path / "e.npy", ROWS)
    begun.begin(PLAN, 1)
    return begun


def batch(start, count):
    values = np.arange(start * 3, (start + count) * 3, dtype=np.float32).reshape(count, 3)
    return start, count, np.arange(start, start + count), values


def test_rows_come_to_their_places_in_any_order(partial):
    with partial.writer(0) as writer:
        writer.add(*batch(4, 4))
        writer.add(*batch(0, 4))
    assert partial.states().tolist() == [READ] * 8 + [ABSENT] * 2
    assert np.array_equal(partial.values()[:8], np.arange(24).reshape(8, 3))
    with partial.writer(1) as writer:
        writer.add(*batch(8, 2))
    whole = np.load(partial.folder / partial_rows.VALUES)
    assert np.array_equal(whole, np.arange(30, dtype=np.float32).reshape(10, 3)), "a file of NumPy as it is"


def test_unreadable_images_keep_their_reasons_of_all_ranks(partial):
    with partial.writer(0) as writer:
        writer.unreadable(1, "one")
        writer.add(0, 3, np.array([0, 2]), np.ones((2, 3), np.float32))
    with partial.writer(1) as writer:
        for i in (3, 4):
            writer.unreadable(i, f"é {i}")
        writer.add(3, 2, np.array([], np.int64), None)
    assert partial.states().tolist() == [READ, UNREADABLE, READ, UNREADABLE, UNREADABLE] + [ABSENT] * 5
    assert partial.reasons() == {1: "one", 3: "é 3", 4: "é 4"}
    assert not partial.values()[[1, 3, 4]].any()


def test_a_line_that_was_cut_short_costs_no_other(partial):
    with (partial.folder / "unreadable-0.jsonl").open("ab") as file:
        file.write(b'[7, "cut sho')
    with partial.writer(0) as writer:
        writer.unreadable(2, "whole")
    assert partial.reasons() == {2: "whole"}


def test_states_follow_rows_at_the_next_sync(partial):
    now = [0.0]
    with partial.writer(0, clock=lambda: now[0]) as writer:
        writer.add(*batch(0, 4))
        assert not partial.states().any(), "rows may not be on the disk yet"
        now[0] = partial_rows.SYNC_EVERY
        writer.add(*batch(4, 4))
        assert partial.states().tolist() == [READ] * 8 + [ABSENT] * 2


def test_rows_are_synced_before_their_states(partial, monkeypatch):
    synced = []
    fsync = partial_rows.os.fsync

    def noting(descriptor):
        synced.append((partial.values()[:4].any(), partial.states().any()))
        fsync(descriptor)

    monkeypatch.setattr(partial_rows.os, "fsync", noting)
    with partial.writer(0) as writer:
        writer.add(0, 4, np.arange(4), np.ones((4, 3), np.float32))
    assert synced == [(True, False), (True, False), (True, True)]


def test_the_same_plan_goes_on_and_another_does_not(partial, tmp_path):
    with partial.writer(0) as writer:
        writer.add(*batch(0, 4))
    again = PartialRows(tmp_path / "e.npy", ROWS)
    again.begin(PLAN, 1)
    assert again.states().any()
    with pytest.raises(
        CheckpointError, match=r'holds part of other embeddings \(weights "a" there, "b" here\)'
    ):
        again.begin({**PLAN, "weights": "b"}, 1)


def test_a_folder_without_a_plan_begins_anew(tmp_path):
    """As of a process that was killed while it made the folder."""
    folder = tmp_path / f"e.npy{ENDING}"
    folder.mkdir()
    (folder / partial_rows.VALUES).write_bytes(b"half")
    begun = PartialRows(tmp_path / "e.npy", ROWS)
    begun.begin(PLAN, 1)
    assert begun.states().tolist() == [ABSENT] * 10
    assert begun.values().shape == (10, 3)


def test_damaged_files_are_told(partial):
    (partial.folder / partial_rows.STATES).write_bytes(b"123")
    with pytest.raises(CheckpointError, match="states: is damaged; remove the folder to begin anew"):
        partial.states()
    (partial.folder / partial_rows.VALUES).write_bytes(b"123")
    with pytest.raises(CheckpointError, match=r"values\.npy: is damaged"):
        partial.values()
    (partial.folder / partial_rows.PLAN).write_text("{")
    with pytest.raises(CheckpointError, match=r"plan\.json: is damaged: is not JSON"):
        partial.begin(PLAN, 1)


def test_too_little_space_is_told_with_what_is_needed(tmp_path):
    large = PartialRows(tmp_path / "e.npy", Rows(2**40, (768,), "float32"))
    with pytest.raises(
        StorageError, match=r"1,099,511,627,776 rows of 3,072 bytes need [\d,]+ MiB, but its disk has"
    ):
        large.begin(PLAN, 2)
    assert list(tmp_path.iterdir()) == []


def test_differences_are_few_words():
    before, now = {"a": 1, "b": "x" * 99, "c": None, "d": 0}, {"a": 2, "b": "y", "c": 3, "d": 4}
    text = in_words(["a", "b", "c", "d"], before, now)
    assert text.startswith("a 1 there, 2 here; b ")
    assert text.endswith("; c null there, 3 here; ...")
    assert len(text) < 150

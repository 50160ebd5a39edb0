"""Changes of some images only."""

import torch

from sslkit.functional import row_subsets
from sslkit.functional.row_subsets import cachefuls, change_rows, put, runs, take


def test_only_the_chosen_images_change_and_the_input_does_not():
    images = torch.arange(6.0).reshape(6, 1, 1, 1).expand(-1, 2, 3, 4)
    chosen = torch.tensor([True, False, False, True, True, False])
    seen = []

    def change(some, which):
        seen.append(take(torch.arange(6), which).tolist())
        return some + 10

    made = change_rows(images, chosen, change, at_once=2)
    assert made[:, 0, 0, 0].tolist() == [10, 1, 2, 13, 14, 5]
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert seen == [[0, 3], [4]]
    nobody = change_rows(images, torch.zeros(6, dtype=torch.bool), change)
    assert torch.equal(nobody, images)
    assert len(seen) == 2


def test_elsewhere_everyone_changes_and_the_result_is_selected():
    """The meta device stands for a GPU: no value of `chosen` may be read."""
    images, chosen = torch.empty(3, 1, 2, 2, device="meta"), torch.empty(3, dtype=torch.bool, device="meta")
    seen = []
    made = change_rows(images, chosen, lambda x, which: (seen.append(which), x * 2)[1])
    assert made.shape == images.shape
    assert seen == [slice(None)]


def test_pieces_fit_the_cache(monkeypatch):
    monkeypatch.setattr(row_subsets, "CACHEFUL", 30)
    pieces = list(cachefuls([0, 1, 2, 4, 6, 7], 10))
    assert pieces[0] == slice(0, 3)
    assert pieces[1].tolist() == [4, 6, 7]
    assert list(cachefuls([3, 5], 1000)) == [slice(3, 4), slice(5, 6)]
    assert list(cachefuls([], 10)) == []


def test_pieces_keep_the_order_of_their_rows(monkeypatch):
    """Only rows that follow each other are a slice, not any whose ends are as far apart."""
    monkeypatch.setattr(row_subsets, "CACHEFUL", 30)
    pieces = list(cachefuls([3, 4, 5, 0, 9, 2, 7, 6, 5, 8], 10))
    assert pieces[0] == slice(3, 6)
    assert [piece.tolist() for piece in pieces[1:3]] == [[0, 9, 2], [7, 6, 5]]
    assert pieces[3] == slice(8, 9)


def test_runs_cover_everything_once():
    assert list(runs([2, 2, 0, 2, 1, 1, 1])) == [
        (2, slice(0, 2)),
        (0, slice(2, 3)),
        (2, slice(3, 4)),
        (1, slice(4, 7)),
    ]
    assert list(runs([])) == []


def test_take_and_put():
    values = torch.arange(10.0).reshape(5, 2)
    for which in (slice(1, 3), torch.tensor([0, 3])):
        mine = values.clone()
        put(mine, which, take(values, which) * 0)
        assert (take(mine, which) == 0).all()
        assert (mine == 0).all(1).sum() == 2

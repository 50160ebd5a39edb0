"""What a step tells about its terms."""

from __future__ import annotations

import pytest
import torch

from sslkit.train.step.balancing import Balance

ROWS = torch.tensor([[3.0, 4.0], [-4.0, 3.0], [-3.0, -4.0]], dtype=torch.float64)


def test_names_and_values() -> None:
    told = Balance(torch.tensor([1.0, 0.5, 2.0]), ROWS @ ROWS.T).metrics(["a", "b", "c"])
    assert {key: value.item() for key, value in told.items()} == pytest.approx(
        {
            "balance/a/weight": 1.0,
            "balance/b/weight": 0.5,
            "balance/c/weight": 2.0,
            "balance/a/gradient_norm": 5.0,
            "balance/b/gradient_norm": 5.0,
            "balance/c/gradient_norm": 5.0,
            "balance/a_b/cosine": 0.0,
            "balance/a_c/cosine": -1.0,
            "balance/b_c/cosine": 0.0,
            "balance/conflict": 1 / 3,
        }
    )


def test_only_what_is_known_is_told() -> None:
    assert Balance(None, None).metrics(["a", "b"]) == {}
    assert list(Balance(torch.ones(2), None).metrics(["a", "b"])) == ["balance/a/weight", "balance/b/weight"]
    only = Balance(None, ROWS[:2] @ ROWS[:2].T).metrics(["a", "b"])
    assert not any(key.endswith("/weight") for key in only)
    assert "balance/conflict" in only


def test_a_single_term_tells_nothing() -> None:
    assert Balance(torch.ones(1), torch.ones(1, 1)).metrics(["a"]) == {}


def test_a_gradient_of_zero_conflicts_with_nobody() -> None:
    told = Balance(None, torch.tensor([[0.0, 0.0], [0.0, 4.0]])).metrics(["a", "b"])
    assert told["balance/a_b/cosine"].item() == 0
    assert told["balance/conflict"].item() == 0
    assert told["balance/a/gradient_norm"].item() == 0

"""The nearest row of a support set."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslkit.functional.info_nce import nearest, unit


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 100))
def test_it_is_the_most_similar_of_all(queries: int, places: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q = unit(torch.randn(2, queries, 4, generator=generator))
    support = unit(torch.randn(places, 4, generator=generator))
    best = [max(support, key=lambda row, x=x: float(x @ row)) for x in q.flatten(0, 1)]
    assert torch.allclose(nearest(q, support), torch.stack(best).view_as(q))


def test_it_has_no_gradient_and_the_dtype_of_queries() -> None:
    q = unit(torch.randn(3, 4, dtype=torch.float64)).requires_grad_()
    found = nearest(q, unit(torch.randn(5, 4)))
    assert found.dtype == torch.float64
    assert not found.requires_grad

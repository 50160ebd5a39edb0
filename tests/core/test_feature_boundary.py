"""Cutting a forward between the student and its readers."""

from __future__ import annotations

import torch

from sslkit.core.feature_boundary import cut
from sslkit.core.passes import Tokens


def tokens(gradient: bool = True, attention: bool = False) -> Tokens:
    values = [torch.rand(1, 2, 3, requires_grad=gradient) * 2 for _ in range(4)]
    return Tokens(
        torch.rand(1, 2, 1, 4, 4), values[0], values[1], None, (values[2],), values[3] if attention else None
    )


def test_leaves_have_the_values_and_end_the_backward() -> None:
    whole = tokens(attention=True)
    (made,), cuts = cut([whole])
    assert len(cuts) == 4
    for one in cuts:
        assert torch.equal(one.answer, one.leaf)
        assert one.leaf.is_leaf
        assert one.leaf.requires_grad
        assert one.answer.grad_fn is not None
    (made.cls.sum() + 3 * made.patch.sum()).backward()
    of = {id(one.leaf): one for one in cuts}
    assert torch.equal(of[id(made.cls)].leaf.grad, torch.ones(1, 2, 3))  # type: ignore[arg-type]
    assert torch.equal(of[id(made.patch)].leaf.grad, torch.full((1, 2, 3), 3.0))  # type: ignore[arg-type]
    assert made.layers[0].grad is None, "what nobody read has no gradient"


def test_a_backward_from_the_cut_goes_on_where_the_other_ended() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    plain = tokens(gradient=False)
    whole = plain._replace(cls=plain.cls * weight, patch=plain.patch * weight)
    (made,), cuts = cut([whole])
    (made.cls.square().sum() + made.patch.sum()).backward()
    assert weight.grad is None
    torch.autograd.backward([one.answer for one in cuts], [one.leaf.grad for one in cuts])
    expected = (2 * plain.cls.square() * 2 + plain.patch).sum()
    assert torch.allclose(weight.grad, expected)  # type: ignore[arg-type]


def test_what_has_no_gradient_is_left_as_it_is() -> None:
    """Answers of teachers."""
    whole = tokens(gradient=False)
    (made,), cuts = cut([whole])
    assert cuts == ()
    assert made.cls is whole.cls
    assert made.layers[0] is whole.layers[0]
    assert made.attention is None

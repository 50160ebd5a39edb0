"""Masks of fixed shapes: every form of a mask says the same."""

from __future__ import annotations

from typing import final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sslkit.core.masker import Masker, Scene, make_mask
from sslkit.core.masker import mask_of as fixed_shapes
from sslkit.core.passes import Mask
from sslkit.core.random_stream import Draw
from tests.masks import UNSEEN

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(2, 30))


@final
class Exactly(Masker):
    """Hides the same number everywhere."""

    def __init__(self, patches: int, hidden: int) -> None:
        super().__init__()
        self.visible: int | None = patches - hidden
        self.most = hidden
        self.patches = patches

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return draw.permutation(self.patches) < self.most


@final
class Varying(Masker):
    """Hides any number from 0 to `most`, another in each image."""

    visible = None

    def __init__(self, patches: int, most: int) -> None:
        super().__init__()
        self.patches, self.most = patches, most

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return draw.permutation(self.patches) < draw.integers(self.most + 1)[..., None]


def mask_of(masker: Masker, crops: int, images: int, key: int = 1) -> Mask:
    return make_mask(masker, Draw(key, torch.arange(crops * images).reshape(crops, images)), UNSEEN)


def looped_mean(scores_VBN: Tensor, hidden: Tensor) -> Tensor:
    """The definition: mean over images of the mean over their hidden patches; no hidden patch counts 0."""
    means = [
        scores_VBN[v, b][hidden[v, b]].mean()
        if hidden[v, b].any()
        else torch.zeros((), dtype=scores_VBN.dtype)
        for v in range(hidden.shape[0])
        for b in range(hidden.shape[1])
    ]
    return torch.stack(means).mean()


def check(mask: Mask, crops: int, images: int, patches: int) -> None:
    """Invariants of any mask."""
    assert mask.hidden.shape == (crops, images, patches)
    real = mask.per_image > 0
    assert torch.equal(mask.flat[real], mask.hidden.flatten().nonzero().flatten()), "hidden patches, in order"
    per_image = mask.hidden.sum(-1).flatten()
    assert torch.equal(mask.per_image[real], per_image[mask.flat[real] // patches])
    assert not mask.hidden.flatten()[mask.flat[~real]].any(), "padding points at patches that are not hidden"
    assert mask.flat.unique().numel() == mask.flat.numel()
    assert mask.flat.dtype == mask.per_image.dtype == mask.keep.dtype == torch.int64


@given(SHAPES, st.data())
def test_masks_of_equal_count(shape: tuple[int, int, int], data: st.DataObject) -> None:
    crops, images, patches = shape
    hidden = data.draw(st.integers(1, patches - 1))
    mask = mask_of(Exactly(patches, hidden), crops, images)
    check(mask, crops, images, patches)
    assert mask.keep.shape == (crops, images, patches - hidden)
    assert mask.flat.shape == mask.per_image.shape == (crops * images * hidden,)
    assert (mask.per_image == hidden).all()
    shown = torch.ones_like(mask.hidden).scatter(-1, mask.keep, False)
    assert torch.equal(shown, mask.hidden), "`keep` holds the patches that are not hidden"
    assert torch.equal(mask.keep.sort(-1).values, mask.keep), "in order"


@given(SHAPES, st.data())
def test_masks_of_varying_count(shape: tuple[int, int, int], data: st.DataObject) -> None:
    crops, images, patches = shape
    most = data.draw(st.integers(1, patches))
    mask = mask_of(Varying(patches, most), crops, images, key=data.draw(st.integers(0, 99)))
    check(mask, crops, images, patches)
    assert mask.keep.shape == (crops, images, 0), "`drop` needs a fixed count"
    assert mask.flat.shape == mask.per_image.shape == (crops * images * most,)


@given(SHAPES, st.booleans(), st.integers(0, 99))
def test_the_mean_is_that_of_the_loop(shape: tuple[int, int, int], varying: bool, key: int) -> None:
    crops, images, patches = shape
    masker: Masker = Varying(patches, patches) if varying else Exactly(patches, max(1, patches // 2))
    mask = mask_of(masker, crops, images, key)
    scores = torch.randn(crops, images, patches, dtype=torch.float64)
    torch.testing.assert_close(
        mask.mean(mask.pick(scores[..., None])[:, 0]),
        looped_mean(scores, mask.hidden),
        rtol=1e-12,
        atol=1e-12,
    )


def test_the_mean_of_equal_counts_is_the_plain_mean_as_in_mae() -> None:
    mask = mask_of(Exactly(16, 12), 1, 8)
    scores = torch.randn(8 * 12, dtype=torch.float64)
    torch.testing.assert_close(mask.mean(scores), scores.mean(), rtol=1e-12, atol=1e-12)


def test_an_image_without_hidden_patches_counts_zero_in_the_mean() -> None:
    """iBOT divides by the whole batch, images without a mask included."""
    hidden = torch.tensor([[[True, True, False], [False, False, False]]])

    @final
    class Given(Masker):
        visible = None
        most = 2

        def sample(self, draw: Draw, scene: Scene) -> Tensor:
            return hidden

    mask = mask_of(Given(), 1, 2)
    assert mask.per_image.tolist() == [2, 2, 0, 0]
    assert float(mask.mean(torch.tensor([3.0, 5.0, 100.0, 100.0]))) == 2.0


def test_no_gradient_reaches_the_padding() -> None:
    mask = mask_of(Varying(9, 9), 2, 3, key=4)
    scores = torch.randn(mask.flat.numel(), requires_grad=True)
    mask.mean(scores).backward()
    assert scores.grad is not None
    assert (mask.per_image == 0).any()
    assert torch.equal(scores.grad == 0, mask.per_image == 0)


@given(SHAPES, st.booleans(), st.integers(0, 99))
def test_the_mean_over_the_batch_is_that_of_all_hidden_patches(
    shape: tuple[int, int, int], varying: bool, key: int
) -> None:
    crops, images, patches = shape
    masker: Masker = Varying(patches, patches) if varying else Exactly(patches, max(1, patches // 2))
    mask = mask_of(masker, crops, images, key)
    scores = torch.randn(crops, images, patches, dtype=torch.float64)
    found = mask.batch_mean(mask.pick(scores[..., None])[:, 0])
    expected = scores[mask.hidden].mean() if mask.hidden.any() else torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_both_means_agree_where_every_image_hides_as_many() -> None:
    mask, scores = mask_of(Exactly(9, 4), 2, 5), torch.randn(40, dtype=torch.float64)
    torch.testing.assert_close(mask.batch_mean(scores), mask.mean(scores), rtol=1e-12, atol=1e-12)


def test_nothing_hidden_in_the_whole_batch_is_zero_in_both_means() -> None:
    mask = mask_of(Varying(6, 1), 1, 1, key=next(k for k in range(99) if not _hides(k)))
    scores = torch.ones(1, requires_grad=True)
    for mean in (mask.mean(scores), mask.batch_mean(scores)):
        assert mean.item() == 0
        (gradient,) = torch.autograd.grad(mean, scores)
        assert gradient.item() == 0


def _hides(key: int) -> bool:
    return bool(mask_of(Varying(6, 1), 1, 1, key).hidden.any())


@pytest.mark.parametrize("trailing", [(), (4,), (2, 3)])
def test_pick_takes_rows_of_the_hidden_patches(trailing: tuple[int, ...]) -> None:
    mask = mask_of(Exactly(6, 2), 2, 3)
    values = torch.randn(2, 3, 6, *trailing)
    assert torch.equal(mask.pick(values), values[mask.hidden])


def test_shapes_do_not_depend_on_what_is_drawn() -> None:
    for masker in (Exactly(12, 5), Varying(12, 12)):
        masks = [mask_of(masker, 2, 4, key) for key in range(20)]
        shapes = {tuple(part if part is None else part.shape for part in mask) for mask in masks}
        assert len(shapes) == 1


@pytest.mark.parametrize("masker", [Exactly(12, 5), Varying(12, 7)])
def test_making_masks_compiles_to_one_graph_and_recompiles_for_no_key(masker: Masker) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda hidden: fixed_shapes(hidden, masker.visible, masker.most), backend="eager", fullgraph=True
    )
    rows = torch.arange(8).reshape(2, 4)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for key in range(3):
            hidden = masker.sample(Draw(key, rows), UNSEEN)
            expected = fixed_shapes(hidden, masker.visible, masker.most)
            pairs = list(zip(compiled(hidden), expected, strict=True))
            assert [a is None for a, _ in pairs] == [b is None for _, b in pairs]
            assert all(torch.equal(a, b) for a, b in pairs if a is not None)

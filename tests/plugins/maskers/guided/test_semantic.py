"""The semantic masker: groups of planted features."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans as Reference
from torch import Tensor

from sslkit import SemanticMasker
from sslkit.core.masker import Masker, Scene
from sslkit.core.passes import Encode, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.testing.fake_scene import VIEW
from sslkit_maskers.guided.semantic import KMeans, clustered
from tests.masks import on

GRID = Grid(8, 8, 4)
ROWS = torch.arange(20).reshape(1, 20)
SIZES = [4, 8, 12, 16, 24]


def planted(noise: float = 0.05) -> tuple[Tensor, Tensor]:
    """Five groups of unequal sizes for 64 patches: labels `[1, 20, 64]` and features `[1, 20, 64, 16]`."""
    generator = torch.Generator().manual_seed(1)
    groups = torch.repeat_interleave(torch.arange(5), torch.tensor(SIZES))
    labels = torch.stack([groups[torch.randperm(64, generator=generator)] for _ in range(20)])[None]
    centers = torch.linalg.qr(torch.randn(20, 16, 5, generator=generator)).Q.mT * 3
    exact = centers[None].gather(2, labels[..., None].expand(-1, -1, -1, 16))
    return labels, exact + noise * torch.randn(exact.shape, generator=generator)


def scene(features: Tensor) -> Scene:
    return Scene(torch.empty(0), (Tokens(torch.empty(0), features.mean(-2), features, None, ()),))


def sampler(**fields: object) -> Masker:
    return SemanticMasker(**{"clusters": 5, **fields}).build(*on(GRID))


def agree(found: Tensor, labels: Tensor) -> bool:
    """Whether two groupings of patches are equal up to names."""
    same = found[..., :, None] == found[..., None, :]
    return torch.equal(same, labels[..., :, None] == labels[..., None, :])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_planted_groups_are_found(metric: str) -> None:
    labels, features = planted()
    assert agree(clustered(Draw(0, ROWS), features, KMeans(5, 5, metric == "cosine")), labels)


def test_cosine_does_not_see_lengths() -> None:
    labels, features = planted()
    length = torch.rand(1, 20, 64, 1, generator=torch.Generator().manual_seed(2)) * 10 + 0.1
    assert agree(clustered(Draw(0, ROWS), features * length, KMeans(5, 5, cosine=True)), labels)
    assert not agree(clustered(Draw(0, ROWS), features * length, KMeans(5, 5, cosine=False)), labels)


def test_it_is_lloyds_algorithm() -> None:
    """Against scikit-learn from the same first centers: with no iterations, those next to the seeds."""
    features = torch.randn(1, 3, 64, 6, generator=torch.Generator().manual_seed(3))
    rows = ROWS[:, :3]
    seeded = clustered(Draw(4, rows), features, KMeans(4, 0, cosine=False))
    stepped = clustered(Draw(4, rows), features, KMeans(4, 40, cosine=False))
    for i in range(3):
        points = features[0, i].double()
        # the seeds: a random patch, then always the one farthest from those taken
        taken = [int(Draw(4, rows).integers(64)[0, i])]
        while len(taken) < 4:
            taken.append(int(torch.cdist(points, points[taken]).amin(1).argmax()))
        assert torch.equal(seeded[0, i], torch.cdist(points, points[taken]).argmin(1))
        reference = Reference(4, init=points[taken].numpy(), n_init=1, max_iter=40, tol=0).fit(points.numpy())
        assert torch.equal(stepped[0, i], torch.from_numpy(reference.labels_).long())


def test_whole_groups_are_hidden_but_for_one() -> None:
    labels, features = planted()
    for ratio in (0.5, 0.75):
        hidden = sampler(ratio=ratio).sample(Draw(0, ROWS), scene(features))
        assert (hidden.sum(-1) == 64 * ratio).all()
        share = torch.stack([((labels == g) & hidden).sum(-1) / size for g, size in enumerate(SIZES)])
        assert (((share > 0) & (share < 1)).sum(0) <= 1).all()
        assert ((share == 1).sum(0) >= 1).all()


def test_each_group_is_hidden_in_some_step_and_shown_in_another() -> None:
    labels, features = planted()
    made = sampler(ratio=0.5)
    masks = torch.stack([made.sample(Draw(key, ROWS), scene(features)) for key in range(40)])
    for group in range(5):
        whole = (masks | (labels != group)).all(-1).float().mean()
        none = (~masks | (labels != group)).all(-1).float().mean()
        assert 0.2 < whole < 0.8
        assert 0.1 < none < 0.8


def test_a_share_of_zero_is_a_random_masker() -> None:
    labels, features = planted()
    made = sampler(ratio=0.5, share=0.0)
    masks = torch.stack([made.sample(Draw(key, ROWS), scene(features)) for key in range(60)])
    assert torch.allclose(masks.float().mean((0, 1, 2)), torch.full((64,), 0.5), atol=0.06)
    largest = (masks & (labels == 4)).sum(-1).float()
    assert 8 < largest.mean() < 16
    assert largest.std() < 3, "12 of 24 on average; by groups it would mostly be 0 or 24"


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_alike_and_empty_patches_are_no_trouble(metric: str) -> None:
    for features in (torch.zeros(1, 20, 64, 8), torch.ones(1, 20, 64, 8)):
        hidden = sampler(metric=metric).sample(Draw(0, ROWS), scene(features))
        assert (hidden.sum(-1) == 48).all()


def test_reduced_precision_around_it_changes_nothing() -> None:
    _, features = planted(noise=1.0)
    expected = sampler().sample(Draw(0, ROWS), scene(features))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sampler().sample(Draw(0, ROWS), scene(features)), expected)


def test_it_reads_one_pass_of_its_net() -> None:
    assert sampler(net="student").passes == (Encode(VIEW),)


def test_more_groups_than_patches_are_a_spec_error() -> None:
    with pytest.raises(SpecError, match="clusters 7 are more than the 4 patches; use fewer"):
        SemanticMasker(ratio=0.5).build(*on(Grid(2, 2, 4)))

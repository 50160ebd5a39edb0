"""Evaluators of videos: what is told of later frames, and masks carried along."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from sslkit import Run
from sslkit.errors import SslkitError
from sslkit_video.label_propagation import Voting, propagate, stretched
from sslkit_video.overlaps_of_masks import borders, boundary_f, jaccard
from sslkit_video.specs.sources import MovingDigits
from sslkit_video.temporal_coherence import Critic, draw, information
from tests.plugins.video import temporal_run

CRITIC = Critic(dim=16, steps=150, learning_rate=1e-2)
VOTING = Voting(frames=3, neighbors=1, radius=1.5, temperature=0.1)


def walk(videos, times, noise, seed):
    """Features that drift: each step keeps a share of what was there."""
    generator = torch.Generator().manual_seed(seed)
    x, out = torch.randn(videos, 8, generator=generator), []
    for _ in range(times):
        out.append(x)
        x = (1 - noise) * x + math.sqrt(1 - (1 - noise) ** 2) * torch.randn(videos, 8, generator=generator)
    return torch.stack(out, 1)


def test_information_falls_with_the_lag_and_never_passes_what_n_videos_show():
    train, test = walk(256, 9, 0.2, 0), walk(128, 9, 0.2, 1)
    values = [information(train, test, lag, CRITIC, 0).mean().item() for lag in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 2 * values[2] > 0
    assert max(values) <= math.log(128)


def test_information_of_what_stays_is_the_most_and_of_noise_none():
    same = walk(128, 3, 0.0, 0)
    assert information(same, walk(128, 3, 0.0, 1), 1, CRITIC, 0).mean() > 0.9 * math.log(128)
    noise = information(walk(512, 3, 1.0, 2), walk(128, 3, 1.0, 3), 1, CRITIC, 0).mean()
    assert abs(noise) < 0.05


def test_information_is_that_of_the_formula():
    """Of a Gaussian pair of correlation r in each of 8 dimensions: -4 log(1 - r²), which InfoNCE stays below."""
    train, test = walk(1024, 2, 0.5, 0), walk(512, 2, 0.5, 1)
    true = -4 * math.log(1 - 0.25)
    found = information(train, test, 1, CRITIC, 0).mean().item()
    assert 0.5 * true < found < true + 0.15


def test_the_curve_is_a_picture(tmp_path):
    draw(tmp_path / "c.png", (1, 2), [2.0, 1.0], [(1.8, 2.2), (0.9, 1.1)], 3.0)
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_a_mask_follows_its_patches():
    """Four kinds of patches that move one column a frame."""
    kinds = torch.arange(9).reshape(3, 3)
    frames = torch.stack([kinds.roll(t, 1) for t in range(3)]).flatten(1)
    first = F.one_hot((frames[0] == 4).long(), 2).float()
    shares = propagate(F.one_hot(frames, 9).float(), first, (3, 3), VOTING._replace(radius=3.0))
    for t in range(3):
        assert torch.equal(shares[t, :, 1] > 0.5, frames[t] == 4)


def test_patches_that_are_far_have_no_vote():
    frames = torch.tensor([[0, 1, 2, 3], [3, 1, 2, 0]])
    first = F.one_hot(torch.tensor([1, 0, 0, 0]), 2).float()
    shares = propagate(F.one_hot(frames, 4).float(), first, (1, 4), VOTING)
    assert shares[1, 3, 1] < 0.5
    near = propagate(F.one_hot(frames, 4).float(), first, (1, 4), VOTING._replace(radius=9.0))
    assert near[1, 3, 1] > 0.9


def test_shares_are_stretched_in_each_frame_and_nothing_stays_nothing():
    shares = torch.tensor([[0.2, 0.4], [0.0, 0.0]]).reshape(1, 2, 1, 2)
    assert stretched(shares).flatten().tolist() == [0, 1, 0, 0]


def test_borders_and_overlap_are_those_of_davis():
    square, moved = torch.zeros(2, 1, 12, 12, dtype=torch.bool)
    square[0, 3:8, 3:8] = True
    moved[0, 3:8, 4:9] = True
    assert jaccard(square, moved).item() == pytest.approx(20 / 30)
    assert boundary_f(square, square).item() == 1
    assert boundary_f(square, moved).item() == 1  # a pixel off, which the tolerance allows
    assert 0 < boundary_f(square, moved.roll(3, 2)).item() < 1
    empty = torch.zeros_like(square)
    assert jaccard(empty, empty).item() == boundary_f(empty, empty).item() == 1
    assert boundary_f(square, empty).item() == jaccard(square, empty).item() == 0
    assert int(borders(square).sum()) == 20


def test_masks_of_moving_digits_are_where_they_are_bright():
    source = MovingDigits.example().build("test")
    assert source.regions == ("background", "digit")
    assert torch.equal(source.mask(3), (source.load(3)[0] >= 64).to(torch.uint8))


def test_both_evaluators_in_a_run(tmp_path):
    evaluate = [
        {"kind": "temporal_coherence", "lags": [1, 3], "steps": 20, "baselines": True},
        {"kind": "temporal_coherence", "name": "of_clips", "of": "clips", "lags": [1], "steps": 5},
        {"kind": "label_propagation", "max_videos": 6},
        {"kind": "probing", "attributes": ["direction", "speed"], "baselines": True},
        {"kind": "knn", "k": 5},
    ]
    terms = {"steady": temporal_run.TERMS["steady"]}
    changes = {"objectives": terms, "balance": {"kind": "fixed"}, "nets": {}, "steps": 2}
    fields = temporal_run.fields(evaluate=evaluate, out=tmp_path / "run", **changes)
    fields["views"].pop("turned")
    Run(**fields).fit()
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = {name: value for record in records for name, value in record.items()}
    assert last["eval/temporal_coherence/information_1"] <= math.log(24)
    assert {
        f"baseline/{kind}/temporal_coherence/information_3" for kind in ("untrained", "raw_pixels")
    } <= set(last)
    assert 0 <= last["eval/label_propagation/j"] <= 1
    assert last["eval/label_propagation/j_and_f"] == pytest.approx(
        (last["eval/label_propagation/j"] + last["eval/label_propagation/f"]) / 2
    )
    assert 0 < last["baseline/raw_pixels/probing/direction_accuracy"] <= 1


def test_lags_that_no_video_has_are_refused(tmp_path):
    evaluate = [{"kind": "temporal_coherence", "lags": [9], "steps": 2}]
    changes = {"objectives": {"steady": temporal_run.TERMS["steady"]}, "nets": {}, "steps": 1}
    fields = temporal_run.fields(
        evaluate=evaluate, out=tmp_path / "run", balance={"kind": "fixed"}, **changes
    )
    fields["views"].pop("turned")
    with pytest.raises(SslkitError, match=r"lag 9 needs videos of 10 frames, and moving digits, .* has 6"):
        Run(**fields).fit()

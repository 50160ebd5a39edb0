"""Masks carried through videos. T frames, N patches, R regions, D width."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.resize import center_crop_box
from sslkit.interfaces import Evaluator, Scores, Split, Subject, mean_interval
from sslkit.plugin import DataError
from sslkit_video.moments_of_videos import clips_at, frames_needed
from sslkit_video.overlaps_of_masks import boundary_f, jaccard


class Voting(NamedTuple):
    """Which patches vote."""

    frames: int
    neighbors: int
    radius: float
    temperature: float


@final
class LabelPropagationEvaluator(Evaluator):
    """J and F of propagated masks."""

    needs: tuple[Split, ...] = ("test",)
    labeled = False

    def __init__(self, max_videos: int, voting: Voting, protocol: str) -> None:
        self.max_videos, self.voting, self.protocol = max_videos, voting, protocol

    def __call__(self, subject: Subject) -> Scores:
        source, stream = subject.source("test"), subject.view.stream
        frames_needed(subject)
        if len(source.regions) < 2:
            raise DataError("label_propagation needs masks of videos, and the test videos have none")
        regions = len(source.regions)

        def make(images: Tensor, indices: Tensor) -> Tensor:
            rows = []
            for index in indices.tolist():
                video, mask = source.read(index, stream), source.mask(index)
                assert mask is not None, "a source of regions has masks"
                truth = self._cut(mask, subject).to(images.device)
                guess = self._propagated(subject, video, truth, regions, images.device)
                rows.append(_measured(guess, truth, regions))
            return torch.stack(rows)

        rows = subject.rows("test", make, torch.arange(min(len(source), self.max_videos))).values.double()
        rows = rows[~rows.isnan().any(1)].cpu()
        if not len(rows):
            raise DataError("label_propagation needs objects in first frames, and the test videos show none")
        values = {"j_and_f": rows[:, :2].mean(1), "j": rows[:, 0], "f": rows[:, 1], "j_of_still": rows[:, 2]}
        metrics = {name: float(column.mean()) for name, column in values.items()}
        intervals = {}
        for name, column in values.items() if len(rows) > 1 else ():
            interval = mean_interval(column.numpy(), seed=subject.seed)
            intervals[name] = (interval.low, interval.high)
        return Scores(metrics, None, {"videos": len(rows)}, {}, intervals)

    def _cut(self, mask: Tensor, subject: Subject) -> Tensor:
        """`[T, H, W]` of the view's size, cut as its clips are."""
        height, width = subject.view.sides[1:]
        box = center_crop_box(mask.shape[1], mask.shape[2], aspect=width / height)
        part = mask[:, box.top : box.top + box.height, box.left : box.left + box.width]
        return F.interpolate(part[None].float(), (height, width), mode="nearest-exact")[0].long()

    def _propagated(
        self, subject: Subject, video: Tensor, truth: Tensor, regions: int, device: torch.device
    ) -> Tensor:
        """`[T, H, W]` int64, the first of which is the truth's."""
        clips = clips_at(subject, video, len(truth), still=True).to(device)
        moments, rows, cols = subject.backbone().grid(subject.view.extent).shape
        patches = subject.tokens(clips).patch[0].float().unflatten(1, (moments, -1)).mean(1)
        hot = F.one_hot(truth[:1].clamp(max=regions - 1), regions).movedim(-1, 1).float()
        first = F.adaptive_avg_pool2d(hot, (rows, cols))[0].flatten(1).T  # [N, R]
        soft = propagate(F.normalize(patches, dim=-1), first, (rows, cols), self.voting)
        grids = soft.movedim(-1, 1).unflatten(-1, (rows, cols))
        large = F.interpolate(grids, tuple(truth.shape[1:]), mode="bilinear", align_corners=False)
        return torch.cat([truth[:1], stretched(large).argmax(1)[1:]])


def stretched(shares: Tensor) -> Tensor:
    """Shares `[T, R, H, W]` of each region from 0 to 1 within each frame, so that small objects are seen (DINO).

    `eval_video_segmentation.py`, `norm_mask`; a region that is nowhere stays 0.
    """
    low, high = shares.amin((2, 3), keepdim=True), shares.amax((2, 3), keepdim=True)
    return torch.where(high > 0, (shares - low) / (high - low).clamp(min=1e-12), shares)


def propagate(patches: Tensor, first: Tensor, shape: tuple[int, int], voting: Voting) -> Tensor:
    """`[T, N, R]`: shares of regions in each patch.

    Args:
        patches: `[T, N, D]` of length 1.
        first: `[N, R]`, the shares in the first frame.
        shape: rows and columns of the patches.
        voting: which patches vote.
    """
    rows, cols = shape
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(cols)).float().to(patches.device)
    far = torch.cdist(places, places) > voting.radius
    shares = [first]
    for t in range(1, len(patches)):
        context = [0, *range(max(1, t - voting.frames), t)]
        affinity = torch.cat([patches[t] @ patches[c].T for c in context], dim=1) / voting.temperature
        affinity = affinity.masked_fill(far.repeat(1, len(context)), -math.inf)
        best = affinity.topk(min(voting.neighbors, affinity.shape[1]), dim=1)
        votes = best.values.softmax(-1)  # patches too far away have none
        earlier = torch.cat([shares[c] for c in context])
        shares.append((votes[..., None] * earlier[best.indices]).sum(1))
    return torch.stack(shares)


def _measured(guess: Tensor, truth: Tensor, regions: int) -> Tensor:
    """`[3]`: J, F, and J of the first mask left where it is; NaN where the first frame shows no object."""
    shown = [region for region in range(1, regions) if bool((truth[0] == region).any())]
    if not shown or len(truth) < 2:
        return torch.full((3,), torch.nan, device=truth.device)
    still = truth[:1].expand_as(truth)
    values = [
        torch.stack(
            [
                jaccard(guess[1:] == region, truth[1:] == region).mean(),
                boundary_f(guess[1:] == region, truth[1:] == region).mean(),
                jaccard(still[1:] == region, truth[1:] == region).mean(),
            ]
        )
        for region in shown
    ]
    return torch.stack(values).mean(0).float()

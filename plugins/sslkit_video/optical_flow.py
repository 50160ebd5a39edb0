"""Classical optical flow by OpenCV, as an operation that compiled graphs may hold. M clips, T frames."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PYRAMID, LEVELS, WINDOW, ROUNDS, NEIGHBORS, SIGMA = 0.5, 3, 9, 3, 5, 1.1
"""Of Farnebäck's method: OpenCV's tutorial, with a smaller window for small frames."""


@torch.library.custom_op("sslkit_video::optical_flow", mutates_args=())
def optical_flow(frames: Tensor, method: str) -> Tensor:
    """`[M, 2, T, H, W]` float32: how far each pixel of a frame moves to the right and down until the next, in pixels.

    Args:
        frames: `[M, T, H, W]` uint8, on any device; the last frame, which has no next one, gets the flow before it.
        method: `dis` or `farneback`.
    """
    stored = frames.cpu().numpy()
    clips = [_of_clip(clip, method) for clip in stored]
    flow = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3)
    return flow.contiguous().to(frames.device)


@optical_flow.register_fake
def _(frames: Tensor, method: str) -> Tensor:
    clips, count, height, width = frames.shape
    return frames.new_empty(clips, 2, count, height, width, dtype=torch.float32)


def _of_clip(frames: NDArray[np.uint8], method: str) -> NDArray[np.float32]:
    """`[T, H, W, 2]`."""
    # a new one for each clip: it keeps state between calls
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST) if method == "dis" else None
    flows = [_between(first, second, search) for first, second in pairwise(frames)]
    return np.stack([*flows, flows[-1]])


def _between(
    first: NDArray[np.uint8], second: NDArray[np.uint8], search: cv2.DISOpticalFlow | None
) -> NDArray[np.float32]:
    """`[H, W, 2]` of two frames; by Farnebäck's method without a `search`."""
    empty = np.zeros((*first.shape, 2), np.float32)
    if search is not None:
        return np.asarray(search.calc(first, second, empty), np.float32)
    flow = cv2.calcOpticalFlowFarneback(
        first, second, empty, PYRAMID, LEVELS, WINDOW, ROUNDS, NEIGHBORS, SIGMA, 0
    )
    return np.asarray(flow, np.float32)

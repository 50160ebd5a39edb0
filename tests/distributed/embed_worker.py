"""Embeds, and ends as killed processes do."""

from __future__ import annotations

import os
import signal

from sslkit import embed
from sslkit.evaluate.embeddings import partial_rows


def killed(run: str, data: str, out: str) -> None:
    """Take embeddings in batches of 4, and be killed after the third."""
    partial_rows.SYNC_EVERY = 0.0

    def progress(done: int, total: int) -> None:
        if done >= 12:
            os.kill(os.getpid(), signal.SIGKILL)

    embed(run, data=data, out=out, batch_size=4, workers=0, device="cpu", progress=progress)


def whole(run: str, data: str, out: str) -> None:
    """Take embeddings in batches of 4."""
    embed(run, data=data, out=out, batch_size=4, workers=0, device="cpu")

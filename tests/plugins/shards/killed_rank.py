"""The command line on ranks, one of which is killed without warning."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from sslkit.runs import metrics_log
from tests.distributed.forked import sslkit


def main(rank: str, step: str, folder: str, *words: str) -> None:
    """`sslkit WORDS`; SIGKILL to `rank` as soon as the run in `folder` has recorded `step`."""
    if os.environ["RANK"] == rank:
        threading.Thread(target=_kill, args=(int(step), Path(folder)), daemon=True).start()
    sslkit(*words)


def _kill(step: int, folder: Path) -> None:
    while not any(entry["step"] >= step for entry in metrics_log.read(folder)):
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)

"""Ranks of a gloo group, forked from a process that has imported everything.

`torchrun` starts an agent and each rank anew, which costs some 17 s of processor time in imports alone. Here a server
imports once per test process, before it has made a thread, and every rank is a fork of it: the environment that
`torchrun` gives (rank, world, the agent's store), the same collectives, in a tenth of the time.
`test_two_ranks` starts a whole run by `torchrun` itself.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from torch.distributed import TCPStore

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "sslkit.cli.run",
        "sslkit.cli.resume",
        "sslkit.cli.extend",
        "sslkit.train.launch",
        "sslkit_sources.digits",  # scikit-learn, which takes as long as all else of a small test
        "tests.distributed.balancer_worker",
        "tests.distributed.cnn_worker",
        "tests.distributed.embed_worker",
        "tests.distributed.fsdp_worker",
        "tests.distributed.pair_worker",
        "tests.distributed.statistics_worker",
        "tests.distributed.python_run_worker",
        "tests.distributed.signal_worker",
        "tests.distributed.srun_worker",
        "tests.distributed.text_worker",
        "tests.distributed.token_cache_worker",
        "tests.distributed.worker",
        "torch._dynamo",
    ]
)
START = multiprocessing.get_start_method()
"""How a program starts processes; a fork of the server would start a server of its own for its decoding workers."""
PATIENCE = 240.0
"""Seconds, of a machine that may be busy with other things."""


def on_ranks(main: Callable[..., object], *arguments: object, world: int = 2) -> str:
    """Call `main(*arguments)` on each of `world` ranks.

    Args:
        main: a function of a module, found again by its name.
        arguments: strings and paths, which become strings as on a command line.
        world: the number of ranks.

    Returns:
        What all ranks printed.

    Raises:
        AssertionError: a rank failed, or took longer than `PATIENCE`.
    """
    store = TCPStore(
        "localhost", 0, world, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=5)
    )
    with TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        shared = dict(
            os.environ,
            OMP_NUM_THREADS="1",
            WORLD_SIZE=str(world),
            LOCAL_WORLD_SIZE=str(world),
            MASTER_ADDR="localhost",
            MASTER_PORT=str(store.port),
            TORCHELASTIC_USE_AGENT_STORE="True",
            TORCHELASTIC_RESTART_COUNT="0",
        )
        ranks = [
            CONTEXT.Process(
                target=_rank,
                args=(main, [*map(str, arguments)], {**shared, "RANK": str(i), "LOCAL_RANK": str(i)}, output),
            )
            for i in range(world)
        ]
        try:
            for rank in ranks:
                rank.start()
            codes = _exit_codes(ranks)
        finally:
            for rank in ranks:
                rank.kill()
        printed = output.read_text() if output.exists() else ""
        assert codes == [0] * world, f"ranks ended with {codes}\n{printed}"
        return printed


def started(main: Callable[..., object], *arguments: object, output: Path) -> BaseProcess:
    """Begin `main(*arguments)` in a process of its own, which writes to `output` and is no rank."""
    process: BaseProcess = CONTEXT.Process(
        target=_rank, args=(main, [*map(str, arguments)], dict(os.environ), output)
    )
    process.start()
    return process


def _exit_codes(ranks: list[BaseProcess]) -> list[int | None]:
    """Of all ranks once they are done; as soon as one has failed, as the others may wait for it forever."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        wait([rank.sentinel for rank in ranks if rank.is_alive()], timeout=1.0)
        codes = [rank.exitcode for rank in ranks]
        if None not in codes or any(codes):
            break
    return codes


def _rank(
    main: Callable[..., object], arguments: list[str], environment: dict[str, str], output: Path
) -> None:
    """What a rank does."""
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.set_start_method(START, force=True)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    main(*arguments)
    sys.stdout.flush()


def sslkit(*words: str) -> None:
    """The command line, as a rank's main function."""
    from sslkit.cli.main import main

    code = main(words)
    if code:
        sys.exit(code)

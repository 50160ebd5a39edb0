"""`python -m tests.drills`: make tries, go on where a count was left, and print what held."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.drills.bench import Bench
from tests.drills.drill import Drill, Result
from tests.drills.drills import DRILLS
from tests.drills.journal import Journal, Try, commit
from tests.drills.page import PAGE, table, written

SAMPLE_SECONDS = 120.0
"""Of a sample: after these no further try begins, but for drills that have had none."""


def main(argv: Sequence[str] | None = None) -> int:
    """Make the tries that `argv` asks for. Returns 1 where one failed."""
    args = _parser().parse_args(argv)
    journal = Journal(args.state, commit())
    folder = Path(tempfile.mkdtemp(prefix="drills-", dir=_quick_disk()))
    os.environ["SSLKIT_CACHE"] = str(folder / "cache")  # not the user's
    try:
        bench = Bench(folder)
        drills = [kind(bench, args.seed) for kind in DRILLS if not args.only or kind.name in args.only]
        for drill in drills if args.sample else ():
            drill.shorten()
        begun, limit = time.monotonic(), args.seconds
        if limit is None:
            limit = SAMPLE_SECONDS if args.sample else math.inf
        for drill, index in turns(drills, args):
            due = args.index is not None or not journal.has(drill.name, args.seed, index)
            late = time.monotonic() - begun > limit and index > 0
            if due and not late:
                _attempt(drill, index, folder / "try", journal)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tries = [one for one in journal.tries.values() if not args.only or one.drill in args.only]
    _close(tries, journal.commit)
    if args.page:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), tries, journal.commit), encoding="utf-8")
    return int(any(one.verdict == "failed" for one in tries))


def turns(drills: Sequence[Drill], args: argparse.Namespace) -> Iterator[tuple[Drill, int]]:
    """The tries to make: drills take turns, so that whatever time there is serves all of them."""
    if args.index is not None:
        yield from ((drill, args.index) for drill in drills)
        return
    counts = [args.tries if args.tries is not None else _count(drill, args) for drill in drills]
    rounds = max(counts, default=0)
    for i in range(rounds):  # in proportion to their counts
        for drill, count in zip(drills, counts, strict=True):
            yield from ((drill, index) for index in range(i * count // rounds, (i + 1) * count // rounds))


def _count(drill: Drill, args: argparse.Namespace) -> int:
    return drill.sample if args.sample else drill.tries


def _attempt(drill: Drill, index: int, folder: Path, journal: Journal) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    begun = time.monotonic()
    try:
        result = drill.attempt(index, folder)
    except Exception as error:  # a drill that cannot be made has not held
        lines = traceback.format_exception(error)[-3:]
        result = Result("failed", f"the drill itself: {' | '.join(' '.join(line.split()) for line in lines)}")
    seconds = round(time.monotonic() - begun, 2)
    reason = result.reason.replace(str(folder), "TRY")
    journal.add(Try(journal.commit, drill.name, drill.seed, index, result.verdict, reason, seconds))
    if result.verdict == "failed":
        print(f"failed: {again(drill.name, drill.seed, index)}\n  {reason}", flush=True)


def again(name: str, seed: int, index: int) -> str:
    """The command that repeats a try."""
    return shlex.join(
        ["python", "-m", "tests.drills", "--only", name, "--seed", str(seed), "--index", str(index)]
    )


def _close(tries: Sequence[Try], of: str) -> None:
    print(f"\ncommit {of}\n\n{table(tries)}")
    for one in tries:
        if one.verdict == "failed":
            print(f"\n{again(one.drill, one.seed, one.index)}\n  {one.reason}")


def _quick_disk() -> str | None:
    """Memory, where the system has such a folder: tries write and sync a lot."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    names = [kind.name for kind in DRILLS]
    add = parser.add_argument
    add("--only", action="append", default=[], choices=names, help="this drill; several times: these")
    add("--tries", type=int, metavar="N", help="of each drill; default: its full count")
    add("--seed", type=int, default=0, help="of everything random; default 0")
    add("--index", type=int, metavar="I", help="this try only, even if it was made before")
    add("--state", type=Path, metavar="FILE", help="JSON lines of the tries, which are not repeated")
    add("--sample", action="store_true", help="a few tries of each, for about --seconds")
    add("--seconds", type=float, help=f"begin no try after these; default: {SAMPLE_SECONDS:g} of a sample")
    add("--page", action="store_true", help="write the counts into docs/reliability.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())

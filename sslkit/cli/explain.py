"""`sslkit explain`: what a spec resolves to."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from sslkit.cli.spec_arguments import add_spec_arguments, load_spec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add_spec_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    """Build everything without training, and print what would run."""
    spec = load_spec(args)
    from sslkit.spec.load import dump
    from sslkit.train.compose import compose
    from sslkit.train.parallel import start
    from sslkit.train.summary import resolved

    parallel = start(spec.device)
    try:
        facts = resolved(spec, compose(spec, parallel), parallel)
    finally:
        parallel.close()
    print(dump(spec, full=True))
    print("\n".join(lines(facts)))
    return 0


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """What `resolved` found, for people."""
    yield "# resolved"
    yield f"images      {facts['images']:,} ({facts['channels']} channels)"
    yield f"steps       {facts['steps']:,} ({facts['steps_per_epoch']:,} an epoch)"
    yield f"lr          {facts['lr']:.6g} ({facts['lr_rule']}), {facts['warmup_steps']:g} steps of warm-up"
    compiled = "compiled" if facts["compile"] else "not compiled"
    yield f"device      {facts['device']}, {facts['precision']}, {compiled}, {facts['ranks']} rank(s)"
    for name, count in facts["parameters"].items():
        yield f"parameters  {count:,} in {name}"
    yield "passes in every step:"
    for one in facts["passes"]:
        mask = f", {one['mask']}, {one['mode']}" if one["mask"] else ""
        tokens = (
            f"{one['visible']} of {one['patches']} patches visible, {one['tokens_per_step']:,} tokens a step"
        )
        yield f"  {one['net']} on {one['crops']} x {one['view']}{mask}: {tokens}"

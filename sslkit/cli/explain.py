"""`sslkit explain`: what a spec resolves to."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sslkit.cli.spec_arguments import add_from, add_spec_arguments, load_spec
from sslkit.cli.validate import augmentations

if TYPE_CHECKING:
    from sslkit.core.source import Source
    from sslkit.evaluate.evaluation_sources import Sources
    from sslkit.specs.run import RunSpec
    from sslkit.train.cost.tokens import Facts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add_spec_arguments(parser)
    add_from(parser)


def execute(args: argparse.Namespace) -> int:
    """Build everything without training, and print what would run."""
    spec = load_spec(args)
    from sslkit.analysis.image_data.first_image import first_image_lines
    from sslkit.runtime.parallel import start
    from sslkit.specs.load import dump
    from sslkit.train.prepare import prepare
    from sslkit.train.resolved_values import resolved

    parallel = start(spec.device)
    try:
        parts = prepare(spec, parallel)
        facts = resolved(spec, parts.composed(spec, parallel), parallel)
    finally:
        parallel.close()
    print(dump(spec, full=True))
    print("\n".join(lines(facts)))
    if parts.begun is not None:
        print("\n".join(parts.begun.lines()))
    if (test := tested(spec, parts.sources)) is not None:
        print(f"test        {len(test):,} images")
    print("\n".join(first_image_lines(spec, parts.source, parts.env.views)))
    print("augmentations:")
    for name, view in spec.views.items():
        print("\n".join(f"  {name}, {crops}: {chain}" for crops, chain in augmentations(view)))
    for note in parts.notes:
        print(f"note: {note}")
    return 0


def tested(spec: RunSpec, sources: Sources) -> Source | None:
    """The test split of the data; None where there is none."""
    from sslkit.errors import DataError

    try:
        return sources.get(spec.data, "test")
    except DataError:
        return None


def lines(facts: Facts) -> Iterator[str]:
    """What `resolved` found, for people."""
    yield "# resolved"
    yield f"images      {facts['images']:,} ({facts['channels']} channels)"
    yield f"steps       {facts['steps']:,} ({facts['steps_per_epoch']:,} an epoch)"
    yield f"lr          {facts['lr']:.6g} ({facts['lr_rule']}), {facts['warmup_steps']:g} steps of warm-up"
    compiled = "compiled" if facts["compile"] else "not compiled"
    yield f"device      {facts['device']}, {facts['precision']}, {compiled}, {facts['ranks']} rank(s)"
    for name, count in facts["parameters"].items():
        frozen = (
            f", beside {facts['frozen']:,} that are frozen"
            if name == "student" and facts.get("frozen")
            else ""
        )
        yield f"parameters  {count:,} in {name}{frozen}"
    for note in facts["notes"]:
        yield f"note: {note}"
    yield "passes in every step:"
    for one in facts["passes"]:
        mask = f", {one['mask']}, {one['mode']}" if one["mask"] else ""
        early = ", before the masks" if one["guide"] else ""
        if "cached" in one:
            yield f"  {one['net']} on {one['crops']} x {one['view']}: cached on disk, {one['cached']}; computed once"
            continue
        used = f", for {' and '.join(one['for'])}" if len(facts["plan"]["terms"]) > 1 else ""
        yield f"  {one['net']} on {one['crops']} x {one['view']}{mask}{early}: {_cost(one, one['patches'])}{used}"
        for stage in one["stages"]:
            hidden = f"{'at most ' if stage['varies'] else ''}{stage['hidden']} hidden"
            yield f"    from step {stage['step']:,}: {stage['value']}, {hidden}, {_cost(stage, one['patches'])}"
    yield from _plan(facts["plan"])
    if facts["flops"]:
        from sslkit.runs.budget import flops_text

        costs = (
            f"{flops_text(n)}{f' from step {step:,}' * bool(step)}" for step, n in facts["flops"].items()
        )
        yield f"compute: {', '.join(costs)} a step, with heads, decoders and backwards"
    if facts["graphs"] > 1:
        yield f"the masks take {facts['graphs']} shapes over the run; compiled, each is a graph of its own"


def _plan(plan: Facts) -> Iterator[str]:
    """What terms save by sharing, and what all of them cost over the dearest alone; nothing for a single one."""
    if len(plan["terms"]) < 2:
        return
    alone = ", ".join(f"{name} {cost:.2f}" for name, cost in plan["terms"].items())
    dearest = max(plan["terms"], key=plan["terms"].__getitem__)
    yield f"{plan['run']} passes run where {plan['asked']} are asked for, {plan['tokens_per_step']:,} tokens a step"
    yield f"expected cost: {plan['cost']:.2f} times that of {dearest} alone (alone: {alone})"


def _cost(one: Facts, patches: int) -> str:
    return f"{one['visible']} of {patches} patches visible, {one['tokens_per_step']:,} tokens a step"

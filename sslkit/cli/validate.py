"""`sslkit validate`: check a spec without torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from sslkit.cli.spec_arguments import add_from, add_spec_arguments, load_spec
from sslkit.core.view import by, size_of
from sslkit.specs.check import notes
from sslkit.specs.families import AugmentSpec
from sslkit.specs.run import RunSpec
from sslkit.specs.views import ViewSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add_spec_arguments(parser)
    add_from(parser)
    parser.add_argument(
        "--data",
        action="store_true",
        help="also open the images and build the network, as `run` does before it trains",
    )


def execute(args: argparse.Namespace) -> int:
    """Check the spec, with `--data` its images and network too, and print what it comes to."""
    spec = load_spec(args)
    images = list(with_data(spec)) if args.data else []
    print(f"ok: {spec.name}")
    for label, text in (*overview(spec), *images):
        print(f"  {label:<10} {text}")
    for note in notes(spec):
        print(f"note: {note}")
    return 0


def with_data(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """What the images of `spec` come to, as (label, text) lines, on the CPU.

    Raises:
        SslkitError: a line for everything that would stop the run before its first step.
    """
    import torch

    from sslkit.runtime.parallel import Single
    from sslkit.train.prepare import prepare

    parts = prepare(spec, Single(torch.device("cpu")))
    classes = f", {len(parts.source.classes)} classes" if parts.source.classes else ", no labels"
    yield "images", f"{len(parts.source):,} of {parts.source.channels} channels{classes}"
    length = parts.length
    yield "steps", f"{length.steps:,} ({length.steps_per_epoch:,} an epoch)"
    for name, net in parts.system.nets.items():
        yield f"net {name}", f"{sum(p.numel() for p in net.parameters()):,} parameters"


def overview(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """What `spec` comes to, as (label, text) lines, as far as that is known without torch."""
    yield "data", spec.data.summary()
    for name, view in spec.views.items():
        yield f"view {name}", _shape(spec, name, view)
        for crops, chain in augmentations(view):
            yield "", f"{crops}: {chain}"
    yield "backbone", spec.backbone.summary()
    for name, tower in spec.towers.items():
        yield f"tower {name}", tower.summary()
    for name, objective in spec.terms.items():
        yield ("objective" if len(spec.terms) == 1 else f"objective {name}"), objective.summary()
    for evaluator in spec.evaluate:
        yield "evaluate", evaluator.summary()
    yield "length", f"{spec.epochs} epochs" if spec.epochs else f"{spec.steps} steps"
    yield "batch", f"{spec.batch_size} images"
    yield "lr", learning_rate(spec)
    yield "out", str(spec.run_dir)


def _shape(spec: RunSpec, name: str, view: ViewSpec) -> str:
    """Crops, size and patches of a view, by the first trained network that reads it."""
    kind = view.type_in(spec.data)
    readers = [net for net in spec.trained if spec.backbone_of(net).takes == kind]
    grid = spec.backbone_of(readers[0]).grid(view.size) if readers else None
    patches = "" if grid is None else f", {grid} patches of {size_of(grid.sides)}"
    size = view.size if isinstance(view.size, int) else by(view.size)
    shown = "pixels" if view.transform is None else f"{kind} ({view.transform.summary()})"
    return f"{view.crops} x {size} {shown}{patches}"


def augmentations(view: ViewSpec) -> Iterator[tuple[str, str]]:
    """(crops, what is done to them), equal ones together; crops are counted from 0."""
    by_chain: dict[tuple[AugmentSpec, ...], list[int]] = {}
    for crop, chain in enumerate(view.chains):
        by_chain.setdefault(chain, []).append(crop)
    source = f" ({view.recipe})" if view.recipe else ""
    for chain, crops in by_chain.items():
        label = "every crop" if len(by_chain) == 1 else f"crop {', '.join(map(str, crops))}"
        nothing = "resize()" if view.transform is None else "nothing"
        yield f"{label}{source}", ", ".join(step.summary() for step in chain) or nothing


def learning_rate(spec: RunSpec) -> str:
    """The learning rate at the end of warm-up, and the rule it comes from."""
    optimizer = spec.optimizer
    peak = optimizer.peak_lr(spec.batch_size)
    if optimizer.scale == "absolute":
        return f"{peak:.4g} (absolute)"
    return f"{peak:.4g} ({optimizer.lr:g} by the rule {optimizer.scale} at {spec.batch_size} images)"

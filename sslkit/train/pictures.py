"""Figures of a run: pictures of held-out images by its objectives, and the curves of its metrics.

Matplotlib is imported by the first that is drawn: it takes half a second.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from sslkit.core.augment import to_float
from sslkit.core.source import Source
from sslkit.core.view import View
from sslkit.data.fixed_crops import as_input, fixed_crops
from sslkit.data.loaders import Batch
from sslkit.data.unreadable import readable_sample
from sslkit.errors import DataError
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import Reading
from sslkit.functional.diverse_images import varied
from sslkit.nn.modes import evaluating
from sslkit.runs import metrics_log
from sslkit.runs.evaluations import evaluations, steps
from sslkit.runtime.line_file import Warn
from sslkit.runtime.optional_work import component, optional
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed

FIGURES = "figures"
SHOWN = 8
"""Images in a figure."""


@torch.no_grad()
def draw_pictures(
    composed: Composed,
    reading: Reading,
    sources: Sources,
    spec: RunSpec,
    run_dir: Path,
    warn: Warn = warnings.warn,
) -> list[Path]:
    """The figures that the objectives make of held-out images (or, without a test split, of training images).

    One that cannot be drawn is left out, and `warn` is told the component.
    """
    from sslkit.runs.figures import save_pictures

    system, stepper = composed.step.reading, composed.step
    paths: list[Path] = []
    with optional("figures of held-out images", warn), evaluating(system), stepper.autocast():
        tokens = stepper.encode(_held_out(composed, reading, _shown_source(sources, spec)), 0)
        objectives = dict(system.objectives.items())
        specs = {term.name: term.spec for term in spec.all_terms()}
        for name, objective in objectives.items():
            with optional(f"figures of {name!r}: {component(specs[name])}", warn):
                prefix = "" if len(objectives) == 1 else f"{name.replace('/', '-')}-"
                view = composed.env.views[objective.passes[0].view]
                for title, pictures in objective.pictures(*system.objective_tokens(name, tokens)).items():
                    path = run_dir / FIGURES / f"{prefix}{title}.png"
                    shown = pictures._replace(images=pictures.images.float().cpu())
                    save_pictures(path, shown, view.mean, view.std, view.show)
                    paths.append(path)
    return paths


def draw_curves(run_dir: Path, warn: Warn = warnings.warn) -> list[Path]:
    """The curves of all records so far, and how terms got on where several were balanced.

    One that cannot be drawn is left out, and `warn` is told.
    """
    from sslkit.runs.figures import save_conflict, save_curves

    folder, records, paths = run_dir / FIGURES, metrics_log.read(run_dir), list[Path]()
    with optional("figure curves.png", warn):
        scores = evaluations(run_dir) if steps(run_dir) else {}
        lower = {label for label, e in scores.items() if e.headline_better == "lower"}
        save_curves(folder / "curves.png", records, lower)
        paths.append(folder / "curves.png")
    with optional("figure conflict.png", warn):
        if save_conflict(folder / "conflict.png", records):
            paths.append(folder / "conflict.png")
    return paths


def _shown_source(sources: Sources, spec: RunSpec) -> Source:
    try:
        return sources.get(spec.data, "test")
    except DataError:
        return sources.get(spec.data, "train")


def _held_out(composed: Composed, reading: Reading, source: Source) -> Batch:
    """Images of several classes, as every view shows them without augmentation."""
    device = reading.loading.parallel.device
    places = varied(source.labels, len(source), SHOWN).tolist()
    views = composed.env.views
    axes = {view.stream: view.axes for view in views.values()}
    samples = [readable_sample(source, place, axes)[0] for place in places]
    images = {}
    for name, view in views.items():
        crops = [_fixed(sample[view.stream], view, reading.loading.crop) for sample in samples]
        one = torch.stack([as_input(crop.to(device), view) for crop in crops])
        images[name] = one[None].expand(view.crops, *one.shape)
    return Batch(images, torch.arange(len(places), device=device))


def _fixed(sample: Tensor, view: View, share: float) -> Tensor:
    """Not rounded to bytes again where it is an image."""
    return fixed_crops(sample[None] if view.transform is not None else to_float(sample[None]), view, share)[0]

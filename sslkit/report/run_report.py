"""HTML report of one run (`sslkit report`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from sslkit.report.page.html import Html
from sslkit.report.page.html_page import Head, Section, page, write_page
from sslkit.report.run_data import RunData, read_run
from sslkit.report.sections import (
    confusion,
    curves,
    feature_maps,
    gallery,
    run_pictures,
    scores,
    settings,
    structure,
)
from sslkit.report.sections.features_shown import Looked, look

REPORT = "report.html"
SLOW = "`--fast` leaves it out"
HOW = {
    "scores": "add `{kind: knn}` to `evaluate` and run `sslkit evaluate`",
    "protocols": "add `{kind: knn}` to `evaluate`",
    "training": "nothing is recorded yet",
    "conflict": "for hybrids with a balancer of gradients, or `log: {conflict: 100 steps}`",
    "reconstructions": "for objectives that show pictures, such as `mae`, once the run is evaluated or ends",
    "confusion": "add an evaluator that classifies, such as `{kind: linear}`, to `evaluate`",
    "geometry": "add `{kind: geometry}` to `evaluate`",
    "attention": "add `{kind: attention}` to `evaluate`, for a vision transformer",
    "details": "add `{kind: knn}` to `evaluate`",
    "figures": "for evaluators that draw, such as `{kind: lowshot}`",
}
"""How a reader gets a section that is not there."""


def report(run_dir: str | Path, out: str | Path | None = None, fast: bool = False, seed: int = 0) -> Path:
    """Write one HTML file about a run, that needs nothing else; returns its path.

    Args:
        run_dir: the run folder, of a run that is finished, was stopped or still trains.
        out: the file. Default: `report.html` in the run folder.
        fast: leave out what needs the network: the gallery of neighbors and the maps of features.
        seed: of the choice of images, t-SNE and UMAP.

    Raises:
        CheckpointError: the folder holds no run, or a file is damaged.
    """
    run_dir = Path(run_dir)
    run = read_run(run_dir)
    text = page(_head(run), _sections(run, fast, seed))
    return write_page(Path(out) if out else run_dir / REPORT, text)


def _head(run: RunData) -> Head:
    warned = [f"Step {step:,}: {text}" for step, text in run.warnings()[:3]]
    spec = run.lock["spec"]
    fields = {
        "Data": (spec.get("data") or {}).get("kind"),
        "Backbone": (spec.get("backbone") or {}).get("name") or (spec.get("backbone") or {}).get("kind"),
        "Objective": (spec.get("objective") or {}).get("kind") or ", ".join(spec.get("objectives", {})),
        "Seed": spec.get("seed"),
    }
    shown = [(name, str(value)) for name, value in fields.items() if value not in (None, "")]
    return Head(run.name, "Run", [scores.verdict(run), *warned], shown)


def _sections(run: RunData, fast: bool, seed: int) -> list[Section]:
    one = {run.name: run}
    looked = cache(lambda: look(run.run_dir, seed))

    def of_network(make: Callable[[Looked, int], Html | None]) -> Callable[[], Html | None]:
        return (lambda: None) if fast else (lambda: make(looked(), seed))

    slow = SLOW if fast else "there are too few images, or their features are all one"
    sections: dict[str, tuple[str, Callable[[], Html | None]]] = {
        "scores": ("Evaluations", lambda: scores.scores(run)),
        "protocols": ("Protocols", lambda: scores.radar(one, True)),
        "training": ("Training", lambda: curves.training([run])),
        "conflict": ("Conflict of terms", lambda: curves.conflict(run)),
        "reconstructions": ("Held-out images", lambda: run_pictures.reconstructions(one)),
        "gallery": ("Nearest neighbors", of_network(gallery.gallery)),
        "maps": ("Map of features", of_network(feature_maps.maps)),
        "confusion": ("Confusion", lambda: confusion.confusion(run)),
        "geometry": ("Geometry", lambda: structure.geometry(one)),
        "attention": ("Attention", lambda: structure.attention(run)),
        "figures": ("Further figures", lambda: run_pictures.others(run)),
        "details": ("All metrics and settings", lambda: scores.details(run)),
        "cost": ("Cost", lambda: settings.cost(run)),
        "environment": ("Environment", lambda: settings.environment(run)),
        "spec": ("Spec", lambda: settings.spec(run)),
    }
    return [Section(key, title, make, HOW.get(key, slow)) for key, (title, make) in sections.items()]

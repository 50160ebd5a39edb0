"""What evaluators found: the table, the radar, and the line above them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sslkit.evaluate.groups import leaves
from sslkit.evaluate.results import NAMING, Evaluation
from sslkit.report.charts import number
from sslkit.report.html import Child, Html, folded, join, note, table, tag
from sslkit.report.radar import shares
from sslkit.report.run_data import BASELINES, RunData, finite, is_share, share_axes

PLAIN = frozenset({"ari", "nmi"})
"""Shares that nobody says in percent."""


def say(name: str, value: float | None) -> str:
    """A metric for people: shares in percent."""
    if value is None:
        return "not finite"
    return f"{100 * value:.2f} %" if is_share(name, value) and name not in PLAIN else number(value)


def interval(evaluation: Evaluation, name: str) -> str:
    """Of one metric; empty without one."""
    if name not in evaluation.intervals:
        return ""
    low, high = evaluation.intervals[name]
    return f"[{100 * low:.2f}, {100 * high:.2f}]"


def scores(run: RunData) -> Html | None:
    """The table of evaluations; None without any."""
    if not run.evaluations:
        return None
    known = [
        name
        for name, key in BASELINES.items()
        if any(_baseline(run, e, key) for e in run.evaluations.values())
    ]
    headings = ["Evaluation", "Protocol", "Headline", "Value", "95 % interval", *known, "Images", "Step"]
    main = table(
        "Headline of each evaluation",
        headings,
        (list(_cells(run, e, known)) for e in run.evaluations.values()),
        (0, 1, 2),
    )
    return Html(main + note(_said(run)))


def details(run: RunData) -> Html | None:
    """All metrics and settings of each evaluation, folded; None without any."""
    return join([folded(e.title, _everything(e)) for e in run.evaluations.values()]) or None


def _cells(run: RunData, found: Evaluation, known: list[str]) -> Iterator[Child]:
    name = found.headline
    yield found.title
    yield tag("code", found.protocol)
    yield name.replace("_", " ")
    yield tag("strong", say(name, finite(found.metrics[name])))
    yield interval(found, name)
    for which in known:
        value = _baseline(run, found, BASELINES[which])
        yield "" if value is None else say(name, value)
    yield f"{_images(found):,}"
    yield f"{found.step:,}"


def _baseline(run: RunData, found: Evaluation, which: str) -> float | None:
    return None if found.variant else run.baseline(which, found.label, found.headline)


def _images(found: Evaluation) -> int:
    """Those that are scored."""
    read = found.data.get("test") or next(iter(found.data.values()), {})
    return int(read.get("images", 0))


def _said(run: RunData) -> str:
    said = "Intervals cover the choice of test images, by their stored predictions; another seed may differ by more."
    every = list(run.evaluations.values())
    readout = next((found for found in every if not found.variant), every[0]).readout
    layer = "the last block" if readout.get("layer", -1) == -1 else f"block {readout['layer']}"
    return f"{said} Every protocol reads {readout.get('net')}, {layer}, pooled by {readout.get('pool')}."


def _everything(found: Evaluation) -> Html:
    metrics = table(
        f"Metrics of {found.title}",
        ["Metric", "Value"],
        ((name.replace("_", " "), say(name, finite(value))) for name, value in found.metrics.items()),
    )
    asked = ([key, _setting(value)] for key, value in found.settings.items() if key not in NAMING)
    settings = table(f"Settings of {found.title}", ["Setting", "Value"], asked, (0, 1))
    return tag("div", metrics, settings, _left_out(found), class_="pair")


def _setting(value: object) -> str:
    """Lists in one line, and parts by their fields."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return (
        "; ".join(f"{key} {inner}" for key, inner in leaves(value)) if isinstance(value, dict) else str(value)
    )


def _left_out(found: Evaluation) -> Html | None:
    if not found.unreadable:
        return None
    return note(f"{len(found.unreadable)} images could not be read; the first: {found.unreadable[0]}")


def radar(runs: Mapping[str, RunData], baselines: bool) -> Html | None:
    """Shares of all runs, with the baselines of the first; None where nothing lies between 0 and 1."""
    axes = list(share_axes(list(runs.values())))
    if not axes:
        return None
    series = {name: [_share(run, label, metric) for _, label, metric in axes] for name, run in runs.items()}
    first = next(iter(runs.values()))
    for name, key in BASELINES.items() if baselines else ():
        values = [first.baseline(key, label, metric) for _, label, metric in axes]
        if any(value is not None for value in values):
            series[name] = values
    return shares("From 0 at the centre to 100 % at the edge", [axis for axis, _, _ in axes], series)


def _share(run: RunData, label: str, metric: str) -> float | None:
    found = run.evaluations.get(label)
    return None if found is None else finite(found.metrics.get(metric))


def verdict(run: RunData) -> str:
    """One line: how far the run came, and what its network is worth."""
    parts = [_progress(run), *_worth(run)]
    warned = run.warnings()
    parts.append(
        f"{len(warned)} warnings while training"
        if len(warned) > 1
        else "One warning while training"
        if warned
        else "No warnings"
    )
    return ". ".join(parts) + "."


def _progress(run: RunData) -> str:
    epoch = run.summary.get("epoch")
    far = f"{run.step:,} steps" + (f", {epoch:g} epochs" if isinstance(epoch, int | float) else "")
    if run.summary.get("finished"):
        return f"Finished after {far}"
    asked = f" of {run.total:,}" if run.total else ""
    return f"{'Stopped' if run.summary else 'Not finished'} after {far.replace(' steps', f'{asked} steps')}"


def _worth(run: RunData) -> Iterator[str]:
    """Of each accuracy, against the untrained network and raw pixels where they are known."""
    for found in run.evaluations.values():
        name, value = found.headline, finite(found.metrics[found.headline])
        if value is None or name not in found.intervals or found.variant:
            continue
        against = {"the untrained network": "untrained", "raw pixels": "raw_pixels"}
        starts = {word: _baseline(run, found, key) for word, key in against.items()}
        above = [
            f"{_signed(100 * (value - start))} points against {word}"
            for word, start in starts.items()
            if start is not None
        ]
        yield ", ".join(
            [f"{found.label} {name} {say(name, value)} {interval(found, name)}", " and ".join(above)][
                : 1 + bool(above)
            ]
        )


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")

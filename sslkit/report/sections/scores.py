"""Evaluation sections of a report: the table, the radar, and the verdict line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sslkit.analysis.compare.run_groups import leaves
from sslkit.report.page.charts import number
from sslkit.report.page.html import Child, Html, folded, join, note, table, tag
from sslkit.report.page.radar import shares
from sslkit.report.run_data import BASELINES, RunData, finite, is_share, share_axes
from sslkit.runs.evaluations import NAMING, Evaluation

PLAIN = frozenset({"ari", "nmi"})
"""Shares that are not shown in percent."""


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
    baselines = [
        name
        for name, key in BASELINES.items()
        if any(_baseline(run, e, key) for e in run.evaluations.values())
    ]
    headings = ["Evaluation", "Protocol", "Headline", "Value", "95 % interval", *baselines, "Images", "Step"]
    main = table(
        "Headline of each evaluation",
        headings,
        (list(_cells(run, e, baselines)) for e in run.evaluations.values()),
        (0, 1, 2),
    )
    return Html(main + note(_caption(run)))


def details(run: RunData) -> Html | None:
    """All metrics and settings of each evaluation, folded; None without any."""
    return join([folded(e.title, _everything(e)) for e in run.evaluations.values()]) or None


def _cells(run: RunData, evaluation: Evaluation, baselines: list[str]) -> Iterator[Child]:
    name = evaluation.headline
    yield evaluation.title
    yield tag("code", evaluation.protocol)
    yield name.replace("_", " ")
    yield tag("strong", say(name, finite(evaluation.metrics[name])))
    yield interval(evaluation, name)
    for which in baselines:
        value = _baseline(run, evaluation, BASELINES[which])
        yield "" if value is None else say(name, value)
    yield f"{_images(evaluation):,}"
    yield f"{evaluation.step:,}"


def _baseline(run: RunData, evaluation: Evaluation, which: str) -> float | None:
    return None if evaluation.variant else run.baseline(which, evaluation.label, evaluation.headline)


def _images(evaluation: Evaluation) -> int:
    """Those that are scored."""
    split = evaluation.data.get("test") or next(iter(evaluation.data.values()), None)
    return 0 if split is None else int(split.get("images", 0))


def _caption(run: RunData) -> str:
    text = "Intervals cover the choice of test images, by their stored predictions; another seed may differ by more."
    every = list(run.evaluations.values())
    readout = next((evaluation for evaluation in every if not evaluation.variant), every[0]).readout
    layer = "the last block" if readout.get("layer", -1) == -1 else f"block {readout['layer']}"
    return f"{text} Every protocol reads {readout.get('net')}, {layer}, pooled by {readout.get('pool')}."


def _everything(evaluation: Evaluation) -> Html:
    metrics = table(
        f"Metrics of {evaluation.title}",
        ["Metric", "Value"],
        ((name.replace("_", " "), say(name, finite(value))) for name, value in evaluation.metrics.items()),
    )
    settings = ([key, _setting(value)] for key, value in evaluation.settings.items() if key not in NAMING)
    settings_table = table(f"Settings of {evaluation.title}", ["Setting", "Value"], settings, (0, 1))
    return tag("div", metrics, settings_table, _left_out(evaluation), class_="pair")


def _setting(value: object) -> str:
    """Lists in one line, and parts by their fields."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return (
        "; ".join(f"{key} {inner}" for key, inner in leaves(value)) if isinstance(value, dict) else str(value)
    )


def _left_out(evaluation: Evaluation) -> Html | None:
    if not evaluation.unreadable:
        return None
    return note(
        f"{len(evaluation.unreadable)} images could not be read; the first: {evaluation.unreadable[0]}"
    )


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
    return shares("From 0 at the center to 100 % at the edge", [axis for axis, _, _ in axes], series)


def _share(run: RunData, label: str, metric: str) -> float | None:
    evaluation = run.evaluations.get(label)
    return None if evaluation is None else finite(evaluation.metrics.get(metric))


def verdict(run: RunData) -> str:
    """One line: how far the run came, its accuracies, and its warnings."""
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
    target = f" of {run.total:,}" if run.total else ""
    return f"{'Stopped' if run.summary else 'Not finished'} after {far.replace(' steps', f'{target} steps')}"


def _worth(run: RunData) -> Iterator[str]:
    """Of each accuracy, against the untrained network and raw pixels where they are known."""
    for evaluation in run.evaluations.values():
        name, value = evaluation.headline, finite(evaluation.metrics[evaluation.headline])
        if value is None or name not in evaluation.intervals or evaluation.variant:
            continue
        against = {
            "the untrained network": "untrained",
            "the weights at the start": "start",
            "raw pixels": "raw_pixels",
        }
        starts = {word: _baseline(run, evaluation, key) for word, key in against.items()}
        above = [
            f"{_signed(100 * (value - start))} points against {word}"
            for word, start in starts.items()
            if start is not None
        ]
        yield ", ".join(
            [
                f"{evaluation.label} {name} {say(name, value)} {interval(evaluation, name)}",
                " and ".join(above),
            ][: 1 + bool(above)]
        )


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")

"""Which hybrids of a sweep are above both parents: differences, intervals, p-values after Holm, conflict over time.

    python benchmarks/hybrid_screen.py [--sweep runs/cifar10-hybrid-screen] [--only ROW ...] [--json FILE]

Reads what is finished of `examples/cifar10_hybrid_screen.yaml`, or of another sweep with rows of the same names, and
says what is not. A hybrid is `A_B` or `A_B_BALANCER`, and its parents are those of `FAMILIES`. It is above both by a
score if it is above each: its p is the larger of two one-sided Welch tests (an intersection-union test), so that no
parent is chosen by its score. Holm's correction goes over all hybrids and both scores. `--only` is for finalists, which
were chosen beforehand and are tested alone. Accuracies are in points; a setting of one seed has no test.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sslkit.runs import metrics_log
from sslkit.statistics import Difference, holm, p_text, seed_summary, welch_t

FAMILIES = {
    "contrast_spread": ("simclr", "spread"),
    "contrast_rotation": ("simclr", "rotation"),
    "mae_contrast": ("mae", "infonce"),
    "dino_patch": ("dino", "patch"),
}
SCORES = {"k-NN": "eval/knn/accuracy", "linear probe": "eval/linear/accuracy"}
THIRDS = 3


class Setting(NamedTuple):
    """A row of the sweep, over its finished seeds."""

    name: str
    values: Mapping[str, Sequence[float]]
    """Metric -> a value for each seed."""
    runs: Sequence[Path]


class Claim(NamedTuple):
    """That a hybrid is above both of its parents by a score."""

    hybrid: str
    score: str
    gains: tuple[Difference, Difference]
    """Over each parent."""
    p: float
    """Before Holm."""


def read(sweep: Path) -> tuple[dict[str, Setting], list[str]]:
    """Finished settings by name, and cells that are missing. Raises SystemExit where nothing is finished."""
    file = sweep / "sweep.json"
    if not file.is_file():
        raise SystemExit(f"{file}: no such file; `sslkit sweep` writes it when cells are finished")
    content = json.loads(file.read_text(encoding="utf-8"))
    settings = [
        Setting(
            one["setting"],
            {name: metric["values"] for name, metric in one["metrics"].items()},
            [Path(run) for run in one["runs"]],
        )
        for one in content["settings"]
    ]
    return {one.name: one for one in settings if one.runs}, list(content["missing"])


def family_of(name: str) -> str | None:
    """The hybrid that `name` is, whatever joins it; None for a parent."""
    return next((family for family in FAMILIES if name == family or name.startswith(f"{family}_")), None)


def one_sided(gain: Difference) -> float:
    """That the gain is above 0, of a two-sided p."""
    return gain.p / 2 if gain.estimate > 0 else 1 - gain.p / 2


def claims(settings: Mapping[str, Setting], only: Iterable[str] = ()) -> list[Claim]:
    """Of every hybrid that has two seeds or more, as both of its parents have."""
    chosen, made = set(only), []
    for name, hybrid in settings.items():
        family = family_of(name)
        if family is None or (chosen and name not in chosen):
            continue
        parents = [settings.get(parent) for parent in FAMILIES[family]]
        for score, metric in SCORES.items():
            groups = [one.values.get(metric, ()) if one else () for one in (hybrid, *parents)]
            if min(len(group) for group in groups) < 2:
                continue
            values = [[100 * value for value in group] for group in groups]
            gains = (welch_t(values[0], values[1]), welch_t(values[0], values[2]))
            made.append(Claim(name, score, gains, max(one_sided(gain) for gain in gains)))
    return made


def conflict_over_time(setting: Setting) -> list[tuple[float, float]]:
    """(share of measured steps in conflict, mean cosine) of each third of the training, over all seeds."""
    thirds: list[list[float]] = [[] for _ in range(THIRDS)]
    for run in setting.runs:
        records = metrics_log.read(run)
        last = max((int(record["step"]) for record in records), default=0)
        for record in records:
            cosines = [v for k, v in record.items() if k.startswith("balance/") and k.endswith("/cosine")]
            place = min(THIRDS - 1, THIRDS * (int(record["step"]) - 1) // max(last, 1))
            thirds[place] += [float(value) for value in cosines]
    return [(sum(v < 0 for v in third) / len(third), sum(third) / len(third)) for third in thirds if third]


def mean_text(values: Sequence[float]) -> str:
    """Mean, deviation and interval over seeds, in points."""
    summary = seed_summary([100 * value for value in values])
    if summary.std is None or summary.low is None or summary.high is None:
        return f"{summary.mean:.1f}"
    return f"{summary.mean:.1f} ± {summary.std:.1f} [{summary.low:.1f}, {summary.high:.1f}]"


def rows_table(settings: Mapping[str, Setting]) -> str:
    """Scores, cost, and conflict by thirds of the training."""
    head = ["row", "seeds", "TFLOP", "minutes", *SCORES, "in conflict", "cosine"]
    lines = [" | ".join(head), "|".join(["---"] * len(head))]
    for name, one in settings.items():
        thirds = conflict_over_time(one)
        cells = [
            f"`{name}`", str(len(one.runs)), amount(one, "flops", 1e12), amount(one, "seconds", 60),
            *(mean_text(one.values[metric]) if one.values.get(metric) else "" for metric in SCORES.values()),
            ", ".join(f"{100 * share:.0f} %" for share, _ in thirds),
            ", ".join(f"{cosine:.3f}" for _, cosine in thirds),
        ]  # fmt: skip
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def amount(setting: Setting, key: str, unit: float) -> str:
    """A mean over seeds; nothing where it was not measured."""
    values = setting.values.get(key, ())
    return f"{sum(values) / len(values) / unit:.1f}" if values else ""


def claims_table(made: Sequence[Claim]) -> str:
    """Gains over both parents, with p before and after Holm."""
    lines = ["| hybrid | score | over the one | over the other | p | p, Holm |", "|---|---|---|---|---|---|"]
    for claim, adjusted in zip(made, holm([one.p for one in made]), strict=True):
        gains = " | ".join(f"{g.estimate:+.1f} [{g.low:.1f}, {g.high:.1f}]" for g in claim.gains)
        lines.append(
            f"| `{claim.hybrid}` | {claim.score} | {gains} | {p_text(claim.p)} | {p_text(float(adjusted))} |"
        )
    return "\n".join(lines)


def above_both(made: Sequence[Claim], level: float = 0.05) -> list[str]:
    """Hybrids whose claims hold by every score after Holm."""
    adjusted = holm([one.p for one in made])
    held: dict[str, list[bool]] = {}
    for claim, p in zip(made, adjusted, strict=True):
        held.setdefault(claim.hybrid, []).append(bool(p <= level))
    return [name for name, results in held.items() if len(results) == len(SCORES) and all(results)]


def finalists(settings: Mapping[str, Setting]) -> list[str]:
    """The best row of each family by the mean of both scores: what further seeds are for."""
    best: dict[str, tuple[float, str]] = {}
    for name, one in settings.items():
        family = family_of(name)
        scores = [one.values[metric] for metric in SCORES.values() if one.values.get(metric)]
        if family is not None and len(scores) == len(SCORES):
            mean = sum(sum(values) / len(values) for values in scores) / len(scores)
            best[family] = max(best.get(family, (0.0, "")), (mean, name))
    return [name for _, name in best.values()]


def main(words: Sequence[str] | None = None) -> None:
    """Print what came out; write it too, where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", type=Path, default=Path("runs/cifar10-hybrid-screen"))
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="test these hybrids alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write claims and finalists")
    args = parser.parse_args(words)
    settings, missing = read(args.sweep)
    made = claims(settings, args.only)
    held, best = above_both(made), finalists(settings)
    print(rows_table(settings))
    print(f"\nnot finished: {', '.join(missing) or 'none'}\n")
    print(claims_table(made) if made else "no hybrid has two seeds and parents with two seeds yet")
    print(f"\nabove both parents by both scores, after Holm: {', '.join(held) or 'none'}")
    print(f"best of each family: {', '.join(best) or 'none'}")
    if args.json:
        content = [
            {"hybrid": c.hybrid, "score": c.score, "p": c.p, "gains": [g._asdict() for g in c.gains]}
            for c in made
        ]
        args.json.write_text(json.dumps({"claims": content, "above_both": held, "finalists": best}, indent=1))


if __name__ == "__main__":
    main()

"""The counts as a table, on the terminal and in `docs/reliability.md`."""

from __future__ import annotations

from collections.abc import Sequence

from tests.drills.drills import DRILLS
from tests.drills.journal import ROOT, Try

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts -->", "<!-- /counts -->"


def table(tries: Sequence[Try]) -> str:
    """Markdown: a row a drill that has been made."""
    rows = [
        "| Drill | What is done, and what must come of it | Tries | Held | Failed |",
        "|---|---|---:|---:|---:|",
    ]
    for kind in DRILLS:
        verdicts = [one.verdict for one in tries if one.drill == kind.name]
        counts = [sum(v != "skipped" for v in verdicts), verdicts.count("held"), verdicts.count("failed")]
        if verdicts:
            rows.append(f"| `{kind.name}` | {kind.title} | " + " | ".join(f"{n:,}" for n in counts) + " |")
    return "\n".join(rows)


def written(page: str, tries: Sequence[Try], commit: str) -> str:
    """`page` with the counts of `tries` at its mark.

    Raises:
        ValueError: it has no mark.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    seeds = ", ".join(str(seed) for seed in sorted({one.seed for one in tries}))
    return f"{before}{BEGIN}\nCommit `{commit}`, seed {seeds}.\n\n{table(tries)}\n{END}{after}"

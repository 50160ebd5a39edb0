"""The summary of a run, written at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SUMMARY = "summary.json"
Summary = dict[str, Any]
"""What `summary.json` holds."""


def read_summary(run_dir: Path) -> Summary:
    """What `summary.json` holds; nothing where it is missing or damaged, as training then makes it again."""
    try:
        summary = json.loads((run_dir / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}

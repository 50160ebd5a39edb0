"""Images before a run."""

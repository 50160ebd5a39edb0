"""The run folder: lock, checkpoints, records, evaluations."""

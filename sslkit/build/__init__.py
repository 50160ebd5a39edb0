"""From a spec, or a run folder, to modules."""

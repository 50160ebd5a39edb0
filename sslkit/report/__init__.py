"""Pages about runs: one HTML file each, that needs nothing else."""

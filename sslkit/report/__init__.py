"""HTML reports about runs: one self-contained file each."""

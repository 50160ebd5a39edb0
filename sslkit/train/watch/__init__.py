"""What is watched while a run goes on: time, energy, progress, collapse, finite losses."""

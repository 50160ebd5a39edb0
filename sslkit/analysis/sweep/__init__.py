"""Sweeps: many runs out of one spec, and their table."""

"""Comparisons, scaling laws and sweeps of finished runs."""

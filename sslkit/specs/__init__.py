"""Specs: what to run, as frozen data. Nothing here imports torch."""

"""Scaling laws: power laws of size, data and compute, fitted to the results of a sweep."""

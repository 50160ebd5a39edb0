"""Retrieval and robustness."""

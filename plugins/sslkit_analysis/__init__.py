"""Evaluators that describe a network: the geometry of its features and its attention."""

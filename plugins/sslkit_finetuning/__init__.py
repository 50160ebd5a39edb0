"""Evaluators that train a copy of the network."""

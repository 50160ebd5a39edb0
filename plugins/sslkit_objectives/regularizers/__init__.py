"""Regularizers of features."""

"""Geometry of features and statistics of attention."""

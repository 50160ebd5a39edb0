"""Concept bottlenecks."""

"""Semantic segmentation from patch features."""

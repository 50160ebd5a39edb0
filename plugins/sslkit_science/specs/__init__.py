"""Specs of sources of scientific image files."""

"""Maskers that look at no image."""

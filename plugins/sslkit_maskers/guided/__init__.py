"""Maskers that look at images, features or losses."""

"""Decoding of image files, for every source that has some."""

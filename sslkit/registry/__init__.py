"""Plugins: how they are found, loaded and kept apart. Nothing here imports torch."""

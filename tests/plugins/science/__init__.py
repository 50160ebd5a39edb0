"""Sources of scientific image files."""

"""Built-in maskers."""

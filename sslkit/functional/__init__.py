"""Pure tensor functions with no state."""

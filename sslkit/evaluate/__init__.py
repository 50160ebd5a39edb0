"""Feature extraction, evaluation protocols, and comparison of trained networks."""

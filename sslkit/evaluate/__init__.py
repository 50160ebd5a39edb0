"""Features and scores of trained networks."""

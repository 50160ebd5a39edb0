"""Video: clips, space-time networks and masks, temporal contrast, motion. A distribution of its own."""

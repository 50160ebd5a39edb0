"""Images before a run: their statistics, their faults, and what of them arrives in the network."""

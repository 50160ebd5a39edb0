"""Plugin discovery, loading and conflicts. Nothing here imports torch."""

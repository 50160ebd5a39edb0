"""Joint embeddings without negatives."""

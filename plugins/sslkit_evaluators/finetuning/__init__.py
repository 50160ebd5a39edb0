"""Fine-tuning, whole or by few parameters."""

"""Visual tokenizers and the target made of their tokens."""

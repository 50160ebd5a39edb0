"""Built-in tokenizers, and what is trained on their tokens."""

"""Built-in objectives of self-distillation: a student learns from its own moving average."""

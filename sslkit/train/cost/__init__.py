"""What a step costs: tokens and floating-point operations."""

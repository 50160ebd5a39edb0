"""Neural network modules that plugins build from."""

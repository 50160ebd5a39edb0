"""Evaluators of what a network knows of scenes: where things are, which properties they have, what is hidden."""

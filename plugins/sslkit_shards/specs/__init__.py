"""Specs of the sources. Torch-free."""

"""Specs of the kinds. Torch-free."""

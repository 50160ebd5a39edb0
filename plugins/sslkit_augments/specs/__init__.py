"""Specs of augmentations."""

"""Specs of maskers."""

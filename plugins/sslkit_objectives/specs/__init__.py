"""Specs of objectives."""

"""Specs of sources."""

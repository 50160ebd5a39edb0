"""Modules that plugins build from."""

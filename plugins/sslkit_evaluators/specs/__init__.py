"""Specs of evaluators."""

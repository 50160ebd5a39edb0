"""Specs of backbones."""

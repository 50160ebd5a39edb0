"""Specs of the plugin `video`. Torch-free."""

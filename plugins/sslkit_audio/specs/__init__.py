"""Specs of the plugin `audio`. Torch-free."""

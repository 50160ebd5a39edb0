"""Tests of the plugin `text`."""

"""Tests of the distribution for video."""
